"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm_core.language_model import LanguageModel, load
from tests.toy import toy_model


@pytest.fixture(autouse=True, scope="session")
def database_of_its_own(tmp_path_factory) -> Iterator[None]:
    """Recipes and history of the tests, and of the servers that they start, stay out of the user's own database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUCLEUS_DATABASE_URL", f"sqlite:///{tmp_path_factory.mktemp('database') / 'nucleus.sqlite3'}")
        yield


@pytest.fixture
def toy() -> LanguageModel:
    return toy_model()


@pytest.fixture(scope="session")
def builtin() -> LanguageModel:
    """The real built-in model, fetched and converted into the user's cache the first time."""
    return load("builtin", lambda progress: None)
