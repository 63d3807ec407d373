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
  node.parts = Object.fromEntries(
    [".number", ".times", ".badges", ".tag", ".inner", ".foot"].map((name) => [
      name.slice(1),
      node.querySelector(name),
    ]),
  );
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
  const badges = card.badges.join("\u0000");
  if (shown.get(parts.badges) !== badges) {
    shown.set(parts.badges, badges);
    parts.badges.replaceChildren(
      ...card.badges.map((text) => {
        const badge = element("span", "badge");
        badge.textContent = text;
        return badge;
      }),
    );
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
    if (!wanted.has(id)) {
      node.remove();
      root.known.delete(id);
    }
  }
  let place = root.firstChild;
  for (const card of data.cards) {
    let node = root.known.get(card.id);
    if (!node) {
      node = newCard(card.id);
      root.known.set(card.id, node);
    }
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
  const selection = () => parentElement.getRootNode().getSelection?.() ?? getSelection(); // people copy text, too
  const choose = (node) => setTriggerValue("picked", node.dataset.id);
  root.onclick = (event) => {
    const node = event.target.closest(".card");
    if (node && selection().isCollapsed) choose(node);
  };
  root.onkeydown = (event) => {
    const node = event.target.closest(".card");
    const next = {
      ArrowRight: "nextSibling",
      ArrowDown: "nextSibling",
      ArrowLeft: "previousSibling",
      ArrowUp: "previousSibling",
    }[event.key];
    const to = next ? node?.[next] : ["Enter", " "].includes(event.key) ? node : null;
    if (!to) return;
    event.preventDefault();
    to.focus();
    choose(to);
  };
}
