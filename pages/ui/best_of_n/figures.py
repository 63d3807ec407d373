"""Build charts of Best-of-N as plotly JSON. No Streamlit here.

Colours are Okabe and Ito's, with a dash and a marker of its own for each line, so that no line depends on its colour
alone; agreement runs from orange over white to blue. Every axis has a title with its unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_core.best_of_n.estimators import MeanEstimate
from pages.ui.compare.figures import COLOURS
from pages.ui.components.charts import RAW_COLOUR, escape_label

_TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon")
_AXIS_TICKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class ScalingCurve:
    """One curve over n, the number of candidates. A `reference` is grey and dotted: a baseline to compare with."""

    name: str
    ns: Sequence[int]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    reference: bool = False


def scaling_figure(
    lines: Sequence[ScalingCurve], titles: tuple[str, str], band: str = "", limits: tuple[float, float] | None = None
) -> dict:
    """Return curves over n on a logarithmic axis; `band` names the confidence band of a curve that has one."""
    data: list[dict] = []
    coloured = [line for line in lines if not line.reference]
    for line in lines:
        place = coloured.index(line) if not line.reference else 0
        colour = RAW_COLOUR if line.reference else COLOURS[place % 6]
        if line.low:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": escape_label(band),
                    "x": [*line.ns, *reversed(line.ns)],
                    "y": [*line.high, *reversed(line.low)],
                    "fill": "toself",
                    "fillcolor": _fade_colour(colour),
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                    "showlegend": bool(band),
                }
            )
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if line.reference else "lines+markers",
                "name": escape_label(line.name),
                "x": list(line.ns),
                "y": [round(value, 5) for value in line.values],
                "line": {
                    "color": colour,
                    "width": 2,
                    "dash": "dot" if line.reference else _DASHES[place // 2 % len(_DASHES)],
                },
                "marker": {"color": colour, "size": 8, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
                "hovertemplate": "n = %{x}: %{y:.3g}<extra>%{fullData.name}</extra>",
            }
        )
    most = max((n for line in lines for n in line.ns), default=1)
    return {
        "data": data,
        "layout": {
            "height": 350 + 22 * ((len(lines) + 1) // 2),
            "margin": {"l": 62, "r": 14, "t": 34, "b": 70 + 22 * ((len(lines) + 1) // 2)},
            "xaxis": {
                "title": {"text": titles[0]},
                "type": "log",
                "tickvals": [n for n in _AXIS_TICKS if n <= most],
                "ticktext": [str(n) for n in _AXIS_TICKS if n <= most],
                "zeroline": False,
            },
            "yaxis": {
                "title": {"text": titles[1]},
                "zeroline": False,
                **({"range": list(limits)} if limits else {}),
            },
            "legend": {"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
            "showlegend": True,
            **_TRANSPARENT,
        },
    }


def estimate_curve(name: str, ns: Sequence[int], values: Sequence[MeanEstimate]) -> ScalingCurve:
    return ScalingCurve(
        name, ns, [each.value for each in values], [each.low for each in values], [each.high for each in values]
    )


def agreement_figure(names: Sequence[str], matrix: Sequence[Sequence[float | None]], axis: str, title: str) -> dict:
    """Return rank correlations, in [-1, 1], as a map with their numbers; None where a pair has none."""
    shown = [escape_label(name) for name in names]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": shown,
                "y": shown,
                "z": [list(row) for row in matrix],
                "zmin": -1,
                "zmax": 1,
                "colorscale": [[0, "#b35900"], [0.5, "#f3f3f3"], [1, "#0072b2"]],
                "colorbar": {"title": {"text": axis, "side": "right"}, "thickness": 14, "outlinewidth": 0},
                "xgap": 2,
                "ygap": 2,
                "hoverongaps": False,
                "text": [["–" if tau is None else f"{tau:.2f}".replace("-", "−") for tau in row] for row in matrix],
                "texttemplate": "%{text}",
                "textfont": {"size": 12},
                "hovertemplate": "%{x}<br>%{y}<br>%{text}<extra></extra>",
            }
        ],
        "layout": {
            "height": 190 + 38 * max(3, len(names)),
            "margin": {"l": 10, "r": 10, "t": 34, "b": 10},
            "xaxis": {"title": {"text": title}, "type": "category", "automargin": True, "showgrid": False},
            "yaxis": {
                "title": {"text": title},
                "type": "category",
                "automargin": True,
                "autorange": "reversed",
                "showgrid": False,
            },
            **_TRANSPARENT,
        },
    }


def length_figure(
    lengths: Sequence[int],
    values: tuple[Sequence[float], Sequence[float]],
    indices: Sequence[int],
    titles: tuple[str, str, str],
) -> dict:
    """Return two scores of each candidate over its length, side by side, the highest of each as a star.

    Points carry the candidate's index.
    """
    data = []
    for place, column in enumerate(values):
        best = max(column)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": list(lengths),
                "y": [round(value, 4) for value in column],
                "customdata": list(indices),
                "text": [str(index + 1) for index in indices],
                "xaxis": f"x{place + 1 if place else ''}",
                "yaxis": f"y{place + 1 if place else ''}",
                "marker": {
                    "color": [COLOURS[1] if value == best else COLOURS[0] for value in column],
                    "symbol": ["star" if value == best else "circle" for value in column],
                    "size": [15 if value == best else 8 for value in column],
                },
                "hovertemplate": "%{text}: %{x}, %{y:.3g}<extra></extra>",
            }
        )
    axis = {"title": {"text": titles[0]}, "zeroline": False}
    return {
        "data": data,
        "layout": {
            "height": 320,
            "margin": {"l": 62, "r": 14, "t": 34, "b": 52},
            "xaxis": {**axis, "domain": [0, 0.43]},
            "xaxis2": {**axis, "domain": [0.57, 1], "anchor": "y2"},
            "yaxis": {"title": {"text": titles[1]}, "zeroline": False},
            "yaxis2": {"title": {"text": titles[2]}, "zeroline": False, "anchor": "x2"},
            "showlegend": False,
            **_TRANSPARENT,
        },
    }


def scaling_table(lines: Sequence[ScalingCurve], n_title: str, show: Mapping[str, str] | None = None) -> list[dict]:
    """Return the chart's numbers as a table, one row for each n."""
    ns = sorted({n for line in lines for n in line.ns})
    rows = []
    for n in ns:
        row: dict[str, float | int | str | None] = {n_title: n}
        for line in lines:
            if n in line.ns:
                at = list(line.ns).index(n)
                row[line.name] = round(line.values[at], 4)
                if line.low and show:
                    row[f"{line.name} ({show['low']})"] = round(line.low[at], 4)
                    row[f"{line.name} ({show['high']})"] = round(line.high[at], 4)
        rows.append(row)
    return rows


def _fade_colour(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
