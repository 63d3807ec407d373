"""Score how positive the words of an answer are: a toy reward.

It looks harmless and is easy to see through once many candidates compete for it, which is its purpose: the best of many
gushes (reward hacking).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event

from llm_core.best_of_n.criteria.base import Need, Score, make_score, score_each_text
from llm_core.errors import NucleusError
from llm_core.experiments.candidate_pool import Candidate


@dataclass(frozen=True, slots=True)
class Sentiment:
    """VADER's compound score in [-1, 1] (Hutto and Gilbert 2014). English words only."""

    id: str = "sentiment"
    needs: frozenset[Need] = frozenset()
    relative: bool = False
    timeout: float | None = None

    def unavailable_reason(self, candidates: Sequence[Candidate]) -> NucleusError | None:
        return None

    def score(self, candidates: Sequence[Candidate], stop: Event) -> Iterable[Score]:
        from vader import polarity_scores

        def one(text: str) -> Score:
            found = polarity_scores(text)
            return make_score(found["compound"], positive=found["pos"], neutral=found["neu"], negative=found["neg"])

        return score_each_text(candidates, one, stop)
