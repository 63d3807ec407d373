"""A prompt as the model sees it: its tokens, coloured by the part that they come from, with a count for each part.

Prompts may come from strangers, and so reach the page as `textContent` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import streamlit as st

COLOURS = {
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
"""Told apart on light and on dark; the hover text names the part as well."""

_CSS = """
.prompt { font-family: var(--st-font, sans-serif); color: var(--st-text-color); }
.parts { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 0.82rem; margin-bottom: 6px; }
.parts .square { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 2px; margin-right: 5px; }
.tokens { font-family: var(--st-code-font, monospace); font-size: 0.86rem; line-height: 1.75; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 22em; overflow-y: auto; border: 1px solid var(--st-border-color);
  border-radius: 6px; padding: 8px 10px; }
.token { border-bottom: 3px solid; padding: 1px 0; margin-right: 1px; }
"""

_JS = """
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".prompt");
  const parts = data.parts.map(({ name, colour, count }) => {
    const item = document.createElement("span"), square = document.createElement("span");
    square.className = "square";
    square.style.background = colour;
    item.append(square, `${name} ${count}`);
    return item;
  });
  root.querySelector(".parts").replaceChildren(...parts);
  root.querySelector(".tokens").replaceChildren(...data.cells.map((cell) => {
    const node = document.createElement("span");
    node.className = "token";
    node.style.borderColor = data.colours[cell.part];
    node.textContent = cell.text;
    node.title = cell.title;
    return node;
  }));
}
"""

_HTML = '<div class="prompt"><div class="parts"></div><div class="tokens" tabindex="0"></div></div>'

_render = st.components.v2.component("nucleus_prompt_tokens", html=_HTML, css=_CSS, js=_JS)


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token: what is written, its part, and what a pointer is told."""

    text: str
    part: str
    title: str


def prompt_tokens(cells: Sequence[PromptToken], counts: dict[str, tuple[str, str]], *, key: str) -> None:
    """Draw the tokens under a line of parts. `counts` gives each part's name and count in the reader's language."""
    parts = [{"name": name, "count": count, "colour": COLOURS[part]} for part, (name, count) in counts.items()]
    _render(key=key, data={"cells": [asdict(cell) for cell in cells], "parts": parts, "colours": COLOURS})
