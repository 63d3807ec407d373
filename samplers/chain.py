"""The chain: named stages over a batch of rows, each row with its own settings and order.

`logits [B, V]` of any floating type go in, `float32 [B, V]` come out, and the input stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.config import SamplerConfig
from samplers.stages import STAGES, constrain
from samplers.state import RowState


class Recorded(NamedTuple):
    """A reference to what some rows of a step looked like after a stage."""

    name: str
    rows: tuple[int, ...]
    """Which rows of the batch went through the stage: all of them for `raw`, which comes first."""
    logits: Tensor
    """`[len(rows), V]`."""


Recording = list[Recorded]

RAW, CONSTRAINT = "raw", "constraint"


class SamplerChain:
    """Settings of B rows, applied to as many steps as wanted.

    Rows that use the same stages in the same order run through them together. A stage sees only rows that use it, so
    neutral settings cost nothing, change nothing and record nothing.
    """

    def __init__(self, configs: Sequence[SamplerConfig]) -> None:
        if not configs:
            raise ValueError("configs=[]: expected one SamplerConfig a row")
        self.configs = tuple(configs)
        stages = [config.stages for config in self.configs]
        self._rows_by_stages = {
            names: tuple(row for row, own in enumerate(stages) if own == names) for names in dict.fromkeys(stages)
        }

    def logits(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: Recording | None = None
    ) -> Tensor:
        """Logits `[B, V]` after every stage, excluded tokens at `-inf`.

        `rows` hold what came before, one a row; without them every row is at its first token. `recorder`, when given,
        is extended by what each stage left; recording keeps references and computes nothing.
        Raises `ValueError` for a wrong shape, for rows without a finite largest logit (NaN, `inf`, all `-inf`), for
        token ids outside the vocabulary, and for a constraint that leaves nothing.
        """
        scores = _checked(logits, len(self.configs))
        states = [RowState(config) for config in self.configs] if rows is None else rows
        if [state.config for state in states] != list(self.configs):
            raise ValueError(f"rows are {len(states)} states of other configs: expected one a config, in their order")
        recording = [Recorded(RAW, tuple(range(len(states))), scores)]
        constrained = tuple(row for row, state in enumerate(states) if state.constraint is not None)
        out = scores
        if constrained:
            part = constrain(scores[list(constrained)], [states[row] for row in constrained])
            recording.append(Recorded(CONSTRAINT, constrained, part))
            out = _replaced(scores, constrained, part)
        for names, members in self._rows_by_stages.items():
            group = [states[row] for row in members]
            part = out if len(members) == len(states) else out[list(members)]
            for name in names:
                part = STAGES[name](part, group)
                recording.append(Recorded(name, members, part))
            if names:
                out = _replaced(out, members, part)
        if recorder is not None:
            recorder.extend(recording)
        return out

    def probs(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: Recording | None = None
    ) -> Tensor:
        """Probabilities `[B, V]` that the next token is drawn from: excluded tokens exactly 0, rows sum to 1."""
        return self.logits(logits, rows, recorder).softmax(-1)


def next_token_probs(
    logits: Tensor, configs: Sequence[SamplerConfig], history: Sequence[RowState | Sequence[int]] | None = None
) -> Tensor:
    """The distribution that each row's next token is drawn from: float32 `[B, V]`.

    `logits` is `[B, V]`, one config a row. Excluded tokens are exactly 0, rows sum to 1, the input is untouched.
    `history` is one entry a row: the ids of the answer so far, or a `RowState`, which also tells the prompt apart.
    """
    if history is None:
        return SamplerChain(configs).probs(logits)
    if len(history) != len(configs):
        raise ValueError(f"history has {len(history)} rows: expected {len(configs)}, one a config")
    pairs = zip(configs, history, strict=True)
    rows = [past if isinstance(past, RowState) else RowState(config, answer=past) for config, past in pairs]
    return SamplerChain(configs).probs(logits, rows)


def _replaced(logits: Tensor, rows: Sequence[int], part: Tensor) -> Tensor:
    if len(rows) == len(logits):
        return part
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), part)


def _checked(logits: Tensor, rows: int) -> Tensor:
    if logits.ndim != 2 or logits.shape[0] != rows or logits.shape[1] == 0:
        raise ValueError(f"logits has shape {tuple(logits.shape)}: expected [{rows}, V] with V of at least 1")
    if not logits.is_floating_point():
        raise ValueError(f"logits has type {logits.dtype}: expected a floating type")
    scores = logits.float()
    largest = scores.amax(-1)  # NaN wins over every number, so one reduction finds all three faults
    if not bool(largest.isfinite().all()):
        row = int((~largest.isfinite()).nonzero()[0])
        fault = "a NaN" if largest[row].isnan() else "+inf" if largest[row] > 0 else "no token above -inf"
        raise ValueError(f"logits row {row} has {fault}: expected finite numbers or -inf, one of them finite")
    return scores
