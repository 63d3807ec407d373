"""Compare variants of a prompt on the items of one task: every item is requested in every variant and scored.

All prompts go to the engine together and share its batches; what the queue does not accept waits here. Stopping keeps
finished cells, and resuming requests only what is missing. Like a `TechniqueRun`, an experiment moves when its follower
calls `advance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from llm_core.errors import NucleusError
from llm_core.generation.record import Run
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest
from llm_core.generation.technique_run import Submit, TechniqueRun

Variant = TypeVar("Variant")
"""Variant to compare: a technique, an order of examples, ..."""


class CellResult(NamedTuple):
    """Result of one item in one variant."""

    answer: str | None
    score: float
    """Score in [0, 1]; 0 if the run failed or found no answer."""
    tokens: int
    prompt_tokens: int
    seconds: float
    error: NucleusError | None


class GridExperiment(Generic[Variant]):
    """Experiment of `len(variants) x items` cells."""

    max_parallel = MAX_SAMPLES_PER_REQUEST

    def __init__(
        self,
        submit: Submit,
        variants: Sequence[Variant],
        items: int,
        request: Callable[[Variant, int], GenerationRequest],
        score: Callable[[int, str], float],
    ) -> None:
        """Create the experiment. `request(variant, item)` returns the request of a cell, `score(item, answer)` the
        score of an answer in [0, 1]."""
        self.variants = tuple(variants)
        self.items = items
        self.cells: dict[tuple[Variant, int], CellResult] = {}
        """Finished cells, by variant and item."""
        self.notices: list[NucleusError] = []
        """Notices about the answers so far, such as a setting that the provider refused; each once."""
        self.from_cache = 0
        """Answers that came from the response cache."""
        self.running = True
        self._submit = submit
        self._request = request
        self._score = score
        self._active: dict[tuple[Variant, int], TechniqueRun] = {}

    @property
    def total(self) -> int:
        return len(self.variants) * self.items

    @property
    def finished(self) -> bool:
        return len(self.cells) == self.total

    @property
    def runs(self) -> list[Run]:
        """Active runs."""
        return [run for technique_run in self._active.values() for run in technique_run.runs if run.active]

    def stop(self) -> None:
        """Stop the active cells; they are requested again on `resume`."""
        self.running = False
        for technique_run in self._active.values():
            technique_run.stop()
        self._active.clear()

    def resume(self) -> None:
        """Continue after a stop."""
        self.running = not self.finished

    def advance(self) -> None:
        """Collect finished cells and request more. All variants of an item come before the next item, so that every
        variant has been asked about the same ones."""
        for place, technique_run in list(self._active.items()):
            technique_run.advance()
            if not technique_run.active:
                del self._active[place]
                if not (
                    technique_run.error and technique_run.error.code == "run_abandoned"
                ):  # nobody followed it: requested again
                    self.cells[place] = self._make_cell(place, technique_run)
                    self._record_notices(technique_run)
        if self.finished:
            self.running = False
        missing = ((way, item) for item in range(self.items) for way in self.variants)
        for place in missing:
            if not self.running or len(self._active) >= self.max_parallel:
                return
            if place in self.cells or place in self._active:
                continue
            try:
                self._active[place] = TechniqueRun(self._submit, self._request(*place))
            except NucleusError as error:
                if error.code == "queue_full":
                    return
                self.cells[place] = CellResult(None, 0.0, 0, 0, 0.0, error)

    def _record_notices(self, technique_run: TechniqueRun) -> None:
        known = set(map(str, self.notices))
        for notice in (notice for run in technique_run.runs for notice in run.notices):
            if str(notice) not in known:
                known.add(str(notice))
                self.notices.append(notice)
        self.from_cache += all(row.from_cache for run in technique_run.runs for row in run.samples)

    def _make_cell(self, place: tuple[Variant, int], technique_run: TechniqueRun) -> CellResult:
        answer = technique_run.answer
        score = 0.0 if answer is None else self._score(place[1], answer)
        return CellResult(
            answer, score, technique_run.tokens, technique_run.prompt_tokens, technique_run.seconds, technique_run.error
        )
