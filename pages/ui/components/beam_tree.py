"""A beam search as a tree: a column for each token of the answer, in it every candidate, the best on top.

Choosing a candidate shows its hypothesis and the way to it. Tokens are model output: they reach the page as
`textContent` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from pages.ui.components.assets import read_asset

# Shapes and lines tell the three kinds apart, colours only help.

_HTML = """
<div class="beam">
  <div class="head">
    <span class="key"><span class="swatch kept"></span><span></span></span>
    <span class="key"><span class="swatch pruned"></span><span></span></span>
    <span class="key"><span class="swatch finished"></span><span></span></span>
    <span class="axes"></span>
    <button type="button" class="save"></button>
  </div>
  <div class="view"><svg role="tree"><g class="axis"></g><g class="edges"></g><g class="boxes"></g></svg></div>
  <div class="told" aria-live="polite"></div>
</div>
"""

_render = st.components.v2.component(
    "nucleus_beam_tree",
    html=_HTML,
    css=read_asset("beam_tree.css") + read_asset("beam_tree_svg.css"),
    js=read_asset("beam_tree.js"),
)


class Hypothesis(NamedTuple):
    """One candidate of one step."""

    parent: int | None
    """Its place in the list, or None after the prompt."""
    step: int
    rank: int
    """Among the candidates of its step, from 0."""
    label: str
    status: str
    """`kept`, `pruned` or `finished`."""
    text: str
    """The answer up to here."""
    facts: str
    """Its figures in the reader's language."""


def beam_tree(
    nodes: Sequence[Hypothesis], *, key: str, search: str, best: int, live: bool, words: dict[str, str]
) -> None:
    """Draw the tree. `search` names the search, whose nodes are only ever added to; `best` is the place of the one
    whose way is marked until another one is chosen, -1 for none.

    `words` gives the texts `title`, `step`, `rank`, `kept`, `pruned`, `finished` and `image`, and the language's code.
    """
    data = {
        "nodes": list(nodes),
        "search": search,
        "best": best,
        "live": live,
        "words": words,
        "css": read_asset("beam_tree_svg.css"),
    }
    _render(key=key, data=data)
