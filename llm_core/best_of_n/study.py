"""Measure what best-of-N buys on a task: accuracy of each selection strategy, against n and against its cost.

Every item has one pool of N candidates and one greedy answer. From these the accuracy for any n up to N follows without
new requests, as the mean over subsets (`estimators`): exact except for criteria that compare candidates with each
other. Like a `GridExperiment` it moves when its follower calls `advance`; stopping keeps finished items, and resuming
requests only what is missing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llm_core.best_of_n.criteria.base import Criterion
from llm_core.best_of_n.criteria.correctness import Equality, classes
from llm_core.best_of_n.estimators import RESAMPLES, Estimate, expected_true, medoid_true, vote_accuracy
from llm_core.best_of_n.scoring import SECONDS, Judging
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import MAX_CANDIDATES, Candidate, CandidatePool
from llm_core.generation.request import GenerationRequest, Run
from llm_core.generation.technique_run import Submit
from samplers import expected_best

GREEDY, SINGLE, VOTE = "greedy", "single", "vote"
"""Strategies that need no criterion: the likeliest token each time, any one candidate, the majority's result."""
MOST_AT_ONCE = 64
"""Candidates under way: as many samples as the engine takes."""


@dataclasses.dataclass(frozen=True, slots=True)
class ItemResult:
    """Result of one finished item."""

    greedy: float
    """Worth of the greedy answer, in [0, 1]."""
    worths: tuple[float, ...]
    """Worth of each candidate, in [0, 1]."""
    results: tuple[int | None, ...]
    """Result of each candidate as a number: candidates with the same number found the same; None found nothing."""
    scores: dict[str, tuple[float, ...]]
    """Scores by criterion; a missing score is `-inf`, so that its candidate is not chosen."""
    tokens: int
    """Tokens of all candidates."""
    greedy_tokens: int
    seconds: float
    greedy_seconds: float
    scoring_seconds: dict[str, float]
    error: NucleusError | None = None
    """Error of an item that could not be requested; it then counts 0 throughout."""
    pairs: dict[str, tuple[tuple[float, ...], ...]] = dataclasses.field(default_factory=dict)
    """Measures of every two candidates, for criteria that compare candidates."""

    def worth(self, way: str, n: int) -> float:
        """Return the expected worth of a strategy with n candidates; with fewer if some are missing."""
        n = min(n, len(self.worths))
        if way == GREEDY:
            return self.greedy
        if not n:
            return 0.0
        if way == SINGLE:
            return math.fsum(self.worths) / len(self.worths)
        if way == VOTE:
            return vote_accuracy(self.results, self.worths, n)
        if alike := self.pairs.get(way):
            return medoid_true(alike, self.worths, n)
        return expected_true(self.scores[way], self.worths, n)


class Cost(NamedTuple):
    """Mean cost of one item."""

    tokens: float
    seconds: float
    """Share of the time that all candidates took together: they are written in one batch."""


class BestOfNStudy:
    """Best-of-N on the items of one task. Not locked: one thread at a time."""

    def __init__(
        self,
        submit: Submit,
        items: int,
        request: Callable[[int], GenerationRequest],
        worth: Callable[[int, str], float],
        n: int,
        criteria: Callable[[int], Sequence[Criterion]],
        *,
        equality: Equality = "text",
        timeout: float = SECONDS,
    ) -> None:
        """Create the study. `request(item)` has one sample, the settings of each candidate; `worth(item, result)`
        returns the worth of a result, in [0, 1]; `criteria(item)` are the criteria that choose, with the same ids for
        every item.

        Raises `NucleusError` for n outside 1 to 64, and for a criterion that compares candidates with each other: its
        scores of N candidates are not those of fewer, unless it scores pairs (`by_pairs`). The vote is counted exactly
        and needs no criterion.
        """
        if not 1 <= n <= MAX_CANDIDATES:
            raise NucleusError("candidates_out_of_range", value=n, limit=MAX_CANDIDATES)
        named = [criterion.id for criterion in criteria(0)] if items else []
        for criterion in criteria(0) if items else ():
            if criterion.relative and not getattr(criterion, "by_pairs", False):
                raise NucleusError("study_needs_absolute", criterion=criterion.id)
        self.items = items
        self.n = n
        self.ways = (GREEDY, SINGLE, VOTE, *named)
        self.results: dict[int, ItemResult] = {}
        """Finished items, by index."""
        self.notices: list[NucleusError] = []
        """Notices about the answers so far, such as a setting that the provider refused; each once."""
        self.lost: NucleusError | None = None
        """Error of the first candidate that failed."""
        self.running = True
        self._submit, self._request, self._worth, self._criteria = submit, request, worth, criteria
        self._equality: Equality = equality
        self._timeout = timeout
        self._open: dict[int, _Item] = {}
        self._expected: dict[tuple[int, str, int], float] = {}
        """Cached values of `ItemResult.worth`, by item, strategy and n."""

    @property
    def finished(self) -> bool:
        return len(self.results) == self.items

    @property
    def missing(self) -> int:
        """Candidates of finished items that were requested and failed."""
        return sum(self.n - len(result.worths) for result in self.results.values())

    @property
    def runs(self) -> list[Run]:
        """Active runs."""
        return [run for item in self._open.values() for run in (*item.pool.runs, item.greedy) if run.active]

    def stop(self) -> None:
        """Stop the active items; they are requested again on `resume`."""
        self.running = False
        for item in self._open.values():
            item.stop()
        self._open.clear()

    def resume(self) -> None:
        """Continue after a stop."""
        self.running = not self.finished

    def advance(self) -> None:
        """Collect finished items and request more."""
        for place, item in list(self._open.items()):
            item.judging.advance()
            item.greedy.touch()
            if item.active:
                continue
            del self._open[place]
            if not item.abandoned:  # nobody followed it: requested again
                self.results[place] = self._result(place, item)
                self._note(item)
        if self.finished:
            self.running = False
        for place in range(self.items):
            if not self.running or (len(self._open) + 1) * (self.n + 1) > max(MOST_AT_ONCE, self.n + 1):
                return
            if place in self.results or place in self._open:
                continue
            try:
                self._open[place] = self._begin(place)
            except NucleusError as error:
                if error.code == "queue_full":
                    return
                self.results[place] = _unasked(error, [way for way in self.ways if way not in (GREEDY, SINGLE, VOTE)])

    def accuracy(self, way: str, n: int) -> Estimate:
        """Return the mean worth of one of `strategies` with n candidates, over the finished items, with a percentile
        bootstrap over the items (Efron 1979); the band is 0 to 1 while no item has finished."""
        import numpy

        if not self.results:
            return Estimate(0.0, 0.0, 1.0)
        for item, result in self.results.items():
            if (item, way, n) not in self._expected:
                self._expected[item, way, n] = result.worth(way, n)
        worths = numpy.array([self._expected[item, way, n] for item in self.results])
        drawn = numpy.random.default_rng(0).integers(len(worths), size=(RESAMPLES, len(worths)))
        low, high = numpy.quantile(worths[drawn].mean(axis=1), (0.025, 0.975))
        return Estimate(float(worths.mean()), float(low), float(high))

    def proxy(self, criterion: str, n: int) -> float | None:
        """Return the mean over the items of the score that a criterion expects of its own best of n. Beside `accuracy`
        it shows whether higher scores are better answers. None if scores are missing, or if a score means something
        else among fewer candidates."""
        if any(criterion in result.pairs for result in self.results.values()):
            return None
        done = [result.scores.get(criterion, ()) for result in self.results.values() if result.error is None]
        if not done or not all(scores and min(scores) > -math.inf for scores in done):
            return None
        return math.fsum(expected_best(scores, min(n, len(scores))) for scores in done) / len(done)

    def cost(self, way: str, n: int) -> Cost:
        """Return the mean cost of one item with a strategy, scoring included."""
        done = [result for result in self.results.values() if result.error is None]
        if not done:
            return Cost(0.0, 0.0)
        if way == GREEDY:
            return Cost(_mean([each.greedy_tokens for each in done]), _mean([each.greedy_seconds for each in done]))
        share = [min(1 if way == SINGLE else n, len(each.worths)) / max(1, len(each.worths)) for each in done]
        scoring = [each.scoring_seconds.get(way, 0.0) for each in done]
        return Cost(
            _mean([part * each.tokens for part, each in zip(share, done, strict=True)]),
            _mean([part * (each.seconds + extra) for part, each, extra in zip(share, done, scoring, strict=True)]),
        )

    def _begin(self, place: int) -> _Item:
        request = self._request(place)
        [row] = request.rows
        sampler = dataclasses.replace(row.sampler, temperature=0.0)
        pool = CandidatePool(self._submit, request, self.n)
        try:
            greedy = self._submit(dataclasses.replace(request, rows=(dataclasses.replace(row, sampler=sampler),)))
        except NucleusError:
            pool.stop()
            raise
        return _Item(pool, greedy, Judging(pool, self._criteria(place), self._timeout))

    def _note(self, item: _Item) -> None:
        known = set(map(str, self.notices))
        told = {str(notice): notice for run in (*item.pool.runs, item.greedy) for notice in run.notices}
        self.notices += [notice for text, notice in told.items() if text not in known]
        self.lost = self.lost or item.pool.error

    def _result(self, place: int, item: _Item) -> ItemResult:
        candidates = item.pool.candidates()
        prompt = item.greedy.request.prompt
        [greedy] = item.greedy.rows
        found = None if greedy.error else prompt.extraction.extract(prompt.prefill + greedy.text)
        return ItemResult(
            greedy=0.0 if found is None else self._worth(place, found),
            worths=tuple(0.0 if each.result is None else self._worth(place, each.result) for each in candidates),
            results=tuple(classes([each.result for each in candidates], self._equality)),
            scores={each.id: _values(item.judging, each.id, candidates) for each in item.judging.criteria},
            tokens=item.pool.tokens,
            greedy_tokens=greedy.length,
            seconds=item.pool.seconds,
            greedy_seconds=greedy.seconds,
            scoring_seconds={each.id: item.judging.seconds(each.id) for each in item.judging.criteria},
            error=greedy.error if greedy.error and not candidates else None,
            pairs={each.id: rows for each in item.judging.criteria if (rows := _pairs(item.judging, each.id))},
        )


class _Item(NamedTuple):
    """Runs and scores of one active item."""

    pool: CandidatePool
    greedy: Run
    judging: Judging

    @property
    def active(self) -> bool:
        return self.pool.active or self.greedy.active or self.judging.active

    @property
    def abandoned(self) -> bool:
        errors = [record.error for record in (*self.pool.records, *self.greedy.rows)]
        return any(error is not None and error.code == "run_abandoned" for error in errors)

    def stop(self) -> None:
        self.judging.stop()
        self.pool.stop()
        self.greedy.cancel()


def _values(judging: Judging, criterion: str, candidates: Sequence[Candidate]) -> tuple[float, ...]:
    scores = judging.scores(criterion)
    values = [scores[each.index].value if each.index in scores else None for each in candidates]
    return tuple(-math.inf if value is None else value for value in values)


def _pairs(judging: Judging, criterion: str) -> tuple[tuple[float, ...], ...]:
    """Return the pair measures of a criterion; empty if it has none, or if a score is missing."""
    scores = judging.scores(criterion)
    found = tuple(scores[index].pairs for index in sorted(scores))
    return found if all(len(row) == len(found) for row in found) else ()


def _unasked(error: NucleusError, criteria: Sequence[str]) -> ItemResult:
    return ItemResult(0.0, (), (), dict.fromkeys(criteria, ()), 0, 0, 0.0, 0.0, {}, error)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
