"""The stages of the chain: pure functions `(logits [B, V] float32, setting [B, 1]) -> logits [B, V]`.

Excluded tokens become `-inf`; the input is never changed; at least one token of each row survives.
Rows whose setting is neutral come back unchanged, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

EXCLUDED = float("-inf")

PREFIX = 1024
"""Tokens looked at before a full sort: top-P sets are nearly always smaller."""


def temperature(logits: Tensor, value: Tensor) -> Tensor:
    """Divide by the temperature: `softmax(logits / T)` (Ackley, Hinton and Sejnowski 1985). Neutral: 1.

    `T = 0` is the limit of `T -> 0` and never divides: only the largest logit survives, the lowest id on a tie.
    """
    greedy = value == 0
    scaled = logits / torch.where(greedy, torch.ones_like(value), value)
    if not greedy.any():
        return scaled
    only_best = torch.full_like(logits, EXCLUDED)
    best = logits.argmax(-1, keepdim=True)
    only_best.scatter_(-1, best, logits.gather(-1, best))
    return torch.where(greedy, only_best, scaled)


def top_k(logits: Tensor, k: Tensor) -> Tensor:
    """Keep exactly the k largest logits, the lowest ids first on a tie (Fan et al. 2018, arXiv 1805.04833).

    Neutral: 0 (off), and any k of at least the vocabulary's size.
    """
    vocab = logits.shape[-1]
    count = torch.where((k <= 0) | (k > vocab), torch.full_like(k, vocab), k)
    most = int(torch.where(count < vocab, count, torch.ones_like(count)).max())
    return _keep_largest(logits, count, torch.topk(logits, most, dim=-1).values)


def top_p(logits: Tensor, p: Tensor) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches p (Holtzman et al. 2019, arXiv 1904.09751).

    Neutral: 1. Equal to `top_p_by_sorting`, bit for bit, without sorting the whole vocabulary: the cumulative
    probability of the 1,024 largest is taken against the full normaliser, and only rows that fall short are sorted.
    """
    vocab = logits.shape[-1]
    normaliser = logits.logsumexp(-1, keepdim=True)
    ranked = torch.topk(logits, min(PREFIX, vocab), dim=-1).values
    cumulative = (ranked - normaliser).exp().cumsum(-1)
    count = _nucleus_size(cumulative, p, vocab)
    short = ((cumulative[:, -1:] < p) & (p < 1)).squeeze(-1)
    if ranked.shape[-1] == vocab or not short.any():
        return _keep_largest(logits, count, ranked)
    out = _keep_largest(logits, torch.where(short[:, None], torch.full_like(count, vocab), count), ranked)
    out[short] = top_p_by_sorting(logits[short], p[short])
    return out


def top_p_by_sorting(logits: Tensor, p: Tensor) -> Tensor:
    """The plain definition of `top_p`, by sorting every token: the reference that the fast one must equal."""
    ranked = logits.sort(-1, descending=True).values
    cumulative = (ranked - logits.logsumexp(-1, keepdim=True)).exp().cumsum(-1)
    return _keep_largest(logits, _nucleus_size(cumulative, p, logits.shape[-1]), ranked)


def _nucleus_size(cumulative: Tensor, p: Tensor, vocab: int) -> Tensor:
    """How many of the ranked tokens are needed to reach p: `[B, 1]`, the whole vocabulary where p is 1."""
    count = ((cumulative < p).sum(-1, keepdim=True) + 1).clamp(max=vocab)
    return torch.where(p >= 1, torch.full_like(count, vocab), count)


def _keep_largest(logits: Tensor, count: Tensor, ranked: Tensor) -> Tensor:
    """Exclude all but the `count` `[B, 1]` largest logits of each row, the lowest ids first on a tie.

    `ranked` `[B, n]` are the row's largest logits in descending order; rows with `count` of at least V stay as they
    are. Works from the value of the last kept token, so it does not depend on how a sort orders equal values.
    """
    vocab = logits.shape[-1]
    untouched = count >= vocab
    last = ranked.gather(-1, count.clamp(max=ranked.shape[-1]) - 1)
    keep = (logits >= last) | untouched
    crowded = ((keep.sum(-1, keepdim=True) > count) & ~untouched).squeeze(-1)
    if crowded.any():  # several tokens tie for the last place
        rows, edge = logits[crowded], last[crowded]
        above, tied = rows > edge, rows == edge
        room = count[crowded] - above.sum(-1, keepdim=True)
        keep[crowded] = above | (tied & (tied.cumsum(-1) <= room))
    return logits.masked_fill(~keep, EXCLUDED)


@dataclass(frozen=True, slots=True)
class Stage:
    """One named step of the chain: its function, the setting it reads and the value that turns it off."""

    name: str
    apply: Callable[[Tensor, Tensor], Tensor]
    neutral: float
    dtype: torch.dtype


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("temperature", temperature, 1.0, torch.float32),
        Stage("top_k", top_k, 0, torch.int64),
        Stage("top_p", top_p, 1.0, torch.float32),
    )
}
