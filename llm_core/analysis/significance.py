"""Estimate how certain an accuracy is, and test whether two of them on the same items differ."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from typing import NamedTuple

_Z = 1.959964
"""Quantile of a standard normal: 95 % lie within ±`_Z`."""


class Proportion(NamedTuple):
    """Share of n trials, with Wilson's 95 % score interval (Wilson 1927)."""

    value: float
    low: float
    high: float
    n: int


def proportion(successes: float, n: int) -> Proportion:
    """Return the share of successes and its interval. Scores between 0 and 1 count as parts of a success; no trials
    give 0 to 1."""
    if n == 0:
        return Proportion(0.0, 0.0, 1.0, 0)
    share, spread = successes / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Proportion(share, max(0.0, middle - half), min(1.0, middle + half), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact two-sided test (McNemar 1947): the probability that items split at least
    this unevenly if both variants are equally good.

    `only_first` and `only_second` count the items that just one of the two got right.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)


MIN_EXPECTED_COUNT = 5.0
"""Expected count below which classes are pooled: the chi-square distribution describes them badly (Cochran 1954)."""


class ChiSquareTest(NamedTuple):
    """Result of Pearson's chi-square test of counts against expected counts (Pearson 1900)."""

    statistic: float
    degrees: int
    """Degrees of freedom: classes less one."""
    p: float
    """Probability of counts at least this far off if the expectation is right; 1 for a single class."""


def goodness_of_fit(observed: Sequence[float], expected: Sequence[float]) -> ChiSquareTest:
    """Test counts by `sum (observed - expected)^2 / expected` over the classes, with those of small expectation pooled
    into one."""
    large = [(o, e) for o, e in zip(observed, expected, strict=True) if e >= MIN_EXPECTED_COUNT]
    small = [(o, e) for o, e in zip(observed, expected, strict=True) if e < MIN_EXPECTED_COUNT]
    pooled = (sum(o for o, _ in small), sum(e for _, e in small))
    if pooled[1] >= MIN_EXPECTED_COUNT or not large:
        large.append(pooled)
    elif pooled != (0, 0):  # too little even together
        o, e = min(large, key=lambda each: each[1])
        large[large.index((o, e))] = (o + pooled[0], e + pooled[1])
    statistic = sum((o - e) ** 2 / e for o, e in large)
    degrees = len(large) - 1
    return ChiSquareTest(statistic, degrees, _chi_square_survival(statistic, degrees) if degrees else 1.0)


def _chi_square_survival(value: float, degrees: int) -> float:
    import torch

    half = torch.tensor(degrees / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, torch.tensor(value / 2, dtype=torch.float64)))
