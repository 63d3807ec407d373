"""Answers side by side, growing in place: each token says whether it is the reference's, and can be chosen.

Tokens and settings are untrusted text: they reach the page as `textContent` only. Nodes are kept and changed only where
their text changed, so a selection and each column's scroll position last while the answers grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.shell.session import get

_CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: 10px;
  font-family: var(--st-font, sans-serif); color: var(--st-text-color); font-size: 0.95rem; }
.column { border: 1px solid var(--st-border-color); border-radius: 8px; padding: 8px 10px; min-width: 0;
  display: flex; flex-direction: column; gap: 6px; }
.head { display: flex; flex-wrap: wrap; gap: 4px 5px; align-items: baseline; font-size: 0.84rem; min-height: 1.75rem; }
.number { font-weight: 700; margin-right: 2px; }
.tag { opacity: 0.8; font-size: 0.78rem; }
.chips { display: contents; }
.chip { border: 1px solid var(--st-border-color); border-radius: 4px; padding: 0 5px; overflow-wrap: anywhere; }
.chip.differs { border-color: #b35900; background: rgba(230, 159, 0, 0.22); font-weight: 600; }
.tokens { height: 12.5rem; overflow-y: auto; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.6;
  scrollbar-width: thin; resize: vertical; contain: content; }
.token { cursor: pointer; border-radius: 3px; }
.token.other { background: rgba(86, 160, 233, 0.26); }
.token.first { background: #b34700; color: #fff; font-weight: 600; padding: 1px 3px; }
.token.selected, .token:focus-visible { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
.totals { font-size: 0.85rem; opacity: 0.8; margin-top: 10px; color: var(--st-text-color);
  font-family: var(--st-font, sans-serif); font-variant-numeric: tabular-nums; }
.empty { opacity: 0.75; }
.foot { font-size: 0.76rem; opacity: 0.85; line-height: 1.4; min-height: 2.8em; }
.key { font-size: 0.8rem; display: flex; flex-wrap: wrap; gap: 3px 14px; margin-bottom: 8px; }
.key .token { cursor: default; padding: 0 4px; }
"""

_JS = """
// What nodes show, since reading it back from them can cost a layout.
const shown = new WeakMap();

function write(node, text) {
  if (shown.get(node) === text) return;
  shown.set(node, text);
  node.textContent = text;
}

function fit(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.appendChild(make());
}

function element(tag, name) {
  const node = document.createElement(tag);
  node.className = name;
  return node;
}

function newColumn() {
  const node = element("section", "column");
  const head = element("div", "head");
  head.append(element("span", "number"), element("span", "chips"), element("span", "tag"));
  const tokens = element("div", "tokens");
  tokens.setAttribute("role", "listbox");
  node.append(head, tokens, element("div", "foot"));
  return node;
}

function newToken() {
  const node = element("span", "token");
  node.setAttribute("role", "option");
  node.setAttribute("aria-selected", "false");
  node.tabIndex = -1;
  return node;
}

function paint(node, column, place) {
  write(node.querySelector(".number"), String(place + 1));
  write(node.querySelector(".tag"), column.tag);
  write(node.querySelector(".foot"), column.foot);
  const chips = node.querySelector(".chips");
  fit(chips, column.chips.length, () => element("span", "chip"));
  column.chips.forEach(([text, differs], index) => {
    write(chips.children[index], text);
    chips.children[index].classList.toggle("differs", differs);
  });
  const tokens = node.querySelector(".tokens");
  tokens.setAttribute("aria-label", column.name);
  if (!column.cells.length) {
    tokens.replaceChildren(Object.assign(element("span", "empty"), { textContent: column.empty }));
    return;
  }
  tokens.querySelector(".empty")?.remove();
  fit(tokens, column.cells.length, newToken);
  let token = tokens.firstChild;
  column.cells.forEach(([text, kind], index) => {
    const state = `${kind} ${text}`;
    if (shown.get(token) !== state) {
      shown.set(token, state);
      token.textContent = text;
      token.removeAttribute("title");
      token.removeAttribute("aria-label");
      token.classList.remove("first", "other");
      if (kind) token.classList.add(kind);
      token.dataset.place = `${place}:${index}`;
    }
    token = token.nextSibling;
  });
}

function select(grid, selected) {
  grid.querySelectorAll(".token.selected").forEach((token) => {
    token.classList.remove("selected");
    token.setAttribute("aria-selected", "false");
  });
  grid.querySelectorAll(".token[tabindex='0']").forEach((token) => { token.tabIndex = -1; });
  [...grid.children].forEach((column, place) => {
    const tokens = column.querySelectorAll(".token");
    const chosen = selected?.[0] === place ? tokens[selected[1]] : null;
    chosen?.classList.add("selected");
    chosen?.setAttribute("aria-selected", "true");
    const reachable = chosen ?? tokens[0];
    if (reachable) reachable.tabIndex = 0;
  });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const key = parentElement.querySelector(".key");
  fit(key, data.key.length, () => {
    const row = element("span", "");
    row.append(element("span", "token"), " ", element("span", "means"));
    return row;
  });
  data.key.forEach(([kind, sample, text], index) => {
    key.children[index].firstChild.className = `token ${kind}`;
    write(key.children[index].firstChild, sample);
    write(key.children[index].querySelector(".means"), text);
  });
  write(parentElement.querySelector(".totals"), data.totals);
  const grid = parentElement.querySelector(".grid");
  fit(grid, data.columns.length, newColumn);
  // All is measured before anything is written, and scrolled after it: one layout for all columns.
  const boxes = [...grid.querySelectorAll(".tokens")];
  const before = boxes.map((box) => [box.scrollHeight - box.scrollTop - box.clientHeight, box.children.length]);
  data.columns.forEach((column, place) => paint(grid.children[place], column, place));
  select(grid, data.selected);
  boxes.forEach((box, place) => {
    const [below, count] = before[place];
    if (below < 24 && box.children.length > count) box.scrollTop = 1e9;
  });
  const choose = (node) => setTriggerValue("picked", node.dataset.place);
  const selection = () => parentElement.getRootNode().getSelection?.() ?? getSelection();  // people copy text, too
  // Only the token that somebody is at gets its description: it would be half of what is written.
  grid.describe = (node) => {
    if (!node) return;
    const [place, index] = node.dataset.place.split(":");
    const title = data.columns[place]?.cells[index]?.[2] ?? "";
    node.title = title;
    node.setAttribute("aria-label", title);
  };
  grid.onmouseover = (event) => grid.describe(event.target.closest(".token"));
  if (!grid.listens) {
    grid.listens = true;
    grid.addEventListener("focusin", (event) => grid.describe(event.target.closest(".token")));
  }
  grid.onclick = (event) => {
    const node = event.target.closest(".token");
    if (node && selection().isCollapsed) choose(node);
  };
  grid.onkeydown = (event) => {
    const node = event.target.closest(".token");
    const to = { ArrowRight: node?.nextSibling, ArrowLeft: node?.previousSibling, Enter: node, " ": node }[event.key];
    if (!to) return;
    event.preventDefault();
    to.focus();
    choose(to);
  };
}
"""

_render = st.components.v2.component(
    "nucleus_compare_columns",
    html='<div class="key"></div><div class="grid"></div><div class="totals"></div>',
    css=_CSS,
    js=_JS,
)


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """`name` is for screen readers, `chips` are what is set: `(setting, whether it differs)`. `cells` are `(text, kind,
    title)`: kind is empty for what the reference says too, `first` where it parts from the reference, `other` for what
    only this one says."""

    name: str
    tag: str
    chips: Sequence[tuple[str, bool]]
    cells: Sequence[tuple[str, str, str]]
    empty: str
    foot: str


def compare_columns(
    columns: Sequence[ShownColumn],
    *,
    key: str,
    selected: tuple[int, int] | None,
    legend: Sequence[tuple[str, str, str]],
    totals: str,
    on_pick: Callable[[int, int], None],
) -> None:
    """Draw the columns. `on_pick` gets column and step of a token that is chosen, before the rest is drawn; `legend`
    explains kinds: `(kind, sample, text)`; `totals` stands below them all."""

    def picked() -> None:
        if place := get(key).get("picked"):
            column, step = str(place).split(":")
            on_pick(int(column), int(step))

    shown = [asdict(column) for column in columns]
    data = {"columns": shown, "selected": selected, "key": list(legend), "totals": totals}
    _render(key=key, data=data, on_picked_change=picked)
