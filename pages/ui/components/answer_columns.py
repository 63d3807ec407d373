"""Columns of answers side by side, growing in place: each token shows whether the reference has it too, and can be
chosen.

Tokens and settings are untrusted text: they reach the page as `textContent` only. Only nodes whose text changed are
touched, so that a selection and each column's scroll position survive while the answers grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.components.assets import read_asset
from pages.ui.shell.session import get

_render = st.components.v2.component(
    "nucleus_compare_columns",
    html='<div class="key"></div><div class="grid"></div><div class="totals"></div>',
    css=read_asset("answer_columns.css"),
    js=read_asset("answer_columns.js"),
)


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One column. The browser gets the fields by name.

    `name` is for screen readers. `chips` are settings: `(text, whether it differs)`. `cells` are `(text, kind, title)`:
    kind is empty for a token that the reference has too, `first` where the answer diverges from the reference, and
    `other` for a token of this answer alone.
    """

    name: str
    tag: str
    chips: Sequence[tuple[str, bool]]
    cells: Sequence[tuple[str, str, str]]
    empty: str
    foot: str


def show_answer_columns(
    columns: Sequence[AnswerColumn],
    *,
    key: str,
    selected: tuple[int, int] | None,
    legend: Sequence[tuple[str, str, str]],
    totals: str,
    on_pick: Callable[[int, int], None],
) -> None:
    """Draw the columns. `on_pick` gets column and step of a chosen token before the rest of the page is drawn; `legend`
    explains kinds as `(kind, sample, text)`; `totals` is the line below the columns."""

    def picked() -> None:
        if place := get(key).get("picked"):
            column, step = str(place).split(":")
            on_pick(int(column), int(step))

    shown = [asdict(column) for column in columns]
    data = {"columns": shown, "selected": selected, "key": list(legend), "totals": totals}
    _render(key=key, data=data, on_picked_change=picked)
