"""Estimate what a run costs: a dated table of prices that anybody can edit, times the tokens that the provider counted.

The table is `prices.json` beside this module, or the file that `NUCLEUS_PRICES` names, in the same form. The first
entry that matches the model, the day and the size of the prompt counts; an entry's name also stands for its versions
(`NAME-001`), and a longer name takes precedence over a shorter one. Thoughts cost as output. Discounts for cached
tokens, free allowances and taxes are not known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import NucleusError
from llm_core.generation.record import Usage
from llm_core.providers.model_id import Target

TOKENS_PER_PRICE = 1_000_000


class CostEstimate(NamedTuple):
    """Estimated cost of a sample."""

    amount: float
    currency: str
    as_of: date
    """Day when the prices were read."""


@dataclass(frozen=True, slots=True)
class Price:
    """One entry of the table; prices are per `TOKENS_PER_PRICE` tokens."""

    scheme: str
    name: str
    input: float
    output: float
    begins: date = date.min
    ends: date = date.max
    prompt_up_to: float = float("inf")

    def applies_to(self, target: Target, prompt_tokens: int, day: date) -> bool:
        """Return whether this price applies to a model, a prompt's length and a day."""
        named = target.name == self.name or target.name.startswith(f"{self.name}-")
        in_time = self.begins <= day <= self.ends
        return named and in_time and target.scheme == self.scheme and prompt_tokens <= self.prompt_up_to


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Table of prices."""

    as_of: date
    currency: str
    lines: tuple[Price, ...]

    def estimate(self, target: Target, usage: Usage, day: date) -> CostEstimate | None:
        """Return the cost of a sample's tokens on that day; None for a model without a price, and at an address other
        than its maker's."""
        fitting = [line for line in self.lines if line.applies_to(target, usage.prompt_tokens, day)]
        if not fitting or "://" in target.place:
            return None
        line = max(fitting, key=lambda each: len(each.name))
        written = usage.output_tokens + usage.thought_tokens
        return CostEstimate(
            (usage.prompt_tokens * line.input + written * line.output) / TOKENS_PER_PRICE, self.currency, self.as_of
        )


def load_prices(environment: Mapping[str, str] = os.environ) -> PriceTable:
    """Return the table in use. Raises `NucleusError` for a file that cannot be read."""
    file = Path(environment.get("NUCLEUS_PRICES") or Path(__file__).with_name("prices.json"))
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        lines = tuple(_parse_price(entry) for entry in data["per_million_tokens"])
        return PriceTable(date.fromisoformat(data["as_of"]), str(data["currency"]), lines)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise NucleusError(
            "provider_prices_unreadable", path=file, detail=f"{type(error).__name__}: {error}"
        ) from error


def _parse_price(entry: Mapping[str, Any]) -> Price:
    known = {"scheme", "name", "input", "output", "from", "until", "prompt_up_to"}
    if unknown := set(entry) - known:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    return Price(
        scheme=str(entry["scheme"]),
        name=str(entry["name"]),
        input=float(entry["input"]),
        output=float(entry["output"]),
        begins=date.fromisoformat(entry.get("from", date.min.isoformat())),
        ends=date.fromisoformat(entry.get("until", date.max.isoformat())),
        prompt_up_to=float(entry.get("prompt_up_to", "inf")),
    )
