"""A beam search as a tree: a column for each token of the answer, in it every candidate, the best on top.

Choosing a candidate shows its hypothesis and the way to it. Tokens are model output: they reach the page as
`textContent` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

# Shapes and lines tell the three kinds apart, colours only help.
_CSS = """
.beam { position: relative; font-family: var(--st-font, sans-serif); color: var(--st-text-color); font-size: 0.82rem; }
.head { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: center; margin-bottom: 6px; }
.head .key { display: inline-flex; align-items: center; gap: 5px; }
.head .swatch { width: 22px; height: 12px; border-radius: 3px; border: 2px solid #2f6fd6; box-sizing: border-box; }
.head .pruned { border: 1px dashed #7f8998; }
.head .finished { border: 3px double #d05a0a; border-radius: 7px; }
.axes { opacity: 0.85; }
.save { font: inherit; color: inherit; background: none; border: 1px solid var(--st-border-color); border-radius: 5px;
  padding: 1px 8px; cursor: pointer; margin-left: auto; }
.save:hover { border-color: currentColor; }
.view { overflow-x: auto; border: 1px solid var(--st-border-color); border-radius: 6px; }
.told { min-height: 3.1em; margin-top: 6px; overflow-wrap: anywhere; white-space: pre-wrap; }
svg { display: block; }
"""

_SVG_CSS = """
text { fill: var(--st-text-color); font: 13px sans-serif; }
.axis text { font-size: 12px; opacity: 0.8; }
.node { cursor: pointer; outline: none; }
.node rect { fill: var(--st-background-color); stroke: #2f6fd6; stroke-width: 2; }
.node.pruned rect { stroke: #7f8998; stroke-width: 1; stroke-dasharray: 4 3; }
.node.pruned text { text-decoration: line-through; opacity: 0.75; }
.node.finished rect { stroke: #d05a0a; stroke-width: 3; rx: 9px; }
.node.way rect { fill: var(--st-secondary-background-color); }
.node.way text { font-weight: 700; }
.node.chosen rect, .node:focus-visible rect { stroke-width: 4; }
.edge { fill: none; stroke: #2f6fd6; stroke-width: 1.4; }
.edge.pruned { stroke: #7f8998; stroke-width: 1; stroke-dasharray: 4 3; }
.edge.finished { stroke: #d05a0a; }
.edge.way { stroke-width: 4; }
"""

_JS = """
const W = 124, BOX = 92, H = 27, LEFT = 34, TOP = 40;
const PARENT = 0, STEP = 1, RANK = 2, LABEL = 3, STATUS = 4, TEXT = 5, FACTS = 6;

function shape(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const left = (node) => LEFT + node[STEP] * W;
const middle = (node) => TOP + node[RANK] * H + H / 2;

function wayTo(nodes, place) {
  const way = new Set();
  for (let at = place; at !== null && at >= 0; at = nodes[at][PARENT]) way.add(at);
  return way;
}

function tell(root, place) {
  const { nodes } = root.latest, told = root.querySelector(".told");
  const way = wayTo(nodes, place);
  root.chosen = place;
  root.marks.forEach(({ box, edge }, at) => {
    box.classList.toggle("way", way.has(at));
    box.classList.toggle("chosen", at === place);
    box.setAttribute("tabindex", at === place ? 0 : -1);
    edge.classList.toggle("way", way.has(at));
  });
  if (place < 0) { told.textContent = ""; return; }
  const facts = document.createElement("div");
  facts.textContent = nodes[place][FACTS];
  facts.style.opacity = 0.85;
  told.replaceChildren(nodes[place][TEXT], facts);
}

function frame(svg, data) {
  const steps = 1 + Math.max(0, ...data.nodes.map((node) => node[STEP]));
  const ranks = 1 + Math.max(0, ...data.nodes.map((node) => node[RANK]));
  const width = LEFT + steps * W, height = TOP + ranks * H + 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const axis = svg.querySelector(".axis");
  const words = [shape("text", { x: LEFT, y: 14 }, data.words.step)];
  const rank = { x: 0, y: 0, transform: `translate(12 ${TOP + ranks * H}) rotate(-90)` };
  words.push(shape("text", rank, data.words.rank));
  for (let step = 0; step < steps; step++) {
    words.push(shape("text", { x: LEFT + step * W + BOX / 2, y: 32, "text-anchor": "middle" }, step + 1));
  }
  for (let at = 0; at < ranks; at++) {
    words.push(shape("text", { x: LEFT - 6, y: TOP + at * H + H / 2 + 4, "text-anchor": "end" }, at + 1));
  }
  axis.replaceChildren(...words);
}

function add(root, place) {
  const node = root.latest.nodes[place], parent = root.latest.nodes[node[PARENT]];
  const y = middle(node), x = left(node);
  const from = parent ? [left(parent) + BOX, middle(parent)] : [LEFT - 4, y];
  const bend = (from[0] + x) / 2;
  const d = `M${from[0]} ${from[1]} C${bend} ${from[1]} ${bend} ${y} ${x} ${y}`;
  const edge = shape("path", { class: `edge ${node[STATUS]}`, d });
  const box = shape("g", { class: `node ${node[STATUS]}`, role: "treeitem", tabindex: -1 });
  box.setAttribute("aria-label", `${node[LABEL]} · ${node[FACTS]}`);
  box.setAttribute("aria-level", node[STEP] + 1);
  box.dataset.place = place;
  box.append(shape("rect", { x, y: y - 10, width: BOX, height: 20, rx: 4 }));
  const label = [...node[LABEL]];
  const short = label.length > 11 ? label.slice(0, 10).join("") + "…" : node[LABEL];
  box.append(shape("text", { x: x + BOX / 2, y: y + 4.5, "text-anchor": "middle" }, short));
  const tip = shape("title", {}, `${node[LABEL]} · ${node[FACTS]}`);
  box.append(tip);
  root.querySelector(".edges").append(edge);
  root.querySelector(".boxes").append(box);
  root.marks.push({ box, edge });
}

function save(root, css) {
  const svg = root.querySelector("svg"), style = getComputedStyle(root);
  const copy = svg.cloneNode(true), colours = ["text-color", "background-color", "secondary-background-color"];
  const values = colours.map((name) => `--st-${name}: ${style.getPropertyValue(`--st-${name}`)};`).join(" ");
  const sheet = document.createElementNS("http://www.w3.org/2000/svg", "style");
  sheet.textContent = `svg { ${values} background: var(--st-background-color); } ${css}`;
  copy.prepend(sheet);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const link = document.createElement("a");
  const blob = new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
  link.href = URL.createObjectURL(blob);
  link.download = "nucleus-beam-search.svg";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function next(nodes, here, key) {
  const [, step, rank] = nodes[here];
  const find = (test) => nodes.findIndex(test);
  if (key === "ArrowLeft") return nodes[here][PARENT] ?? -1;
  if (key === "ArrowRight") return find((node) => node[PARENT] === here);
  if (key === "ArrowUp") return find((node) => node[STEP] === step && node[RANK] === rank - 1);
  if (key === "ArrowDown") return find((node) => node[STEP] === step && node[RANK] === rank + 1);
  return undefined;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".beam"), svg = root.querySelector("svg");
  const fresh = root.search !== data.search || root.lang !== data.words.lang;
  root.latest = data;
  for (const kind of ["kept", "pruned", "finished"]) {
    root.querySelector(`.swatch.${kind} + span`).textContent = data.words[kind];
  }
  root.querySelector(".axes").textContent = `→ ${data.words.step} · ↓ ${data.words.rank}`;
  const button = root.querySelector(".save");
  button.textContent = data.words.image;
  button.onclick = () => save(root, data.css);
  svg.setAttribute("aria-label", data.words.title);
  if (fresh || root.marks.length > data.nodes.length) {
    root.search = data.search;
    root.lang = data.words.lang;
    root.marks = [];
    root.chosen = undefined;
    root.querySelector(".edges").replaceChildren();
    root.querySelector(".boxes").replaceChildren();
  }
  const view = root.querySelector(".view"), known = root.marks.length;
  const follows = view.scrollWidth - view.scrollLeft - view.clientWidth < 60;
  if (known < data.nodes.length || fresh) frame(svg, data);
  for (let place = known; place < data.nodes.length; place++) add(root, place);
  if ((data.live || root.live) && follows) view.scrollLeft = view.scrollWidth;
  root.live = data.live;
  if (root.own === undefined || fresh) root.own = false;
  tell(root, root.own && root.chosen !== undefined ? root.chosen : data.best);
  const choose = (place) => { root.own = true; tell(root, place); };
  svg.onclick = (event) => {
    const box = event.target.closest(".node");
    if (box) choose(Number(box.dataset.place));
  };
  svg.onkeydown = (event) => {
    const box = event.target.closest(".node");
    const place = box && next(data.nodes, Number(box.dataset.place), event.key);
    if (place === undefined || place === null) return;
    event.preventDefault();
    if (place < 0) return;
    choose(place);
    root.marks[place].box.focus();
  };
}
"""

_HTML = """
<div class="beam">
  <div class="head">
    <span class="key"><span class="swatch kept"></span><span></span></span>
    <span class="key"><span class="swatch pruned"></span><span></span></span>
    <span class="key"><span class="swatch finished"></span><span></span></span>
    <span class="axes"></span>
    <button type="button" class="save"></button>
  </div>
  <div class="view"><svg role="tree"><g class="axis"></g><g class="edges"></g><g class="boxes"></g></svg></div>
  <div class="told" aria-live="polite"></div>
</div>
"""

_render = st.components.v2.component("nucleus_beam_tree", html=_HTML, css=_CSS + _SVG_CSS, js=_JS)


class Hypothesis(NamedTuple):
    """One candidate of one step."""

    parent: int | None
    """Its place in the list, or None after the prompt."""
    step: int
    rank: int
    """Among the candidates of its step, from 0."""
    label: str
    status: str
    """`kept`, `pruned` or `finished`."""
    text: str
    """The answer up to here."""
    facts: str
    """Its figures in the reader's language."""


def beam_tree(
    nodes: Sequence[Hypothesis], *, key: str, search: str, best: int, live: bool, words: dict[str, str]
) -> None:
    """Draw the tree. `search` names the search, whose nodes are only ever added to; `best` is the place of the one
    whose way is marked until another one is chosen, -1 for none.

    `words` gives the texts `title`, `step`, `rank`, `kept`, `pruned`, `finished` and `image`, and the language's code.
    """
    data = {"nodes": list(nodes), "search": search, "best": best, "live": live, "words": words, "css": _SVG_CSS}
    _render(key=key, data=data)
