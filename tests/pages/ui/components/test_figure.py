"""The builder that all charts share: valid plotly, one look, labels without markup."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from pages.ui.components.figure import (
    COLOURS,
    TRANSPARENT,
    escape_label,
    fade_colour,
    make_axis,
    make_figure,
    make_heatmap,
    make_horizontal_line,
    make_token_axis,
    shorten_label,
)

BAR = {"type": "bar", "orientation": "h", "x": [1, 2], "y": [0, 1]}


def test_every_part_is_valid_plotly():
    figure = go.Figure(
        make_figure(
            [BAR],
            height=300,
            margin=(1, 2, 3, 4),
            legend={"orientation": "h"},
            xaxis=make_axis("P", range=[0, 1]),
            yaxis=make_token_axis(["a", "b"], 5),
            shapes=[make_horizontal_line(0.5, {"color": COLOURS[0], "width": 2})],
        )
    )
    layout = figure.layout
    assert (layout.margin.l, layout.margin.r, layout.margin.t, layout.margin.b) == (1, 2, 3, 4)
    assert (layout.xaxis.title.text, layout.xaxis.zeroline) == ("P", False)
    assert layout.yaxis.range == (4.5, -0.5)
    assert (layout.shapes[0].y0, layout.shapes[0].y1) == (0.5, 0.5)
    assert layout.paper_bgcolor == layout.plot_bgcolor == TRANSPARENT


def test_a_legend_shows_only_where_one_is_placed():
    assert make_figure([BAR], height=1, margin=(0, 0, 0, 0))["layout"]["showlegend"] is False
    assert make_figure([BAR], height=1, margin=(0, 0, 0, 0), legend={"y": 1})["layout"]["showlegend"] is True


def test_a_chart_can_overrule_the_shared_look():
    figure = make_figure([], height=1, margin=(0, 0, 0, 0), plot_bgcolor="red", xaxis=make_axis("n", zeroline=True))
    assert (figure["layout"]["plot_bgcolor"], figure["layout"]["xaxis"]["zeroline"]) == ("red", True)


def test_cells_are_numbered_unless_there_are_too_many():
    cells = [[1.0, None]]
    numbered = make_heatmap(["a", "b"], ["c"], cells, [["1", ""]], title="bits", colorbar={"tickvals": [1]})
    trace = go.Heatmap(numbered)
    assert (trace.texttemplate, trace.colorbar.title.text, trace.colorbar.tickvals) == ("%{text}", "bits", (1,))
    assert "texttemplate" not in make_heatmap(["a", "b"], ["c"], cells, [["1", ""]], title="bits", write_text=False)


@pytest.mark.parametrize(
    ("label", "short"), [("", ""), ("x" * 14, "x" * 14), ("x" * 15, "x" * 13 + "…"), ("x" * 99, "x" * 13 + "…")]
)
def test_a_long_label_ends_in_an_ellipsis(label, short):
    assert shorten_label(label) == short
    assert shorten_label("abcdef", 4) == "abc…"


def test_a_label_brings_no_tag_and_no_entity():
    assert escape_label("<b>&lt;</b>") == "&lt;b&gt;&amp;lt;&lt;/b&gt;"


def test_a_faded_colour_keeps_its_hue():
    assert fade_colour("#0072b2", 0.18) == "rgba(0,114,178,0.18)"
