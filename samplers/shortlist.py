"""Reduce rows that can keep only few tokens to these columns before their remaining stages.

Stages treat columns alike and prefer the lowest id on a tie, so they give the same result on a few columns in id order
as on all columns: the tokens left out are tokens that were excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.config import HISTORY_STAGES, SamplerConfig
from samplers.truncation import EXCLUDED, PREFIX, top_mask


class Scores(NamedTuple):
    """Logits (or probabilities) of some tokens of B rows; every other token is excluded."""

    logits: Tensor
    """Logits or probabilities `[B, n]`."""
    ids: Tensor | None = None
    """Token of each column: int64 `[B, n]`, ascending. None means that column i is token i."""


class TopKPrefilter(NamedTuple):
    """Rule to keep only the `width` highest logits from `stage` on; exact, since `stage` itself keeps fewer."""

    stage: str
    width: int


_MIN_SAVING = 7
"""Smallest number of columns beyond those that a stage can keep. Coarse number formats make many logits equal: with a
margin, a tie at the edge of the list seldom reaches the tokens that are kept, and only then does it matter."""


def plan_prefilter(config: SamplerConfig) -> TopKPrefilter | None:
    """Return where a row with these settings can be reduced, or None: at greedy and top-K, to a power of two well above
    what they keep.

    Only settings decide, so that a row takes the same path, bit for bit, whatever stands beside it in a batch.
    """
    stages = config.stages
    for place, name in enumerate(stages):
        if not set(HISTORY_STAGES).isdisjoint(stages[place:]):
            continue  # history stages need every column
        if name == "temperature" and config.greedy:
            return TopKPrefilter(name, _MIN_SAVING + 1)
        if name == "top_k" and config.top_k <= PREFIX:
            return TopKPrefilter(name, 1 << (config.top_k + _MIN_SAVING - 1).bit_length())
    return None


def apply_prefilter(logits: Tensor, plan: TopKPrefilter, configs: Sequence[SamplerConfig]) -> Scores:
    """Return the `plan.width` largest logits of each row; on a tie, those with the lowest ids that the row's stage
    keeps."""
    width = plan.width
    kept = [1 if plan.stage == "temperature" else config.top_k for config in configs]
    if width >= logits.shape[-1]:
        return Scores(logits)
    values, ids = torch.topk(logits, width + 1, dim=-1)
    ids = ids[:, :width]
    last_kept = values.gather(-1, torch.tensor(kept, device=logits.device)[:, None] - 1).squeeze(-1)
    tied = (last_kept == values[:, width]) & (values[:, width] > EXCLUDED)
    if bool(tied.any()):  # which of several equal tokens a sort returns is left to chance
        edge = values[tied, width - 1 : width]
        keep = top_mask(logits[tied], torch.full_like(edge, width, dtype=torch.int64), edge)
        ids[tied] = keep.nonzero()[:, 1].view(-1, width)
    ids = ids.sort(-1).values
    return Scores(logits.gather(-1, ids), ids)


def scatter_to_vocabulary(scores: Scores, vocab: int, fill: float) -> Tensor:
    """Return the scores over the whole vocabulary, with `fill` in the columns that were left out."""
    if scores.ids is None:
        return scores.logits
    whole = torch.full((len(scores.logits), vocab), fill, dtype=scores.logits.dtype, device=scores.logits.device)
    return whole.scatter_(-1, scores.ids, scores.logits)
