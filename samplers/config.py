"""One row's sampler settings: frozen, validated when made, neutral by default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

STAGE_NAMES = ("temperature", "top_k", "top_p")

ORDERS: dict[str, tuple[str, ...]] = {
    "huggingface": ("temperature", "top_k", "top_p"),
    "llama_cpp": ("top_k", "top_p", "temperature"),
    "gemini": ("top_k", "top_p", "temperature"),
}
"""Stage orders as the providers run them. The same settings keep different tokens under different orders."""

_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """How the next token of one row is chosen.

    ==============  ===========  =========  ===============================================
    field           range        neutral    meaning
    ==============  ===========  =========  ===============================================
    `temperature`   [0, 100]     1          logits are divided by it; 0 means greedy
    `top_k`         integer >=0  0 (off)    keep exactly the k most likely tokens
    `top_p`         (0, 1]       1          keep the smallest set with this much probability
    `seed`          [0, 2^63)    0          same seed and step, same noise
    `order`         see ORDERS   a preset   a preset's name or a tuple of stage names
    ==============  ===========  =========  ===============================================

    A value outside its range raises `ValueError` naming the field, the value and the range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    order: str | tuple[str, ...] = "huggingface"

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0, 100)
        _check_integer("top_k", self.top_k, 0, None)
        _check_number("top_p", self.top_p, 0, 1, open_low=True)
        _check_integer("seed", self.seed, 0, _MAX_SEED)
        _check_order(self.order)

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names in the order they run."""
        return ORDERS[self.order] if isinstance(self.order, str) else self.order

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0


def _check_number(field: str, value: object, low: float, high: float, open_low: bool = False) -> None:
    span = f"{'above' if open_low else 'at least'} {low} and at most {high}"
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{field}={value!r}: expected a finite number {span}")
    if not low <= float(value) <= high or (open_low and value == low):
        raise ValueError(f"{field}={value!r}: expected a number {span}")


def _check_integer(field: str, value: object, low: int, high: int | None) -> None:
    span = f"at least {low}" + (f" and at most {high}" if high is not None else "")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{field}={value!r}: expected a whole number {span}")
    if int(value) < low or (high is not None and int(value) > high):
        raise ValueError(f"{field}={value!r}: expected a whole number {span}")


def _check_order(order: object) -> None:
    if isinstance(order, str):
        if order not in ORDERS:
            raise ValueError(f"order={order!r}: expected one of {', '.join(ORDERS)} or a tuple of stage names")
        return
    if not isinstance(order, tuple):
        raise ValueError(f"order={order!r}: expected a preset's name or a tuple of stage names")
    for name in order:
        if name not in STAGE_NAMES:
            raise ValueError(f"order contains {name!r}: expected names out of {', '.join(STAGE_NAMES)}")
    if len(set(order)) != len(order):
        raise ValueError(f"order={order!r}: each stage may stand only once")
    if missing := [name for name in STAGE_NAMES if name not in order]:
        raise ValueError(f"order={order!r}: missing {', '.join(missing)} (neutral stages do nothing, so list them all)")
