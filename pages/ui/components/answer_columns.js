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
  grid.querySelectorAll(".token[tabindex='0']").forEach((token) => {
    token.tabIndex = -1;
  });
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
  const selection = () => parentElement.getRootNode().getSelection?.() ?? getSelection(); // people copy text, too
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
