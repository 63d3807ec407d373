"""Define the stages of the chain by name: what each computes, and which settings it takes from a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from samplers import penalties, truncation
from samplers.noise import step_uniform
from samplers.state import RowState


class Stage(Protocol):
    """One named step of the chain, called only with rows that use it."""

    @property
    def name(self) -> str: ...

    def __call__(self, logits: Tensor, rows: Sequence[RowState]) -> Tensor:
        """Return logits `[B, V]` after the stage, rows in the same order. The input is never changed."""


@dataclass(frozen=True, slots=True)
class TruncationStage:
    """Stage that decides by the distribution; `settings` returns the function's arguments from each row, one number
    each."""

    name: str
    function: Callable[..., Tensor]
    settings: Callable[[RowState], tuple[float, ...]]

    def __call__(self, logits: Tensor, rows: Sequence[RowState]) -> Tensor:
        columns = zip(*map(self.settings, rows), strict=True)
        return self.function(logits, *(torch.tensor(column, device=logits.device)[:, None] for column in columns))


@dataclass(frozen=True, slots=True)
class PenaltyStage:
    """Stage that decides by token ids: `amounts` returns the tokens and amounts of a row, `operation` applies them."""

    name: str
    amounts: Callable[[RowState], penalties.UpdateRule]
    operation: Callable[[Tensor, penalties.SparseUpdate], Tensor]

    def __call__(self, logits: Tensor, rows: Sequence[RowState]) -> Tensor:
        touched = penalties.SparseUpdate(self.name, [self.amounts(row) for row in rows], logits)
        return self.operation(logits, touched) if len(touched.ids) else logits


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        PenaltyStage("logit_bias", penalties.logit_bias, penalties.apply_subtraction),
        PenaltyStage("repetition_penalty", penalties.repetition_penalty, penalties.apply_repetition_penalty),
        PenaltyStage("presence_penalty", penalties.presence_penalty, penalties.apply_subtraction),
        PenaltyStage("frequency_penalty", penalties.frequency_penalty, penalties.apply_subtraction),
        PenaltyStage("no_repeat_ngram", penalties.no_repeat_ngram, penalties.apply_exclusion),
        PenaltyStage("dry", penalties.dry, penalties.apply_subtraction),
        PenaltyStage("banned_tokens", penalties.banned_tokens, penalties.apply_exclusion),
        PenaltyStage("min_new_tokens", penalties.min_new_tokens, penalties.apply_exclusion),
        TruncationStage("temperature", truncation.temperature, lambda row: (float(row.config.temperature),)),
        TruncationStage("top_k", truncation.top_k, lambda row: (row.config.top_k,)),
        TruncationStage("top_p", truncation.top_p, lambda row: (float(row.config.top_p),)),
        TruncationStage("min_p", truncation.min_p, lambda row: (float(row.config.min_p),)),
        TruncationStage("typical_p", truncation.typical_p, lambda row: (float(row.config.typical_p),)),
        TruncationStage("epsilon_cutoff", truncation.epsilon_cutoff, lambda row: (float(row.config.epsilon_cutoff),)),
        TruncationStage("eta_cutoff", truncation.eta_cutoff, lambda row: (float(row.config.eta_cutoff),)),
        TruncationStage("top_n_sigma", truncation.top_n_sigma, lambda row: (float(row.config.top_n_sigma),)),
        TruncationStage(
            "xtc",
            truncation.xtc,
            lambda row: (
                float(row.config.xtc_probability),
                float(row.config.xtc_threshold),
                step_uniform(row.config.seed, row.step),
            ),
        ),
        TruncationStage("mirostat", truncation.mirostat, lambda row: (float(row.surprise_limit),)),
    )
}


def apply_constraint(logits: Tensor, rows: Sequence[RowState]) -> Tensor:
    """Exclude the tokens that a row's constraint does not allow. Runs before every other stage, so no order can undo
    it.

    Raises `ValueError` for a mask of the wrong shape, and if no allowed token is possible.
    """
    vocab = logits.shape[-1]
    everything = torch.ones(vocab, dtype=torch.bool)
    masks = [everything if row.constraint is None else row.constraint.allowed() for row in rows]
    for place, mask in enumerate(masks):
        if mask.shape != (vocab,):
            raise ValueError(
                f"constraint of row {place} allows {tuple(mask.shape)} tokens: expected a mask of [{vocab}]"
            )
    out = logits.masked_fill(~torch.stack(masks).to(logits.device), truncation.EXCLUDED)
    dead = ~(out.amax(-1) > truncation.EXCLUDED)
    if bool(dead.any()):
        raise ValueError(f"constraint of row {int(dead.nonzero()[0])} leaves no possible token: expected at least one")
    return out
