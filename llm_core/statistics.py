"""How sure an accuracy is, and whether two of them on the same items differ."""

from __future__ import annotations

from math import comb, sqrt
from typing import NamedTuple

_Z = 1.959964
"""Of a standard normal: 95 % lie within."""


class Proportion(NamedTuple):
    """A share of n trials, with Wilson's 95 % score interval (Wilson 1927)."""

    value: float
    low: float
    high: float
    n: int


def proportion(successes: float, n: int) -> Proportion:
    """Scores between 0 and 1 count as parts of a success. No trials at all say nothing: 0 to 1."""
    if n == 0:
        return Proportion(0.0, 0.0, 1.0, 0)
    share, spread = successes / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Proportion(share, max(0.0, middle - half), min(1.0, middle + half), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """Probability that items would split at least this unevenly if both ways were equally good: the exact two-sided
    test on the items that just one of them got right (McNemar 1947)."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)
