"""Draw plots of a recorded answer as SVG: plain shapes and escaped text, no scripts, no styles of their own."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from llm_core.generation.token_text import escape_control_characters
from samplers import StepTrace

NumberFormat = Callable[[float, int], str]

MAX_BARS = 8
_WIDTH, _HEIGHT = 920, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_MAX_LABEL_CHARACTERS = 18


def render_line_chart(
    series: Sequence[tuple[str, str, Sequence[float | None]]],
    axis: str,
    steps: str,
    number: NumberFormat,
    most: float = 0.0,
) -> str:
    """Draw curves over the steps of an answer.

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

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = y(top * share)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
        label = number(top * share, 2 if top <= 2 else 1)
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_escape(label)}</text>')
    marked = [
        step
        for step in range(_label_stride(count) - 1, count, _label_stride(count))
        if x(count - 1) - x(step) > 30 < x(step)
    ]
    for step in sorted({0, count - 1, *marked}):
        parts += [f'<text x="{x(step):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{step + 1}</text>']
    for kind, _, values in series:
        points = [(x(step), y(value)) for step, value in enumerate(values) if value is not None]
        path = "M" + "L".join(f"{left:.1f} {down:.1f}" for left, down in points) if points else ""
        parts.append(f'<path class="{kind}" d="{path}"/>')
        if len(points) <= 80:
            parts += [f'<circle class="dot-{kind}" cx="{left:.1f}" cy="{down:.1f}" r="3"/>' for left, down in points]
    middle = _LEFT + width / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{_escape(steps)}</text>')
    turn = f'transform="rotate(-90 12 {_TOP + height / 2})"'
    parts.append(f'<text x="12" y="{_TOP + height / 2}" text-anchor="middle" {turn}>{_escape(axis)}</text>')
    spoken = _escape(f"{axis}: " + ", ".join(name for _, name, _ in series))
    return _render_svg(_HEIGHT, spoken, parts)


def render_bar_chart(trace: StepTrace, label: Callable[[int], str], number: NumberFormat, spoken: str) -> str:
    """Draw the most likely tokens of one step: wide bars before the sampler, narrow ones after it, the drawn token's in
    its own colour.

    Excluded tokens are struck out. The drawn token takes the last place if it is not among the most likely.
    """
    chosen = trace.candidates.index(trace.token_id)
    places = list(range(min(MAX_BARS, len(trace.candidates))))
    if chosen not in places:
        places[-1] = chosen
    left, right, row = 170, 120, 22
    width = _WIDTH - left - right
    parts = []
    for line, place in enumerate(places):
        raw, after = math.exp(trace.raw.logprobs[place]), math.exp(trace.final.logprobs[place])
        text = escape_control_characters(label(trace.candidates[place]))
        text = text if len(text) <= _MAX_LABEL_CHARACTERS else text[: _MAX_LABEL_CHARACTERS - 1] + "…"
        down = 4 + line * row
        kind = "drawn" if place == chosen else "after"
        out = ' class="out"' if after == 0 else ""
        parts.append(f'<text x="{left - 8}" y="{down + 14}" text-anchor="end"{out}>{_escape(text)}</text>')
        parts.append(f'<rect class="bar-raw" x="{left}" y="{down + 2}" width="{raw * width:.1f}" height="16"/>')
        parts.append(f'<rect class="bar-{kind}" x="{left}" y="{down + 6}" width="{after * width:.1f}" height="8"/>')
        figures = f"{number(raw, 3)} → {number(after, 3)}"
        parts.append(f'<text x="{_WIDTH - right + 8}" y="{down + 14}">{_escape(figures)}</text>')
    return _render_svg(8 + len(places) * row, _escape(spoken), parts)


def _render_svg(height: int, spoken: str, parts: Sequence[str]) -> str:
    """Wrap shapes in an SVG that keeps its size on a narrow screen and scrolls, so that letters stay readable."""
    drawing = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{spoken}">{"".join(parts)}</svg>'
    return f'<div class="chart">{drawing}</div>'


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def _label_stride(count: int) -> int:
    return max(1, int(_round_up(count / 12)))


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
