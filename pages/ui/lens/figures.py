"""Build the Lens page's figures of one step as plotly JSON, without Streamlit.

Waterfall through the sampler stages, cumulative and rank curves, and counts of draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pages.ui.components.figure import (
    AFTER_COLOUR,
    DRAWN_COLOUR,
    RAW_COLOUR,
    Figure,
    escape_label,
    fade_colour,
    make_axis,
    make_figure,
    make_horizontal_line,
    make_token_axis,
    shorten_label,
)
from samplers.top_logprobs import MAX_VOCABULARY_SIZE

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.analysis.step_inspector import DrawCounts, StageView, StepView

MAX_TOKENS_SHOWN = 12
PANEL_WIDTH = 88
"""Pixels that one stage needs; narrower screens scroll sideways."""
LABEL_WIDTH = 108
_ROW_HEIGHT, _HEAD_HEIGHT, _LINE_HEIGHT = 25, 72, 16
_MIN_LOG_PROBABILITY = 1e-6
"""Lowest probability on logarithmic scales."""
_MIN_VISIBLE_ERROR = 5e-4
_HEADROOM_FACTOR = 1.45
"""Factor beyond the longest bar, which leaves room for its number."""
_LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


@dataclass(frozen=True, slots=True)
class WaterfallColumn:
    """One panel of the waterfall: a distribution over the shown tokens and the sum of all other tokens."""

    title: str
    lines: tuple[str, ...]
    """Small print below the title."""
    values: tuple[float, ...]
    """Probability of each shown token, in [0, 1]; 0 for an excluded one."""
    rest: float
    errors: tuple[float, float] = (0.0, 0.0)
    """Error bounds of a value and of the rest, in [0, 1]."""


def waterfall_figure(
    columns: Sequence[WaterfallColumn],
    labels: Sequence[str],
    *,
    marked: int | None,
    logarithmic: bool,
    number: Callable[[float], str],
    words: dict[str, str],
) -> Figure:
    """Return panels side by side over the same tokens: bars for possible tokens, hatching for excluded ones.

    `marked` is the row of the token that would be drawn. `words` gives `rest`, `probability` and `cut`.
    """
    names = [*labels, words["rest"]]
    longest = max((max(*column.values, column.rest) for column in columns), default=1.0)
    end = 1.0 if logarithmic else min(1.0, longest) * _HEADROOM_FACTOR
    head = _HEAD_HEIGHT + _LINE_HEIGHT * max(0, max((len(column.lines) for column in columns), default=0) - 3)
    traces: list[Figure] = []
    axes: Figure = {}
    headings: list[Figure] = []
    gap, width = 0.018, 1 / max(1, len(columns))
    for place, column in enumerate(columns):
        axis = "" if place == 0 else str(place + 1)
        domain = [place * width + (gap / 2 if place else 0), (place + 1) * width - gap / 2]
        axes[f"xaxis{axis}"] = {
            "domain": domain,
            "range": [math.log10(_MIN_LOG_PROBABILITY), 0.9] if logarithmic else [0, end],
            "type": "log" if logarithmic else "linear",
            "showticklabels": False,
            "zeroline": False,
            "showgrid": False,
            "fixedrange": True,
        }
        traces += _column_traces(column, names, f"x{axis}", marked, logarithmic, end, number, words)
        headings.append(_column_heading(column, domain))
    ticks = [escape_label(shorten_label(name)) for name in names]
    if marked is not None:
        ticks[marked] = f"<b>{ticks[marked]}</b>"
    return make_figure(
        traces,
        height=head + 12 + _ROW_HEIGHT * len(names),
        margin=(LABEL_WIDTH, 4, head, 12),
        barmode="overlay",
        yaxis=make_token_axis(ticks),
        annotations=headings,
        **axes,
    )


def waterfall_width(columns: int) -> int:
    """Return the pixels below which the panels cannot be read."""
    return LABEL_WIDTH + PANEL_WIDTH * columns


def _column_traces(
    column: WaterfallColumn,
    names: Sequence[str],
    axis: str,
    marked: int | None,
    logarithmic: bool,
    end: float,
    number: Callable[[float], str],
    words: dict[str, str],
) -> list[Figure]:
    values = [*column.values, column.rest]
    rows = list(range(len(values)))
    cut = [row for row in rows if values[row] == 0]
    last = len(values) - 1
    colours = [DRAWN_COLOUR if row == marked else RAW_COLOUR if row == last else AFTER_COLOUR for row in rows]
    floor = _MIN_LOG_PROBABILITY if logarithmic else 0.0
    far = 7.0 if logarithmic else end
    error, rest_error = (0.0 if each >= 1 else each for each in column.errors)
    if column.rest + rest_error > end * 0.7:
        rest_error = 0.0  # it would strike out the number beside it
    shared = {"type": "bar", "orientation": "h", "xaxis": axis, "width": 0.76}
    return [
        shared
        | {
            "x": [max(0.0, value) if value > floor else 0 for value in values],
            "y": rows,
            "marker": {"color": colours, "opacity": 0.62},
            "hovertext": [
                f"{escape_label(name)}<br>{escape_label(column.title)}<br>{words['probability']}: {value:.6f}"
                for name, value in zip(names, values, strict=True)
            ],
            "hoverinfo": "text",
        }
        | _error_bars([*[error] * last, rest_error]),
        shared
        | {
            "x": [far] * len(cut),
            "y": cut,
            "marker": {
                "color": fade_colour(RAW_COLOUR, 0.1),
                "pattern": {"shape": "/", "size": 6, "fgcolor": fade_colour(RAW_COLOUR, 0.45)},
            },
            "hovertext": [f"{escape_label(names[row])}<br>{words['cut']}" for row in cut],
            "hoverinfo": "text",
        },
        {
            "type": "scatter",
            "mode": "text",
            "xaxis": axis,
            "x": [far] * (len(rows) - len(cut)),
            "y": [row for row in rows if row not in cut],
            "text": [number(values[row]) for row in rows if row not in cut],
            "textposition": "middle left",
            "textfont": {"size": 12},
            "hoverinfo": "skip",
            "cliponaxis": False,
        },
    ]


def _error_bars(errors: Sequence[float]) -> Figure:
    """Return error bars, or nothing where they would be too small to see."""
    if max(errors) < _MIN_VISIBLE_ERROR:
        return {}
    return {"error_x": {"type": "data", "array": list(errors), "thickness": 1.2, "width": 3, "color": RAW_COLOUR}}


def _column_heading(column: WaterfallColumn, domain: list[float]) -> Figure:
    lines = [f"<b>{escape_label(column.title)}</b>", *(f"<span>{escape_label(line)}</span>" for line in column.lines)]
    return {
        "xref": "paper",
        "yref": "paper",
        "x": domain[0],
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "align": "left",
        "text": "<br>".join(lines),
        "showarrow": False,
        "font": {"size": 12},
    }


def cumulative_figure(view: StepView, words: dict[str, str], top_p: float | None) -> Figure:
    """Return cumulative probability by rank, before and after the sampler, with `top_p` as a line."""
    figure = _curve_figure(
        [
            (words["raw"], RAW_COLOUR, *_thin_points(view.raw.descending.cumsum(0))),
            (words["after"], AFTER_COLOUR, *_thin_points(view.final.descending.cumsum(0), view.final.kept)),
        ],
        words["rank"],
        words["cumulative"],
    )
    for stage, colour in ((view.raw, RAW_COLOUR), (view.final, AFTER_COLOUR)):
        figure["data"] += _cumulative_band(stage, colour, words["beyond"])
    figure["layout"]["yaxis"]["range"] = [0, 1.03]
    if top_p is not None:
        style = {"color": DRAWN_COLOUR, "dash": "dash", "width": 2}
        figure["layout"]["shapes"] = [make_horizontal_line(top_p, style)]
        figure["layout"]["annotations"] = [
            {
                "xref": "paper",
                "x": 0.995,
                "xanchor": "right",
                "y": top_p,
                "yanchor": "top",
                "text": words["top_p"],
                "showarrow": False,
            }
        ]
    return figure


def rank_probability_figure(view: StepView, words: dict[str, str]) -> Figure:
    """Return probability against rank, both logarithmic: a straight line would be Zipf's law."""
    figure = _curve_figure(
        [
            (words["raw"], RAW_COLOUR, *_thin_points(view.raw.descending)),
            (words["after"], AFTER_COLOUR, *_thin_points(view.final.descending, view.final.kept)),
        ],
        words["rank"],
        words["probability"],
    )
    for stage, colour in ((view.raw, RAW_COLOUR), (view.final, AFTER_COLOUR)):
        figure["data"] += _probability_ceiling(stage, colour, words["beyond"])
    figure["layout"]["yaxis"] |= {"type": "log", "exponentformat": "power", "range": [-9, 0.1]}
    return figure


def draws_figure(draws: DrawCounts, labels: Sequence[str], words: dict[str, str]) -> Figure:
    """Return observed counts as bars and expected counts as dots with one standard deviation.

    The last row is the sum of the tokens that are not shown.
    """
    shown = min(MAX_TOKENS_SHOWN, len(draws.token_ids))
    total = sum(draws.observed)
    expected = [*draws.expected[:shown], math.fsum(draws.expected[shown:])]
    observed = [*draws.observed[:shown], sum(draws.observed[shown:])]
    rows = list(range(shown + 1))
    ticks = [escape_label(shorten_label(label)) for label in (*labels[:shown], words["rest"])]
    return make_figure(
        [
            {
                "type": "bar",
                "orientation": "h",
                "name": words["counted"],
                "x": observed,
                "y": rows,
                "width": 0.7,
                "marker": {"color": AFTER_COLOUR, "opacity": 0.55},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": words["predicted"],
                "x": expected,
                "y": rows,
                "marker": {"color": DRAWN_COLOUR, "size": 8},
                "error_x": {
                    "type": "data",
                    "array": [math.sqrt(max(0.0, e * (1 - e / total))) for e in expected],
                    "color": DRAWN_COLOUR,
                    "thickness": 2,
                },
            },
        ],
        height=96 + 24 * len(rows),
        margin=(LABEL_WIDTH, 16, 34, 44),
        legend=_LEGEND_ABOVE,
        xaxis=make_axis(words["count"], rangemode="tozero", fixedrange=True, zeroline=True),
        yaxis=make_token_axis(ticks),
    )


def _curve_figure(lines: list[tuple[str, str, list[int], list[float]]], x: str, y: str) -> Figure:
    return make_figure(
        [
            {
                "type": "scatter",
                "mode": "lines+markers" if len(xs) < 12 else "lines",
                "name": name,
                "x": xs,
                "y": ys,
                "line": {"color": colour, "width": 3},
            }
            for name, colour, xs, ys in lines
        ],
        height=380,
        margin=(64, 16, 34, 52),
        legend=_LEGEND_ABOVE,
        xaxis=make_axis(x, type="log", fixedrange=True, exponentformat="none"),
        yaxis=make_axis(y, fixedrange=True),
    )


def _unseen_ranks(stage: StageView) -> list[int]:
    """Return ranks of unseen tokens, evenly spaced on a logarithmic scale; empty where no token is unseen."""
    if stage.unseen is None or not stage.unseen.possible or not stage.kept:
        return []
    last = max(stage.kept + 1, stage.unseen.vocabulary or MAX_VOCABULARY_SIZE)
    return sorted({round(stage.kept * (last / stage.kept) ** (k / 60)) for k in range(61)})


def _cumulative_band(stage: StageView, colour: str, name: str) -> list[Figure]:
    """Return the band between the lowest and the highest cumulative sums that the unseen tokens allow.

    The upper edge gives as few tokens as possible as much as possible, the lower edge makes all equally likely.
    """
    if not (ranks := _unseen_ranks(stage)) or stage.unseen is None:
        return []
    known, unseen = float(stage.probs.sum()), stage.unseen
    most = [min(1.0, known + unseen.mass_bound + (rank - stage.kept) * unseen.ceiling) for rank in ranks]
    across = max(1, ranks[-1] - stage.kept)
    least = [max(0.0, known - unseen.mass_bound + (1 - known) * (rank - stage.kept) / across) for rank in ranks]
    shared = {"type": "scatter", "mode": "lines", "x": ranks, "line": {"width": 0, "color": colour}}
    return [
        shared | {"y": least, "showlegend": False, "hoverinfo": "skip"},
        shared
        | {"y": most, "name": name, "fill": "tonexty", "fillcolor": fade_colour(colour, 0.2), "hoverinfo": "skip"},
    ]


def _probability_ceiling(stage: StageView, colour: str, name: str) -> list[Figure]:
    """Return the highest probability that a token of each unseen rank can have.

    No unseen token is likelier than the least likely seen one, and all tokens up to a rank share the mass that is left.
    """
    if not (ranks := _unseen_ranks(stage)) or stage.unseen is None:
        return []
    left, ceiling = min(1.0, stage.unseen.mass + stage.unseen.mass_bound), stage.unseen.ceiling
    ys = [min(ceiling, left / max(1, rank - stage.kept)) for rank in ranks]
    line = {"color": colour, "dash": "dot", "width": 2}
    return [{"type": "scatter", "mode": "lines", "name": name, "x": ranks, "y": ys, "line": line}]


def _thin_points(values: Tensor, kept: int | None = None) -> tuple[list[int], list[float]]:
    """Return ranks and values, thinned out evenly on a logarithmic scale, because more points could not be seen."""
    count = len(values) if kept is None else kept
    ranks = sorted({round(count ** (k / 160)) for k in range(161)}) if count > 1 else [1]
    return ranks, [float(values[rank - 1]) for rank in ranks]
