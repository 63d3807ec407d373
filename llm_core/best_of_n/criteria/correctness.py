"""Score the result in an answer: whether it is correct, and how many other candidates found the same."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal

from llm_core.best_of_n.criteria.base import Need, Score, make_score, score_each
from llm_core.best_of_n.criteria.worker_process import WORKER
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate
from llm_core.experiments.tasks import Task
from llm_core.prompts.extraction import Extraction, first_json, normalize_result

Equality = Literal["text", "mathematics"]
"""Rule for when two results are the same: by their letters, ignoring case and space; or by their meaning, as
math-verify reads them."""
EQUALITY_TIMEOUT_SECONDS = 2.0
"""Limit for one comparison of expressions; one that takes longer counts as different."""
PATTERN_TIMEOUT_SECONDS = 0.5
_MATHEMATICS_TIMEOUT = 30.0
"""Limit in seconds for a criterion that compares expressions: the package takes seconds to load."""
_NUMBER = Extraction("number")


def is_same_result(one: str, other: str, equality: Equality) -> bool:
    """Return whether two results are the same."""
    if normalize_result(one) == normalize_result(other):
        return True
    if equality == "text":
        return False
    with contextlib.suppress(ValueError):
        return math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-12)
    with contextlib.suppress(TimeoutError, RuntimeError):  # too hard to decide: different
        return bool(WORKER.call("mathematically_equal", one, other, seconds=EQUALITY_TIMEOUT_SECONDS))
    return False


def equivalence_classes(
    results: Sequence[str | None], equality: Equality, stop: Event | None = None
) -> list[int | None]:
    """Return for each result the index of the first result that is the same; None for a missing result."""
    found: dict[int, str] = {}
    known: dict[str, int] = {}
    numbers: list[int | None] = []
    for place, result in enumerate(results):
        if result is None:
            numbers.append(None)
            continue
        key = normalize_result(result)
        if key not in known:
            stopped = stop is not None and stop.is_set()
            same = (each for each, first in found.items() if not stopped and is_same_result(first, result, equality))
            known[key] = next(same, place)
            found.setdefault(known[key], result)
        numbers.append(known[key])
    return numbers


@dataclass(frozen=True, slots=True)
class MajorityVote:
    """Self-consistency (Wang et al. 2022, arXiv 2203.11171): the share of the candidates with a result that found the
    same one. A majority can be wrong, and no correct answer is known.

    Parts: `result`, `votes`, `voters`, and `first_same`, the index of the first candidate that found the same.
    """

    equality: Equality = "text"
    id: str = "vote"
    needs: frozenset[Need] = frozenset()
    relative: bool = True

    @property
    def timeout(self) -> float | None:
        return _MATHEMATICS_TIMEOUT if self.equality == "mathematics" else None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterator[Score]:
        numbers = equivalence_classes([candidate.result for candidate in candidates], self.equality, stop)
        voters = sum(number is not None for number in numbers)
        for candidate, number in zip(candidates, numbers, strict=True):
            if number is None:
                yield Score(None, {}, NucleusError("criterion_without_result"))
            else:
                votes = numbers.count(number)
                same = candidates[number].index
                told = candidate.result or ""
                yield make_score(votes / voters, result=told, votes=votes, voters=voters, first_same=same)


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Score 1 if the result is one of the accepted answers, 0 if not or if there is no result."""

    answers: tuple[str, ...]
    equality: Equality = "text"
    id: str = "exact"
    needs: frozenset[Need] = frozenset({"answer"})
    relative: bool = False

    @property
    def timeout(self) -> float | None:
        return _MATHEMATICS_TIMEOUT if self.equality == "mathematics" else None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None if any(answer.strip() for answer in self.answers) else NucleusError("criterion_needs_answer")

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        known: dict[str | None, bool] = {None: False}

        def right(candidate: Candidate) -> Score:
            result = candidate.result
            if result not in known:
                known[result] = any(is_same_result(answer, result or "", self.equality) for answer in self.answers)
            return make_score(float(known[result]), result=result or "")

        return score_each(candidates, right, stop)


@dataclass(frozen=True, slots=True)
class PatternMatch:
    """Score 1 if a regular expression is found in the text, 0 if not. A search that backtracks without end fails after
    half a second."""

    pattern: str
    id: str = "pattern"
    needs: frozenset[Need] = frozenset({"answer"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        try:
            Extraction("regex", self.pattern).validate()
        except NucleusError as error:
            return error
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        import regex

        compiled = regex.compile(self.pattern)

        def found(candidate: Candidate) -> Score:
            try:
                match = compiled.search(candidate.text, timeout=PATTERN_TIMEOUT_SECONDS)
            except TimeoutError:
                raise NucleusError("criterion_timed_out", seconds=PATTERN_TIMEOUT_SECONDS) from None
            return make_score(float(match is not None), found=match[0] if match else "")

        return score_each(candidates, found, stop)


@dataclass(frozen=True, slots=True)
class SchemaMatch:
    """Score 1 if the first JSON value in the text matches a JSON Schema, 0 if not or if there is no JSON."""

    schema: dict[str, Any] = field(hash=False)
    id: str = "schema"
    needs: frozenset[Need] = frozenset({"answer"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(self.schema).check_schema(self.schema)
        except SchemaError as error:
            return NucleusError("criterion_schema_invalid", detail=str(error.message)[:200])
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        def fits(candidate: Candidate) -> Score:
            value = first_json(candidate.text)
            if value is None:
                return make_score(0.0, problem="no JSON")
            try:
                problems = WORKER.call("schema_errors", self.schema, value, seconds=EQUALITY_TIMEOUT_SECONDS)
            except TimeoutError:
                raise NucleusError("criterion_timed_out", seconds=round(EQUALITY_TIMEOUT_SECONDS)) from None
            return make_score(float(not problems), problem=problems[0] if problems else "", problems=len(problems))

        return score_each(candidates, fits, stop)


@dataclass(frozen=True, slots=True)
class NumericMatch:
    """Score 1 if the last number of the result is within the tolerance of the target, 0 if not or if there is no
    number."""

    target: float
    tolerance: float = 0.0
    id: str = "number"
    needs: frozenset[Need] = frozenset({"answer"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        usable = math.isfinite(self.target) and self.tolerance >= 0
        return None if usable else NucleusError("criterion_needs_answer")

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return score_each(candidates, self._score_one, stop)

    def _score_one(self, candidate: Candidate) -> Score:
        number = _NUMBER.extract(candidate.text if candidate.result is None else candidate.result)
        if number is None:
            return make_score(0.0)
        distance = abs(float(number) - self.target)
        slack = 1e-12 * max(1.0, abs(self.target))  # 0.1 + 0.2 is 0.3
        return make_score(float(distance <= self.tolerance + slack), number=float(number), distance=distance)


@dataclass(frozen=True, slots=True)
class TaskVerifier:
    """Score by a task's own measure of an answer to one of its items, in [0, 1]; 0 without a result."""

    task: Task
    item: int
    id: str = "verifier"
    needs: frozenset[Need] = frozenset({"answer"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return score_each(candidates, self._score_one, stop)

    def _score_one(self, candidate: Candidate) -> Score:
        if candidate.result is None:
            return make_score(0.0)
        return make_score(self.task.score(self.item, candidate.result), result=candidate.result)
