"""Present a recorded run's answers as columns of a comparison and as candidates, without model, key or network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate, CandidatePool
from llm_core.experiments.comparison import MAX_COLUMNS, Comparison, ComparisonColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_core.generation.record import SampleRecord
    from llm_core.recipes.replay import RecordedTechniqueRun


class RecordedComparison(Comparison):
    """Recorded answers in the place of columns, the first 16 of them.

    They have one sampler and seeds of their own: unlike those of a comparison that is run, their noise is not the same.
    """

    def __init__(self, recorded: Sequence[RecordedTechniqueRun]) -> None:
        """Create a comparison of `recorded`, as `replay_prompts` returns it: one technique run for each prompt."""
        self.repeats = 1
        self.runs = [each.main for each in recorded]
        places = [(run, row) for run in self.runs for row in range(len(run.samples))]
        self.count = len(places)
        """Number of recorded answers."""
        self._positions = dict(enumerate(places[:MAX_COLUMNS]))
        self.columns = tuple(
            ComparisonColumn(run.samples[row].request.sampler, run.request.model_id, run.request.prompt)
            for run, row in self._positions.values()
        )

    def has_shared_ids(self, column: int, other: int) -> bool:
        """Return True: all columns come from one record, in which a token has one id."""
        return True

    def prompt_number(self, column: int) -> int:
        """Return the number of the recipe's prompt that a column answers, from 1."""
        return self.runs.index(self.run(column)) + 1


class RecordedPool(CandidatePool):
    """Recorded answers to one prompt as candidates."""

    def __init__(self, recorded: RecordedTechniqueRun) -> None:
        run = recorded.main
        self.template = dataclasses.replace(run.request, samples=run.request.samples[:1])
        self.seed = run.samples[0].request.sampler.seed
        self.runs, self.requested = [run], len(run.samples)
        self._outcomes = recorded.outcomes
        self._known = {}

    def grow(self, n: int) -> None:
        """Check that the record has `n` candidates, since it cannot grow. Raises `NucleusError` where it has fewer."""
        if n > self.requested:
            raise NucleusError("candidates_out_of_range", value=n, limit=self.requested)

    def _make_candidate(self, index: int, record: SampleRecord) -> Candidate:
        """Make a candidate, with the outcome of a further step where the technique took one."""
        candidate = super()._make_candidate(index, record)
        if not self._outcomes:
            return candidate
        outcome = self._outcomes[index]
        return dataclasses.replace(candidate, text=outcome.text, result=outcome.result)
