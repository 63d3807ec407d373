"""Answers and their branches as a tree in which one is chosen by a click or with the arrow keys.

Names and tokens reach the page as `textContent` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.shell.session import get

_CSS = """
.tree { font-family: var(--st-font, sans-serif); color: var(--st-text-color); font-size: 0.9rem; max-height: 17em;
  overflow-y: auto; padding: 3px; margin: -3px; }
.line { display: flex; gap: 0 10px; align-items: baseline; padding: 4px 8px; border-radius: 6px; cursor: pointer;
  border-left: 3px solid transparent; }
.line:hover { background: var(--st-secondary-background-color); }
.line[aria-selected=true] { background: var(--st-secondary-background-color); border-left-color: #2f6fd6; }
.line.beside { border-left-color: #d05a0a; }
.line:focus-visible { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
.guide { flex: none; align-self: stretch; color: #7f8998; white-space: pre;
  font-family: var(--st-code-font, monospace); }
.name { flex: none; font-weight: 600; max-width: 14em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.fork { flex: 0 1 auto; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 0.82rem;
  font-family: var(--st-code-font, monospace); }
.text { flex: 1 1 8em; min-width: 4em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; opacity: 0.8; }
.facts { flex: none; font-variant-numeric: tabular-nums; font-size: 0.82rem; opacity: 0.85; }
@media (max-width: 640px) {
  .tree { max-height: none; }
  .line { flex-wrap: wrap; }
  .text { flex-basis: 100%; order: 9; }
  .guide { order: -1; }
}
"""

_JS = """
const FIELDS = ["guide", "name", "fork", "text", "facts"];

function lineNode() {
  const node = document.createElement("div");
  node.setAttribute("role", "treeitem");
  for (const field of FIELDS) {
    const part = document.createElement("span");
    part.className = field;
    if (field === "guide") part.setAttribute("aria-hidden", "true");
    node.append(part);
  }
  return node;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const tree = parentElement.querySelector(".tree");
  tree.setAttribute("aria-label", data.label);
  while (tree.children.length > data.lines.length) tree.lastChild.remove();
  while (tree.children.length < data.lines.length) tree.append(lineNode());
  const nodes = [...tree.children];
  data.lines.forEach((line, place) => {
    const node = nodes[place];
    FIELDS.forEach((field, i) => {
      const part = node.children[i];
      if (part.textContent !== line[field]) part.textContent = line[field];
    });
    node.className = line.beside ? "line beside" : "line";
    node.setAttribute("aria-level", line.depth + 1);
    node.setAttribute("aria-selected", String(line.shown));
    node.tabIndex = line.shown ? 0 : -1;
  });
  const shown = data.lines.findIndex((line) => line.shown);
  if (shown < 0 && nodes.length) nodes[0].tabIndex = 0;
  const key = data.lines[shown]?.id;
  if (tree.shown !== key && nodes[shown]) {
    const { offsetTop, offsetHeight } = nodes[shown];
    const top = offsetTop - tree.offsetTop;
    if (top < tree.scrollTop) tree.scrollTop = top;
    else if (top + offsetHeight > tree.scrollTop + tree.clientHeight) {
      tree.scrollTop = top + offsetHeight - tree.clientHeight + 4;
    }
  }
  tree.shown = key;
  const choose = (place) => {
    nodes.forEach((node, at) => node.setAttribute("aria-selected", String(at === place)));
    setTriggerValue("picked", data.lines[place].id);
  };
  tree.onclick = (event) => {
    const place = nodes.indexOf(event.target.closest(".line"));
    if (place >= 0) choose(place);
  };
  tree.onkeydown = (event) => {
    const here = nodes.indexOf(event.target.closest(".line"));
    const end = nodes.length - 1;
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: end, Enter: here, " ": here }[event.key];
    if (to === undefined || !nodes[to]) return;
    event.preventDefault();
    nodes[to].focus();
    choose(to);
  };
}
"""

_render = st.components.v2.component(
    "nucleus_branch_tree", html='<div class="tree" role="tree"></div>', css=_CSS, js=_JS
)


@dataclass(frozen=True, slots=True)
class Line:
    """One answer: how deep it stands, what it is called, where it left its parent, how it goes on, and its figures."""

    id: int
    depth: int
    guide: str
    name: str
    fork: str
    text: str
    facts: str
    shown: bool
    beside: bool


def guides(depths: Sequence[int]) -> list[str]:
    """The lines that join each entry of an outline to the one it stands below, drawn with characters."""
    drawn = []
    for place, depth in enumerate(depths):
        parts = []
        for level in range(1, depth + 1):
            later = next((other for other in depths[place + 1 :] if other <= level), 0)
            goes_on = later == level
            parts.append(("├─" if goes_on else "└─") if level == depth else ("│ " if goes_on else "  "))
        drawn.append("".join(parts))
    return drawn


def branch_tree(lines: Sequence[Line], *, key: str, label: str, on_pick: Callable[[int], None]) -> None:
    """Draw the tree. `on_pick` gets the id of the chosen line before the rest of the page is drawn."""

    def picked() -> None:
        chosen = get(key).get("picked")
        if chosen is not None:
            on_pick(int(chosen))

    _render(key=key, data={"lines": [asdict(line) for line in lines], "label": label}, on_picked_change=picked)
