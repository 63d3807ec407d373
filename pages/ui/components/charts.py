"""Build figures from traces as plain plotly JSON. Free of Streamlit, so charts are tested without a page.

The figures are dictionaries and not `plotly.graph_objects`: a live chart is redrawn several times a second for every
reader, and building a validated figure costs milliseconds each time. A test validates them with `go.Figure`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from llm_core.analysis.significance import Proportion
from llm_core.generation.token_text import escape_control_characters
from samplers import StepTrace

RAW_COLOUR, AFTER_COLOUR, DRAWN_COLOUR = "#7f8998", "#2f6fd6", "#d05a0a"
"""Grey, blue and orange: distinguishable with every common form of colour blindness, on light and on dark."""

BAR_COUNT = 12
FIGURE_HEIGHT = 398
_MAX_LABEL_LENGTH = 14


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


def step_figure(candidates: list[StepCandidate], number: Callable[[float], str], words: dict[str, str]) -> dict:
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

    def bars(name: str, values: list[float], width: float, color: object) -> dict:
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

    return {
        "data": [
            bars(words["raw"], [c.raw for c in candidates], 0.78, RAW_COLOUR),
            bars(
                words["after"],
                [c.after for c in candidates],
                0.4,
                [DRAWN_COLOUR if c.drawn else AFTER_COLOUR for c in candidates],
            ),
        ],
        "layout": {
            "height": FIGURE_HEIGHT,
            "margin": {"l": 118, "r": 104, "t": 34, "b": 52},
            "barmode": "overlay",
            "showlegend": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {
                "title": {"text": words["axis"]},
                "range": [0, 1],
                "fixedrange": True,
                "tickformat": ".1f",
                "dtick": 0.2,
                "zeroline": False,
            },
            "yaxis": {
                "range": [BAR_COUNT - 0.5, -0.5],
                "fixedrange": True,
                "showgrid": False,
                "zeroline": False,
                "ticks": "outside",
                "ticklen": 6,
                "tickcolor": "rgba(0,0,0,0)",
                "tickmode": "array",
                "tickvals": rows,
                "ticktext": [_format_tick(c) for c in candidates],
            },
            "annotations": [_right_annotation(row, text) for row, text in zip(rows, numbers, strict=True)]
            or [_centre_annotation(words["empty"])],
        },
    }


def _format_tick(candidate: StepCandidate) -> str:
    label = candidate.label
    label = label if len(label) <= _MAX_LABEL_LENGTH else label[: _MAX_LABEL_LENGTH - 1] + "…"
    text = escape_label(label)
    if candidate.excluded:
        return f"<s>{text}</s>"
    return f"<b>{text}</b>" if candidate.drawn else text


def escape_label(text: str) -> str:
    """Escape a label, because model output is untrusted and plotly interprets tags in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _right_annotation(row: int, text: str) -> dict:
    return {
        "xref": "paper",
        "x": 1.01,
        "xanchor": "left",
        "y": row,
        "yref": "y",
        "text": escape_label(text),
        "showarrow": False,
    }


def _centre_annotation(text: str) -> dict:
    return {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "text": text, "showarrow": False}


def accuracy_figure(shares: list[tuple[str, Proportion]], axis: str) -> dict:
    """Return accuracies as dots with their intervals, one line each, from 0 to 100 %."""
    known = [(name, share) for name, share in shares if share.n]
    return {
        "data": [
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
        "layout": {
            "height": 140 + 34 * len(shares),
            "margin": {"l": 8, "r": 16, "t": 34, "b": 56},
            "xaxis": {
                "title": {"text": axis},
                "range": [-2, 102],
                "ticksuffix": " %",
                "zeroline": False,
                "fixedrange": True,
            },
            "yaxis": {
                "automargin": True,
                "autorange": "reversed",
                "type": "category",  # plotly would parse names made of digits as numbers
                "categoryorder": "array",
                "categoryarray": [name for name, _ in shares],
                "fixedrange": True,
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": False,
        },
    }
