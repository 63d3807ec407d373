"""What a criterion is: something that gives each candidate a score, higher is better, or says why it cannot.

`score` runs on a thread of its own under a time limit. It yields one `Score` a candidate in their order, as they come,
and looks at `stop` wherever it waits for others. What it raises counts against the scores that are still missing.
Whatever a candidate writes is text to be looked at: no criterion executes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Literal, Protocol

from llm_core.candidate_pool import Candidate
from llm_core.errors import NucleusError

Need = Literal["probabilities", "vocabulary", "answer", "judge", "package"]
"""Log-probabilities of the tokens, those of the whole vocabulary, a right answer to compare with, a model to ask, an
optional package."""


@dataclass(frozen=True, slots=True)
class Score:
    """One candidate's. `value` is None where there is none, and `error` then says why."""

    value: float | None
    parts: Mapping[str, float | int | str] = field(default_factory=dict)
    """What it was made of, by names that pages translate: `criteria.parts.NAME`."""
    error: NucleusError | None = None
    pairs: tuple[float, ...] = ()
    """Of a score that is the mean of something between it and each other candidate: that, in the order of all that
    were judged together, 0 for itself. What the score would be among fewer of them follows from it."""


class Criterion(Protocol):
    """One way to tell the best candidate."""

    @property
    def id(self) -> str:
        """Names its kind, as pages translate it; unique among the criteria of one judging."""

    @property
    def needs(self) -> frozenset[Need]:
        """What it cannot do without."""

    @property
    def relative(self) -> bool:
        """Whether a score depends on the other candidates, so that all change when the pool grows."""

    @property
    def timeout(self) -> float | None:
        """Seconds that it may take; None for what the judging allows each."""

    def unavailable(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        """Why it cannot judge these; None if it can, or if that does not show yet."""

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        """One score a candidate, in their order."""


def scored(value: float, **parts: float | int | str) -> Score:
    """A score, or a failure where the number is none: NaN has no place in an order."""
    if math.isnan(value):
        return Score(None, parts, NucleusError("criterion_not_number"))
    return Score(value, parts)


def failed(error: Exception) -> Score:
    """A score that could not be had. Errors of other people's code are told by their type: their text may be long."""
    if isinstance(error, NucleusError):
        return Score(None, {}, error)
    return Score(None, {}, NucleusError("criterion_failed", detail=type(error).__name__))


def each(candidates: Sequence[Candidate], score: Callable[[Candidate], Score], stop: Event) -> Iterator[Score]:
    """Scores one by one; a candidate that cannot be scored spoils nothing for the others. Ends early on `stop`."""
    for candidate in candidates:
        if stop.is_set():
            return
        try:
            yield score(candidate)
        except Exception as error:
            yield failed(error)


def each_text(candidates: Sequence[Candidate], score: Callable[[str], Score], stop: Event) -> Iterator[Score]:
    """The same where only the text counts: a text that several have written is scored once."""
    known: dict[str, Score] = {}

    def once(candidate: Candidate) -> Score:
        if candidate.text not in known:
            known[candidate.text] = score(candidate.text)
        return known[candidate.text]

    return each(candidates, once, stop)


@dataclass(frozen=True, slots=True)
class OwnCriterion:
    """Any function of a candidate as a criterion, for notebooks: `OwnCriterion("shortest", lambda c: -c.tokens)`."""

    id: str
    function: Callable[[Candidate], float]
    needs: frozenset[Need] = frozenset()
    relative: bool = False
    timeout: float | None = None

    def unavailable(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return each(candidates, lambda candidate: scored(self.function(candidate)), stop)
