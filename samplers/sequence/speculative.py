"""Apply speculative decoding's acceptance rule: keep a draft's tokens so that the answer follows the target exactly.

A draft model proposed K tokens with probabilities q; the target model then gave its own p for all of them in one pass,
and for one token more (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318):

- a token x is accepted with probability `min(1, p(x) / q(x))`;
- the first rejected token is replaced by one drawn from the normalized residual `max(0, p - q)`, the rest is dropped;
- if all are accepted, one more is drawn from the target.

Both p and q are outputs of the sampler chain, so the answer is distributed as if the chain had run on the target alone.
The residual is not a model's distribution and must not go through the chain again.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

NO_TOKEN = -1

_SUM_TOLERANCE = 1e-3


class Acceptance(NamedTuple):
    """Tokens that B rows gained: `accepted + 1` each."""

    accepted: Tensor
    """Number of accepted draft tokens: int64 `[B]`, in [0, K]."""
    tokens: Tensor
    """Tokens int64 `[B, K + 1]`: the accepted ones, then the one drawn, then -1."""


def accept_draft(draft_probs: Tensor, target_probs: Tensor, draft_tokens: Tensor, uniforms: Tensor) -> Acceptance:
    """Accept draft tokens by the rule above, and draw one more token from the target or the residual.

    `draft_probs` `[B, K, V]`, `target_probs` `[B, K + 1, V]`, rows summing to 1; `draft_tokens` integers `[B, K]` drawn
    from `draft_probs`; `uniforms` `[B, K + 1]` in [0, 1), independent: one for each acceptance, the last for the draw
    (float64 if tokens of probability below 1e-7 are to come up). K may be 0. Raises `ValueError` for shapes that do not
    fit, for rows that are not distributions, uniforms outside [0, 1), ids outside the vocabulary, and for a proposed
    token that the draft cannot have drawn.
    """
    _check(draft_probs, target_probs, draft_tokens, uniforms)
    drafted = draft_probs.shape[1]
    proposed = draft_tokens.long()
    q = _gather(draft_probs, proposed).double()
    p = _gather(target_probs[:, :drafted], proposed).double()
    # a draft equal to the target leaves no residual, and only rounding could reject its token
    agrees = ~(target_probs[:, :drafted] > draft_probs).any(-1)
    accept = (uniforms[:, :drafted].double() * q < p) | (agrees & (p > 0))
    accepted = accept.long().cumprod(-1).sum(-1)

    # padding the draft with zeros makes the extra token a draw from the residual like any other
    rows = torch.arange(len(accepted), device=accepted.device)
    target = target_probs[rows, accepted].double()
    residual = (target - pad(draft_probs, (0, 0, 0, 1))[rows, accepted]).clamp(min=0)
    weights = torch.where((residual > 0).any(-1, keepdim=True), residual, target)
    drawn = _inverse_cdf(weights, uniforms[:, drafted])
    places = torch.arange(drafted + 1, device=accepted.device)
    tokens = pad(proposed, (0, 1)).masked_fill(places >= accepted[:, None], NO_TOKEN)
    return Acceptance(accepted, tokens.scatter(-1, accepted[:, None], drawn[:, None]))


def _gather(probs: Tensor, tokens: Tensor) -> Tensor:
    """Return each token's own probability: `[B, K, V]` and `[B, K]` to `[B, K]`."""
    return probs.gather(-1, tokens[..., None]).squeeze(-1)


def _inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Return token ids `[B]`: the first token of positive weight at which the cumulative sum of `weights [B, V]`
    exceeds its uniform share of the total.

    Impossible tokens have no share, so neither 0 nor a number just under 1 can reach them, however sums are rounded.
    """
    cumulative = weights.cumsum(-1).masked_fill(weights <= 0, 0)
    share = uniforms[:, None].double() * cumulative.amax(-1, keepdim=True)
    return (cumulative > share).to(torch.uint8).argmax(-1)


def _check(draft: Tensor, target: Tensor, tokens: Tensor, uniforms: Tensor) -> None:
    if draft.ndim != 3 or draft.shape[2] == 0:
        raise ValueError(f"draft_probs has shape {tuple(draft.shape)}: expected [B, K, V] with V of at least 1")
    rows, drafted, vocab = draft.shape
    expected = {
        "target_probs": (target, (rows, drafted + 1, vocab)),
        "draft_tokens": (tokens, (rows, drafted)),
        "uniforms": (uniforms, (rows, drafted + 1)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: expected {list(shape)}")
    for name, probs in (("draft_probs", draft), ("target_probs", target)):
        if not bool((probs >= 0).all() & ((probs.sum(-1, dtype=torch.float64) - 1).abs() < _SUM_TOLERANCE).all()):
            raise ValueError(f"{name} has a row that is no distribution: expected numbers of at least 0, summing to 1")
    if not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        raise ValueError("uniforms has a number outside [0, 1): expected at least 0 and below 1")
    if tokens.is_floating_point() or not bool(((tokens >= 0) & (tokens < vocab)).all()):
        raise ValueError(f"draft_tokens has something else than a token id: expected whole numbers in [0, {vocab})")
    impossible = (_gather(draft, tokens.long()) == 0).nonzero()
    if len(impossible):
        row, place = impossible[0].tolist()
        raise ValueError(
            f"draft_tokens[{row}, {place}]={int(tokens[row, place])}: expected a token with draft probability above 0"
        )
