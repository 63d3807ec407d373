"""Compute the stages that decide by the distribution which tokens stay: pure functions `(logits [B, V], settings [B,
1])`.

Excluded tokens become `-inf`, the input is never changed, and at least the most likely token of each row survives. A
neutral setting returns the row unchanged, bit for bit. Probabilities `p` are the softmax of the incoming logits, and
`H` is their entropy in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EXCLUDED = float("-inf")

PREFIX = 1024
"""Number of tokens examined before a full sort: the sets that a row keeps are nearly always smaller."""
_FIRST_LOOK = 64
"""Number of tokens examined first: enough if the model is confident, and four times as fast."""


def temperature(logits: Tensor, value: Tensor) -> Tensor:
    """Divide by the temperature: `softmax(logits / T)` (Ackley, Hinton and Sejnowski 1985). T in [0, 100], neutral: 1.

    `T = 0` is the limit of `T -> 0` and never divides: only the largest logit survives, the lowest id on a tie.
    """
    greedy = value == 0
    scaled = logits / torch.where(greedy, torch.ones_like(value), value)
    # a temperature near 0 can push every logit of a row past the largest float; so can a denormal one
    greedy = greedy | ~scaled.amax(-1, keepdim=True).isfinite()
    if not greedy.any():
        return scaled
    only_best = torch.full_like(logits, EXCLUDED)
    best = logits.argmax(-1, keepdim=True)
    only_best.scatter_(-1, best, logits.gather(-1, best))
    return torch.where(greedy, only_best, scaled)


def top_k(logits: Tensor, k: Tensor) -> Tensor:
    """Keep exactly the k largest logits, the lowest ids first on a tie (Fan et al. 2018, arXiv 1805.04833).

    k is an integer of at least 0. Neutral: 0 (off), and any k of at least the vocabulary's size.
    """
    vocab = logits.shape[-1]
    off = (k <= 0) | (k >= vocab)
    most = int(torch.where(off, 1, k).max())
    last = torch.topk(logits, most, dim=-1).values.gather(-1, torch.where(off, 1, k) - 1)
    return _apply_mask(logits, top_mask(logits, torch.where(off, vocab, k), last.masked_fill(off, EXCLUDED)))


def top_p(logits: Tensor, p: Tensor) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches p (Holtzman et al. 2019, arXiv 1904.09751).

    p in (0, 1], neutral: 1. The lowest ids come first on a tie. Equal to `top_p_by_sorting`, bit for bit, without
    sorting the whole vocabulary.
    """
    return _apply_mask(logits, _smallest_set_mask(logits, logits, p))


def top_p_by_sorting(logits: Tensor, p: Tensor) -> Tensor:
    """Keep the same set as `top_p` by its definition, sorting every token: the reference for the fast one."""
    ranked = logits.sort(-1, descending=True).values
    cumulative = (ranked - _logsumexp(logits)).exp().cumsum(-1)
    count = torch.where(p < 1, _set_size(cumulative, p), logits.shape[-1])
    return _apply_mask(logits, top_mask(logits, count, ranked.gather(-1, count - 1)))


def min_p(logits: Tensor, share: Tensor) -> Tensor:
    """Keep tokens with `p >= share * max p` (Nguyen et al. 2024, arXiv 2407.01082). In [0, 1], neutral: 0."""
    return _keep_above(logits, logits.amax(-1, keepdim=True) + share.log())


def typical_p(logits: Tensor, p: Tensor) -> Tensor:
    """Keep the smallest set that reaches probability p, ordered by how close a token's surprisal is to the expected
    one, `|-log p_i - H|`: locally typical sampling (Meister et al. 2022, arXiv 2202.00666). p in (0, 1], neutral: 1."""
    logprobs = _logprobs(logits)
    distance = (-logprobs - _entropy(logprobs)).abs()
    return _apply_mask(logits, _smallest_set_mask(-distance, logits, p))


def epsilon_cutoff(logits: Tensor, epsilon: Tensor) -> Tensor:
    """Keep tokens with `p >= epsilon` (Hewitt et al. 2022, arXiv 2210.15191). In [0, 1), neutral: 0."""
    return _keep_above(logits, _logsumexp(logits) + epsilon.log())


def eta_cutoff(logits: Tensor, epsilon: Tensor) -> Tensor:
    """Keep tokens with `p >= min(epsilon, sqrt(epsilon) * exp(-H))` (Hewitt et al. 2022, arXiv 2210.15191).

    In [0, 1), neutral: 0. If the model is uncertain, H is large and less likely tokens stay.
    """
    entropy = _entropy(_logprobs(logits))
    return _keep_above(logits, _logsumexp(logits) + torch.minimum(epsilon.log(), epsilon.log() / 2 - entropy))


def top_n_sigma(logits: Tensor, n: Tensor) -> Tensor:
    """Keep logits of at least `max - n * sigma`, sigma the standard deviation of the row's finite logits (Tang et al.
    2024, arXiv 2411.07641). In [0, 100], neutral: 0 (off). The same tokens stay whatever temperature ran before."""
    finite = logits > EXCLUDED
    count = finite.count_nonzero(-1)[:, None]
    values = logits.masked_fill(~finite, 0)
    mean = values.sum(-1, keepdim=True) / count
    variance = ((values - mean).square() * finite).sum(-1, keepdim=True) / count
    bar = logits.amax(-1, keepdim=True) - n * variance.sqrt()
    return _keep_above(logits, torch.where(n > 0, bar, torch.full_like(bar, EXCLUDED)))


def xtc(logits: Tensor, probability: Tensor, threshold: Tensor, uniform: Tensor) -> Tensor:
    """Exclude top choices: if `uniform < probability`, drop every token with `p >= threshold` except the least likely
    of them (p-e-w 2024, text-generation-webui #6335). If fewer than two tokens reach the threshold, all stay.

    `probability` in [0, 1], neutral: 0. `threshold` in (0, 1]. `uniform` in [0, 1) is one number a row and step. Of
    equally likely tokens the highest id counts as the least likely.
    """
    obvious = _logprobs(logits) >= threshold.log()
    ranked = torch.where(obvious, logits, torch.full_like(logits, math.inf))
    last = logits.shape[-1] - 1 - ranked.flip(-1).argmin(-1, keepdim=True)
    dropped = obvious & (uniform < probability)
    dropped.scatter_(-1, last, False)
    return _apply_mask(logits, ~dropped)


def mirostat(logits: Tensor, surprise_limit: Tensor) -> Tensor:
    """Keep tokens whose surprisal `-log2 p` is at most the row's limit, in bits: mirostat 2.0 (Basu et al. 2020, arXiv
    2007.14966). Neutral: infinity. After each draw `RowState.accept` moves the limit towards the target."""
    return _keep_above(logits, _logsumexp(logits) - surprise_limit * math.log(2))


def _logsumexp(logits: Tensor) -> Tensor:
    """Return `log(sum(exp(logits)))`, `[B, 1]`: the largest logit less its log-probability, which is four times as
    fast."""
    return logits.amax(-1, keepdim=True) - logits.softmax(-1).amax(-1, keepdim=True).log()


def _logprobs(logits: Tensor) -> Tensor:
    return logits - _logsumexp(logits)


def _entropy(logprobs: Tensor) -> Tensor:
    """Return the entropy in nats, `[B, 1]`; excluded tokens add nothing."""
    return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(logprobs.dtype).min)).sum(-1, keepdim=True)


def _apply_mask(logits: Tensor, keep: Tensor) -> Tensor:
    return torch.where(keep, logits, EXCLUDED)


def _keep_above(logits: Tensor, bar: Tensor) -> Tensor:
    """Keep logits of at least the bar `[B, 1]`, and always the largest."""
    return _apply_mask(logits, logits >= torch.minimum(bar, logits.amax(-1, keepdim=True)))


def _smallest_set_mask(scores: Tensor, logits: Tensor, mass: Tensor) -> Tensor:
    """Return a mask, bool `[B, V]`, of the smallest set by descending score whose probability reaches `mass`.

    Examines the 64 best first, then 1,024, then all; only rows whose prefix falls short are examined further.
    """
    vocab = scores.shape[-1]
    normaliser = _logsumexp(logits)
    count = torch.full_like(mass, vocab, dtype=torch.int64)
    last = torch.full_like(mass, EXCLUDED)
    short = (mass < 1).squeeze(-1).nonzero().squeeze(-1)
    for size in (min(_FIRST_LOOK, vocab), min(PREFIX, vocab), vocab):
        if not len(short):
            break
        rows = slice(None) if len(short) == len(scores) else short
        values, ids = scores[rows].topk(size, dim=-1)
        cumulative = (logits[rows].gather(-1, ids) - normaliser[rows]).exp().cumsum(-1)
        needed = _set_size(cumulative, mass[rows])
        found = (cumulative[:, -1:] >= mass[rows]).squeeze(-1) | (size == vocab)
        count[short[found]] = needed[found]
        last[short[found]] = values.gather(-1, needed - 1)[found]
        short = short[~found]
    return top_mask(scores, count, last)


def _set_size(cumulative: Tensor, mass: Tensor) -> Tensor:
    """Return how many of the ranked tokens are needed to reach the mass, `[B, 1]`: all of them if they fall short."""
    return ((cumulative < mass).count_nonzero(-1)[:, None] + 1).clamp(max=cumulative.shape[-1])


def top_mask(scores: Tensor, count: Tensor, last: Tensor) -> Tensor:
    """Return a mask, bool `[B, V]`, of the `count` `[B, 1]` largest scores of each row, the lowest ids first on a tie.

    `last` `[B, 1]` is the smallest of these scores. Starting from a value makes the result independent of how a sort
    orders equal ones.
    """
    keep = scores >= last
    crowded = keep.count_nonzero(-1) > count.squeeze(-1)
    if crowded.any():  # several tokens tie for the last place
        rows, edge = scores[crowded], last[crowded]
        above, tied = rows > edge, rows == edge
        room = count[crowded] - above.count_nonzero(-1)[:, None]
        keep[crowded] = above | (tied & (tied.cumsum(-1) <= room))
    return keep
