"""An answer as a strip of tokens, each coloured by one of its numbers; clicking or arrow keys choose one.

A letter whose bytes are split over several tokens is written whole, over one stripe for each of them. Tokens are model
output and so untrusted: they reach the page as `textContent` only, and an image of them is drawn, not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import streamlit as st

from pages.ui.components.assets import read_asset
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    pass

Mode = Literal["probability", "rank", "entropy", "surprisal"]
MODES: tuple[Mode, ...] = get_args(Mode)

ENDS: dict[Mode, tuple[float, float]] = {
    "probability": (0, 1),
    "rank": (1, 1000),
    "entropy": (0, 8),
    "surprisal": (0, 10),
}
"""The values that the two ends of the colour scale stand for; what lies beyond gets the end's colour."""

_HTML = """
<div class="strip">
  <div class="head"><span class="title"></span>
    <span class="legend"><span class="what"></span> <span class="low"></span> <span class="ramp"></span>
      <span class="high"></span></span>
    <button type="button" class="save" hidden></button></div>
  <div class="tokens" role="listbox" aria-orientation="horizontal"></div>
  <div class="tip" aria-hidden="true" hidden></div>
</div>
"""

_render = st.components.v2.component(
    "nucleus_token_strip", html=_HTML, css=read_asset("token_strip.css"), js=read_asset("token_strip.js")
)


class Cell(NamedTuple):
    """One token: what is written, what it is, and its numbers; entropy and surprisal in bits, under the model's own
    distribution."""

    text: str
    """The whole characters that it completes."""
    label: str
    """The token by itself, with its whitespace visible."""
    token_id: int | None
    kind: Literal["text", "part", "mark", "bare"]
    """`part` holds only some bytes of the letter that a later token completes; `mark` is a special token; `bare` is a
    piece of text that came without numbers."""
    probability: float
    after: float
    """Its probability after the sampler."""
    rank: int
    entropy: float
    surprisal: float


def position(cell: Cell, mode: Mode) -> float:
    """Where the cell's number stands on the colour scale, from 0 to 1; ranks by their logarithm."""
    value: float = getattr(cell, mode)
    low, high = ENDS[mode]
    if mode == "rank":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def token_strip(
    cells: Sequence[Cell],
    *,
    key: str,
    mode: Mode,
    selected: int | None,
    words: dict,
    on_pick: Callable[[int], None],
    live: bool = False,
    forks: Collection[int] = (),
    given: Collection[int] = (),
) -> None:
    """Draw the strip. `on_pick` gets the index of the chosen token before the rest of the page is drawn.

    `words` gives the texts `title`, `legend`, `low`, `high`, `empty`, `token`, `after`, `entropy`, `surprisal`, `id`,
    `part`, `bare`, `given`, `fork` and `image`, the language's code as `lang`, and in `names` one text for each mode.
    `forks` are the tokens at which the answer left another one, `given` those that the model did not choose. A `live`
    strip keeps its end in view.
    """

    def picked() -> None:
        index = get(key).get("picked")
        if index is not None:
            on_pick(int(index))

    data = {
        "cells": [(*_rounded(cell), _place(cell, mode)) for cell in cells],
        "selected": selected,
        "words": words,
        "live": live,
        "forks": list(forks),
        "given": list(given),
    }
    _render(key=key, data=data, on_picked_change=picked)


def _place(cell: Cell, mode: Mode) -> float | None:
    return None if cell.kind == "bare" else round(position(cell, mode), 3)


def _rounded(cell: Cell) -> tuple:
    """As few digits as are shown: the strip is sent several times a second."""
    probabilities = (float(f"{value:.4g}") for value in (cell.probability, cell.after))
    return (*cell[:4], *probabilities, cell.rank, round(cell.entropy, 3), round(cell.surprisal, 3))


def mode_picker() -> Mode:
    """By which of their numbers tokens are coloured."""
    key = "strip_mode"
    if not has(key):
        put(key, MODES[0])
    chosen = st.segmented_control(
        t("strip.mode"),
        MODES,
        format_func=lambda mode: t(f"strip.modes.{mode}"),
        key=key,
        required=True,
        label_visibility="collapsed",
        persist_state="session",
    )
    return chosen or MODES[0]
