"""What one decoding step did, in numbers small enough to keep for every token and readable without torch.

Log-probabilities are natural logarithms; entropy and surprisal are in bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CANDIDATES = 40


@dataclass(frozen=True, slots=True)
class StageSnapshot:
    """The distribution after one stage, seen through the step's candidates."""

    name: str
    logprobs: tuple[float, ...]
    """Natural log-probability of each candidate of the step; `-inf` where the stages so far excluded it."""
    kept: int
    """Tokens that are still possible."""
    kept_mass: float
    """What the raw distribution gave to the tokens that are still possible, in [0, 1]."""
    entropy_bits: float


@dataclass(frozen=True, slots=True)
class StepTrace:
    """One step of one row: N candidates, picked by raw logits and always including the chosen token, at every stage."""

    token_id: int
    rank: int
    """Place of the chosen token in the raw distribution; 1 is the most likely."""
    candidates: tuple[int, ...]
    """Token ids in descending order of raw probability."""
    stages: tuple[StageSnapshot, ...]
    """The raw distribution first, then every stage that was not neutral, in the order they ran."""

    @property
    def raw(self) -> StageSnapshot:
        return self.stages[0]

    @property
    def final(self) -> StageSnapshot:
        return self.stages[-1]

    @property
    def logprob(self) -> float:
        """Natural log-probability of the chosen token in the raw distribution."""
        return self.raw.logprobs[self.candidates.index(self.token_id)]

    @property
    def surprisal_bits(self) -> float:
        """How unexpected the chosen token was to the model: `-log2 p` under the raw distribution."""
        return -self.logprob / math.log(2)

    @property
    def residual(self) -> float:
        """Raw probability of all the tokens that are not among the candidates, in [0, 1]."""
        return max(0.0, 1.0 - math.fsum(map(math.exp, self.raw.logprobs)))


def summarize(
    recording: list[tuple[str, torch.Tensor]], token_id: int, n: int = CANDIDATES, also: Iterable[int] = ()
) -> StepTrace:
    """Reduce one row's recording `[(stage, logits [V]), ...]` to a `StepTrace`.

    `n` candidates come from the raw logits; the chosen token and the ids in `also` are always among them.
    """
    import torch

    raw = recording[0][1]
    wanted = torch.topk(raw, min(n, len(raw))).indices.tolist()
    wanted += [token for token in dict.fromkeys((token_id, *also)) if token not in wanted]
    ids = torch.tensor(wanted, device=raw.device)
    ids = ids[torch.argsort(raw[ids], descending=True, stable=True)]

    raw_probs = raw.softmax(-1)
    snapshots = []
    for name, logits in recording:
        logprobs = logits.log_softmax(-1)
        possible = logits > float("-inf")
        probs = logprobs.exp()
        entropy = -(probs * logprobs.masked_fill(~possible, 0.0)).sum() / math.log(2)
        snapshots.append(
            StageSnapshot(
                name=name,
                logprobs=tuple(logprobs[ids].tolist()),
                kept=int(possible.sum()),
                kept_mass=min(1.0, float(raw_probs[possible].sum())),
                entropy_bits=max(0.0, float(entropy)),
            )
        )
    rank = 1 + int((raw > raw[token_id]).sum())
    return StepTrace(token_id=token_id, rank=rank, candidates=tuple(ids.tolist()), stages=tuple(snapshots))
