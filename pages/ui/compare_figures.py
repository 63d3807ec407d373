"""Charts of comparisons and sweeps, as plain plotly JSON. No Streamlit here.

Colours are Okabe and Ito's, told apart in every common form of colour blindness, and every second round of them is
dashed; maps use the cividis scale. Every axis has a title with its unit, and every point of a sweep carries its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pages.ui.charts import RAW

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f8998", "#a6761d")
_DASHES = ("solid", "dash")
_CLEAR = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
_MOST_NUMBERS = 100
"""Cells of a map that are few enough to have their numbers written in them."""


def entropy_figure(lines: Mapping[str, Sequence[float]], position: str, bits: str) -> dict:
    """The uncertainty of the model along each text: bits by token."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": _plain(name),
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
            **_CLEAR,
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
    """One figure over one setting: a line through the places that have one, a dot for each seed, and horizontal lines
    for what is compared with. Points carry their place in `values`."""
    known = [place for place, figure in enumerate(figures) if figure is not None]
    dots = [(place, value) for place, each in enumerate(seeds) for value in each]
    named = any(isinstance(value, str) for value in values)
    xs = [_plain(str(value)) for value in values] if named else list(values)
    everything = [*(figure for figure in figures if figure is not None), *lines.values(), *(y for _, y in dots)]
    wide = bool(everything) and min(everything) > 0 and max(everything) / min(everything) > 30
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [xs[place] for place, _ in dots],
                "y": [value for _, value in dots],
                "customdata": [place for place, _ in dots],
                "marker": {"color": RAW, "size": 6, "opacity": 0.65},
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
                **({"type": "category", "categoryarray": xs} if named else {}),
            },
            "yaxis": {
                "title": {"text": titles[1]},
                "zeroline": False,
                **({"type": "log", "dtick": "D2"} if wide else {"rangemode": "tozero"}),
            },
            "shapes": [
                {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": _dashed()}
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
                for name, y in lines.items()
            ],
            "showlegend": False,
            **_CLEAR,
        },
    }


def map_figure(
    values: tuple[Sequence[float | str], Sequence[float | str]],
    figures: Sequence[Sequence[float | None]],
    titles: tuple[str, str, str],
    chosen: tuple[int, int] | None,
) -> dict:
    """One figure over two settings: `figures[down][across]`, empty where there is none yet. Cells carry their place in
    the order of the rows of `values[1]` within each of `values[0]`."""
    across, down = ([_plain(str(value)) for value in each] for each in values)
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
    cells: dict[str, Any] = {}
    if len(across) * len(down) <= _MOST_NUMBERS:
        cells = {"texttemplate": "%{z:.2~g}", "textfont": {"size": 12}}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": across,
                "y": down,
                "z": [[None if figure is None else round(figure, 5) for figure in row] for row in figures],
                "customdata": [[x * len(down) + y for x in range(len(across))] for y in range(len(down))],
                "colorscale": "Cividis",
                "colorbar": {"title": {"text": titles[2], "side": "right"}, "thickness": 14, "outlinewidth": 0},
                "xgap": 2,
                "ygap": 2,
                "hoverongaps": False,
                "hovertemplate": f"{titles[0]} %{{x}}<br>{titles[1]} %{{y}}<br>{titles[2]}: %{{z:.3g}}<extra></extra>",
                **cells,
            }
        ],
        "layout": {
            "height": 130 + 44 * max(4, len(down)),
            "margin": {"l": 70, "r": 10, "t": 30, "b": 56},
            "xaxis": {"title": {"text": titles[0]}, "type": "category", "showgrid": False, "categoryarray": across},
            "yaxis": {"title": {"text": titles[1]}, "type": "category", "showgrid": False, "categoryarray": down},
            "shapes": shapes,
            **_CLEAR,
        },
    }


def _dashed() -> dict:
    return {"color": COLOURS[1], "width": 1.5, "dash": "dot"}


def _plain(text: str) -> str:
    """Names may hold what people typed, and plotly reads tags in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
