"""Store the history of finished runs, each with its recipe and answer.

It is private: owners read, open and delete their own runs only. Runs older than `RETENTION_DAYS` and beyond the newest
`MAX_RUNS` of an owner are deleted by themselves; the owner prunes the rest by age, number, or all of them.
`NUCLEUS_HISTORY=0` turns it off for an installation.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, true
from sqlalchemy.exc import IntegrityError

from llm_core.errors import NucleusError
from llm_core.recipes.recipe import Recipe
from llm_core.storage.database import Database
from llm_core.storage.schema import runs
from llm_core.storage.search_text import make_search_text, match_words, sanitize_text

MAX_RUNS = 1_000
"""Runs of one owner."""
MAX_ALL_RUNS = 50_000
"""Runs of all owners."""
RETENTION_DAYS = 90
MAX_RECIPE_CHARACTERS = 2**20
"""Characters of one recipe; a run of a larger one is refused."""
MAX_ANSWER_CHARACTERS = 50_000
"""Characters stored of an answer."""
PAGE_SIZE = 20


def is_history_enabled() -> bool:
    """Return whether this installation stores a history."""
    return os.environ.get("NUCLEUS_HISTORY", "1").strip().lower() not in ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class PastRun:
    """Finished run in a list."""

    id: str
    title: str
    """Title of the recipe, or else the beginning of its prompt."""
    model: str
    answer: str
    summary: Mapping[str, Any]
    """Figures of the run, as they were given to `add`."""
    ended_at: float


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of a search, the newest runs first."""

    runs: tuple[PastRun, ...]
    total: int


class History:
    """History of all owners. Any thread may use it. Every method raises `NucleusError`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def add(self, run_id: str, owner: str, recipe: Recipe, answer: str, summary: Mapping[str, Any]) -> None:
        """Store a run. A second call with the same id changes nothing, whoever makes it."""
        text = json.dumps(recipe.data(), ensure_ascii=False, separators=(",", ":"))
        if len(text) > MAX_RECIPE_CHARACTERS:
            raise NucleusError("recipe_too_large_to_save", size=len(text), limit=MAX_RECIPE_CHARACTERS)
        prompt = " ".join(part for _, part in recipe.prompt.texts() if part)
        answer = sanitize_text(answer[:MAX_ANSWER_CHARACTERS])
        values = {
            "id": run_id,
            "owner": owner,
            "title": recipe.title or " ".join((recipe.prompt.instruction or recipe.prompt.question).split())[:120],
            "model": recipe.model.id,
            "recipe": text,
            "answer": answer,
            "summary": json.dumps(summary),
            "found_by": make_search_text(recipe.title, recipe.model.id, prompt, answer),
            "ended_at": self._clock(),
        }
        with self._database.write_transaction() as connection:
            if connection.execute(select(runs.c.id).where(runs.c.id == run_id)).first():
                return
            try:
                with connection.begin_nested():
                    connection.execute(insert(runs).values(values))
            except IntegrityError:  # somebody else was a moment faster
                return
            connection.execute(delete(runs).where(runs.c.ended_at < self._clock() - 86_400 * RETENTION_DAYS))
            _delete_older_runs(connection, MAX_RUNS, runs.c.owner == owner)
            _delete_older_runs(connection, MAX_ALL_RUNS, true())

    def search(self, owner: str, query: str = "", skip: int = 0) -> RunPage:
        """Return the owner's runs with every word of `query` in prompt, answer, title or model's name."""
        wanted = [runs.c.owner == owner, *match_words(runs.c.found_by, query)]
        statement = select(runs.c.id, runs.c.title, runs.c.model, runs.c.answer, runs.c.summary, runs.c.ended_at)
        statement = (
            statement.where(*wanted).order_by(runs.c.ended_at.desc(), runs.c.id).limit(PAGE_SIZE).offset(max(0, skip))
        )
        with self._database.read_transaction() as connection:
            total = connection.execute(select(func.count()).select_from(runs).where(*wanted)).scalar_one()
            rows = connection.execute(statement).all()
        found = (PastRun(r.id, r.title, r.model, r.answer, json.loads(r.summary), r.ended_at) for r in rows)
        return RunPage(tuple(found), total)

    def recipe(self, run_id: str, owner: str) -> Recipe:
        statement = select(runs.c.recipe).where(runs.c.id == run_id, runs.c.owner == owner)
        with self._database.read_transaction() as connection:
            text = connection.execute(statement).scalar_one_or_none()
        if text is None:
            raise NucleusError("run_unknown")
        return Recipe.read(json.loads(text))

    def delete(self, run_id: str, owner: str) -> None:
        with self._database.write_transaction() as connection:
            connection.execute(delete(runs).where(runs.c.id == run_id, runs.c.owner == owner))

    def prune(self, owner: str, *, newest: int = 0, days: float | None = None) -> int:
        """Delete the owner's runs except the `newest`, or those older than `days`; return how many were deleted."""
        with self._database.write_transaction() as connection:
            if days is None:
                return _delete_older_runs(connection, newest, runs.c.owner == owner)
            oldest = self._clock() - 86_400 * days
            return connection.execute(delete(runs).where(runs.c.owner == owner, runs.c.ended_at < oldest)).rowcount


def _delete_older_runs(connection: Connection, count: int, which: ColumnElement[bool]) -> int:
    """Delete all of these runs except the newest `count`; return how many were deleted."""
    by_age = select(runs.c.id).where(which).order_by(runs.c.ended_at.desc(), runs.c.id)
    older = connection.execute(by_age.offset(count).limit(10_000)).scalars().all()
    return connection.execute(delete(runs).where(runs.c.id.in_(older))).rowcount if older else 0
