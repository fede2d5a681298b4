"use strict";
// Shows the attention of one word. Each map has words in rows and columns, and weights[layer][head][row][column] in
// thousandths.
const maps = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const kind = byId("kind"), layer = byId("layer"), head = byId("head"), rows = byId("rows"), columns = byId("columns");
let pinned = 0;

function make(name, text, parent) {
  const element = document.createElement(name);
  element.textContent = text;
  parent.append(element);
  return element;
}

function fill(select, options) {
  const value = select.value;
  select.replaceChildren();
  options.forEach(([key, text]) => { make("option", text, select).value = key; });
  if (options.some(([key]) => key === value)) select.value = value;
}

function weightsOf(row) {
  const heads = maps[kind.value].weights[layer.value];
  const chosen = head.value === "mean" ? heads : [heads[head.value]];
  return maps[kind.value].columns.map((_, m) => chosen.reduce((sum, one) => sum + one[row][m], 0) / chosen.length / 1000);
}

const percent = (weight) => `${(100 * weight).toFixed(0)} %`;

function show(row) {
  const map = maps[kind.value], weights = weightsOf(row);
  [...rows.children].forEach((button, n) => {
    button.classList.toggle("shown", n === row);
    button.setAttribute("aria-pressed", String(n === pinned));
  });
  [...columns.children].forEach((word, m) => {
    const strength = 100 * Math.sqrt(weights[m]); // so that weights of 5 % can be seen
    word.style.background = `color-mix(in srgb, var(--accent) ${strength.toFixed(1)}%, transparent)`;
    word.lastElementChild.textContent = percent(weights[m]);
  });
  const order = weights.map((weight, m) => [weight, m]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  const which = head.value === "mean" ? "the mean of all heads" : `head ${Number(head.value) + 1}`;
  byId("said").textContent = `“${map.rows[row]}” in layer ${Number(layer.value) + 1}, ${which}, attends to `
    + order.map(([weight, m]) => `“${map.columns[m]}” ${percent(weight)}`).join(", ") + ".";
  document.querySelectorAll("#heads svg .row").forEach((mark) => mark.setAttribute("y", row));
}

function draw(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  parent.append(element);
  return element;
}

function drawHead(button, weights, width, name) {
  const viewBox = `0 0 ${width} ${weights.length}`;
  const map = draw("svg", { viewBox, preserveAspectRatio: "none", height: 72, "aria-hidden": "true" }, button);
  weights.forEach((row, n) => row.forEach((weight, m) => {
    if (weight >= 30) draw("rect", { x: m, y: n, width: 1, height: 1, "fill-opacity": weight / 1000 }, map);
  }));
  draw("rect", { x: 0, y: pinned, width, height: 1, class: "row" }, map);
  make("small", name, button);
}

function drawHeads() {
  const map = maps[kind.value];
  byId("heads").replaceChildren();
  map.weights.forEach((heads, l) => {
    const group = make("div", "", byId("heads"));
    group.className = "layer";
    make("h4", `Layer ${l + 1}`, group);
    const grid = make("div", "", group);
    grid.className = "heads";
    heads.forEach((weights, h) => {
      const button = make("button", "", grid);
      button.type = "button";
      button.setAttribute("aria-label", `Show layer ${l + 1}, head ${h + 1}`);
      drawHead(button, weights, map.columns.length, `head ${h + 1}`);
      button.addEventListener("click", () => { layer.value = String(l); head.value = String(h); update(); });
    });
  });
}

function update() {
  let number = 0;
  maps[kind.value].weights.forEach((heads, l) => heads.forEach((_, h) => {
    const button = byId("heads").querySelectorAll("button")[number++];
    button.setAttribute("aria-pressed", String(String(l) === layer.value && String(h) === head.value));
  }));
  show(pinned);
}

function changeKind() {
  const map = maps[kind.value];
  pinned = 0;
  fill(layer, map.weights.map((_, l) => [String(l), String(l + 1)]));
  fill(head, [["mean", "mean of all"], ...map.weights[0].map((_, h) => [String(h), String(h + 1)])]);
  byId("meaning").textContent = map.meaning;
  rows.replaceChildren();
  columns.replaceChildren();
  map.rows.forEach((word, n) => {
    const button = make("button", word, rows);
    button.type = "button";
    button.addEventListener("mouseenter", () => show(n));
    button.addEventListener("mouseleave", () => show(pinned));
    button.addEventListener("focus", () => show(n));
    button.addEventListener("blur", () => show(pinned));
    button.addEventListener("click", () => { pinned = n; show(n); });
  });
  map.columns.forEach((word) => make("small", "", make("span", word, columns)));
  drawHeads();
  update();
}

rows.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!move) return;
  const buttons = [...rows.children];
  const next = buttons[buttons.indexOf(document.activeElement) + move];
  if (next) { next.focus(); event.preventDefault(); }
});
fill(kind, Object.entries(maps).map(([key, map]) => [key, map.title]));
kind.addEventListener("change", changeKind);
layer.addEventListener("change", update);
head.addEventListener("change", update);
changeKind();
if (window.parent !== window) { // in a frame, whose page fits its height to this one
  const tell = () => window.parent.postMessage({ height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
}
