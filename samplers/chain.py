"""The chain: named stages over a batch of rows, each row with its own settings and order.

`logits [B, V]` of any floating type go in, `float32 [B, V]` come out, and the input stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samplers.config import SamplerConfig
from samplers.stages import STAGES, Stage

Recording = list[tuple[str, Tensor]]
"""What a step looked like after each stage: `(stage name, logits [B, V])`, starting with `("raw", ...)`."""

RAW = "raw"


class SamplerChain:
    """Settings of B rows as tensors, applied to as many steps as wanted.

    Rows that share an order run together. A stage that is neutral for every row of such a group is left out, so
    neutral settings cost nothing and record nothing.
    """

    def __init__(self, configs: Sequence[SamplerConfig], device: torch.device | str = "cpu") -> None:
        if not configs:
            raise ValueError("configs=[]: expected one SamplerConfig a row")
        self.configs = tuple(configs)
        rows_by_order: dict[tuple[str, ...], list[int]] = {}
        for row, config in enumerate(self.configs):
            rows_by_order.setdefault(config.stages, []).append(row)
        self._groups = [
            (torch.tensor(rows, device=device), self._active_stages(order, rows, device))
            for order, rows in rows_by_order.items()
        ]

    def _active_stages(
        self, order: tuple[str, ...], rows: list[int], device: torch.device | str
    ) -> list[tuple[Stage, Tensor]]:
        stages = []
        for stage in map(STAGES.__getitem__, order):
            values = [getattr(self.configs[row], stage.name) for row in rows]
            if any(value != stage.neutral for value in values):
                stages.append((stage, torch.tensor(values, dtype=stage.dtype, device=device)[:, None]))
        return stages

    def logits(self, logits: Tensor, recorder: list[Recording] | None = None) -> Tensor:
        """Logits `[B, V]` after every stage, excluded tokens at `-inf`.

        `recorder`, when given, is extended by one `Recording` a row; recording keeps references and computes nothing.
        Raises `ValueError` for a wrong shape, and for rows without a finite largest logit (NaN, `inf`, all `-inf`).
        """
        scores = _checked(logits, len(self.configs))
        recordings: list[Recording] = [[] for _ in self.configs]
        out = scores
        for rows, stages in self._groups:
            whole_batch = len(self._groups) == 1
            steps = [scores if whole_batch else scores[rows]]
            for stage, values in stages:
                steps.append(stage.apply(steps[-1], values))
            out = steps[-1] if whole_batch else out.index_copy(0, rows, steps[-1])
            if recorder is not None:
                for position, row in enumerate(rows.tolist()):
                    recordings[row] = self._recording(row, [step[position] for step in steps], stages)
        if recorder is not None:
            recorder.extend(recordings)
        return out

    def _recording(self, row: int, steps: list[Tensor], stages: list[tuple[Stage, Tensor]]) -> Recording:
        """The raw logits and every stage that is not neutral for this row."""
        config = self.configs[row]
        active = [
            (stage.name, step)
            for (stage, _), step in zip(stages, steps[1:], strict=True)
            if getattr(config, stage.name) != stage.neutral
        ]
        return [(RAW, steps[0]), *active]

    def probs(self, logits: Tensor, recorder: list[Recording] | None = None) -> Tensor:
        """Probabilities `[B, V]` that the next token is drawn from: excluded tokens exactly 0, rows sum to 1."""
        return self.logits(logits, recorder).softmax(-1)


def next_token_probs(
    logits: Tensor, configs: Sequence[SamplerConfig], history: Sequence[Sequence[int]] | None = None
) -> Tensor:
    """The distribution that each row's next token is drawn from: float32 `[B, V]`.

    `logits` is `[B, V]`, one config a row. Excluded tokens are exactly 0, rows sum to 1, the input is untouched.
    `history` (token ids so far, a row each) is for stages that read it; none of the present stages does.
    """
    if history is not None and len(history) != len(configs):
        raise ValueError(f"history has {len(history)} rows: expected {len(configs)}, one a config")
    return SamplerChain(configs, logits.device).probs(logits)


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
