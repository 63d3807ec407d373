"""Draw tokens with noise that is a pure function of seed, step and token.

`argmax(probs / e)` with independent `e ~ Exponential(1)` draws token i with probability `probs[i]` (the exponential
race; equivalent to the Gumbel-max trick). A row's token therefore depends neither on its neighbors in a batch nor on
which other tokens are still possible: two rows with one seed see the same noise, and if they diverge, the settings
caused it. No random generator's state changes, and only tokens that can be drawn cost time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_XTC = 1
"""Index of the random stream of XTC's coin: 0 is the race's stream, others belong to stages with chance of their own.
"""

_SPARSE = 8
"""Sparsity bound: if fewer than one token in this many is possible, selecting the possible ones first is faster."""


def draw(probs: Tensor, seeds: Sequence[int], steps: Sequence[int], ids: Tensor | None = None) -> Tensor:
    """Return columns `[B]` int64 drawn from `probs [B, n]`, with the noise of each row's own seed and step.

    Columns are token ids, unless `ids [B, n]` gives the token of each column. Raises `ValueError` for unequal counts.
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
    """Return the Exponential(1) noise of every token, float64 `[vocab]`, always above 0."""
    return _exponential_noise(torch.tensor(_to_signed(_hash_key(seed, step))), torch.arange(vocab))


def step_uniform(seed: int, step: int) -> float:
    """Return one uniform number in [0, 1), independent of the noise: the coin of XTC."""
    return (_hash_key(seed, step, _XTC) >> 11) * 2.0**-53


def _exponential_noise(states: Tensor, tokens: Tensor) -> Tensor:
    """Return the noise of `tokens` under generators in `states` (broadcast together).

    The output of SplitMix64 as a uniform number inside (0, 1), then `-log`. Multiplication wraps around, as the
    algorithm intends. A float64 holds 52 and a half bits here: with one bit more, the largest number would round to 1
    and its noise to 0.
    """
    mixed = states + (tokens + 1) * _to_signed(_GOLDEN)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _to_signed(_FIRST)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _to_signed(_SECOND)
    mixed = mixed ^ _shift_right(mixed, 31)
    return _shift_right(mixed, 12).double().add_(0.5).mul_(2.0**-52).log_().neg_()


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift fills with the sign."""
    return (values >> bits) & (2 ** (64 - bits) - 1)


def _hash_key(seed: int, step: int, stream: int = 0) -> int:
    """Return the SplitMix64 state (Steele, Lea and Flood 2014) of a seed, step and stream; neighboring inputs give
    unrelated states."""
    state = seed & _MASK
    for word in (step + 1, _GOLDEN + stream):
        state = (state + word * _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def _to_signed(value: int) -> int:
    """Return the same 64 bits as the signed number that torch stores."""
    return value - 2**64 if value >= 2**63 else value
