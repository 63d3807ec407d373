const W = 124,
  BOX = 92,
  H = 27,
  LEFT = 34,
  TOP = 40;
const PARENT = 0,
  STEP = 1,
  RANK = 2,
  LABEL = 3,
  STATUS = 4,
  TEXT = 5,
  FACTS = 6;

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
  const { nodes } = root.latest,
    told = root.querySelector(".told");
  const way = wayTo(nodes, place);
  root.chosen = place;
  root.marks.forEach(({ box, edge }, at) => {
    box.classList.toggle("way", way.has(at));
    box.classList.toggle("chosen", at === place);
    box.setAttribute("tabindex", at === place ? 0 : -1);
    edge.classList.toggle("way", way.has(at));
  });
  if (place < 0) {
    told.textContent = "";
    return;
  }
  const facts = document.createElement("div");
  facts.textContent = nodes[place][FACTS];
  facts.style.opacity = 0.85;
  told.replaceChildren(nodes[place][TEXT], facts);
}

function frame(svg, data) {
  const steps = 1 + Math.max(0, ...data.nodes.map((node) => node[STEP]));
  const ranks = 1 + Math.max(0, ...data.nodes.map((node) => node[RANK]));
  const width = LEFT + steps * W,
    height = TOP + ranks * H + 8;
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
  const node = root.latest.nodes[place],
    parent = root.latest.nodes[node[PARENT]];
  const y = middle(node),
    x = left(node);
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
  const short = label.length > 11 ? `${label.slice(0, 10).join("")}…` : node[LABEL];
  box.append(shape("text", { x: x + BOX / 2, y: y + 4.5, "text-anchor": "middle" }, short));
  const tip = shape("title", {}, `${node[LABEL]} · ${node[FACTS]}`);
  box.append(tip);
  root.querySelector(".edges").append(edge);
  root.querySelector(".boxes").append(box);
  root.marks.push({ box, edge });
}

function save(root, css) {
  const svg = root.querySelector("svg"),
    style = getComputedStyle(root);
  const copy = svg.cloneNode(true),
    colours = ["text-color", "background-color", "secondary-background-color"];
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
  const root = parentElement.querySelector(".beam"),
    svg = root.querySelector("svg");
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
  const view = root.querySelector(".view"),
    known = root.marks.length;
  const follows = view.scrollWidth - view.scrollLeft - view.clientWidth < 60;
  if (known < data.nodes.length || fresh) frame(svg, data);
  for (let place = known; place < data.nodes.length; place++) add(root, place);
  if ((data.live || root.live) && follows) view.scrollLeft = view.scrollWidth;
  root.live = data.live;
  if (root.own === undefined || fresh) root.own = false;
  tell(root, root.own && root.chosen !== undefined ? root.chosen : data.best);
  const choose = (place) => {
    root.own = true;
    tell(root, place);
  };
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
