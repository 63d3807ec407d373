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
from llm_core.best_of_n.criteria.correctness import Equality, equivalence_classes
from llm_core.best_of_n.estimators import BOOTSTRAP_RESAMPLES, MeanEstimate, expected_worth, medoid_worth, vote_accuracy
from llm_core.best_of_n.scoring import DEFAULT_TIMEOUT_SECONDS, CandidateScorer
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate, CandidatePool
from llm_core.generation.record import Run
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST, GenerationRequest
from llm_core.generation.technique_run import Submit
from samplers import expected_best

GREEDY, SINGLE, VOTE = "greedy", "single", "vote"
"""Strategies that need no criterion: the likeliest token each time, any one candidate, the majority's result."""


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

    def worth(self, strategy: str, n: int) -> float:
        """Return the expected worth of a strategy with n candidates; with fewer if some are missing."""
        n = min(n, len(self.worths))
        if strategy == GREEDY:
            return self.greedy
        if not n:
            return 0.0
        if strategy == SINGLE:
            return math.fsum(self.worths) / len(self.worths)
        if strategy == VOTE:
            return vote_accuracy(self.results, self.worths, n)
        if alike := self.pairs.get(strategy):
            return medoid_worth(alike, self.worths, n)
        return expected_worth(self.scores[strategy], self.worths, n)


class ItemCost(NamedTuple):
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
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Create the study. `request(item)` has one sample, the settings of each candidate; `worth(item, result)`
        returns the worth of a result, in [0, 1]; `criteria(item)` are the criteria that choose, with the same ids for
        every item.

        Raises `NucleusError` for n outside 1 to 64, and for a criterion that compares candidates with each other: its
        scores of N candidates are not those of fewer, unless it scores pairs (`by_pairs`). The vote is counted exactly
        and needs no criterion.
        """
        if not 1 <= n <= MAX_SAMPLES_PER_REQUEST:
            raise NucleusError("candidates_out_of_range", value=n, limit=MAX_SAMPLES_PER_REQUEST)
        named = [criterion.id for criterion in criteria(0)] if items else []
        for criterion in criteria(0) if items else ():
            if criterion.relative and not getattr(criterion, "by_pairs", False):
                raise NucleusError("study_needs_absolute", criterion=criterion.id)
        self.items = items
        self.n = n
        self.strategies = (GREEDY, SINGLE, VOTE, *named)
        self.results: dict[int, ItemResult] = {}
        """Finished items, by index."""
        self.notices: list[NucleusError] = []
        """Notices about the answers so far, such as a setting that the provider refused; each once."""
        self.first_error: NucleusError | None = None
        """Error of the first candidate that failed."""
        self.running = True
        self._submit, self._request, self._worth, self._criteria = submit, request, worth, criteria
        self._equality: Equality = equality
        self._timeout = timeout
        self._item_runs: dict[int, _ItemRun] = {}
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
        return [run for item in self._item_runs.values() for run in (*item.pool.runs, item.greedy) if run.active]

    def stop(self) -> None:
        """Stop the active items; they are requested again on `resume`."""
        self.running = False
        for item in self._item_runs.values():
            item.stop()
        self._item_runs.clear()

    def resume(self) -> None:
        """Continue after a stop."""
        self.running = not self.finished

    def advance(self) -> None:
        """Collect finished items and request more."""
        for place, item in list(self._item_runs.items()):
            item.scorer.advance()
            item.greedy.touch()
            if item.active:
                continue
            del self._item_runs[place]
            if not item.abandoned:  # nobody followed it: requested again
                self.results[place] = self._make_result(place, item)
                self._record_notices(item)
        if self.finished:
            self.running = False
        for place in range(self.items):
            if not self.running or (len(self._item_runs) + 1) * (self.n + 1) > max(MAX_SAMPLES_PER_REQUEST, self.n + 1):
                return
            if place in self.results or place in self._item_runs:
                continue
            try:
                self._item_runs[place] = self._start_item(place)
            except NucleusError as error:
                if error.code == "queue_full":
                    return
                self.results[place] = _failed_result(
                    error, [way for way in self.strategies if way not in (GREEDY, SINGLE, VOTE)]
                )

    def accuracy(self, strategy: str, n: int) -> MeanEstimate:
        """Return the mean worth of one of `strategies` with n candidates, over the finished items, with a percentile
        bootstrap over the items (Efron 1979); the band is 0 to 1 while no item has finished."""
        import numpy

        if not self.results:
            return MeanEstimate(0.0, 0.0, 1.0)
        for item, result in self.results.items():
            if (item, strategy, n) not in self._expected:
                self._expected[item, strategy, n] = result.worth(strategy, n)
        worths = numpy.array([self._expected[item, strategy, n] for item in self.results])
        drawn = numpy.random.default_rng(0).integers(len(worths), size=(BOOTSTRAP_RESAMPLES, len(worths)))
        low, high = numpy.quantile(worths[drawn].mean(axis=1), (0.025, 0.975))
        return MeanEstimate(float(worths.mean()), float(low), float(high))

    def expected_score(self, criterion: str, n: int) -> float | None:
        """Return the mean over the items of the score that a criterion expects of its own best of n. Beside `accuracy`
        it shows whether higher scores are better answers. None if scores are missing, or if a score means something
        else among fewer candidates."""
        if any(criterion in result.pairs for result in self.results.values()):
            return None
        done = [result.scores.get(criterion, ()) for result in self.results.values() if result.error is None]
        if not done or not all(scores and min(scores) > -math.inf for scores in done):
            return None
        return math.fsum(expected_best(scores, min(n, len(scores))) for scores in done) / len(done)

    def cost(self, strategy: str, n: int) -> ItemCost:
        """Return the mean cost of one item with a strategy, scoring included."""
        done = [result for result in self.results.values() if result.error is None]
        if not done:
            return ItemCost(0.0, 0.0)
        if strategy == GREEDY:
            return ItemCost(_mean([each.greedy_tokens for each in done]), _mean([each.greedy_seconds for each in done]))
        share = [min(1 if strategy == SINGLE else n, len(each.worths)) / max(1, len(each.worths)) for each in done]
        scoring = [each.scoring_seconds.get(strategy, 0.0) for each in done]
        return ItemCost(
            _mean([part * each.tokens for part, each in zip(share, done, strict=True)]),
            _mean([part * (each.seconds + extra) for part, each, extra in zip(share, done, scoring, strict=True)]),
        )

    def _start_item(self, place: int) -> _ItemRun:
        request = self._request(place)
        [row] = request.samples
        sampler = dataclasses.replace(row.sampler, temperature=0.0)
        pool = CandidatePool(self._submit, request, self.n)
        try:
            greedy = self._submit(dataclasses.replace(request, samples=(dataclasses.replace(row, sampler=sampler),)))
        except NucleusError:
            pool.stop()
            raise
        return _ItemRun(pool, greedy, CandidateScorer(pool, self._criteria(place), self._timeout))

    def _record_notices(self, item: _ItemRun) -> None:
        known = set(map(str, self.notices))
        told = {str(notice): notice for run in (*item.pool.runs, item.greedy) for notice in run.notices}
        self.notices += [notice for text, notice in told.items() if text not in known]
        self.first_error = self.first_error or item.pool.error

    def _make_result(self, place: int, item: _ItemRun) -> ItemResult:
        candidates = item.pool.candidates()
        prompt = item.greedy.request.prompt
        [greedy] = item.greedy.samples
        found = None if greedy.error else prompt.extraction.extract(prompt.prefill + greedy.text)
        return ItemResult(
            greedy=0.0 if found is None else self._worth(place, found),
            worths=tuple(0.0 if each.result is None else self._worth(place, each.result) for each in candidates),
            results=tuple(equivalence_classes([each.result for each in candidates], self._equality)),
            scores={each.id: _score_values(item.scorer, each.id, candidates) for each in item.scorer.criteria},
            tokens=item.pool.tokens,
            greedy_tokens=greedy.length,
            seconds=item.pool.seconds,
            greedy_seconds=greedy.seconds,
            scoring_seconds={each.id: item.scorer.seconds(each.id) for each in item.scorer.criteria},
            error=greedy.error if greedy.error and not candidates else None,
            pairs={each.id: rows for each in item.scorer.criteria if (rows := _pair_scores(item.scorer, each.id))},
        )


class _ItemRun(NamedTuple):
    """Runs and scores of one active item."""

    pool: CandidatePool
    greedy: Run
    scorer: CandidateScorer

    @property
    def active(self) -> bool:
        return self.pool.active or self.greedy.active or self.scorer.active

    @property
    def abandoned(self) -> bool:
        errors = [record.error for record in (*self.pool.records, *self.greedy.samples)]
        return any(error is not None and error.code == "run_abandoned" for error in errors)

    def stop(self) -> None:
        self.scorer.stop()
        self.pool.stop()
        self.greedy.cancel()


def _score_values(scorer: CandidateScorer, criterion: str, candidates: Sequence[Candidate]) -> tuple[float, ...]:
    scores = scorer.scores(criterion)
    values = [scores[each.index].value if each.index in scores else None for each in candidates]
    return tuple(-math.inf if value is None else value for value in values)


def _pair_scores(scorer: CandidateScorer, criterion: str) -> tuple[tuple[float, ...], ...]:
    """Return the pair measures of a criterion; empty if it has none, or if a score is missing."""
    scores = scorer.scores(criterion)
    found = tuple(scores[index].pairs for index in sorted(scores))
    return found if all(len(row) == len(found) for row in found) else ()


def _failed_result(error: NucleusError, criteria: Sequence[str]) -> ItemResult:
    return ItemResult(0.0, (), (), dict.fromkeys(criteria, ()), 0, 0, 0.0, 0.0, {}, error)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
