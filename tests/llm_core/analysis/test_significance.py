"""Against scipy's own."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, chisquare

from llm_core.analysis.significance import goodness_of_fit, mcnemar, proportion


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 10), (30, 30), (17, 40)])
def test_wilson(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    found = proportion(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert found.low == pytest.approx(expected.low, abs=1e-6)
    assert found.high == pytest.approx(expected.high, abs=1e-6)


def test_nothing_was_tried():
    assert proportion(0, 0)[1:3] == (0.0, 1.0)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 9), (9, 1), (5, 5), (0, 12)])
def test_mcnemar(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("observed", "expected"), [([60, 40], [50, 50]), ([110, 95, 95], [100, 100, 100]), ([7, 20, 73], [10, 20, 70])]
)
def test_goodness_of_fit(observed, expected):
    statistic, p = chisquare(observed, expected)
    assert goodness_of_fit(observed, expected) == pytest.approx((statistic, len(observed) - 1, p))


def test_classes_that_expect_little_are_pooled():
    assert goodness_of_fit([90, 4, 6], [90, 5, 5]).degrees == 2
    assert goodness_of_fit([90, 2, 2, 6], [90, 4, 3, 3]) == goodness_of_fit([90, 10], [90, 10])
    assert goodness_of_fit([60, 39, 1], [60, 39, 1]).degrees == 1, "even together too little: with the smallest class"
    assert goodness_of_fit([1, 1], [1, 1]) == (0, 0, 1)
