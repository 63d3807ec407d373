"""Build charts of Best-of-N as plotly JSON. No Streamlit here.

Colours are Okabe and Ito's, with a dash and a marker of its own for each line, so that no line depends on its colour
alone; agreement runs from orange over white to blue. Every axis has a title with its unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llm_core.best_of_n.estimators import MeanEstimate
from pages.ui.components.figure import (
    COLOURS,
    RAW_COLOUR,
    Figure,
    escape_label,
    fade_colour,
    make_axis,
    make_figure,
    make_heatmap,
)

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
) -> Figure:
    """Return curves over n on a logarithmic axis; `band` names the confidence band of a curve that has one."""
    traces: list[Figure] = []
    coloured = [line for line in lines if not line.reference]
    for line in lines:
        place = coloured.index(line) if not line.reference else 0
        colour = RAW_COLOUR if line.reference else COLOURS[place % 6]
        if line.low:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": escape_label(band),
                    "x": [*line.ns, *reversed(line.ns)],
                    "y": [*line.high, *reversed(line.low)],
                    "fill": "toself",
                    "fillcolor": fade_colour(colour, 0.18),
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                    "showlegend": bool(band),
                }
            )
        traces.append(
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
    ticks = [n for n in _AXIS_TICKS if n <= most]
    legend_height = 22 * ((len(lines) + 1) // 2)
    return make_figure(
        traces,
        height=350 + legend_height,
        margin=(62, 14, 34, 70 + legend_height),
        legend={"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
        xaxis=make_axis(titles[0], type="log", tickvals=ticks, ticktext=list(map(str, ticks))),
        yaxis=make_axis(titles[1], **({"range": list(limits)} if limits else {})),
    )


def estimate_curve(name: str, ns: Sequence[int], values: Sequence[MeanEstimate]) -> ScalingCurve:
    return ScalingCurve(
        name, ns, [each.value for each in values], [each.low for each in values], [each.high for each in values]
    )


def agreement_figure(names: Sequence[str], matrix: Sequence[Sequence[float | None]], axis: str, title: str) -> Figure:
    """Return rank correlations, in [-1, 1], as a map with their numbers; None where a pair has none."""
    shown = [escape_label(name) for name in names]
    trace = make_heatmap(
        shown,
        shown,
        [list(row) for row in matrix],
        [["–" if tau is None else f"{tau:.2f}".replace("-", "−") for tau in row] for row in matrix],
        title=axis,
        zmin=-1,
        zmax=1,
        colorscale=[[0, "#b35900"], [0.5, "#f3f3f3"], [1, COLOURS[0]]],
        hovertemplate="%{x}<br>%{y}<br>%{text}<extra></extra>",
    )
    axis_style = make_axis(title, type="category", automargin=True, showgrid=False)
    return make_figure(
        [trace],
        height=190 + 38 * max(3, len(names)),
        margin=(10, 10, 34, 10),
        xaxis=axis_style,
        yaxis=axis_style | {"autorange": "reversed"},
    )


def length_figure(
    lengths: Sequence[int],
    values: tuple[Sequence[float], Sequence[float]],
    indices: Sequence[int],
    titles: tuple[str, str, str],
) -> Figure:
    """Return two scores of each candidate over its length, side by side, the highest of each as a star.

    Points carry the candidate's index.
    """
    traces = []
    for place, column in enumerate(values):
        best = max(column)
        traces.append(
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
    return make_figure(
        traces,
        height=320,
        margin=(62, 14, 34, 52),
        xaxis=make_axis(titles[0], domain=[0, 0.43]),
        xaxis2=make_axis(titles[0], domain=[0.57, 1], anchor="y2"),
        yaxis=make_axis(titles[1]),
        yaxis2=make_axis(titles[2], anchor="x2"),
    )


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
