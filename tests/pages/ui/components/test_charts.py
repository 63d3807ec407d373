"""The step's chart: right bars, valid plotly, and no markup from a token."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest
import torch

from pages.ui.components.charts import (
    BAR_COUNT,
    escape_control_characters,
    step_figure,
    top_candidates,
)
from pages.ui.components.figure import AFTER_COLOUR, DRAWN_COLOUR
from samplers import SamplerChain, SamplerConfig, summarize

WORDS = {
    "raw": "model",
    "after": "after",
    "drawn": "drawn",
    "cut": "cut",
    "empty": "nothing yet",
    "axis": "probability",
}


def make_trace(logits: torch.Tensor, token_id: int, **settings):
    recording: list = []
    SamplerChain([SamplerConfig(**settings)]).probs(logits[None], None, recording)
    return summarize(recording, [token_id])[0]


def make_step_figure(candidates) -> go.Figure:
    return go.Figure(step_figure(candidates, lambda value: f"{value:.2f}", WORDS))


def test_bars_before_and_after_the_sampler():
    candidates = top_candidates(make_trace(torch.tensor([0.5, 0.3, 0.2]).log(), 1, top_k=2), "abc".__getitem__)
    before, after = make_step_figure(candidates).data
    assert list(before.x) == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)
    assert list(after.x) == pytest.approx([0.625, 0.375, 0], abs=1e-4)
    assert list(after.marker.color) == [AFTER_COLOUR, DRAWN_COLOUR, AFTER_COLOUR]
    labels = make_step_figure(candidates).layout.yaxis.ticktext
    assert labels == ("a", "<b>b</b>", "<s>c</s>")
    assert [note.text for note in make_step_figure(candidates).layout.annotations] == [
        "0.50 → 0.62",
        "0.30 → 0.38",
        "0.20 → cut",
    ]


def test_the_drawn_token_is_shown_even_from_far_down():
    logits = torch.arange(100.0) / 50
    candidates = top_candidates(make_trace(logits, 0), str)
    assert len(candidates) == BAR_COUNT
    assert [c.token_id for c in candidates if c.drawn] == [0]


def test_tokens_cannot_bring_markup_or_hidden_characters():
    nasty = ["<b>x</b>", "<a href='http://x'>y</a>", "&lt;", "\u202e\x00", ""]
    candidates = top_candidates(make_trace(torch.zeros(5), 0), nasty.__getitem__)
    spec = step_figure(candidates, str, WORDS)
    shown = " ".join([*spec["layout"]["yaxis"]["ticktext"], *spec["data"][0]["hovertext"]])
    ours = shown.replace("<b>", "").replace("</b>", "").replace("<br>", "")
    assert "<" not in ours
    assert "\u202e" not in shown
    assert "\x00" not in shown


def test_whitespace_is_visible():
    assert escape_control_characters(" Paris") == "·Paris"
    assert escape_control_characters("\n\n") == "↵↵"
    assert escape_control_characters("") == "∅"


def test_an_empty_chart_has_the_same_frame():
    empty, full = make_step_figure([]), make_step_figure(top_candidates(make_trace(torch.zeros(20), 0), str))
    assert empty.layout.annotations[0].text == "nothing yet"
    for part in ("height", "margin"):
        assert empty.layout[part] == full.layout[part]
    assert empty.layout.xaxis.range == full.layout.xaxis.range == (0, 1)
    assert empty.layout.yaxis.range == full.layout.yaxis.range
