"""Build the charts of one step and of accuracies as plotly JSON, without Streamlit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from llm_core.analysis.significance import Proportion
from llm_core.generation.token_text import escape_control_characters
from pages.ui.components.figure import (
    AFTER_COLOUR,
    DRAWN_COLOUR,
    RAW_COLOUR,
    TRANSPARENT,
    Figure,
    escape_label,
    make_axis,
    make_figure,
    make_token_axis,
    shorten_label,
)
from samplers import StepTrace

BAR_COUNT = 12
FIGURE_HEIGHT = 398


@dataclass(frozen=True, slots=True)
class StepCandidate:
    """One token of a step as the chart and its table show it. Probabilities are in [0, 1]."""

    label: str
    token_id: int
    raw: float
    after: float
    drawn: bool

    @property
    def excluded(self) -> bool:
        """Whether the sampler excluded the token."""
        return self.after == 0


def top_candidates(trace: StepTrace, label: Callable[[int], str], count: int = BAR_COUNT) -> list[StepCandidate]:
    """Return the `count` most likely tokens before the sampler. The drawn token takes the last place if it is not among
    them."""
    chosen = trace.candidates.index(trace.token_id)
    places = list(range(min(count, len(trace.candidates))))
    if chosen not in places:
        places[-1] = chosen
    return [
        StepCandidate(
            label=escape_control_characters(label(trace.candidates[place])),
            token_id=trace.candidates[place],
            raw=math.exp(trace.raw.logprobs[place]),
            after=math.exp(trace.final.logprobs[place]),
            drawn=place == chosen,
        )
        for place in places
    ]


def step_figure(candidates: list[StepCandidate], number: Callable[[float], str], words: dict[str, str]) -> Figure:
    """Return a bar chart of one step: wide grey bars before the sampler, narrow coloured ones after it, excluded tokens
    struck out.

    `words` has the texts `raw`, `after`, `drawn`, `cut`, `empty` and `axis`. The axis always runs from 0 to 1 and has
    room for `BAR_COUNT` bars, so that nothing jumps between steps.
    """
    rows = list(range(len(candidates)))
    numbers = [f"{number(c.raw)} → {words['cut'] if c.excluded else number(c.after)}" for c in candidates]
    hover = [
        f"{escape_label(c.label)}<br>{words['raw']}: {c.raw:.4f}<br>{words['after']}: {c.after:.4f}" for c in candidates
    ]

    def bars(name: str, values: list[float], width: float, color: object) -> Figure:
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": [round(value, 5) for value in values],
            "y": rows,
            "width": width,
            "marker": {"color": color},
            "hovertext": hover,
            "hoverinfo": "text",
        }

    after_colours = [DRAWN_COLOUR if c.drawn else AFTER_COLOUR for c in candidates]
    return make_figure(
        [
            bars(words["raw"], [c.raw for c in candidates], 0.78, RAW_COLOUR),
            bars(words["after"], [c.after for c in candidates], 0.4, after_colours),
        ],
        height=FIGURE_HEIGHT,
        margin=(118, 104, 34, 52),
        barmode="overlay",
        xaxis=make_axis(words["axis"], range=[0, 1], fixedrange=True, tickformat=".1f", dtick=0.2),
        yaxis=make_token_axis(
            [_format_tick(c) for c in candidates], BAR_COUNT, ticks="outside", ticklen=6, tickcolor=TRANSPARENT
        ),
        annotations=[_right_annotation(row, text) for row, text in zip(rows, numbers, strict=True)]
        or [_centre_annotation(words["empty"])],
    )


def _format_tick(candidate: StepCandidate) -> str:
    text = escape_label(shorten_label(candidate.label))
    if candidate.excluded:
        return f"<s>{text}</s>"
    return f"<b>{text}</b>" if candidate.drawn else text


def _right_annotation(row: int, text: str) -> Figure:
    return {
        "xref": "paper",
        "x": 1.01,
        "xanchor": "left",
        "y": row,
        "yref": "y",
        "text": escape_label(text),
        "showarrow": False,
    }


def _centre_annotation(text: str) -> Figure:
    return {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "text": text, "showarrow": False}


def accuracy_figure(shares: list[tuple[str, Proportion]], axis: str) -> Figure:
    """Return accuracies as dots with their intervals, one line each, from 0 to 100 %."""
    known = [(name, share) for name, share in shares if share.n]
    return make_figure(
        [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * share.value for _, share in known],
                "y": [name for name, _ in known],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (share.high - share.value) for _, share in known],
                    "arrayminus": [100 * (share.value - share.low) for _, share in known],
                    "color": RAW_COLOUR,
                    "thickness": 2,
                },
                "marker": {"color": AFTER_COLOUR, "size": 11},
                "hovertemplate": "%{y}: %{x:.0f} %<extra></extra>",
            }
        ],
        height=140 + 34 * len(shares),
        margin=(8, 16, 34, 56),
        xaxis=make_axis(axis, range=[-2, 102], ticksuffix=" %", fixedrange=True),
        yaxis={
            "automargin": True,
            "autorange": "reversed",
            "type": "category",  # plotly would parse names made of digits as numbers
            "categoryorder": "array",
            "categoryarray": [name for name, _ in shares],
            "fixedrange": True,
        },
    )
