"""Tree of answers and their branches, in which one is chosen by click or arrow keys.

Names and tokens reach the page as `textContent` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.components.assets import read_asset
from pages.ui.shell.session import get

_render = st.components.v2.component(
    "nucleus_branch_tree",
    html='<div class="tree" role="tree"></div>',
    css=read_asset("tree_list.css"),
    js=read_asset("tree_list.js"),
)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One answer of the tree: depth, name, where it left its parent, its text and figures. The browser gets the fields
    by name."""

    id: int
    depth: int
    guide: str
    name: str
    fork: str
    text: str
    facts: str
    shown: bool
    beside: bool


def outline_guides(depths: Sequence[int]) -> list[str]:
    """Return box-drawing characters that join each entry of an outline to its parent. `depths` are the entries' depths,
    in order, from 0."""
    drawn = []
    for place, depth in enumerate(depths):
        parts = []
        for level in range(1, depth + 1):
            later = next((other for other in depths[place + 1 :] if other <= level), 0)
            goes_on = later == level
            parts.append(("├─" if goes_on else "└─") if level == depth else ("│ " if goes_on else "  "))
        drawn.append("".join(parts))
    return drawn


def show_tree_list(lines: Sequence[TreeEntry], *, key: str, label: str, on_pick: Callable[[int], None]) -> None:
    """Draw the tree. `on_pick` gets the id of the chosen entry before the rest of the page is drawn."""

    def picked() -> None:
        chosen = get(key).get("picked")
        if chosen is not None:
            on_pick(int(chosen))

    _render(key=key, data={"lines": [asdict(line) for line in lines], "label": label}, on_picked_change=picked)
