"""An answer as a strip of tokens, each coloured by one of its numbers; clicking or arrow keys choose one.

A letter whose bytes are split over several tokens is written whole, over one stripe for each of them. Tokens are model
output and so untrusted: they reach the page as `textContent` only, and an image of them is drawn, not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple, get_args

import streamlit as st

from pages.ui.shell.session import get

Mode = Literal["probability", "rank", "entropy", "surprisal"]
MODES: tuple[Mode, ...] = get_args(Mode)

ENDS: dict[Mode, tuple[float, float]] = {
    "probability": (0, 1),
    "rank": (1, 1000),
    "entropy": (0, 8),
    "surprisal": (0, 10),
}
"""The values that the two ends of the colour scale stand for; what lies beyond gets the end's colour."""

_CSS = """
.strip { position: relative; font-family: var(--st-font, sans-serif); color: var(--st-text-color); }
.head { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: center; font-size: 0.82rem; margin-bottom: 6px; }
.head .title { opacity: 0.85; margin-right: auto; }
.legend:not([hidden]) { display: inline-flex; align-items: center; gap: 6px; }
.ramp { width: 90px; height: 9px; border-radius: 3px; background: linear-gradient(90deg, #fff3c4, #8ecae6, #2a6f97);
  outline: 1px solid var(--st-border-color); }
.save { font: inherit; color: inherit; background: none; border: 1px solid var(--st-border-color); border-radius: 5px;
  padding: 1px 8px; cursor: pointer; }
.save:hover { border-color: currentColor; }
.tokens { min-height: 2.2em; font-size: 1.03rem; line-height: 1.95; white-space: pre-wrap; overflow-wrap: anywhere;
  max-height: 25.4em; overflow-y: auto; padding: 2px 3px; margin: 0 -3px; scrollbar-gutter: stable; }
.token { padding: 3px 1px; border-radius: 3px; cursor: pointer; color: #000; }
.token.dark { color: #fff; }
.token.mark { font-size: 0.8rem; font-family: var(--st-code-font, monospace); }
.token.given { text-decoration: underline; text-decoration-style: double; text-underline-offset: 3px; }
.token.fork { border-left: 4px solid #d05a0a; margin-left: 2px; }
.token.fork:not(.letter *)::before { content: "↳"; font-weight: 700; text-decoration: none; display: inline-block;
  padding: 0 2px; }
.token.newline::after { content: "↵"; opacity: 0.7; font-size: 0.85em; }
.token.newline { position: relative; padding-right: 0.9em; }
.token.newline::after { position: absolute; left: 0; top: 0; }
.token:focus-visible, .token.selected { outline: 2px solid var(--st-text-color); outline-offset: 1px; }
.letter { display: inline-grid; grid-auto-columns: 1fr; position: relative; line-height: 1.45; border-radius: 4px;
  outline: 1.5px solid rgb(0 0 0 / 0.8); outline-offset: -1px; margin: 0 2px; vertical-align: baseline; }
.letter::before { content: attr(data-whole); visibility: hidden; grid-area: 1 / 1 / 2 / -1; padding: 0 3px; }
.letter .token { grid-row: 1; min-width: 0.5em; padding: 0; border-radius: 0; position: relative; }
.letter .token:first-of-type { border-radius: 4px 0 0 4px; }
.letter .token:last-of-type { border-radius: 0 4px 4px 0; }
.letter .token + .token::after { content: ""; position: absolute; left: -1px; bottom: 0; height: 34%;
  border-left: 2px solid #000; }
.letter .whole { position: absolute; inset: 0; text-align: center; pointer-events: none; z-index: 1; color: #000;
  text-shadow: 0 0 2px #fff, 0 0 2px #fff, 0 0 3px #fff, 0 0 3px #fff; }
.tip { position: absolute; z-index: 5; pointer-events: none; max-width: 21em; padding: 7px 10px; border-radius: 6px;
  font-size: 0.8rem; line-height: 1.45; color: var(--st-text-color); background: var(--st-background-color);
  border: 1px solid var(--st-border-color); box-shadow: 0 3px 14px rgb(0 0 0 / 0.25); }
.tip b { font-family: var(--st-code-font, monospace); white-space: pre-wrap; overflow-wrap: anywhere; }
.tip table { border-collapse: collapse; margin-top: 3px; }
.tip td { padding: 0 10px 0 0; }
.tip td + td { padding: 0; text-align: right; font-variant-numeric: tabular-nums; }
.empty { opacity: 0.75; }
@media (max-width: 640px) { .tokens { max-height: none; } }
"""

_JS = """
const STOPS = [[255, 243, 196], [142, 202, 230], [42, 111, 151]];
const TEXT = 0, LABEL = 1, ID = 2, KIND = 3, PROBABILITY = 4, AFTER = 5, RANK = 6, ENTROPY = 7, SURPRISAL = 8, X = 9;

const GREY = [222, 225, 230];  // a piece of text whose probability nobody knows
function colour(x) {
  if (x === null) return GREY;
  const at = Math.min(1, Math.max(0, x)) * 2, i = Math.min(1, Math.floor(at)), f = at - i;
  return STOPS[i].map((v, k) => Math.round(v + (STOPS[i + 1][k] - v) * f));
}

function isDark(rgb) {
  const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179;
}

// Tokens that belong together: those that hold parts of a letter, with the one that completes it.
function unitsOf(cells) {
  const units = [];
  let parts = [];
  cells.forEach((cell, index) => {
    if (cell[KIND] === "mark" && parts.length) { units.push(parts); parts = []; }
    parts.push(index);
    if (cell[KIND] !== "part") { units.push(parts); parts = []; }
  });
  if (parts.length) units.push(parts);
  return units;
}

function element(name, className, text) {
  const node = document.createElement(name);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function option() {
  const node = element("span", "token");
  node.setAttribute("role", "option");
  return node;
}

function unitNode(cells, unit) {
  const last = cells[unit[unit.length - 1]];
  if (unit.length === 1 && last[KIND] !== "part") {
    const node = option();
    node.textContent = last[TEXT];
    return node;
  }
  const group = element("span", "group"), letter = element("span", "letter");
  const [, before, whole, after] = last[TEXT].match(/^(\\s*)(.?\\p{M}*)(.*)$/su);
  letter.dataset.whole = whole || "‥";
  unit.forEach((_, place) => {
    const node = option();
    node.style.gridColumn = place + 1;
    letter.append(node);
  });
  letter.append(element("span", "whole", letter.dataset.whole));
  group.append(letter);
  if (before) group.prepend(element("span", "token rest", before));
  if (after) group.append(element("span", "token rest", after));
  return group;
}

function dress(node, index, { data, spoken }) {
  const cell = data.cells[index], selected = index === data.selected;
  const fork = data.forks.includes(index), given = data.given.includes(index);
  const said = `${index} ${cell[LABEL]} ${fork} ${given} ${data.words.lang}`;
  const state = `${said} ${cell[X]} ${selected}`;
  if (node.state === state) return;
  node.state = state;
  const rgb = colour(cell[X]);
  const classes = ["token"];
  if (isDark(rgb)) classes.push("dark");
  if (cell[KIND] === "mark") classes.push("mark");
  if (node.getAttribute("role") !== "option") classes.push("rest");
  else if (fork) classes.push("fork");
  if (/^\\s*\\n\\s*$/.test(cell[TEXT])) classes.push("newline");
  if (given) classes.push("given");
  if (selected) classes.push("selected");
  node.className = classes.join(" ");
  node.style.background = `rgb(${rgb})`;
  node.dataset.index = index;
  if (node.getAttribute("role") !== "option") return;
  node.setAttribute("aria-selected", String(selected));
  if (node.said === said) return;
  node.said = said;
  node.setAttribute("aria-label", spoken(index));
}

const formats = {};
function format(lang, digits) {  // making one takes longer than using it a hundred times
  return formats[lang + digits] ??= new Intl.NumberFormat(lang, { maximumFractionDigits: digits });
}

function details(data, index) {
  const cell = data.cells[index], words = data.words;
  const show = (value, digits) => format(words.lang, digits).format(value);
  const head = words.token.replace("{step}", index + 1).replace("{token}", () => cell[LABEL]);
  const notes = [];
  if (cell[KIND] === "part") notes.push(words.part);
  if (cell[KIND] === "bare") return { head, notes: [words.bare], rows: [] };
  if (data.given.includes(index)) notes.push(words.given);
  if (data.forks.includes(index)) notes.push(words.fork);
  const rows = [
    [words.names.probability, show(cell[PROBABILITY], 4)], [words.after, show(cell[AFTER], 4)],
    [words.names.rank, show(cell[RANK], 0)], [words.entropy, show(cell[ENTROPY], 2)],
    [words.surprisal, show(cell[SURPRISAL], 2)], [words.id, String(cell[ID])],
  ];
  return { head, notes, rows };
}

function pointAt(root, node) {
  const tip = root.querySelector(".tip");
  const data = root.latest;
  if (!node || !data || !data.cells[node.dataset.index]) { tip.hidden = true; return; }
  const { head, notes, rows } = details(data, Number(node.dataset.index));
  const table = element("table", "");
  for (const cells of rows) {
    const row = table.insertRow();
    for (const text of cells) row.insertCell().textContent = text;
  }
  tip.replaceChildren(element("b", "", head), ...notes.map((note) => element("div", "", note)), table);
  tip.hidden = false;
  const frame = root.getBoundingClientRect(), box = node.getClientRects()[0];
  const left = Math.min(box.left - frame.left, frame.width - tip.offsetWidth - 2);
  tip.style.left = `${Math.max(0, left)}px`;
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  tip.style.top = `${below ? box.bottom - frame.top + 6 : box.top - frame.top - tip.offsetHeight - 6}px`;
}

// The strip as a picture: white ground, the scale, and the tokens in lines.
function picture(data) {
  const W = 1200, PAD = 28, LINE = 40, canvas = document.createElement("canvas"), ratio = 2;
  const font = (size) => `${size}px sans-serif`;
  const pen = canvas.getContext("2d");
  pen.font = font(20);
  const placed = [];
  let x = PAD, y = 96;
  for (const cell of data.cells) {
    const text = cell[KIND] === "part" ? "‥" : cell[TEXT];
    text.split(/(\\n)/).filter(Boolean).forEach((part) => {
      if (part === "\\n") { x = PAD; y += LINE; return; }
      const width = pen.measureText(part).width + 4;
      if (x + width > W - PAD) { x = PAD; y += LINE; }
      placed.push({ part, x, y, width, x01: cell[X] });
      x += width + 1;
    });
  }
  canvas.width = W * ratio;
  canvas.height = (y + LINE) * ratio;
  pen.scale(ratio, ratio);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, W, y + LINE);
  pen.fillStyle = "#1d2330";
  pen.font = font(17);
  pen.fillText(`${data.words.title} · ${data.words.legend}`, PAD, 36);
  pen.font = font(14);
  pen.fillText(data.words.low, PAD, 62);
  const from = PAD + pen.measureText(data.words.low).width + 8, ramp = pen.createLinearGradient(from, 0, from + 160, 0);
  STOPS.forEach((stop, i) => ramp.addColorStop(i / 2, `rgb(${stop})`));
  pen.fillText(data.words.high, from + 168, 62);
  pen.fillStyle = ramp;
  pen.fillRect(from, 52, 160, 11);
  pen.font = font(20);
  for (const { part, x, y, width, x01 } of placed) {
    const rgb = colour(x01);
    pen.fillStyle = `rgb(${rgb})`;
    pen.fillRect(x, y - 22, width, 30);
    pen.fillStyle = isDark(rgb) ? "#fff" : "#000";
    pen.fillText(part, x + 2, y);
  }
  const link = document.createElement("a");
  link.href = canvas.toDataURL("image/png");
  link.download = "nucleus-tokens.png";
  link.click();
}

function head(root, { words, cells }) {
  root.querySelector(".title").textContent = words.title;
  root.querySelector(".legend").hidden = !words.legend;
  root.querySelector(".what").textContent = words.legend;
  root.querySelector(".low").textContent = words.low;
  root.querySelector(".high").textContent = words.high;
  const save = root.querySelector(".save");
  save.textContent = words.image;
  save.hidden = !cells.length;
  save.onclick = () => picture(root.latest);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".strip");
  root.latest = data;
  head(root, data);
  const list = root.querySelector(".tokens");
  list.setAttribute("aria-label", data.words.title);
  const cells = data.cells;
  if (!cells.length) {
    list.replaceChildren(element("span", "empty", data.words.empty));
    pointAt(root, null);
    return;
  }
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.querySelector(".empty")?.remove();
  const units = unitsOf(cells);
  while (list.children.length > units.length) list.lastChild.remove();
  units.forEach((unit, place) => {
    const shape = unit.map((index) => `${cells[index][KIND]} ${cells[index][TEXT]}`).join("|");
    const old = list.children[place];
    if (old && old.shape === shape) return;
    const node = unitNode(cells, unit);
    node.shape = shape;
    if (old) old.replaceWith(node);
    else list.append(node);
  });
  const options = [...list.querySelectorAll("[role=option]")];
  const spoken = (index) => {
    const { head, notes, rows } = details(data, index);
    return [head, ...notes, ...rows.slice(0, 5).map((row) => row.join(" "))].join(" · ");
  };
  options.forEach((node, index) => dress(node, index, { data, spoken }));
  list.querySelectorAll(".rest").forEach((node) => {  // what the first and the last token of a letter have besides
    const slices = node.parentElement.querySelectorAll("[role=option]");
    const owner = node.nextSibling ? slices[0] : slices[slices.length - 1];
    dress(node, Number(owner.dataset.index), { data, spoken });
  });
  const reachable = data.selected ?? cells.length - 1;
  options.forEach((node, index) => { node.tabIndex = index === reachable ? 0 : -1; });
  if (follows && data.live) list.scrollTop = list.scrollHeight;

  const choose = (index) => {
    options.forEach((node, place) => node.classList.toggle("selected", place === index));  // before the server answers
    options[index].state = "";
    setTriggerValue("picked", index);
  };
  const tokenOf = (event) => event.target.closest?.("[data-index]");
  list.onclick = (event) => { const node = tokenOf(event); if (node) choose(Number(node.dataset.index)); };
  list.onpointerover = (event) => pointAt(root, tokenOf(event));
  list.onpointerleave = () => pointAt(root, null);
  list.onscroll = () => pointAt(root, null);
  list.onfocusout = () => pointAt(root, null);
  list.onkeydown = (event) => {
    const node = tokenOf(event);
    if (!node) return;
    if (event.key === "Escape") { pointAt(root, null); return; }
    const here = Number(node.dataset.index);
    const end = cells.length - 1;
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: end, Enter: here, " ": here }[event.key];
    if (to === undefined || to < 0 || to >= cells.length) return;
    event.preventDefault();
    options[to].focus();
    pointAt(root, options[to]);
    choose(to);
  };
}
"""

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

_render = st.components.v2.component("nucleus_token_strip", html=_HTML, css=_CSS, js=_JS)


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
