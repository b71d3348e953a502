// The drawing of the graph, alive: the server draws it once, and each reading colours it. Names of stages are text of
// users. They are only compared and set as text, and never become markup.

const SVG = "http://www.w3.org/2000/svg";
const MARKS = { busy: "■", starved: "▽", held: "△", ended: "✓" };

export const STATES = {
  busy: "busy",
  starved: "waits for input",
  held: "waits for room",
  ended: "ended",
};

/** What a stage did for most of a window. */
export function stateOf(shares) {
  if (shares.ended > 0.5) return "ended";
  if (shares.busy >= Math.max(shares.input_wait, shares.output_wait)) return "busy";
  return shares.input_wait >= shares.output_wait ? "starved" : "held";
}

/** Takes the drawing over from the text of an SVG. */
export function show(place, text) {
  // The colours are those of the page, in the light and in the dark. The style goes before the text is parsed, because
  // the policy of the page refuses it. Names cannot hold it: the server escapes them.
  const plain = text.replace(/<style>[^<]*<\/style>/, "");
  const drawing = new DOMParser().parseFromString(plain, "image/svg+xml").documentElement;
  if (drawing.namespaceURI !== SVG || drawing.localName !== "svg") throw new Error("the server sent no drawing");
  // The arrows keep their size where an edge is full.
  for (const marker of drawing.querySelectorAll("marker")) {
    marker.setAttribute("markerUnits", "userSpaceOnUse");
    marker.setAttribute("markerWidth", "10");
    marker.setAttribute("markerHeight", "10");
  }
  drawing.querySelectorAll("marker path").forEach((path) => path.setAttribute("fill", "currentColor"));
  place.replaceChildren(document.importNode(drawing, true));
}

/** Colours stages by what they do, and edges by how full they are. */
export function colour(place, stages, edges, limiting) {
  const states = new Map(stages.map((stage) => [stage.name, stage]));
  for (const box of place.querySelectorAll("rect.stage")) {
    const stage = states.get(box.dataset.stage);
    if (!stage) continue;
    const state = stateOf(stage.shares);
    const limits = limiting.includes(stage.name);
    box.setAttribute("class", `stage ${state}${limits ? " limiting" : ""}`);
    const name = box.nextElementSibling;
    name.setAttribute("class", limits ? "name limiting-name" : "name");
    name.textContent = `${limits ? "▶ " : ""}${stage.name} ${MARKS[state]}`;
  }
  const fills = new Map(edges.map((edge) => [`${edge.from}\n${edge.to}`, edge]));
  for (const path of place.querySelectorAll("path.edge")) {
    const edge = fills.get(`${path.dataset.from}\n${path.dataset.to}`);
    if (!edge) continue;
    const fill = Math.min(1, Math.max(edge.items / edge.capacity_items, edge.bytes / edge.capacity_bytes) || 0);
    path.style.strokeWidth = (1.3 + 5 * fill).toFixed(2);
    path.dataset.fill = fill.toFixed(3);
  }
}
