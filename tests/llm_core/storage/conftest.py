"""Run every test of storage on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.recipe import Recipe
from llm_core.storage.database import Database, hash_owner_secret
from llm_core.storage.history import History
from llm_core.storage.recipe_store import RecipeStore
from tests.support.database import find_postgresql, run_postgresql

ANN, BINH = hash_owner_secret("ann's secret"), hash_owner_secret("bình's secret")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests on PostgreSQL on one worker, which starts the one server."""
    for item in items:
        if "postgresql" in item.name and Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.xdist_group("postgresql"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    programs = find_postgresql()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: install Debian's package postgresql to test on it")
    with run_postgresql(programs) as url:
        yield url


@pytest.fixture
def postgresql_url(server: str) -> str:
    """Return the URL of the server's database after emptying it."""
    url = f"{server}/postgres"
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return f"sqlite:///{tmp_path / 'data' / 'nucleus.sqlite3'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


class Clock:
    """A clock that advances a millisecond at each call, and by whole days on request. Returns seconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def advance_days(self, count: float) -> None:
        self.now += 86_400 * count


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> RecipeStore:
    return RecipeStore(database, clock)


@pytest.fixture
def history(database: Database, clock: Clock) -> History:
    return History(database, clock)


def make_recipe(instruction: str = "Describe the sea.", **about) -> Recipe:
    return Recipe(prompt=PromptSpec(instruction), **about)
