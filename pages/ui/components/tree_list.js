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
