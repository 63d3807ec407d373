"""Token strip: an answer whose tokens are coloured by one of their numbers and chosen by click or arrow keys.

A character whose bytes are split over several tokens is written once, over one stripe per token. Tokens are model
output and thus untrusted: they reach the page as `textContent` only, and the downloaded image is drawn on a canvas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple, get_args

import streamlit as st

from pages.ui.components.assets import read_asset
from pages.ui.components.fields import show_field
from pages.ui.shell.i18n import t
from pages.ui.shell.session import get, has, put

ColourMode = Literal["probability", "rank", "entropy", "surprisal"]
COLOUR_MODES: tuple[ColourMode, ...] = get_args(ColourMode)

SCALE_ENDS: dict[ColourMode, tuple[float, float]] = {
    "probability": (0, 1),
    "rank": (1, 1000),
    "entropy": (0, 8),
    "surprisal": (0, 10),
}
"""Values at the two ends of the colour scale; values beyond them get the colour of the end."""

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


class TokenCell(NamedTuple):
    """One token with its text, kind and numbers. Entropy and surprisal are in bits, under the model's own distribution.
    The browser gets the fields in this order."""

    text: str
    """Whole characters that the token completes."""
    label: str
    """The token by itself, with visible whitespace."""
    token_id: int | None
    kind: Literal["text", "part", "mark", "bare"]
    """`part` holds only some bytes of a character that a later token completes; `mark` is a special token; `bare` is a
    piece of text without numbers."""
    probability: float
    after: float
    """Probability after the sampler."""
    rank: int
    entropy: float
    surprisal: float


def colour_position(cell: TokenCell, mode: ColourMode) -> float:
    """Return the position of a cell's number on the colour scale, in [0, 1]; ranks by logarithm."""
    value: float = getattr(cell, mode)
    low, high = SCALE_ENDS[mode]
    if mode == "rank":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def show_token_strip(
    cells: Sequence[TokenCell],
    *,
    key: str,
    mode: ColourMode,
    selected: int | None,
    words: dict,
    on_pick: Callable[[int], None],
    live: bool = False,
    forks: Collection[int] = (),
    given: Collection[int] = (),
) -> None:
    """Draw the strip. `on_pick` gets the index of the chosen token before the rest of the page is drawn.

    `words` has the texts `title`, `legend`, `low`, `high`, `empty`, `token`, `after`, `entropy`, `surprisal`, `id`,
    `part`, `bare`, `given`, `fork` and `image`, the language code as `lang`, and in `names` one text per mode. `forks`
    are the indices at which the answer left its parent, `given` those of tokens that the model did not choose. A `live`
    strip scrolls to its end.
    """

    def picked() -> None:
        index = get(key).get("picked")
        if index is not None:
            on_pick(int(index))

    data = {
        "cells": [(*_round_numbers(cell), _colour_value(cell, mode)) for cell in cells],
        "selected": selected,
        "words": words,
        "live": live,
        "forks": list(forks),
        "given": list(given),
    }
    _render(key=key, data=data, on_picked_change=picked)


def _colour_value(cell: TokenCell, mode: ColourMode) -> float | None:
    return None if cell.kind == "bare" else round(colour_position(cell, mode), 3)


def _round_numbers(cell: TokenCell) -> tuple:
    """Return the cell with no more digits than are shown, because the strip is sent several times a second."""
    probabilities = (float(f"{value:.4g}") for value in (cell.probability, cell.after))
    return (*cell[:4], *probabilities, cell.rank, round(cell.entropy, 3), round(cell.surprisal, 3))


def select_colour_mode() -> ColourMode:
    """Draw the choice of the number that colours tokens. Returns the chosen mode."""
    key = "components.strip_mode"
    if not has(key):
        put(key, COLOUR_MODES[0])
    chosen = show_field(
        st.segmented_control,
        "strip.mode",
        key,
        COLOUR_MODES,
        format_func=lambda mode: t(f"strip.modes.{mode}"),
        required=True,
        label_visibility="collapsed",
    )
    return chosen or COLOUR_MODES[0]
