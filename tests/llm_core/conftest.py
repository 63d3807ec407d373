"""One compute thread: two that share a machine with other jobs wait for each other at every small operation."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
