"""Compare variants of a prompt on the items of one task: every item is requested in every variant and scored.

All prompts go to the engine together and share its batches; what the queue does not accept waits here. Stopping keeps
finished cells, and resuming requests only what is missing. Like a `TechniqueRun`, an experiment moves when its follower
calls `advance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from llm_core.errors import NucleusError
from llm_core.generation.request import GenerationRequest, Run
from llm_core.generation.technique_run import Asking, Submit

Way = TypeVar("Way")
"""Variant to compare: a technique, an order of examples, ..."""

MOST_AT_ONCE = 64
"""Technique runs under way: as many samples as the engine takes, so that an experiment does not fill the queue for
everybody."""


class Cell(NamedTuple):
    """Result of one item in one variant."""

    answer: str | None
    score: float
    """Score in [0, 1]; 0 if the run failed or found no answer."""
    tokens: int
    prompt_tokens: int
    seconds: float
    error: NucleusError | None


class Study(Generic[Way]):
    """Experiment of `len(variants) x items` cells."""

    most_at_once = MOST_AT_ONCE

    def __init__(
        self,
        submit: Submit,
        ways: Sequence[Way],
        items: int,
        request: Callable[[Way, int], GenerationRequest],
        score: Callable[[int, str], float],
    ) -> None:
        """Create the experiment. `request(variant, item)` returns the request of a cell, `score(item, answer)` the
        score of an answer in [0, 1]."""
        self.ways = tuple(ways)
        self.items = items
        self.cells: dict[tuple[Way, int], Cell] = {}
        """Finished cells, by variant and item."""
        self.notices: list[NucleusError] = []
        """Notices about the answers so far, such as a setting that the provider refused; each once."""
        self.from_cache = 0
        """Answers that came from the response cache."""
        self.running = True
        self._submit = submit
        self._request = request
        self._score = score
        self._open: dict[tuple[Way, int], Asking] = {}

    @property
    def total(self) -> int:
        return len(self.ways) * self.items

    @property
    def finished(self) -> bool:
        return len(self.cells) == self.total

    @property
    def runs(self) -> list[Run]:
        """Active runs."""
        return [run for asking in self._open.values() for run in asking.runs if run.active]

    def stop(self) -> None:
        """Stop the active cells; they are requested again on `resume`."""
        self.running = False
        for asking in self._open.values():
            asking.stop()
        self._open.clear()

    def resume(self) -> None:
        """Continue after a stop."""
        self.running = not self.finished

    def advance(self) -> None:
        """Collect finished cells and request more. All variants of an item come before the next item, so that every
        variant has been asked about the same ones."""
        for place, asking in list(self._open.items()):
            asking.advance()
            if not asking.active:
                del self._open[place]
                if not (asking.error and asking.error.code == "run_abandoned"):  # nobody followed it: requested again
                    self.cells[place] = self._cell(place, asking)
                    self._note(asking)
        if self.finished:
            self.running = False
        missing = ((way, item) for item in range(self.items) for way in self.ways)
        for place in missing:
            if not self.running or len(self._open) >= self.most_at_once:
                return
            if place in self.cells or place in self._open:
                continue
            try:
                self._open[place] = Asking(self._submit, self._request(*place))
            except NucleusError as error:
                if error.code == "queue_full":
                    return
                self.cells[place] = Cell(None, 0.0, 0, 0, 0.0, error)

    def _note(self, asking: Asking) -> None:
        known = set(map(str, self.notices))
        for notice in (notice for run in asking.runs for notice in run.notices):
            if str(notice) not in known:
                known.add(str(notice))
                self.notices.append(notice)
        self.from_cache += all(row.from_cache for run in asking.runs for row in run.rows)

    def _cell(self, place: tuple[Way, int], asking: Asking) -> Cell:
        answer = asking.answer
        score = 0.0 if answer is None else self._score(place[1], answer)
        return Cell(answer, score, asking.tokens, asking.prompt_tokens, asking.seconds, asking.error)
