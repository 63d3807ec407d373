"""Build charts of comparisons and sweeps as plotly JSON. No Streamlit here.

Colours are Okabe and Ito's, distinct in every common form of colour blindness, and every second round of them is
dashed; maps use the cividis scale. Every axis has a title with its unit, and every point of a sweep carries its index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pages.ui.components.charts import RAW_COLOUR

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f8998", "#a6761d")
_DASHES = ("solid", "dash")
_TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
_LOG_SCALE_RATIO = 30
_MAX_NUMBERED_CELLS = 100
"""Most cells of a map in which their numbers are written."""


def entropy_figure(lines: Mapping[str, Sequence[float]], position: str, bits: str) -> dict:
    """Return the model's entropy along each text, in bits, by token position."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": _escape_tags(name),
                "x": list(range(1, len(values) + 1)),
                "y": [round(value, 3) for value in values],
                "line": {"color": COLOURS[place % 8], "dash": _DASHES[place // 8 % 2], "width": 2},
            }
            for place, (name, values) in enumerate(lines.items())
        ],
        "layout": {
            "height": 330 + 20 * math.ceil(len(lines) / 3),
            "margin": {"l": 56, "r": 12, "t": 30, "b": 48},
            "xaxis": {"title": {"text": position}, "zeroline": False},
            "yaxis": {"title": {"text": bits}, "rangemode": "tozero", "zeroline": False},
            "legend": {"orientation": "h", "y": -0.28, "yanchor": "top"},
            "hovermode": "x unified",
            "showlegend": True,
            **_TRANSPARENT,
        },
    }


def curve_figure(
    values: Sequence[float | str],
    figures: Sequence[float | None],
    seeds: Sequence[Sequence[float]],
    lines: Mapping[str, float],
    titles: tuple[str, str],
    chosen: int | None,
) -> dict:
    """Return one statistic over one setting.

    A line passes through the grid points that have a value, with a dot for each seed and horizontal lines for reference
    texts. Points carry their index in `values`.
    """
    known = [place for place, figure in enumerate(figures) if figure is not None]
    dots = [(place, value) for place, each in enumerate(seeds) for value in each]
    numbers = [value for value in values if not isinstance(value, str)]
    named = len(numbers) < len(values)
    xs = [_escape_tags(str(value)) for value in values] if named else list(values)
    everything = [*(figure for figure in figures if figure is not None), *lines.values(), *(y for _, y in dots)]
    wide = _needs_log_scale(everything)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [xs[place] for place, _ in dots],
                "y": [value for _, value in dots],
                "customdata": [place for place, _ in dots],
                "marker": {"color": RAW_COLOUR, "size": 6, "opacity": 0.65},
                "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers" if named else "lines+markers",
                "x": [xs[place] for place in known],
                "y": [figures[place] for place in known],
                "customdata": known,
                "line": {"color": COLOURS[0], "width": 2},
                "marker": {
                    "color": COLOURS[0],
                    "size": [15 if place == chosen else 11 for place in known],
                    "symbol": ["diamond" if place == chosen else "circle" for place in known],
                },
                "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
            },
        ],
        "layout": {
            "height": 380,
            "margin": {"l": 66, "r": 16, "t": 30, "b": 60},
            "xaxis": {
                "title": {"text": titles[0]},
                "zeroline": False,
                "automargin": True,
                **({"type": "category", "categoryarray": xs} if named else {"range": _padded_range(numbers)}),
            },
            "yaxis": {
                "title": {"text": titles[1]},
                "zeroline": False,
                **({"type": "log", "dtick": 1} if wide else {"rangemode": "tozero"}),
                **({} if everything else {"range": [0, 1]}),
            },
            "shapes": [
                {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": _reference_line_style()}
                for y in lines.values()
            ],
            "annotations": [
                {
                    "xref": "paper",
                    "x": 1,
                    "xanchor": "right",
                    "y": math.log10(y) if wide else y,
                    "yanchor": "bottom",
                    "text": name,
                    "showarrow": False,
                    "font": {"size": 11},
                }
                for name, y in _merge_close_labels(lines, everything, wide)
            ],
            "showlegend": False,
            **_TRANSPARENT,
        },
    }


def heatmap_figure(
    values: tuple[Sequence[float | str], Sequence[float | str]],
    figures: Sequence[Sequence[float | None]],
    titles: tuple[str, str, str],
    chosen: tuple[int, int] | None,
) -> dict:
    """Return one statistic over two settings: `figures[down][across]`, None where no value is known yet.

    Cells carry the index of their grid point: `values[1]` varies fastest.
    """
    across, down = ([_escape_tags(str(value)) for value in each] for each in values)
    shapes = []
    if chosen:
        x, y = chosen
        shapes = [
            {
                "type": "rect",
                **{"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5},
                "line": {"color": "#d55e00", "width": 3},
            }
        ]
    everything = [figure for row in figures for figure in row if figure is not None]
    wide = _needs_log_scale(everything)
    bar: dict[str, Any] = {"title": {"text": titles[2], "side": "right"}, "thickness": 14, "outlinewidth": 0}
    if wide:
        ticks = [10**power for power in range(math.floor(math.log10(min(everything))), 10)]
        ticks = [tick for tick in ticks if min(everything) <= tick <= max(everything)]
        bar |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    cells: dict[str, Any] = {}
    if len(across) * len(down) <= _MAX_NUMBERED_CELLS:
        cells = {"texttemplate": "%{text}", "textfont": {"size": 12}}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": across,
                "y": down,
                "z": [
                    [None if figure is None else math.log10(figure) if wide else figure for figure in row]
                    for row in figures
                ],
                "text": [["" if figure is None else _format_short(figure) for figure in row] for row in figures],
                "customdata": [[x * len(down) + y for x in range(len(across))] for y in range(len(down))],
                "colorscale": "Cividis",
                "colorbar": bar,
                "xgap": 2,
                "ygap": 2,
                "hoverongaps": False,
                "hovertemplate": f"{titles[0]} %{{x}}<br>{titles[1]} %{{y}}<br>{titles[2]}: %{{text}}<extra></extra>",
                **cells,
            }
        ],
        "layout": {
            "height": 130 + 44 * max(4, len(down)),
            "margin": {"l": 70, "r": 10, "t": 30, "b": 56},
            "xaxis": {"title": {"text": titles[0]}, "type": "category", "showgrid": False, "categoryarray": across},
            "yaxis": {"title": {"text": titles[1]}, "type": "category", "showgrid": False, "categoryarray": down},
            "shapes": shapes,
            **_TRANSPARENT,
            "plot_bgcolor": "rgba(127,137,152,0.16)",  # shows through cells without a value
        },
    }


def _padded_range(values: Sequence[float]) -> list[float]:
    """Return an axis range around all values, which stays fixed while points come in."""
    room = (max(values) - min(values)) / 20 or 0.5
    return [min(values) - room, max(values) + room]


def _needs_log_scale(values: Sequence[float]) -> bool:
    """Return whether the values span so much that only a logarithmic scale shows them all."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_SCALE_RATIO


def _merge_close_labels(lines: Mapping[str, float], everything: Sequence[float], wide: bool) -> list[tuple[str, float]]:
    """Merge the names of lines that are too close to be labelled separately."""

    def height(value: float) -> float:
        return math.log10(value) if wide else value

    heights = [height(value) for value in everything] + ([] if wide else [0.0])
    near = (max(heights) - min(heights)) / 20 if heights else 0.0
    groups: list[tuple[str, float]] = []
    for name, value in sorted(lines.items(), key=lambda line: line[1]):
        if groups and height(value) - height(groups[-1][1]) <= near:
            groups[-1] = (f"{groups[-1][0]} · {name}", groups[-1][1])
        else:
            groups.append((name, value))
    return groups


def _format_short(value: float) -> str:
    """Format a value with two or three digits, without a power of ten."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _reference_line_style() -> dict:
    return {"color": COLOURS[1], "width": 1.5, "dash": "dot"}


def _escape_tags(text: str) -> str:
    """Escape the characters that plotly would read as tags, because names may hold what people typed."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
