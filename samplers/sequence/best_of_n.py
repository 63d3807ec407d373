"""Rank candidates by their scores, and estimate how good the best of fewer would have been.

Scores are a sequence of numbers or a tensor `[N]`; higher is better. `-inf` marks a candidate that must not win.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def best_of_n(scores: Iterable[float]) -> list[int]:
    """Return the indices of all candidates, best first, the lowest index first on a tie. The first one is the winner.

    Raises `ValueError` for no scores, NaN and `inf`.
    """
    values = _check_scores(scores)
    return sorted(range(len(values)), key=lambda index: -values[index])


def expected_best(scores: Iterable[float], n: int) -> float:
    """Return the expected highest score of n candidates, drawn without replacement from the N that were scored.

    Of all `C(N, n)` draws, `C(i - 1, n - 1)` have the i-th lowest score as their highest; their mean is an unbiased
    estimate of the score of a fresh best of n. Integers of any size keep the weights exact. Raises `ValueError` for `n`
    outside [1, N], and for the scores that `best_of_n` refuses.
    """
    values = sorted(_check_scores(scores))
    total = len(values)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= total:
        raise ValueError(f"n={n!r}: expected a whole number of at least 1 and at most {total}")
    # the n - 1 lowest are the highest of no draw, so a -inf among them does not count
    return math.fsum(math.comb(below, n - 1) / math.comb(total, n) * values[below] for below in range(n - 1, total))


def _check_scores(scores: Iterable[float]) -> list[float]:
    values = [float(score) for score in scores]
    if not values:
        raise ValueError("scores=[]: expected at least one")
    for index, value in enumerate(values):
        if not value < math.inf:
            raise ValueError(f"scores[{index}]={value!r}: expected a finite number or -inf")
    return values
