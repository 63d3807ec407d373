"""Run the sampler stages over a batch of rows, each row with its own settings and order.

The input is `logits [B, V]` of any floating type and is never changed; the output is `float32 [B, V]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.config import SamplerConfig
from samplers.noise import draw
from samplers.shortlist import Scores, apply_prefilter, plan_prefilter, scatter_to_vocabulary
from samplers.stages import STAGES, apply_constraint
from samplers.state import RowState
from samplers.truncation import EXCLUDED


class StageRecord(NamedTuple):
    """Scores of some rows of one step after one stage, held by reference."""

    name: str
    rows: tuple[int, ...]
    """Indices of the batch's rows that went through the stage: all of them for `raw`, which comes first."""
    scores: Scores
    """Scores of these rows, `len(rows)` of them."""


StageRecording = list[StageRecord]

RAW, CONSTRAINT = "raw", "constraint"


class Draw(NamedTuple):
    """Outcome of one step, with one entry a row."""

    tokens: list[int]
    probabilities: list[float]
    """Probability that each token was drawn with, as `RowState.accept` takes it."""


class SamplerChain:
    """Sampler stages of B rows, applied to any number of steps.

    Rows that use the same stages in the same order run through them together. A stage sees only the rows that use it,
    so neutral settings cost nothing, change nothing and record nothing. Once a row can keep few tokens, its later
    stages run on these alone; this depends only on the row's own settings and logits, never on its neighbors.
    """

    def __init__(self, configs: Sequence[SamplerConfig]) -> None:
        if not configs:
            raise ValueError("configs=[]: expected one SamplerConfig a row")
        self.configs = tuple(configs)
        kinds = [(config.stages, plan_prefilter(config)) for config in self.configs]
        self._groups = {
            kind: tuple(row for row, own in enumerate(kinds) if own == kind) for kind in dict.fromkeys(kinds)
        }

    def sample(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: StageRecording | None = None
    ) -> Draw:
        """Draw every row's next token with the noise of its seed and step; the caller then calls `RowState.accept`.

        Arguments and errors are those of `logits`.
        """
        states = self._states(rows)
        tokens, probabilities = [0] * len(states), [0.0] * len(states)
        for members, scores in self._run(logits, states, recorder):
            probs = scores.logits.softmax(-1)
            group = [states[row] for row in members]
            columns = draw(probs, [row.config.seed for row in group], [row.step for row in group], scores.ids)
            drawn = probs.gather(-1, columns[:, None]).squeeze(-1).tolist()
            ids = columns if scores.ids is None else scores.ids.gather(-1, columns[:, None]).squeeze(-1)
            for row, token, probability in zip(members, ids.tolist(), drawn, strict=True):
                tokens[row], probabilities[row] = token, probability
        return Draw(tokens, probabilities)

    def logits(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: StageRecording | None = None
    ) -> Tensor:
        """Return logits `[B, V]` after every stage, with excluded tokens at `-inf`.

        `rows` hold the tokens so far, one state a row; without them every row is at its first token. `recorder`, if
        given, is extended by one record a stage; recording keeps references and computes nothing. Raises `ValueError`
        for a wrong shape, for rows without a finite largest logit (NaN, `inf`, all `-inf`), for token ids outside the
        vocabulary, and for a constraint that leaves no token.
        """
        out = torch.empty(logits.shape, device=logits.device)
        for members, scores in self._run(logits, self._states(rows), recorder):
            out[list(members)] = scatter_to_vocabulary(scores, logits.shape[-1], fill=EXCLUDED)
        return out

    def probs(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: StageRecording | None = None
    ) -> Tensor:
        """Return the probabilities `[B, V]` that the next token is drawn from: excluded tokens exactly 0, rows sum to
        1."""
        out = torch.empty(logits.shape, device=logits.device)
        for members, scores in self._run(logits, self._states(rows), recorder):
            probs = Scores(scores.logits.softmax(-1), scores.ids)
            out[list(members)] = scatter_to_vocabulary(probs, logits.shape[-1], fill=0.0)
        return out

    def _states(self, rows: Sequence[RowState] | None) -> Sequence[RowState]:
        states = [RowState(config) for config in self.configs] if rows is None else rows
        if [state.config for state in states] != list(self.configs):
            raise ValueError(f"rows are {len(states)} states of other configs: expected one a config, in their order")
        return states

    def _run(
        self, logits: Tensor, states: Sequence[RowState], recorder: StageRecording | None
    ) -> list[tuple[tuple[int, ...], Scores]]:
        """Return groups of rows with their scores after the last stage; every row is in exactly one group."""
        everyone = tuple(range(len(states)))
        scores = _check_inputs(logits, len(states))
        recording = [StageRecord(RAW, everyone, Scores(scores))]
        constrained = tuple(row for row, state in enumerate(states) if state.constraint is not None)
        if constrained:
            allowed = apply_constraint(scores[list(constrained)], [states[row] for row in constrained])
            recording.append(StageRecord(CONSTRAINT, constrained, Scores(allowed)))
            scores = scores.index_copy(0, torch.tensor(constrained, device=scores.device), allowed)
        done = []
        for (names, plan), members in self._groups.items():
            group = [states[row] for row in members]
            part = Scores(scores if members == everyone else scores[list(members)])
            for name in names:
                if plan is not None and plan.stage == name:
                    part = apply_prefilter(part.logits, plan, [state.config for state in group])
                part = Scores(STAGES[name](part.logits, group), part.ids)
                recording.append(StageRecord(name, members, part))
            done.append((members, part))
        if recorder is not None:
            recorder.extend(recording)
        return done


def next_token_probs(
    logits: Tensor, configs: Sequence[SamplerConfig], history: Sequence[RowState | Sequence[int]] | None = None
) -> Tensor:
    """Return the distribution that each row's next token is drawn from: float32 `[B, V]`.

    `logits` is `[B, V]`, with one config a row, and is never changed. Excluded tokens are exactly 0 and rows sum to 1.
    `history` has one entry a row: the ids of the answer so far, or a `RowState`, which separates prompt and answer.
    """
    if history is None:
        return SamplerChain(configs).probs(logits)
    if len(history) != len(configs):
        raise ValueError(f"history has {len(history)} rows: expected {len(configs)}, one a config")
    pairs = zip(configs, history, strict=True)
    rows = [past if isinstance(past, RowState) else RowState(config, answer=past) for config, past in pairs]
    return SamplerChain(configs).probs(logits, rows)


def _check_inputs(logits: Tensor, rows: int) -> Tensor:
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
