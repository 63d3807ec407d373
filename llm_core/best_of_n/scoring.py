"""Score a pool of candidates by criteria: each runs in the background under a time limit and cannot affect another.

A page follows a `CandidateScorer` by calling `advance` at every rerun; a program calls `wait`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from llm_core.best_of_n.criteria.base import Criterion, Score, make_failed_score
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate, CandidatePool

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 10.0
"""Default time limit per criterion, in seconds."""
ScoringStatus = Literal["waiting", "scoring", "scored", "unavailable", "stopped"]
"""State of one criterion: waiting for the candidates to finish, scoring, scored (some scores may be errors),
unavailable for these candidates, or stopped by the user."""


class Ranking(NamedTuple):
    """Candidates in the order of one criterion."""

    places: dict[int, int]
    """Place of each candidate, 1 is the best; equals share a place, and the next one comes after all of them (1, 2, 2,
    4)."""
    winners: tuple[int, ...]
    """All candidates with the highest score. Take the first one: it has the lowest index."""


def rank_candidates(scores: Mapping[int, Score]) -> Ranking:
    """Return the ranking of the candidates that have a score."""
    values = {index: score.value for index, score in scores.items() if score.value is not None}
    places = {index: 1 + sum(other > value for other in values.values()) for index, value in values.items()}
    ordered = dict(sorted(places.items(), key=lambda place: (place[1], place[0])))
    return Ranking(ordered, tuple(index for index, place in ordered.items() if place == 1))


class CandidateScorer:
    """Scores of a pool by several criteria. Not locked: one thread at a time."""

    def __init__(
        self, pool: CandidatePool, criteria: Sequence[Criterion], timeout: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Create a scorer. Criteria need unique ids, or `ValueError` is raised; the pool may still be active, and may
        grow later."""
        if len({criterion.id for criterion in criteria}) < len(criteria):
            raise ValueError("criteria: expected each to have an id of its own")
        self.pool = pool
        self.criteria = tuple(criteria)
        self._timeout = timeout
        self._by_criterion = {
            criterion.id: _CriterionScores(criterion, criterion.timeout or timeout) for criterion in criteria
        }
        self._stopped = False

    def advance(self) -> None:
        """Start the criteria that can start and collect new scores. Candidates that were added to the pool are scored
        too; scores that do not depend on other candidates are kept."""
        self.pool.touch()
        if self._stopped or self.pool.active:
            return
        candidates = self.pool.candidates()
        for bench in self._by_criterion.values():
            bench.advance(candidates)

    @property
    def active(self) -> bool:
        """Whether a criterion is scoring, or waits for the candidates."""
        if self._stopped:
            return False
        indices = tuple(candidate.index for candidate in self.pool.candidates())
        return self.pool.active or any(
            bench.active or not bench.is_complete_for(indices) for bench in self._by_criterion.values()
        )

    def wait(self, timeout: float = math.inf) -> bool:
        """Advance until all is done. Returns False if that takes longer than `timeout` seconds."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            self.advance()
            if not self.active:
                return True
            time.sleep(0.005)
        return False

    def stop(self) -> None:
        """Stop all criteria. Scores so far stay."""
        self._stopped = True
        for bench in self._by_criterion.values():
            bench.stop()

    def resume(self) -> None:
        """Continue after a stop."""
        self._stopped = False

    def set_criteria(self, criteria: Sequence[Criterion]) -> None:
        """Replace the criteria: an unchanged criterion keeps its scores, a removed one is stopped."""
        if len({criterion.id for criterion in criteria}) < len(criteria):
            raise ValueError("criteria: expected each to have an id of its own")
        benches = {}
        for criterion in criteria:
            bench = self._by_criterion.pop(criterion.id, None)
            if bench is not None and bench.criterion != criterion:
                bench.stop()
                bench = None
            benches[criterion.id] = bench or _CriterionScores(criterion, criterion.timeout or self._timeout)
        for left in self._by_criterion.values():
            left.stop()
        self.criteria, self._by_criterion = tuple(criteria), benches

    def status(self, criterion: str) -> ScoringStatus:
        return self._by_criterion[criterion].status

    def progress(self, criterion: str) -> tuple[int, int]:
        """Return the numbers of candidates scored and to be scored."""
        return self._by_criterion[criterion].progress

    def seconds(self, criterion: str) -> float:
        """Return the seconds that a criterion has taken."""
        return self._by_criterion[criterion].seconds

    def unavailable_reason(self, criterion: str) -> NucleusError | None:
        """Return the error that says why a criterion cannot score these candidates, or None."""
        return self._by_criterion[criterion].reason

    def scores(self, criterion: str) -> dict[int, Score]:
        """Return the scores so far by candidate; a failed one has its error."""
        return dict(self._by_criterion[criterion].scores)

    def ranking(self, criterion: str) -> Ranking:
        """Return the ranking by one criterion."""
        return rank_candidates(self.scores(criterion))

    def length_correlation(self, criterion: str) -> float | None:
        """Return how much a criterion depends on length: Kendall's tau-b of its scores with the candidates' tokens.
        Near -1 it prefers short answers, as a sum of log-probabilities does, near 1 long ones."""
        lengths = {each.index: Score(float(each.tokens)) for each in self.pool.candidates()}
        return rank_correlation(self.scores(criterion), lengths)

    def combine(self, weights: Mapping[str, float]) -> dict[int, Score]:
        """Return the weighted combination of these scores, the user's own criterion: see `combine_scores`."""
        return combine_scores({criterion: self.scores(criterion) for criterion in weights}, weights)

    def agreement(self) -> dict[tuple[str, str], float | None]:
        """Return the `rank_correlation` of every two criteria."""
        return {
            (one, other): rank_correlation(self.scores(one), self.scores(other))
            for one, other in combinations(self._by_criterion, 2)
        }


class _CriterionScores:
    """Scores of one criterion."""

    def __init__(self, criterion: Criterion, timeout: float) -> None:
        self.criterion = criterion
        self.scores: dict[int, Score] = {}
        self.reason: NucleusError | None = None
        self.status: ScoringStatus = "waiting"
        self.seconds = 0.0
        self._timeout = timeout
        self._began = 0.0
        self._job: _ScoringJob | None = None
        self._seen: tuple[int, ...] = ()

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "scoring")

    @property
    def progress(self) -> tuple[int, int]:
        return len(self.scores), max(len(self._seen), len(self.scores))

    def is_complete_for(self, indices: tuple[int, ...]) -> bool:
        """Return whether scoring has finished for exactly these candidates."""
        return indices == self._seen and self.status in ("scored", "unavailable")

    def advance(self, candidates: Sequence[Candidate]) -> None:
        if self._job is not None:
            self._collect(self._job)
            return
        indices = tuple(candidate.index for candidate in candidates)
        if self.is_complete_for(indices):
            return
        self.reason = self.criterion.unavailable_reason(candidates)
        self._seen = indices
        if self.reason is not None:
            self.status = "unavailable"
            return
        if self.criterion.relative:
            self.scores.clear()
        wanted = [candidate for candidate in candidates if candidate.index not in self.scores]
        self.status, self._began = "scoring", time.monotonic()
        self._job = _ScoringJob(self.criterion, wanted)
        self._collect(self._job)

    def stop(self) -> None:
        if self._job is not None:
            self._copy_scores(self._job)
            self._job.stop.set()
            self._job = None
        if self.active:
            self.status = "stopped"

    def _collect(self, job: _ScoringJob) -> None:
        late = time.monotonic() - self._began > self._timeout
        done = job.done.is_set()
        self._copy_scores(job)
        if not (done or late):
            return
        error: Exception = job.error or NucleusError("criterion_incomplete")
        if not done:
            job.stop.set()
            error = NucleusError("criterion_timed_out", seconds=round(self._timeout))
        for candidate in job.candidates[len(job.scores) :]:
            self.scores[candidate.index] = make_failed_score(error)
        self.status, self._job = "scored", None

    def _copy_scores(self, job: _ScoringJob) -> None:
        self.seconds = time.monotonic() - self._began
        for candidate, score in zip(job.candidates, list(job.scores), strict=False):
            self.scores[candidate.index] = score


class _ScoringJob:
    """One background call of a criterion. A thread that hangs is left behind."""

    def __init__(self, criterion: Criterion, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates
        self.scores: list[Score] = []
        self.error: Exception | None = None
        self.stop = threading.Event()
        self.done = threading.Event()
        self._criterion = criterion
        threading.Thread(target=self._work, name=f"criterion {criterion.id}", daemon=True).start()

    def _work(self) -> None:
        try:
            for score in self._criterion.score(self.candidates, self.stop):
                if self.stop.is_set():
                    return
                self.scores.append(score)
        except Exception as error:  # a failing criterion must not affect others
            log.warning("criterion %s failed: %s", self._criterion.id, type(error).__name__)
            self.error = error
        finally:
            self.done.set()


def combine_scores(scores: Mapping[str, Mapping[int, Score]], weights: Mapping[str, float]) -> dict[int, Score]:
    """Return the weighted sum of standardized scores by candidate.

    Each criterion's scores are reduced by their mean and divided by their standard deviation, so that a weight means
    the same whatever the units; equal scores count 0. Parts are the summands. A candidate that lacks the score of a
    criterion whose weight is not 0 gets an error.
    """
    used = {criterion: weight for criterion, weight in weights.items() if weight}
    normal = {criterion: _standardize(scores[criterion]) for criterion in used}
    found: dict[int, Score] = {}
    for index in dict.fromkeys(index for criterion in used for index in scores[criterion]):
        parts = {
            criterion: weight * normal[criterion][index]
            for criterion, weight in used.items()
            if index in normal[criterion]
        }
        lacking = next((criterion for criterion in used if criterion not in parts), None)
        if lacking is None:
            found[index] = Score(math.fsum(parts.values()), parts)
        else:
            found[index] = Score(None, parts, NucleusError("criterion_part_missing", criterion=lacking))
    return found


def _standardize(scores: Mapping[int, Score]) -> dict[int, float]:
    values = {index: score.value for index, score in scores.items() if score.value is not None}
    finite = [value for value in values.values() if math.isfinite(value)]
    if not finite:
        return {}
    mean = math.fsum(finite) / len(finite)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / len(finite))
    return {
        index: (value - mean) / deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 0.0
        for index, value in values.items()
        if math.isfinite(value)
    }


def rank_correlation(one: Mapping[int, Score], other: Mapping[int, Score]) -> float | None:
    """Return Kendall's tau-b over the candidates that both have scored, in [-1, 1] (Kendall 1945): of the pairs that
    neither ties, those ordered alike less those ordered the other way, over the geometric mean of each one's untied
    pairs. None if one of them ties everything."""
    pairs = [
        (value, against)
        for index, score in one.items()
        if (value := score.value) is not None and index in other and (against := other[index].value) is not None
    ]
    return kendall_tau(*zip(*pairs, strict=True)) if pairs else None


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two sequences; None if one of them is constant."""
    agreed = untied = untied_other = 0
    for (a, b), (c, d) in combinations(zip(one, other, strict=True), 2):
        first, second = (a > c) - (a < c), (b > d) - (b < d)
        agreed += first * second
        untied += first != 0
        untied_other += second != 0
    return agreed / math.sqrt(untied * untied_other) if untied and untied_other else None
