"""Lay out the plots of a recorded answer, in SVG's units; `templates/charts.svg.j2` draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llm_core.generation.token_text import escape_control_characters
from samplers import StepTrace

NumberFormat = Callable[[float, int], str]

MAX_BARS = 8
_WIDTH, _HEIGHT = 920, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_BAR_LEFT, _BAR_RIGHT, _BAR_HEIGHT = 170, 120, 22
_MAX_LABEL_CHARACTERS = 18


class Curve(NamedTuple):
    """Line over the steps of an answer."""

    kind: str
    """CSS class: `raw` or `after`."""
    points: tuple[tuple[float, float], ...]


class LineChart(NamedTuple):
    """Curves over the steps of an answer, with their axes."""

    x_title: str
    y_title: str
    description: str
    levels: tuple[tuple[float, str], ...]
    """Grid lines: y and label."""
    ticks: tuple[tuple[float, int], ...]
    """Labels below: x and step, from 1."""
    curves: tuple[Curve, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    middle: float = _TOP + (_HEIGHT - _TOP - _BOTTOM) / 2


class Bar(NamedTuple):
    """Candidate of one step: its probability before and after the sampler."""

    y: int
    label: str
    kind: str
    """CSS class of the narrow bar: `drawn` or `after`."""
    raw: float
    after: float
    figures: str


class BarChart(NamedTuple):
    """Most likely tokens of one step."""

    description: str
    bars: tuple[Bar, ...]
    width: int = _WIDTH
    left: int = _BAR_LEFT
    length: int = _WIDTH - _BAR_LEFT - _BAR_RIGHT
    """Length of a bar of probability 1."""

    @property
    def height(self) -> int:
        return 8 + len(self.bars) * _BAR_HEIGHT


def make_line_chart(
    series: Sequence[tuple[str, str, Sequence[float | None]]],
    y_title: str,
    x_title: str,
    number: NumberFormat,
    most: float = 0.0,
) -> LineChart:
    """Lay out curves over the steps of an answer.

    A series is a class (`raw`, `after`), its name and its values, with None where a step has none. `most` is the end of
    the axis; 0 takes the largest value.
    """
    known = [value for _, _, values in series for value in values if value is not None]
    top = most or _round_up(max(known, default=1.0))
    count = max(len(values) for _, _, values in series)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: int) -> float:
        return _LEFT + (width * step / (count - 1) if count > 1 else width / 2)

    def y(value: float) -> float:
        return _TOP + height * (1 - min(value, top) / top)

    stride = max(1, int(_round_up(count / 12)))
    marked = [step for step in range(stride - 1, count, stride) if x(count - 1) - x(step) > 30 < x(step)]
    return LineChart(
        x_title,
        y_title,
        f"{y_title}: " + ", ".join(name for _, name, _ in series),
        tuple((y(top * share), number(top * share, 2 if top <= 2 else 1)) for share in (0, 0.25, 0.5, 0.75, 1)),
        tuple((x(step), step + 1) for step in sorted({0, count - 1, *marked})),
        tuple(
            Curve(kind, tuple((x(step), y(value)) for step, value in enumerate(values) if value is not None))
            for kind, _, values in series
        ),
    )


def make_bar_chart(trace: StepTrace, label: Callable[[int], str], number: NumberFormat, description: str) -> BarChart:
    """Lay out the most likely tokens of one step: wide bars before the sampler, narrow ones after it, the drawn token's
    in its own colour. The drawn token takes the last place if it is not among the most likely.
    """
    chosen = trace.candidates.index(trace.token_id)
    places = list(range(min(MAX_BARS, len(trace.candidates))))
    if chosen not in places:
        places[-1] = chosen
    bars = []
    for line, place in enumerate(places):
        raw, after = math.exp(trace.raw.logprobs[place]), math.exp(trace.final.logprobs[place])
        text = escape_control_characters(label(trace.candidates[place]))
        text = text if len(text) <= _MAX_LABEL_CHARACTERS else text[: _MAX_LABEL_CHARACTERS - 1] + "…"
        kind = "drawn" if place == chosen else "after"
        bars.append(Bar(4 + line * _BAR_HEIGHT, text, kind, raw, after, f"{number(raw, 3)} → {number(after, 3)}"))
    return BarChart(description, tuple(bars))


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)
