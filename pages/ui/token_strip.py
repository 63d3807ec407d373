"""An answer as a strip of tokens, each coloured by its probability; clicking or arrow keys choose one.

Tokens are model output and so untrusted: they reach the page as `textContent` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

_CSS = """
.strip { font-family: var(--st-font, sans-serif); color: var(--st-text-color); }
.head { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: center; font-size: 0.82rem; margin-bottom: 6px; }
.head .title { opacity: 0.85; margin-right: auto; }
.legend { display: inline-flex; align-items: center; gap: 6px; opacity: 0.85; }
.ramp { width: 90px; height: 9px; border-radius: 3px; background: linear-gradient(90deg, #fff3c4, #8ecae6, #2a6f97);
  outline: 1px solid var(--st-border-color); }
.tokens { min-height: 2.2em; font-size: 1.03rem; line-height: 1.95; white-space: pre-wrap; overflow-wrap: anywhere; }
.token { padding: 3px 1px; border-radius: 3px; cursor: pointer; color: #000; }
.token.dark { color: #fff; }
.token.part { padding: 3px 2px; font-size: 0.7rem; opacity: 0.75; }
.token.mark { font-size: 0.8rem; font-family: var(--st-code-font, monospace); }
.token:focus-visible, .token.selected { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
.empty { opacity: 0.75; }
"""

_JS = """
const STOPS = [[255, 243, 196], [142, 202, 230], [42, 111, 151]];

function colour(p) {
  const x = Math.min(1, Math.max(0, p)) * 2, i = Math.min(1, Math.floor(x)), f = x - i;
  return STOPS[i].map((v, k) => Math.round(v + (STOPS[i + 1][k] - v) * f));
}

function luminance(rgb) {
  const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function paint(node, cell, index, selected) {
  const rgb = colour(cell.probability);
  const classes = ["token"];
  if (luminance(rgb) < 0.179) classes.push("dark");
  if (cell.kind !== "text") classes.push(cell.kind);
  if (index === selected) classes.push("selected");
  node.className = classes.join(" ");
  node.style.background = `rgb(${rgb})`;
  if (node.textContent !== cell.text) node.textContent = cell.text;
  node.title = cell.title;
  node.setAttribute("aria-label", cell.title);
  node.setAttribute("aria-selected", String(index === selected));
  node.dataset.index = index;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".strip");
  root.querySelector(".title").textContent = data.words.title;
  root.querySelector(".what").textContent = data.words.legend;
  const list = root.querySelector(".tokens");
  list.setAttribute("aria-label", data.words.title);
  const cells = data.cells;
  if (!cells.length) {
    const note = document.createElement("span");
    note.className = "empty";
    note.textContent = data.words.empty;
    list.replaceChildren(note);
    return;
  }
  list.querySelector(".empty")?.remove();
  while (list.children.length > cells.length) list.lastChild.remove();
  while (list.children.length < cells.length) {
    const node = document.createElement("span");
    node.setAttribute("role", "option");
    list.appendChild(node);
  }
  cells.forEach((cell, index) => paint(list.children[index], cell, index, data.selected));
  const reachable = data.selected ?? cells.length - 1;
  [...list.children].forEach((node, index) => { node.tabIndex = index === reachable ? 0 : -1; });
  list.onclick = (event) => {
    const node = event.target.closest(".token");
    if (node) setTriggerValue("picked", Number(node.dataset.index));
  };
  list.onkeydown = (event) => {
    const node = event.target.closest(".token");
    if (!node) return;
    const here = Number(node.dataset.index);
    const end = cells.length - 1;
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: end, Enter: here, " ": here }[event.key];
    if (to === undefined || to < 0 || to >= cells.length) return;
    event.preventDefault();
    list.children[to].focus();
    setTriggerValue("picked", to);
  };
}
"""

_HTML = """
<div class="strip">
  <div class="head"><span class="title"></span>
    <span class="legend"><span class="what"></span> 0 <span class="ramp"></span> 1</span></div>
  <div class="tokens" role="listbox" aria-orientation="horizontal"></div>
</div>
"""

_render = st.components.v2.component("nucleus_token_strip", html=_HTML, css=_CSS, js=_JS)


@dataclass(frozen=True, slots=True)
class Cell:
    """One token: what is written, its probability in [0, 1] and what a pointer or screen reader is told.

    `kind` is `text`, `part` (a token that holds only some bytes of the letter shown after it) or `mark` (a special
    token, shown by its name).
    """

    text: str
    probability: float
    title: str
    kind: str = "text"


def token_strip(
    cells: Sequence[Cell], *, key: str, selected: int | None, words: dict[str, str], on_pick: Callable[[int], None]
) -> None:
    """Draw the strip. `on_pick` gets the index of the chosen token before the rest of the page is drawn.

    `words` gives the texts `title`, `legend` and `empty`.
    """

    def picked() -> None:
        index = st.session_state[key].get("picked")
        if index is not None:
            on_pick(int(index))

    _render(
        key=key,
        data={"cells": [asdict(cell) for cell in cells], "selected": selected, "words": words},
        on_picked_change=picked,
    )
