"""Store the work of browser tabs on the server for a while, so that it survives a reload. Free of Streamlit.

A browser starts a new session when it reloads a page, so the work is stored under an id that goes into the URL. Anyone
who knows the id can open the work, so ids are random. **Opening makes a copy:** the id then belongs to the tab that
opened it last, and the tab that had it before continues its own work under another id. Two tabs with one URL therefore
never change each other's branches; they share only the records of what the engine generated.

The store is bounded in works, tokens and time, and evicts the least recently used work first.
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

KEEP_HOURS = 12
MAX_WORKS = 256
MAX_STORED_TOKENS = 100_000
"""Tokens of all stored answers; the record of a token takes about two kilobytes."""
EVICTION_INTERVAL_SECONDS = 30


@dataclass(frozen=True)
class Work:
    """Answers of one tab, and the branches that grew from them."""

    tree: BranchTree
    technique_runs: tuple[TechniqueRun, ...] = ()
    run_values: tuple[Mapping[str, str], ...] = ()
    prompt: PromptSpec | None = None
    """The prompt as written, with its variables."""
    panel: Mapping[str, Any] = field(default_factory=dict)
    """Values of the sampler panel, by widget key."""
    shown: tuple[int, int] = (0, 0)
    branch: int | None = None
    step: int | None = None
    """The selected step; None follows the newest."""
    used_at: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """Number of tokens of all answers that this work keeps in memory."""
        rows = {branch.row for branch, _ in self.tree.list_in_order()}
        rows |= {row for technique_run in self.technique_runs for run in technique_run.runs for row in run.samples}
        return sum(row.length for row in rows)


class WorkStore:
    """Store shared by all sessions. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._works: OrderedDict[str, Work] = OrderedDict()
        self._lock = threading.Lock()
        self._clock = clock
        self._evicted_at = clock()

    def keep(self, work_id: str, work: Work) -> str:
        """Store the work in place of its earlier state. Returns its id, which is a new one if `work_id` is empty or was
        opened by another tab."""
        with self._lock:
            held = self._works.get(work_id)
            if not work_id or (held and held.tree is not work.tree):
                work_id = uuid.uuid4().hex
            self._works[work_id] = replace(work, used_at=self._clock())
            self._works.move_to_end(work_id)
            if (
                not held or self._clock() > self._evicted_at + EVICTION_INTERVAL_SECONDS
            ):  # pages call this several times a second
                self._evict()
            return work_id

    def open(self, work_id: str) -> Work | None:
        """Return a copy of the work that may be changed; the id now belongs to the copy. None if the work is no longer
        stored."""
        with self._lock:
            self._evict()
            if work_id not in self._works:
                return None
            held = self._works[work_id]
            self._works[work_id] = replace(held, tree=held.tree.copy(), used_at=self._clock())
            self._works.move_to_end(work_id)
            return self._works[work_id]

    def __len__(self) -> int:
        return len(self._works)

    def _evict(self) -> None:
        self._evicted_at = self._clock()
        oldest = self._clock() - KEEP_HOURS * 3600
        tokens = sum(work.tokens for work in self._works.values())
        for work_id, work in list(self._works.items())[:-1]:  # the newest stays, whatever its size
            if work.used_at >= oldest and len(self._works) <= MAX_WORKS and tokens <= MAX_STORED_TOKENS:
                return
            tokens -= work.tokens
            del self._works[work_id]
        self._works = OrderedDict((key, work) for key, work in self._works.items() if work.used_at >= oldest)
