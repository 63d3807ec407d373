"""Many candidates as cards, growing in place: text, status, and the criteria under which each one wins.

Candidates are untrusted text: they reach the page as `textContent` only. A card is kept as long as its candidate is
shown, and text that grew is added to the text that is there, so that a selection lasts and sixty-four cards stay cheap.
A card that is being written shows its end by style alone, without a measurement, and cards outside the window are not
laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from pages.ui.shell.session import get

_CSS = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(13.4rem, 100%), 1fr)); gap: 8px;
  font-family: var(--st-font, sans-serif); color: var(--st-text-color); font-size: 0.9rem; padding: 2px; }
.card { border: 1px solid var(--st-border-color); border-radius: 8px; padding: 6px 9px 7px; min-width: 0;
  cursor: pointer; display: flex; flex-direction: column; gap: 4px; text-align: start; content-visibility: auto;
  contain-intrinsic-size: auto 8.6rem; }
.card:hover { border-color: currentColor; }
.card.wins { border-color: #b35900; box-shadow: inset 3px 0 0 #e69f00; }
.card.chosen, .card:focus-visible { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
.head { display: flex; flex-wrap: wrap; gap: 3px 5px; align-items: baseline; font-size: 0.8rem; min-height: 1.3rem; }
.number { font-weight: 700; }
.times { border-radius: 9px; padding: 0 7px; background: rgba(86, 160, 233, 0.26); font-weight: 600; }
.tag { opacity: 0.8; margin-left: auto; }
.text { height: 5.9em; line-height: 1.45; overflow-y: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  scrollbar-width: thin; contain: strict; width: 100%; }
.card.live .text { display: flex; flex-direction: column-reverse; }
.card.live .inner { margin-bottom: auto; }
.empty { opacity: 0.7; }
.badges { display: contents; }
.badge { border: 1px solid #b35900; background: rgba(230, 159, 0, 0.22); border-radius: 4px; padding: 0 5px;
  font-weight: 600; font-size: 0.76rem; }
.foot { font-size: 0.76rem; opacity: 0.85; font-variant-numeric: tabular-nums; min-height: 1.15em; }
.totals { font-size: 0.85rem; opacity: 0.85; margin-top: 8px; color: var(--st-text-color);
  font-family: var(--st-font, sans-serif); font-variant-numeric: tabular-nums; min-height: 1.4em; }
.box { max-height: 34rem; overflow-y: auto; scrollbar-width: thin; overscroll-behavior: auto; }
@media (max-width: 640px) { .box { max-height: 26rem; } }
"""

_JS = """
// What nodes show, since reading it back from them can cost a layout.
const shown = new WeakMap();

function write(node, text) {
  const before = shown.get(node);
  if (before === text) return;
  shown.set(node, text);
  const inner = node.firstChild;
  if (before && inner && inner.nodeType === 3 && text.startsWith(before)) inner.appendData(text.slice(before.length));
  else node.textContent = text;
}

function element(tag, name) {
  const node = document.createElement(tag);
  node.className = name;
  return node;
}

function newCard(id) {
  const node = element("div", "card");
  node.dataset.id = id;
  node.setAttribute("role", "option");
  node.tabIndex = -1;
  const head = element("div", "head");
  head.append(element("span", "number"), element("span", "times"), element("span", "badges"), element("span", "tag"));
  const text = element("div", "text");
  text.append(element("span", "inner"));
  node.append(head, text, element("div", "foot"));
  node.parts = Object.fromEntries([".number", ".times", ".badges", ".tag", ".inner", ".foot"]
    .map((name) => [name.slice(1), node.querySelector(name)]));
  return node;
}

function paint(node, card, chosen) {
  const parts = node.parts;
  write(parts.number, card.number);
  write(parts.times, card.times);
  parts.times.hidden = !card.times;
  write(parts.tag, card.tag);
  write(parts.foot, card.foot);
  write(parts.inner, card.text || card.empty);
  const badges = card.badges.join("\\u0000");
  if (shown.get(parts.badges) !== badges) {
    shown.set(parts.badges, badges);
    parts.badges.replaceChildren(...card.badges.map((text) => {
      const badge = element("span", "badge");
      badge.textContent = text;
      return badge;
    }));
  }
  const names = ["card"];
  if (card.live) names.push("live");
  if (card.badges.length) names.push("wins");
  if (chosen) names.push("chosen");
  const state = names.join(" ");
  if (shown.get(node) !== state) {
    shown.set(node, state);
    node.className = state;
    node.setAttribute("aria-selected", String(chosen));
  }
  const inner = card.text ? "inner" : "inner empty";
  if (parts.inner.className !== inner) parts.inner.className = inner;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".cards");
  root.setAttribute("aria-label", data.name);
  write(parentElement.querySelector(".totals"), data.totals);
  root.known ??= new Map();
  const wanted = new Set(data.cards.map((card) => card.id));
  for (const [id, node] of root.known) {
    if (!wanted.has(id)) { node.remove(); root.known.delete(id); }
  }
  let place = root.firstChild;
  for (const card of data.cards) {
    let node = root.known.get(card.id);
    if (!node) { node = newCard(card.id); root.known.set(card.id, node); }
    if (node === place) place = place.nextSibling;
    else root.insertBefore(node, place);
    paint(node, card, card.id === data.chosen);
  }
  const reachable = root.known.get(data.chosen) ?? root.firstChild;
  if (root.reachable !== reachable) {
    if (root.reachable) root.reachable.tabIndex = -1;
    if (reachable) reachable.tabIndex = 0;
    root.reachable = reachable;
  }
  const selection = () => parentElement.getRootNode().getSelection?.() ?? getSelection();  // people copy text, too
  const choose = (node) => setTriggerValue("picked", node.dataset.id);
  root.onclick = (event) => {
    const node = event.target.closest(".card");
    if (node && selection().isCollapsed) choose(node);
  };
  root.onkeydown = (event) => {
    const node = event.target.closest(".card");
    const next = { ArrowRight: "nextSibling", ArrowDown: "nextSibling", ArrowLeft: "previousSibling",
      ArrowUp: "previousSibling" }[event.key];
    const to = next ? node?.[next] : ["Enter", " "].includes(event.key) ? node : null;
    if (!to) return;
    event.preventDefault();
    to.focus();
    choose(to);
  };
}
"""

_render = st.components.v2.component(
    "nucleus_candidate_cards",
    html='<div class="box"><div class="cards" role="listbox"></div></div><div class="totals"></div>',
    css=_CSS,
    js=_JS,
)


@dataclass(frozen=True, slots=True)
class Card:
    """One candidate, or several that say the same. `id` stays with it whatever the order, `badges` are the criteria
    under which it wins, `empty` stands where it has no text yet."""

    id: str
    number: str
    times: str
    tag: str
    badges: tuple[str, ...]
    text: str
    empty: str
    foot: str
    live: bool


def candidate_cards(
    cards: Sequence[Card], *, key: str, chosen: str | None, name: str, totals: str, on_pick: Callable[[str], None]
) -> None:
    """Draw the cards in this order. `on_pick` gets the id of the card that is chosen, before the rest is drawn; `name`
    is for screen readers, `totals` stands below them all."""

    def picked() -> None:
        if card_id := get(key).get("picked"):
            on_pick(str(card_id))

    data = {"cards": [asdict(card) for card in cards], "chosen": chosen, "name": name, "totals": totals}
    _render(key=key, data=data, on_picked_change=picked)
