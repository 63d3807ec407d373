"""Cards of candidates, growing in place: text, status, and the criteria by which each one wins.

Candidates are untrusted text: they reach the page as `textContent` only. A card keeps its node as long as its candidate
is shown, and new text is appended, so that a selection lasts and 64 cards stay cheap. A growing card shows its end by
CSS alone, without a measurement, and cards outside the window are not laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.components.assets import read_asset
from pages.ui.shell.session import get

_render = st.components.v2.component(
    "nucleus_candidate_cards",
    html='<div class="box"><div class="cards" role="listbox"></div></div><div class="totals"></div>',
    css=read_asset("candidate_cards.css"),
    js=read_asset("candidate_cards.js"),
)


@dataclass(frozen=True, slots=True)
class CandidateCard:
    """One candidate, or several with the same text. The browser gets the fields by name.

    `id` stays the same in any order, `badges` are the criteria by which the candidate wins, `empty` is the text of a
    card without an answer yet.
    """

    id: str
    number: str
    times: str
    tag: str
    badges: tuple[str, ...]
    text: str
    empty: str
    foot: str
    live: bool


def show_candidate_cards(
    cards: Sequence[CandidateCard],
    *,
    key: str,
    chosen: str | None,
    name: str,
    totals: str,
    on_pick: Callable[[str], None],
) -> None:
    """Draw the cards in the given order. `on_pick` gets the id of the chosen card before the rest of the page is drawn;
    `name` is for screen readers, `totals` is the line below the cards."""

    def picked() -> None:
        if card_id := get(key).get("picked"):
            on_pick(str(card_id))

    data = {"cards": [asdict(card) for card in cards], "chosen": chosen, "name": name, "totals": totals}
    _render(key=key, data=data, on_picked_change=picked)
