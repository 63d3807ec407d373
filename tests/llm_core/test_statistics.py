"""Against scipy's own."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from llm_core.statistics import mcnemar, proportion


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
