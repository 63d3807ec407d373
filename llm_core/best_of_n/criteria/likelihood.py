"""Score candidates by the probabilities that the model itself gave them.

These criteria cost nothing: the engine recorded the probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Literal

from llm_core.best_of_n.criteria.base import Need, Score, make_score, score_each
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-probability of the answer under the model, in nats. The `sum` over its tokens is the answer's own probability
    and favours short answers, because every token makes it smaller; the `mean` takes the length out."""

    kind: Literal["sum", "mean"] = "mean"
    needs: frozenset[Need] = frozenset({"probabilities"})
    relative: bool = False
    timeout: float | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}_logprob"

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        lacking = any(candidate.logprobs is None for candidate in candidates)
        return NucleusError("criterion_needs_probabilities") if lacking else None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return score_each(candidates, self._score_one, stop)

    def _score_one(self, candidate: Candidate) -> Score:
        if not candidate.logprobs:
            raise NucleusError("criterion_needs_probabilities")
        total = math.fsum(candidate.logprobs)
        mean = total / len(candidate.logprobs)
        return make_score(total if self.kind == "sum" else mean, sum=total, mean=mean, tokens=len(candidate.logprobs))


@dataclass(frozen=True, slots=True)
class SelfCertainty:
    """Mean over the steps of `KL(uniform || p)` over the full vocabulary, in nats (Kang et al. 2025, arXiv 2502.18581):
    how far the model was from a uniform guess at each step, whichever token was then drawn."""

    id: str = "self_certainty"
    needs: frozenset[Need] = frozenset({"vocabulary"})
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        lacking = any(candidate.certainties is None for candidate in candidates)
        return NucleusError("criterion_needs_vocabulary") if lacking else None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        return score_each(candidates, self._score_one, stop)

    def _score_one(self, candidate: Candidate) -> Score:
        if not candidate.certainties:
            raise NucleusError("criterion_needs_vocabulary")
        count = len(candidate.certainties)
        return make_score(math.fsum(candidate.certainties) / count, least=min(candidate.certainties), tokens=count)
