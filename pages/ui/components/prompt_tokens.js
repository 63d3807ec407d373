export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".prompt");
  const parts = data.parts.map(({ name, colour, count }) => {
    const item = document.createElement("span"),
      square = document.createElement("span");
    square.className = "square";
    square.style.background = colour;
    item.append(square, `${name} ${count}`);
    return item;
  });
  root.querySelector(".parts").replaceChildren(...parts);
  root.querySelector(".tokens").replaceChildren(
    ...data.cells.map((cell) => {
      const node = document.createElement("span");
      node.className = "token";
      node.style.borderColor = data.colours[cell.part];
      node.textContent = cell.text;
      node.title = cell.title;
      return node;
    }),
  );
}
