"""The ranking, and the expected best of fewer against every subset that could have been drawn."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from samplers.sequence.best_of_n import best_of_n, expected_best


def test_the_highest_score_comes_first_and_ties_go_to_the_lowest_index():
    assert best_of_n([0.2, 0.9, 0.2, -1.0]) == [1, 0, 2, 3]
    assert best_of_n([1, 1, 1]) == [0, 1, 2]
    assert best_of_n([5.0]) == [0]


def test_minus_infinity_is_a_score_that_loses():
    assert best_of_n([-math.inf, -3.0, -math.inf]) == [1, 0, 2]
    assert best_of_n([-math.inf]) == [0]


def test_a_tensor_is_as_good_as_a_list():
    assert best_of_n(torch.tensor([0.5, 2.0, 1.0])) == [1, 2, 0]
    assert expected_best(torch.tensor([0.5, 2.0, 1.0]), 3) == 2


@pytest.mark.parametrize("n", range(1, 8))
def test_expected_best_is_the_mean_over_every_subset(n):
    scores = [random.Random(n).gauss(0, 1) for _ in range(6)] + [0.25, 0.25]
    best = [max(subset) for subset in itertools.combinations(scores, n)]
    assert expected_best(scores, n) == pytest.approx(sum(best) / len(best), abs=1e-12)


def test_expected_best_by_hand():
    # of the three pairs among 1, 2, 4 the best are 2, 4, 4
    assert expected_best([4, 1, 2], 2) == pytest.approx(10 / 3)
    assert expected_best([4, 1, 2], 1) == pytest.approx(7 / 3)
    assert expected_best([4, 1, 2], 3) == 4


@pytest.mark.parametrize("n", range(1, 65))
def test_expected_best_of_64_stays_exact(n):
    # the highest of n numbers drawn from 1..N is n (N + 1) / (n + 1) on average
    assert expected_best(list(range(1, 65)), n) == pytest.approx(n * 65 / (n + 1), rel=1e-14)


def test_minus_infinity_counts_only_where_it_can_be_the_best():
    assert expected_best([-math.inf, 1.0, 3.0], 2) == pytest.approx((1 + 3 + 3) / 3)
    assert expected_best([-math.inf, 1.0, 3.0], 1) == -math.inf


@pytest.mark.parametrize("function", [best_of_n, lambda scores: expected_best(scores, 1)])
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"scores=\[\]: expected at least one"),
        ([0.5, math.nan], r"scores\[1\]=nan: expected a finite number or -inf"),
        ([math.inf], r"scores\[0\]=inf: expected"),
    ],
)
def test_scores_that_cannot_be_ranked(function, scores, message):
    with pytest.raises(ValueError, match=message):
        function(scores)


@pytest.mark.parametrize("n", [0, 4, 1.5, True])
def test_n_lies_between_one_and_the_number_of_scores(n):
    with pytest.raises(ValueError, match=f"n={n!r}: expected a whole number of at least 1 and at most 3"):
        expected_best([1, 2, 3], n)
