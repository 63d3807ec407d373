"""Choose by contrastive search: of the k most likely tokens, one that is likely and does not repeat the context.

    score(v) = (1 - alpha) * p(v) - alpha * max_j cos(h_v, h_j)

`h_v` is the last hidden state after the candidate v, `h_j` those of all tokens before it (Su et al. 2022, arXiv
2202.06417). The maximum is the degeneration penalty, in [-1, 1].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class ContrastiveChoice(NamedTuple):
    """Choice in each row, with the numbers that decided it."""

    chosen: Tensor
    """Index of the chosen one of the k candidates: int64 `[B]`, the lowest index on a tie."""
    score: Tensor
    """Contrastive score, float32 `[B, k]`; `-inf` for candidates of probability 0, which are never chosen."""
    probability: Tensor
    """Probability as given, float32 `[B, k]`."""
    penalty: Tensor
    """Degeneration penalty, float32 `[B, k]`."""


def contrastive_choice(
    probs: Tensor,
    candidate_states: Tensor,
    context_states: Tensor,
    alpha: float | Tensor,
    context_mask: Tensor | None = None,
) -> ContrastiveChoice:
    """Choose one of k candidates in each of B rows.

    `probs` `[B, k]` are the candidates' probabilities after all other sampler stages (they need not sum to 1),
    `candidate_states` `[B, k, d]`, `context_states` `[B, T, d]`, `alpha` in [0, 1] is one number or one a row `[B]`; 0
    means greedy. `context_mask` bool `[B, T]` is false at padding. A hidden state of zeros has cosine 0 with every
    other. Raises `ValueError` for shapes that do not fit, values outside their range, a row without any possible
    candidate or any context, and for hidden states that are not finite.
    """
    weight = torch.as_tensor(alpha, dtype=torch.float32, device=probs.device)
    _check(probs, candidate_states, context_states, weight, context_mask)
    weight = weight.reshape(-1, 1)
    probability = probs.float()
    cosines = normalize(candidate_states.float(), dim=-1) @ normalize(context_states.float(), dim=-1).mT
    if context_mask is not None:
        cosines = cosines.masked_fill(~context_mask[:, None, :], -math.inf)
    penalty = cosines.amax(-1)
    if not bool(penalty.isfinite().all()):
        row = int((~penalty.isfinite()).any(-1).nonzero()[0])
        raise ValueError(f"hidden states of row {row} have NaN or inf: expected finite numbers")
    score = (1 - weight) * probability - weight * penalty
    score = score.masked_fill(probability == 0, -math.inf)
    return ContrastiveChoice(score.argmax(-1), score, probability, penalty)


def _check(probs: Tensor, candidates: Tensor, context: Tensor, alpha: Tensor, mask: Tensor | None) -> None:
    if probs.ndim != 2 or 0 in probs.shape:
        raise ValueError(f"probs has shape {tuple(probs.shape)}: expected [B, k] with at least one candidate")
    rows, k = probs.shape
    if candidates.ndim != 3 or candidates.shape[:2] != (rows, k):
        raise ValueError(f"candidate_states has shape {tuple(candidates.shape)}: expected [{rows}, {k}, d]")
    width = candidates.shape[2]
    if context.ndim != 3 or context.shape[0] != rows or context.shape[1] == 0 or context.shape[2] != width:
        raise ValueError(f"context_states has shape {tuple(context.shape)}: expected [{rows}, T, {width}], T above 0")
    if alpha.shape not in ((), (rows,)) or not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ValueError(f"alpha={alpha.tolist()!r}: expected a number of at least 0 and at most 1, or {rows} of them")
    if not bool(((probs >= 0) & (probs <= 1)).all()) or not bool((probs > 0).any(-1).all()):
        raise ValueError("probs has an impossible row: expected numbers in [0, 1], one of them above 0 in each row")
    if mask is None:
        return
    if mask.shape != context.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"context_mask is {mask.dtype} {tuple(mask.shape)}: expected bool [{rows}, {context.shape[1]}]"
        )
    if not bool(mask.any(-1).all()):
        raise ValueError("context_mask has a row without any true: expected at least one token of context")
