"""Limit torch to one compute thread: two on a busy machine wait for each other at every small operation."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
