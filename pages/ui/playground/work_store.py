"""What outlives a reload of the page: the work of browser tabs, kept on the server for a while. No Streamlit here.

A browser starts a new session when it reloads a page, so the work lies here under an id that goes into the address.
Who knows the id can open the work, so ids cannot be guessed. **Opening makes a copy:** the id then belongs to the one
who opened it last, and whoever had it before goes on with what was theirs, under another id. Two tabs with one address
therefore never change each other's branches; they share only the records of what the engine wrote.

Bounded in works, tokens and time; what was used longest ago goes first.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llm_core.generation.branches import BranchTree
from llm_core.generation.technique_run import TechniqueRun
from llm_core.prompts.spec import PromptSpec

HOURS = 12
MAX_WORKS = 256
MAX_TOKENS = 100_000
"""Of all answers kept; a token's record takes about two kilobytes."""
TIDY_SECONDS = 30


@dataclass(frozen=True)
class Work:
    """What one tab asked for, and what grew from it."""

    tree: BranchTree
    askings: tuple[TechniqueRun, ...] = ()
    asked_values: tuple[Mapping[str, str], ...] = ()
    prompt: PromptSpec | None = None
    """As it was written, with its variables."""
    panel: Mapping[str, Any] = field(default_factory=dict)
    """The settings beside it, by their widgets' keys."""
    shown: tuple[int, int] = (0, 0)
    branch: int | None = None
    step: int | None = None
    """What was looked at."""
    used_at: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """Of every answer that this work keeps from being forgotten."""
        rows = {branch.row for branch, _ in self.tree.list_in_order()}
        rows |= {row for asking in self.askings for run in asking.runs for row in run.samples}
        return sum(row.length for row in rows)


class WorkStore:
    """Shared by all sessions, from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._works: OrderedDict[str, Work] = OrderedDict()
        self._lock = threading.Lock()
        self._clock = clock
        self._tidied_at = clock()

    def keep(self, work_id: str, work: Work) -> str:
        """Keep the work, in place of an earlier state of it. Returns the id that it has: another one where `work_id`
        is missing or has been opened by somebody else."""
        with self._lock:
            held = self._works.get(work_id)
            if not work_id or (held and held.tree is not work.tree):
                work_id = uuid.uuid4().hex
            self._works[work_id] = replace(work, used_at=self._clock())
            self._works.move_to_end(work_id)
            if not held or self._clock() > self._tidied_at + TIDY_SECONDS:  # pages call this while people watch
                self._forget()
            return work_id

    def open(self, work_id: str) -> Work | None:
        """A copy of the work that may be changed; from now on the id is the copy's. None if it is not here any more."""
        with self._lock:
            self._forget()
            if work_id not in self._works:
                return None
            held = self._works[work_id]
            self._works[work_id] = replace(held, tree=held.tree.copy(), used_at=self._clock())
            self._works.move_to_end(work_id)
            return self._works[work_id]

    def __len__(self) -> int:
        return len(self._works)

    def _forget(self) -> None:
        self._tidied_at = self._clock()
        oldest = self._clock() - HOURS * 3600
        tokens = sum(work.tokens for work in self._works.values())
        for work_id, work in list(self._works.items())[:-1]:  # the newest stays, whatever its size
            if work.used_at >= oldest and len(self._works) <= MAX_WORKS and tokens <= MAX_TOKENS:
                return
            tokens -= work.tokens
            del self._works[work_id]
        self._works = OrderedDict((key, work) for key, work in self._works.items() if work.used_at >= oldest)
