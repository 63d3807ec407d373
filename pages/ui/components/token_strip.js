const STOPS = [
  [255, 243, 196],
  [142, 202, 230],
  [42, 111, 151],
];
const TEXT = 0,
  LABEL = 1,
  ID = 2,
  KIND = 3,
  PROBABILITY = 4,
  AFTER = 5,
  RANK = 6,
  ENTROPY = 7,
  SURPRISAL = 8,
  X = 9;

const GREY = [222, 225, 230]; // a piece of text whose probability nobody knows
function colour(x) {
  if (x === null) return GREY;
  const at = Math.min(1, Math.max(0, x)) * 2,
    i = Math.min(1, Math.floor(at)),
    f = at - i;
  return STOPS[i].map((v, k) => Math.round(v + (STOPS[i + 1][k] - v) * f));
}

function isDark(rgb) {
  const [r, g, b] = rgb.map((v) => {
    v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179;
}

// Tokens that belong together: those that hold parts of a letter, with the one that completes it.
function unitsOf(cells) {
  const units = [];
  let parts = [];
  cells.forEach((cell, index) => {
    if (cell[KIND] === "mark" && parts.length) {
      units.push(parts);
      parts = [];
    }
    parts.push(index);
    if (cell[KIND] !== "part") {
      units.push(parts);
      parts = [];
    }
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
  const group = element("span", "group"),
    letter = element("span", "letter");
  const [, before, whole, after] = last[TEXT].match(/^(\s*)(.?\p{M}*)(.*)$/su);
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
  const cell = data.cells[index],
    selected = index === data.selected;
  const fork = data.forks.includes(index),
    given = data.given.includes(index);
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
  if (/^\s*\n\s*$/.test(cell[TEXT])) classes.push("newline");
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
function format(lang, digits) {
  // making one takes longer than using it a hundred times
  formats[lang + digits] ??= new Intl.NumberFormat(lang, { maximumFractionDigits: digits });
  return formats[lang + digits];
}

function details(data, index) {
  const cell = data.cells[index],
    words = data.words;
  const show = (value, digits) => format(words.lang, digits).format(value);
  const head = words.token.replace("{step}", index + 1).replace("{token}", () => cell[LABEL]);
  const notes = [];
  if (cell[KIND] === "part") notes.push(words.part);
  if (cell[KIND] === "bare") return { head, notes: [words.bare], rows: [] };
  if (data.given.includes(index)) notes.push(words.given);
  if (data.forks.includes(index)) notes.push(words.fork);
  const rows = [
    [words.names.probability, show(cell[PROBABILITY], 4)],
    [words.after, show(cell[AFTER], 4)],
    [words.names.rank, show(cell[RANK], 0)],
    [words.entropy, show(cell[ENTROPY], 2)],
    [words.surprisal, show(cell[SURPRISAL], 2)],
    [words.id, String(cell[ID])],
  ];
  return { head, notes, rows };
}

function pointAt(root, node) {
  const tip = root.querySelector(".tip");
  const data = root.latest;
  if (!node || !data?.cells[node.dataset.index]) {
    tip.hidden = true;
    return;
  }
  const { head, notes, rows } = details(data, Number(node.dataset.index));
  const table = element("table", "");
  for (const cells of rows) {
    const row = table.insertRow();
    for (const text of cells) row.insertCell().textContent = text;
  }
  tip.replaceChildren(element("b", "", head), ...notes.map((note) => element("div", "", note)), table);
  tip.hidden = false;
  const frame = root.getBoundingClientRect(),
    box = node.getClientRects()[0];
  const left = Math.min(box.left - frame.left, frame.width - tip.offsetWidth - 2);
  tip.style.left = `${Math.max(0, left)}px`;
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  tip.style.top = `${below ? box.bottom - frame.top + 6 : box.top - frame.top - tip.offsetHeight - 6}px`;
}

// The strip as a picture: white ground, the scale, and the tokens in lines.
function picture(data) {
  const W = 1200,
    PAD = 28,
    LINE = 40,
    canvas = document.createElement("canvas"),
    ratio = 2;
  const font = (size) => `${size}px sans-serif`;
  const pen = canvas.getContext("2d");
  pen.font = font(20);
  const placed = [];
  let x = PAD,
    y = 96;
  for (const cell of data.cells) {
    const text = cell[KIND] === "part" ? "‥" : cell[TEXT];
    text
      .split(/(\n)/)
      .filter(Boolean)
      .forEach((part) => {
        if (part === "\n") {
          x = PAD;
          y += LINE;
          return;
        }
        const width = pen.measureText(part).width + 4;
        if (x + width > W - PAD) {
          x = PAD;
          y += LINE;
        }
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
  const from = PAD + pen.measureText(data.words.low).width + 8,
    ramp = pen.createLinearGradient(from, 0, from + 160, 0);
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
  list.querySelectorAll(".rest").forEach((node) => {
    // what the first and the last token of a letter have besides
    const slices = node.parentElement.querySelectorAll("[role=option]");
    const owner = node.nextSibling ? slices[0] : slices[slices.length - 1];
    dress(node, Number(owner.dataset.index), { data, spoken });
  });
  const reachable = data.selected ?? cells.length - 1;
  options.forEach((node, index) => {
    node.tabIndex = index === reachable ? 0 : -1;
  });
  if (follows && data.live) list.scrollTop = list.scrollHeight;

  const choose = (index) => {
    options.forEach((node, place) => node.classList.toggle("selected", place === index)); // before the server answers
    options[index].state = "";
    setTriggerValue("picked", index);
  };
  const tokenOf = (event) => event.target.closest?.("[data-index]");
  list.onclick = (event) => {
    const node = tokenOf(event);
    if (node) choose(Number(node.dataset.index));
  };
  list.onpointerover = (event) => pointAt(root, tokenOf(event));
  list.onpointerleave = () => pointAt(root, null);
  list.onscroll = () => pointAt(root, null);
  list.onfocusout = () => pointAt(root, null);
  list.onkeydown = (event) => {
    const node = tokenOf(event);
    if (!node) return;
    if (event.key === "Escape") {
      pointAt(root, null);
      return;
    }
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
