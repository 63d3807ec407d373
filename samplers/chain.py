"""The chain: named stages over a batch of rows, each row with its own settings and order.

`logits [B, V]` of any floating type go in, `float32 [B, V]` come out, and the input stays as it was.
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
    """A reference to what some rows of a step looked like after a stage."""

    name: str
    rows: tuple[int, ...]
    """Which rows of the batch went through the stage: all of them for `raw`, which comes first."""
    scores: Scores
    """`len(rows)` rows."""


StageRecording = list[StageRecord]

RAW, CONSTRAINT = "raw", "constraint"


class Draw(NamedTuple):
    """The outcome of one step, a number a row."""

    tokens: list[int]
    probabilities: list[float]
    """What each token was drawn with: what `RowState.accept` asks for."""


class SamplerChain:
    """Settings of B rows, applied to as many steps as wanted.

    Rows that use the same stages in the same order run through them together. A stage sees only rows that use it, so
    neutral settings cost nothing, change nothing and record nothing. Once a row can keep few tokens, its later stages
    run on these alone; that depends on its own settings and logits only, never on its neighbours.
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
        """Draw every row's next token, with the noise of its seed and step. `RowState.accept` is left to the caller.

        Arguments and errors as in `logits`.
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
        """Logits `[B, V]` after every stage, excluded tokens at `-inf`.

        `rows` hold what came before, one a row; without them every row is at its first token. `recorder`, when given,
        is extended by what each stage left; recording keeps references and computes nothing.
        Raises `ValueError` for a wrong shape, for rows without a finite largest logit (NaN, `inf`, all `-inf`), for
        token ids outside the vocabulary, and for a constraint that leaves nothing.
        """
        out = torch.empty(logits.shape, device=logits.device)
        for members, scores in self._run(logits, self._states(rows), recorder):
            out[list(members)] = scatter_to_vocabulary(scores, logits.shape[-1], fill=EXCLUDED)
        return out

    def probs(
        self, logits: Tensor, rows: Sequence[RowState] | None = None, recorder: StageRecording | None = None
    ) -> Tensor:
        """Probabilities `[B, V]` that the next token is drawn from: excluded tokens exactly 0, rows sum to 1."""
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
        """Groups of rows with what their stages left; every row is in one of them."""
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
