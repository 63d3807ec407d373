"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest

from llm_core.language_model import LanguageModel, load
from tests.toy import toy_model


@pytest.fixture
def toy() -> LanguageModel:
    return toy_model()


@pytest.fixture(scope="session")
def builtin() -> LanguageModel:
    """The real built-in model, fetched and converted into the user's cache the first time."""
    return load("builtin", lambda progress: None)
