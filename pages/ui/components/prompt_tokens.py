"""Tokens of a rendered prompt, coloured by the prompt part that they come from, with a count per part.

Prompts may come from others, and so reach the page as `textContent` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.components.assets import read_asset

PART_COLOURS = {
    "system": "#8a6d00",
    "role": "#a3480a",
    "context": "#2a6f97",
    "document": "#5b6b1f",
    "instruction": "#2f6fd6",
    "examples": "#2d7d46",
    "question": "#8a3ea8",
    "trigger": "#b0326b",
    "prefill": "#0f7f7f",
    "template": "#7f8998",
}
"""Colour of each part, distinguishable on light and dark background; the hover text names the part as well."""

_HTML = '<div class="prompt"><div class="parts"></div><div class="tokens" tabindex="0"></div></div>'

_render = st.components.v2.component(
    "nucleus_prompt_tokens", html=_HTML, css=read_asset("prompt_tokens.css"), js=read_asset("prompt_tokens.js")
)


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token: its text, its part, and its hover text. The browser gets the fields by name."""

    text: str
    part: str
    title: str


def show_prompt_tokens(cells: Sequence[PromptToken], counts: dict[str, tuple[str, str]], *, key: str) -> None:
    """Draw the tokens below a legend of parts. `counts` has each part's name and count in the reader's language."""
    parts = [{"name": name, "count": count, "colour": PART_COLOURS[part]} for part, (name, count) in counts.items()]
    _render(key=key, data={"cells": [asdict(cell) for cell in cells], "parts": parts, "colours": PART_COLOURS})
