"""Estimate what choosing the best of n buys, from N candidates at hand, and bound it in theory.

Every estimate is the exact mean over all subsets of n of the N candidates: unbiased for the value with n fresh ones (a
U-statistic, Hoeffding 1948). If several of a subset share the highest score, each is equally likely to be chosen. n is
in [1, N]; scores are finite numbers, or `-inf` for a candidate that must not win.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations, groupby
from math import comb
from typing import NamedTuple

from samplers import expected_best

BOOTSTRAP_RESAMPLES = 400
"""Resamples of the bootstrap."""
MAX_SUBSETS = 1000
"""Subsets to enumerate at most; if there are more, as many random ones are drawn."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the probability that at least one of k is correct, `1 - C(n - c, k) / C(n, k)` (Chen et al. 2021, arXiv
    2107.03374). Raises `ValueError` unless `0 <= correct <= n` and `1 <= k <= n`."""
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct}: expected 0 to {n}")
    _check_subset_size(k, n)
    return 1 - comb(n - correct, k) / comb(n, k)


def kl_bound(n: int) -> float:
    """Return the upper bound in nats of the KL divergence between the best of n and the model's own distribution: `log
    n - (n - 1) / n`. It is a bound and not the value, which it equals only if no two candidates are the same (Beirami
    et al. 2024, arXiv 2401.01879)."""
    return math.log(n) - (n - 1) / n


def win_rate_bound(n: int) -> float:
    """Return the upper bound of the probability that the best of n beats one more sample by its own criterion, ties
    counting half: `n / (n + 1)` (arXiv 2401.01879)."""
    return n / (n + 1)


def selection_probabilities(proxy: Sequence[float], n: int) -> list[float]:
    """Return the probability of each candidate to be the best of n by `proxy`, over all subsets; they sum to 1."""
    total = len(proxy)
    _check_subset_size(n, total)
    order = sorted(range(total), key=lambda index: -proxy[index])
    chances, above = [0.0] * total, 0
    for _, tied in groupby(order, key=lambda index: proxy[index]):
        members = list(tied)
        # subsets without any better candidate, less those without any of the tied ones either
        chance = (comb(total - above, n) - comb(total - above - len(members), n)) / comb(total, n)
        for index in members:
            chances[index] = chance / len(members)
        above += len(members)
    return chances


def expected_worth(proxy: Sequence[float], true: Sequence[float], n: int) -> float:
    """Return the mean worth by `true` of the best of n by `proxy`. If a proxy misleads, this falls as n grows although
    the proxy's own best score rises (over-optimisation, Gao et al. 2023, arXiv 2210.10760)."""
    return math.fsum(
        chance * worth for chance, worth in zip(selection_probabilities(proxy, n), true, strict=True) if chance
    )


def win_rate(proxy: Sequence[float], true: Sequence[float], n: int) -> float:
    """Return the probability that the best of n by `proxy` beats one other candidate by `true`, ties counting half. n
    is in [1, N - 1]. With `true = proxy` and no ties it is `n / (n + 1)`."""
    total = len(proxy)
    _check_subset_size(n, total - 1)
    wins = []
    for single in range(total):
        others = [index for index in range(total) if index != single]
        beaten = [0.5 * ((true[index] > true[single]) - (true[index] < true[single])) + 0.5 for index in others]
        wins.append(expected_worth([proxy[index] for index in others], beaten, n))
    return math.fsum(wins) / total


class MeanEstimate(NamedTuple):
    """Mean with a 95 % band."""

    value: float
    low: float
    high: float


def bootstrap_expected_best(scores: Sequence[float], n: int, seed: int = 0) -> MeanEstimate:
    """Return `samplers.expected_best` with a percentile bootstrap over the candidates (Efron 1979), the same for the
    same seed. Near n = N the estimate depends on the few highest scores, and the band is too narrow: a resample cannot
    hold a better candidate than the best that was seen."""
    import numpy

    value = expected_best(scores, n)
    total = len(scores)
    weights = numpy.array([comb(below, n - 1) / comb(total, n) for below in range(total)])
    drawn = numpy.random.default_rng(seed).integers(total, size=(BOOTSTRAP_RESAMPLES, total))
    resampled = numpy.sort(numpy.asarray(scores, dtype=float)[drawn], axis=1)[:, n - 1 :] @ weights[n - 1 :]
    low, high = numpy.quantile(resampled, (0.025, 0.975))
    return MeanEstimate(value, min(value, float(low)), max(value, float(high)))


def vote_win_probabilities(results: Sequence[Hashable | None], n: int) -> dict[Hashable, float]:
    """Return the probability of each result to win the vote of n candidates, over all subsets. The most frequent result
    wins, and tied results are equally likely. `None` does not vote. The probability missing to 1 is that nobody votes.

    Exact: subsets are counted by how many of each result they hold, and not enumerated.
    """
    total = len(results)
    _check_subset_size(n, total)
    sizes: dict[Hashable, int] = {}
    for result in results:
        if result is not None:
            sizes[result] = sizes.get(result, 0) + 1
    silent = total - sum(sizes.values())
    by_size = {
        size: _count_winning_subsets(size, sorted(sizes.values()), silent, n) / comb(total, n)
        for size in {*sizes.values()}
    }
    return {result: by_size[size] for result, size in sizes.items()}


def _count_winning_subsets(own: int, sizes: Sequence[int], silent: int, n: int) -> float:
    """Return the number of subsets of n in which a result with `own` votes at hand wins; a subset with a tie counts its
    share.

    All terms are positive, so floats keep 15 digits of them however large the numbers of subsets get.
    """
    import numpy

    others = list(sizes)
    others.remove(own)
    won = 0.0
    for votes in range(1, min(own, n) + 1):
        room = n - votes  # left for the other results, which can have at most `votes` each
        ways = numpy.zeros((room // votes + 1, room + 1))  # [tied with it, votes taken]
        ways[0, 0] = 1.0
        for size in others:
            before, ways = ways, ways.copy()
            for more in range(1, min(size, votes, room) + 1):
                chosen = comb(size, more) * before[:, : room + 1 - more]
                if more < votes:
                    ways[:, more:] += chosen
                else:
                    ways[1:, more:] += chosen[:-1]
        shares = 1.0 / numpy.arange(1, len(ways) + 1)
        rest = numpy.array([float(comb(silent, room - taken)) for taken in range(room + 1)])
        won += comb(own, votes) * float(shares @ ways @ rest)
    return won


def vote_accuracy(results: Sequence[Hashable | None], true: Sequence[float], n: int) -> float:
    """Return the mean worth of the result that wins the vote of n; 0 if nobody votes. `true` is the worth of each
    candidate's result; candidates with the same result count their mean."""
    chances = vote_win_probabilities(results, n)
    worths: dict[Hashable, list[float]] = {}
    for result, worth in zip(results, true, strict=True):
        if result is not None:
            worths.setdefault(result, []).append(worth)
    return math.fsum(chance * math.fsum(worths[result]) / len(worths[result]) for result, chance in chances.items())


def medoid_worth(similarity: Sequence[Sequence[float]], true: Sequence[float], n: int, seed: int = 0) -> float:
    """Return the mean worth of the candidate of n that is most like the others.

    The mean is over all subsets if they are at most `MAX_SUBSETS`; else it is an estimate from that many random ones,
    the same for the same seed, with a standard error of at most `0.5 / sqrt(MAX_SUBSETS)` for worths in [0, 1].
    `similarity` is symmetric, with 0 on its diagonal.
    """
    import numpy

    total = len(similarity)
    _check_subset_size(n, total)
    if comb(total, n) <= MAX_SUBSETS:
        chosen = numpy.array(list(combinations(range(total), n)))
    else:
        chosen = numpy.random.default_rng(seed).random((MAX_SUBSETS, total)).argsort(axis=1)[:, :n]
    sums = numpy.asarray(similarity)[chosen[:, :, None], chosen[:, None, :]].sum(axis=2)
    tied = sums >= sums.max(axis=1, keepdims=True) - 1e-5 * n  # tolerance for single precision
    worths = (tied * numpy.asarray(true)[chosen]).sum(axis=1) / tied.sum(axis=1)
    return float(worths.mean())


def _check_subset_size(n: int, total: int) -> None:
    if not 1 <= n <= total:
        raise ValueError(f"n={n}: expected 1 to {total}")
