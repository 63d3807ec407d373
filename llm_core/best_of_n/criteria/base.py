"""Define what a criterion is: it gives each candidate a score, higher is better, or says why it cannot.

`score` runs on its own thread under a time limit. It yields one `Score` per candidate in their order, as they come, and
checks `stop` wherever it waits for others. An exception counts as the error of all scores that are still missing. A
candidate's text is only read: no criterion executes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Literal, Protocol

from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate

Need = Literal["probabilities", "vocabulary", "answer", "judge", "package"]
"""What a criterion needs: log-probabilities of the tokens, log-probabilities of the whole vocabulary, a correct answer
to compare with, a model to ask, or an optional package."""


@dataclass(frozen=True, slots=True)
class Score:
    """Score of one candidate. `value` is None if it has none, and `error` then says why."""

    value: float | None
    parts: Mapping[str, float | int | str] = field(default_factory=dict)
    """Numbers and texts that the score was made of, by names that pages translate: `best.parts.NAME`."""
    error: NucleusError | None = None
    pairs: tuple[float, ...] = ()
    """For a score that is the mean of a measure between this candidate and each other one: those measures, in the order
    of all candidates scored together, 0 for itself. The score among fewer candidates follows from them."""


class Criterion(Protocol):
    """Way to score candidates."""

    @property
    def id(self) -> str:
        """Kind of the criterion, as pages translate it; unique within one `CandidateScorer`."""

    @property
    def needs(self) -> frozenset[Need]:
        """What the criterion cannot do without."""

    @property
    def relative(self) -> bool:
        """Whether a score depends on the other candidates, so that all change when the pool grows."""

    @property
    def timeout(self) -> float | None:
        """Time limit in seconds; None for the scorer's default."""

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        """Return the error that says why these candidates cannot be scored; None if they can, or if that is not known
        yet."""

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        """Yield one score per candidate, in their order."""


def make_score(value: float, **parts: float | int | str) -> Score:
    """Return a score, or a failed one for NaN, which has no place in an order."""
    if math.isnan(value):
        return Score(None, parts, NucleusError("criterion_not_number"))
    return Score(value, parts)


def make_failed_score(error: Exception) -> Score:
    """Return a score with an error. Exceptions of foreign code are named by their type only: their text may be long."""
    if isinstance(error, NucleusError):
        return Score(None, {}, error)
    return Score(None, {}, NucleusError("criterion_failed", detail=type(error).__name__))


def score_each(candidates: Sequence[Candidate], score: Callable[[Candidate], Score], stop: Event) -> Iterator[Score]:
    """Yield the score of each candidate; an exception fails the score of its candidate only. Ends early on `stop`."""
    for candidate in candidates:
        if stop.is_set():
            return
        try:
            yield score(candidate)
        except Exception as error:
            yield make_failed_score(error)


def score_each_text(candidates: Sequence[Candidate], score: Callable[[str], Score], stop: Event) -> Iterator[Score]:
    """Yield the score of each candidate's text; a text that several candidates share is scored once. Errors and `stop`
    as in `score_each`."""
    known: dict[str, Score] = {}

    def once(candidate: Candidate) -> Score:
        if candidate.text not in known:
            known[candidate.text] = score(candidate.text)
        return known[candidate.text]

    return score_each(candidates, once, stop)


@dataclass(frozen=True, slots=True)
class FunctionCriterion:
    """Criterion made of any function of a candidate, for notebooks.

    Example: `FunctionCriterion("shortest", lambda c: -c.tokens)`.
    """

    id: str
    function: Callable[[Candidate], float]
    needs: frozenset[Need] = frozenset()
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return score_each(candidates, lambda candidate: make_score(self.function(candidate)), stop)
