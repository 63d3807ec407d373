"""Build a figure as plain plotly JSON, with the layout, colours and labels that all charts share. Free of Streamlit, so
charts are tested without a page.

The figures are dictionaries and not `plotly.graph_objects`: a live chart is redrawn several times a second for every
reader, and building a validated figure costs milliseconds each time. Tests validate them with `go.Figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Figure = dict[str, Any]
"""Plotly JSON: the traces in `data` and the `layout`."""

RAW_COLOUR, AFTER_COLOUR, DRAWN_COLOUR = "#7f8998", "#2f6fd6", "#d05a0a"
"""Grey, blue and orange: distinguishable with every common form of colour blindness, on light and on dark."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", RAW_COLOUR, "#a6761d")
"""Colours of lines that are compared: Okabe and Ito's, distinct in every common form of colour blindness, then two that
stay apart from them."""
TRANSPARENT = "rgba(0,0,0,0)"


def make_figure(
    traces: Sequence[Figure],
    *,
    height: int,
    margin: tuple[int, int, int, int],
    legend: Figure | None = None,
    **layout: Any,
) -> Figure:
    """Build a figure from traces, transparent so that it suits light and dark pages.

    `height` and `margin`, left, right, top and bottom, are in pixels. A figure without a `legend` shows none. `layout`
    takes everything else under plotly's names and has the last word.
    """
    return {
        "data": list(traces),
        "layout": {
            "height": height,
            "margin": dict(zip("lrtb", margin, strict=True)),
            "showlegend": legend is not None,
            **({"legend": legend} if legend else {}),
            "paper_bgcolor": TRANSPARENT,
            "plot_bgcolor": TRANSPARENT,
            **layout,
        },
    }


def make_axis(title: str, **settings: Any) -> Figure:
    """Build an axis with a title, which names its unit, and without a line at zero unless `settings` ask for it."""
    return {"title": {"text": title}, "zeroline": False, **settings}


def make_token_axis(labels: Sequence[str], rows: int | None = None, **settings: Any) -> Figure:
    """Build a vertical axis with a label for each row, from the top down, and room for `rows` of them.

    Labels may hold tags of ours; tokens in them are escaped already.
    """
    return {
        "range": [(len(labels) if rows is None else rows) - 0.5, -0.5],
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        **settings,
    }


def make_heatmap(
    x: Sequence[str],
    y: Sequence[str],
    z: Sequence[Sequence[float | None]],
    text: Sequence[Sequence[str]],
    *,
    title: str,
    colorbar: Figure | None = None,
    write_text: bool = True,
    **settings: Any,
) -> Figure:
    """Build a trace of coloured cells with a colour bar named `title`; `colorbar` adds settings to it.

    `z` and `text` are read as `z[down][across]`; None leaves a cell empty. `write_text` writes the text in the cells.
    """
    return {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": z,
        "text": text,
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0, **(colorbar or {})},
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        **({"texttemplate": "%{text}", "textfont": {"size": 12}} if write_text else {}),
        **settings,
    }


def make_horizontal_line(y: float, style: Figure) -> Figure:
    """Build a shape: a line across the whole figure at height `y`."""
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": style}


def escape_label(text: str) -> str:
    """Escape a label, because model output is untrusted and plotly interprets tags in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shorten_label(label: str, length: int = 14) -> str:
    """Shorten a label to at most `length` characters, the last of them an ellipsis. Shorten before you escape, because
    a cut through `&lt;` would show its half."""
    return label if len(label) <= length else label[: length - 1] + "…"


def fade_colour(colour: str, opacity: float) -> str:
    """Make a colour, `#rrggbb`, as translucent as `opacity` says, from 0 to 1."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
