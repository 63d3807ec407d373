"""Define the fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm_core.language_model import LanguageModel, load
from tests.toy import toy_model


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a vLLM server, unless `-m` names them.

    A default `-m` in pyproject.toml would be replaced by any other `-m`.
    """
    if "vllm" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("vllm")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def database_of_its_own(tmp_path_factory) -> Iterator[None]:
    """Keep recipes and history of the tests, and of the servers that they start, out of the user's database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUCLEUS_DATABASE_URL", f"sqlite:///{tmp_path_factory.mktemp('database') / 'nucleus.sqlite3'}")
        yield


@pytest.fixture
def toy() -> LanguageModel:
    return toy_model()


@pytest.fixture(scope="session")
def builtin() -> LanguageModel:
    """Return the real built-in model, downloaded and converted into the user's cache the first time."""
    return load("builtin", lambda progress: None)
