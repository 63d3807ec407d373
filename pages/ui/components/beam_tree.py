"""Tree of a beam search: a column per token of the answer, with every candidate in it, the best on top.

Choosing a candidate shows its hypothesis and the path to it. Tokens are model output: they reach the page as
`textContent` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from pages.ui.components.assets import read_asset

# Shapes and line styles distinguish the three statuses, so that colours are not needed.

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


class BeamTreeNode(NamedTuple):
    """One candidate of one step, a node of the tree. The browser gets the fields in this order."""

    parent: int | None
    """Index of the parent in the list; None after the prompt."""
    step: int
    rank: int
    """Rank among the candidates of its step, from 0."""
    label: str
    status: str
    """`kept`, `pruned` or `finished`."""
    text: str
    """Answer up to this token."""
    facts: str
    """Figures in the reader's language."""


def show_beam_tree(
    nodes: Sequence[BeamTreeNode], *, key: str, search: str, best: int, live: bool, words: dict[str, str]
) -> None:
    """Draw the tree. `search` identifies the search, whose nodes may only be appended to; `best` is the index of the
    node whose path is marked until the reader chooses another one, -1 for none.

    `words` has the texts `title`, `step`, `rank`, `kept`, `pruned`, `finished` and `image`, and the language code as
    `lang`.
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
