"""Every estimator against enumerating all subsets, ties included."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.best_of_n.estimators import (
    MAX_SUBSETS,
    bootstrap_expected_best,
    expected_worth,
    kl_bound,
    medoid_worth,
    pass_at_k,
    selection_probabilities,
    vote_accuracy,
    vote_win_probabilities,
    win_rate,
    win_rate_bound,
)
from samplers import expected_best

small_scores = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=7)


def subsets(total: int, n: int) -> list[tuple[int, ...]]:
    return list(combinations(range(total), n))


def enumerate_worth(proxy, true, n) -> float:
    worths = []
    for chosen in subsets(len(proxy), n):
        best = max(proxy[index] for index in chosen)
        tied = [true[index] for index in chosen if proxy[index] == best]
        worths.append(sum(tied) / len(tied))
    return sum(worths) / len(worths)


@given(small_scores, st.data())
def test_what_the_best_by_a_proxy_is_worth(proxy, data):
    true = data.draw(st.lists(st.floats(0, 1), min_size=len(proxy), max_size=len(proxy)))
    n = data.draw(st.integers(1, len(proxy)))
    assert expected_worth(proxy, true, n) == pytest.approx(enumerate_worth(proxy, true, n))
    assert math.fsum(selection_probabilities(proxy, n)) == pytest.approx(1)
    assert expected_worth(proxy, proxy, n) == pytest.approx(expected_best(proxy, n))


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k(right, data):
    k = data.draw(st.integers(1, len(right)))
    passed = [any(right[index] for index in chosen) for chosen in subsets(len(right), k)]
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(sum(passed) / len(passed))
    by_selection = expected_worth([float(each) for each in right], [float(each) for each in right], k)
    assert by_selection == pytest.approx(pass_at_k(len(right), sum(right), k))


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=8), st.data())
def test_votes(results, data):
    n = data.draw(st.integers(1, len(results)))
    expected: Counter = Counter()
    for chosen in subsets(len(results), n):
        votes = Counter(results[index] for index in chosen if results[index] is not None)
        tied = [result for result, count in votes.items() if count == max(votes.values())]
        for result in tied:
            expected[result] += 1 / len(tied) / math.comb(len(results), n)
    found = vote_win_probabilities(results, n)
    assert set(found) == set(results) - {None}
    assert found == pytest.approx({result: expected[result] for result in found})
    worth = {"a": 1.0, "b": 0.25, "c": 0.0, None: 0.0}
    true = [worth[result] for result in results]
    mean = sum(chance * worth[result] for result, chance in expected.items())
    assert vote_accuracy(results, true, n) == pytest.approx(mean)


@given(st.lists(st.integers(0, 3).map(float), min_size=2, max_size=6), st.data())
def test_win_rate(proxy, data):
    true = data.draw(st.lists(st.integers(0, 2).map(float), min_size=len(proxy), max_size=len(proxy)))
    n = data.draw(st.integers(1, len(proxy) - 1))
    wins = []
    for single in range(len(proxy)):
        others = [index for index in range(len(proxy)) if index != single]
        for chosen in combinations(others, n):
            best = max(proxy[index] for index in chosen)
            tied = [index for index in chosen if proxy[index] == best]
            beaten = [(true[index] > true[single]) + (true[index] == true[single]) / 2 for index in tied]
            wins.append(sum(beaten) / len(beaten))
    assert win_rate(proxy, true, n) == pytest.approx(sum(wins) / len(wins))


def test_win_rate_reaches_its_bound_where_nothing_ties():
    scores = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0]
    assert [win_rate(scores, scores, n) for n in range(1, 6)] == pytest.approx([win_rate_bound(n) for n in range(1, 6)])
    tied = [1.0, 2.0, 2.0, 2.0]  # a pair that ties shares what one of it would have won; three lose some of it
    assert all(win_rate(tied, tied, n) < win_rate_bound(n) for n in (2, 3))


def test_kl_bound_is_the_published_values_and_holds():
    assert [kl_bound(n) for n in (1, 4, 16, 64)] == pytest.approx([0, 0.636, 1.835, 3.175], abs=5e-4)
    base = [0.5, 0.3, 0.2]  # the last is the best: the distribution of the best of n is known exactly
    for n in (2, 4, 8):
        cumulative = [0.0, 0.5, 0.8, 1.0]
        best = [cumulative[place + 1] ** n - cumulative[place] ** n for place in range(3)]
        kl = sum(q * math.log(q / p) for q, p in zip(best, base, strict=True) if q)
        assert 0 < kl < kl_bound(n)


def test_the_band_holds_the_truth_about_as_often_as_it_says():
    """Many pools of 24 from a distribution whose best of 4 is known: 95 % bands cover it in 85 to 100 % of them."""
    import random

    source = random.Random(7)
    truth = 4 / 5  # of uniform scores
    bands = [bootstrap_expected_best([source.random() for _ in range(24)], 4) for _ in range(60)]
    covered = sum(band.low <= truth <= band.high for band in bands)
    assert covered >= 51
    assert all(band.low < band.value < band.high for band in bands)
    assert bootstrap_expected_best([1.0, 2.0, 3.0], 2) == bootstrap_expected_best([1.0, 2.0, 3.0], 2)


def test_a_proxy_that_is_against_the_truth_gets_worse_with_n():
    true = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    proxy = [-each for each in true]
    curve = [expected_worth(proxy, true, n) for n in range(1, 7)]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: pass_at_k(3, 4, 1),
        lambda: pass_at_k(3, 1, 0),
        lambda: selection_probabilities([1.0], 2),
        lambda: vote_win_probabilities(["a"], 0),
        lambda: win_rate([1.0], [1.0], 1),
    ],
)
def test_out_of_range(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_sixty_four_different_results_are_counted_in_a_moment():
    assert sum(vote_win_probabilities(list(range(64)), 32).values()) == pytest.approx(1)


def test_the_most_alike_of_many_is_estimated_as_all_subsets_would_say():
    chance = random.Random(3)
    points = [chance.gauss(0, 1) for _ in range(16)]
    true = [float(abs(point) < 0.7) for point in points]
    alike = [[-abs(one - other) for other in points] for one in points]
    for n in (1, 3, 6, 16):
        found = []
        for subset in combinations(range(16), n):
            sums = [sum(alike[one][other] for other in subset) for one in subset]
            best = [true[one] for one, total in zip(subset, sums, strict=True) if total >= max(sums) - 1e-9]
            found.append(sum(best) / len(best))
        exact = sum(found) / len(found)
        assert medoid_worth(alike, true, n) == pytest.approx(exact, abs=1e-6 if len(found) <= MAX_SUBSETS else 0.06)
