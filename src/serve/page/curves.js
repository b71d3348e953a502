// Curves in plain SVG, each with a table of the same numbers for those who do not see it.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [440, 200, 56, 24, 10, 12];

function make(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toLocaleString("en");
}

/** A table of texts. The first row is the head, and the first cell of each other row names the row. */
export function table(element, caption, rows) {
  const head = document.createElement("thead");
  const body = document.createElement("tbody");
  rows.forEach((row, index) => {
    const line = (index === 0 ? head : body).appendChild(document.createElement("tr"));
    row.forEach((text, column) => {
      const cell = line.appendChild(document.createElement(index === 0 || column === 0 ? "th" : "td"));
      if (cell.localName === "th") cell.scope = index === 0 ? "col" : "row";
      cell.textContent = text;
    });
  });
  const title = document.createElement("caption");
  title.textContent = caption;
  element.replaceChildren(title, head, body);
}

/** The figure of a curve, which is made when it is first needed. */
function figure(place, key, title) {
  let found = [...place.children].find((child) => child.dataset.key === key);
  if (!found) {
    found = document.createElement("figure");
    found.dataset.key = key;
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    const details = document.createElement("details");
    const summary = details.appendChild(document.createElement("summary"));
    summary.textContent = `Table: ${title}`;
    const scroll = details.appendChild(document.createElement("div"));
    scroll.className = "scroll tall";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Numbers of ${title}`);
    scroll.appendChild(document.createElement("table"));
    found.append(caption, make("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" }), details);
    place.appendChild(found);
  }
  return found;
}

function frame(svg, x, y, unit) {
  const across = (value) => LEFT + ((value - x[0]) / (x[1] - x[0] || 1)) * (WIDTH - LEFT - RIGHT);
  const up = (value) => HEIGHT - BOTTOM - ((value - y[0]) / (y[1] - y[0] || 1)) * (HEIGHT - TOP - BOTTOM);
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const value = y[0] + part * (y[1] - y[0]);
    parts.push(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: up(value), y2: up(value) }));
    parts.push(make("text", { x: LEFT - 5, y: up(value) + 4, "text-anchor": "end" }, short(value)));
  }
  parts.push(make("text", { x: LEFT, y: HEIGHT - 6 }, short(x[0])));
  parts.push(make("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, `${short(x[1])} ${unit}`));
  svg.replaceChildren(...parts);
  return { across, up };
}

/** Draws lines. `lines` are `{ name, points }`, and a point is `[x, y]`. */
export function curve(place, key, title, unit, lines) {
  lines = lines.map((line) => ({ ...line, points: line.points.filter((point) => point.every(Number.isFinite)) }));
  lines = lines.filter((line) => line.points.length > 0);
  if (lines.length === 0) return;
  const parts = figure(place, key, title);
  const svg = parts.querySelector("svg");
  const points = lines.flatMap((line) => line.points);
  const range = (axis) => points.reduce(([low, high], p) => [Math.min(low, p[axis]), Math.max(high, p[axis])], [Infinity, -Infinity]);
  const [x, y] = [range(0), range(1)];
  const { across, up } = frame(svg, x, y[0] === y[1] ? [Math.min(0, y[0]), Math.max(y[1], 1e-9)] : y, unit);
  lines.forEach((line, index) => {
    const way = line.points.map((p) => `${across(p[0]).toFixed(1)},${up(p[1]).toFixed(1)}`).join(" ");
    svg.appendChild(make("polyline", { class: `line line${index % 2}`, points: way }));
    if (line.points.length === 1) {
      svg.appendChild(make("circle", { class: `line line${index % 2}`, cx: across(line.points[0][0]), cy: up(line.points[0][1]), r: 3 }));
    }
  });
  const last = lines.map((line) => `${line.name} ${short(line.points.at(-1)[1])}`).join(", ");
  svg.setAttribute("aria-label", `${title}: ${last} at ${short(x[1])} ${unit}`);
  parts.dataset.points = points.length;
  parts.querySelector("figcaption").textContent = `${title}: ${last}`;
  if (parts.querySelector("details").open) {
    const rows = lines.flatMap((line) => line.points.map((p) => [short(p[0]), line.name, short(p[1])]));
    table(parts.querySelector("table"), title, [[unit, "curve", "value"], ...rows]);
  }
}

/** Draws the four shares of a stage over time as areas upon each other. */
export function areas(place, key, title, points) {
  if (points.length < 2) return;
  const parts = figure(place, key, title);
  const svg = parts.querySelector("svg");
  const { across, up } = frame(svg, [points[0].seconds, points.at(-1).seconds], [0, 100], "s");
  const names = ["busy", "held", "starved", "ended"];
  let below = points.map(() => 0);
  for (const name of names) {
    const above = below.map((low, index) => low + 100 * points[index][name]);
    const top = points.map((p, i) => `${across(p.seconds).toFixed(1)},${up(above[i]).toFixed(1)}`);
    const bottom = points.map((p, i) => `${across(p.seconds).toFixed(1)},${up(below[i]).toFixed(1)}`);
    svg.appendChild(make("polygon", { class: name, points: top.concat(bottom.reverse()).join(" ") }));
    below = above;
  }
  const last = points.at(-1);
  const percent = (share) => `${Math.round(100 * share)} %`;
  const text = `busy ${percent(last.busy)}, waits for room ${percent(last.held)}, waits for input ${percent(last.starved)}`;
  svg.setAttribute("aria-label", `${title}: ${text} at ${short(last.seconds)} s`);
  parts.dataset.points = points.length;
  parts.querySelector("figcaption").textContent = `${title}: ${text}`;
  if (parts.querySelector("details").open) {
    const rows = points.map((p) => [short(p.seconds), ...names.map((name) => percent(p[name]))]);
    table(parts.querySelector("table"), title, [["s", "busy", "waits for room", "waits for input", "ended"], ...rows]);
  }
}
