"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from llm_core.models.language_model import LanguageModel, load
from tests.support.toy_model import toy_model


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--thorough`."""
    parser.addoption("--thorough", action="store_true", help="also run tests that are slow and rarely fail")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis tries: few by default, many with `--thorough`.

    Workers, and the servers and commands that they start, compute with one thread each: two workers whose engines take
    every core wait for each other at every small operation.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers start, which inherit it
    settings.register_profile("quick", max_examples=30, deadline=None)
    settings.register_profile("thorough", max_examples=300, deadline=None)
    settings.load_profile("thorough" if config.option.thorough else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a vLLM server, unless `-m` names it, and thorough ones without `--thorough`.

    A default in pyproject.toml would be lost with every other `-m`.
    """
    excluded = {"vllm"} if "vllm" not in config.option.markexpr else set()
    if not config.option.thorough and "thorough" not in config.option.markexpr:
        excluded.add("thorough")
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in excluded)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in set(deselected)]


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
