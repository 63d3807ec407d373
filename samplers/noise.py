"""Drawing tokens with shared noise.

`argmax(probs / e)` with independent `e ~ Exponential(1)` draws token i with probability `probs[i]` (the exponential
race; the same as the Gumbel-max trick). The noise is a pure function of the seed, the step and the token, so a row's
token does not depend on its neighbours in a batch, nor on which other tokens are still possible: two rows with one seed
see one noise, and where they part, the sampler did it. No generator is involved, so nothing else is disturbed, and only
tokens that can be drawn cost anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_XTC = 1
"""Which stream of random numbers: 0 is the race's, others belong to stages that need chance of their own."""

_SPARSE = 8
"""Where fewer than one token in this many is possible, picking them out first is faster."""


def draw(probs: Tensor, seeds: Sequence[int], steps: Sequence[int], ids: Tensor | None = None) -> Tensor:
    """Columns `[B]` int64 drawn from `probs [B, n]`, with the noise of each row's own seed and step.

    Columns are token ids, unless `ids [B, n]` says which token each column is.
    """
    if not len(seeds) == len(steps) == len(probs):
        raise ValueError(f"probs has {len(probs)} rows, seeds {len(seeds)}, steps {len(steps)}: expected equal counts")
    keys = [_to_signed(_hash_key(seed, step)) for seed, step in zip(seeds, steps, strict=True)]
    states = torch.tensor(keys, device=probs.device)[:, None]
    tokens = torch.arange(probs.shape[-1], device=probs.device).expand_as(probs) if ids is None else ids
    possible = probs > 0
    if int(possible.count_nonzero()) * _SPARSE > probs.numel():
        return (probs / _exponential_noise(states, tokens)).argmax(-1)
    rows, columns = possible.nonzero(as_tuple=True)
    race = torch.zeros_like(probs, dtype=torch.float64)
    race[rows, columns] = probs[rows, columns] / _exponential_noise(states[rows, 0], tokens[rows, columns])
    return race.argmax(-1)


def step_noise(seed: int, step: int, vocab: int) -> Tensor:
    """The Exponential(1) noise of every token, float64 `[vocab]`, always above 0."""
    return _exponential_noise(torch.tensor(_to_signed(_hash_key(seed, step))), torch.arange(vocab))


def step_uniform(seed: int, step: int) -> float:
    """One number in [0, 1), uniform and independent of the noise: XTC's coin."""
    return (_hash_key(seed, step, _XTC) >> 11) * 2.0**-53


def _exponential_noise(states: Tensor, tokens: Tensor) -> Tensor:
    """The noise of `tokens` under generators in `states` (broadcast together): SplitMix64's output as a uniform number
    inside (0, 1), then `-log`. Multiplication wraps around, as the algorithm means it to. 52 bits and a half are what
    a float64 holds: one more, and the largest number would round to 1 and its noise to 0."""
    mixed = states + (tokens + 1) * _to_signed(_GOLDEN)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _to_signed(_FIRST)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _to_signed(_SECOND)
    mixed = mixed ^ _shift_right(mixed, 31)
    return _shift_right(mixed, 12).double().add_(0.5).mul_(2.0**-52).log_().neg_()


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros: torch's own shift fills with the sign."""
    return (values >> bits) & (2 ** (64 - bits) - 1)


def _hash_key(seed: int, step: int, stream: int = 0) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds, steps and streams give unrelated states."""
    state = seed & _MASK
    for word in (step + 1, _GOLDEN + stream):
        state = (state + word * _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def _to_signed(value: int) -> int:
    """The same 64 bits as the signed number that torch stores."""
    return value - 2**64 if value >= 2**63 else value
