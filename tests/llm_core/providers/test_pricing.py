"""Estimates by hand: the day, the size of the prompt, versions of a name, and a table of one's own."""

from __future__ import annotations

import json
from datetime import date

import pytest

from llm_core import NucleusError
from llm_core.generation.record import Usage
from llm_core.providers.model_id import Target
from llm_core.providers.pricing import load_prices

NOW, LATER = date(2026, 11, 23), date(2027, 2, 1)


@pytest.mark.parametrize(
    ("name", "usage", "day", "dollars"),
    [
        ("gemini-2.5-flash", Usage(1_000_000, 0), NOW, 0.30),
        ("gemini-2.5-flash-lite", Usage(1_000_000, 1_000_000), NOW, 0.50),
        ("gemini-2.5-flash-lite-001", Usage(1_000_000, 0), NOW, 0.10),
        ("gemini-2.5-flash", Usage(0, 600_000, 400_000), NOW, 2.50),  # thoughts are billed
        ("gemini-3.8-flash", Usage(1_000_000, 0), NOW, 0.75),
        ("gemini-3.8-flash", Usage(1_000_000, 0), LATER, 1.50),
        ("gemini-3.1-pro-preview", Usage(200_000, 0), NOW, 0.40),
        ("gemini-3.1-pro-preview", Usage(200_001, 0), NOW, 0.800004),
        ("gemini-4-argon", Usage(0, 1_000_000), NOW, 10.0),
        ("gemini-4-argon", Usage(0, 1_000_000), LATER, 20.0),
    ],
)
def test_by_hand(name, usage, day, dollars):
    estimate = load_prices({}).estimate(Target("gemini", name), usage, day)
    assert estimate.amount == pytest.approx(dollars)
    assert (estimate.currency, estimate.as_of) == ("USD", date(2026, 10, 7))


@pytest.mark.parametrize(
    "target",
    [
        Target("gemini", "gemini-9"),
        Target("openai", "gemini-2.5-pro"),
        Target("gemini", "gemini-2.5-pro", "http://mine"),
    ],
)
def test_no_price_no_guess(target):
    assert load_prices({}).estimate(target, Usage(10, 10), NOW) is None


def test_a_table_of_ones_own(tmp_path):
    line = {"scheme": "openai", "name": "gpt-9", "input": 1, "output": 2}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"as_of": "2026-11-01", "currency": "EUR", "per_million_tokens": [line]}))
    prices = load_prices({"NUCLEUS_PRICES": str(file)})
    assert prices.estimate(Target("openai", "gpt-9-mini"), Usage(500_000, 500_000), NOW).amount == 1.5


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"as_of": "soon", "currency": "X", "per_million_tokens": []}'])
def test_a_table_that_cannot_be_read(tmp_path, text):
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(NucleusError, match=r"prices\.json"):
        load_prices({"NUCLEUS_PRICES": str(file)})
