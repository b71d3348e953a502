// The page of a run. It asks the server for readings, and shows them. What is past comes from /api/history and
// /api/numbers, so a reload shows it again.

import { colour, show, stateOf, STATES } from "/graph.js";
import { areas, curve, short, table } from "/curves.js";

const EVERY = 1000; // milliseconds from one reading to the next
const RARELY = 5; // every how many readings the slow facts are asked for
const WINDOW = 5; // seconds over which shares and rates are taken
const SENTENCE = 10000; // milliseconds from one new sentence for screen readers to the next

const at = (id) => document.getElementById(id);
const say = (id, text) => {
  if (at(id).textContent !== text) at(id).textContent = text;
};
const percent = (share) => `${Math.round(100 * share)} %`;
const count = (number) => number.toLocaleString("en");

const run = { readings: [], stages: [], sends: [], round: 0, told: -Infinity };

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}
const json = async (path) => (await ask(path)).json();

/** A reading in the form of those of /api/history. */
function point(reading) {
  const all = (key) => reading.stages.map((stage) => stage[key]);
  const seconds = (key) => all(key).map((share) => share * reading.seconds);
  return {
    seconds: reading.seconds,
    items_in: all("items_in"),
    items_out: all("items_out"),
    busy_seconds: seconds("busy"),
    input_wait_seconds: seconds("input_wait"),
    output_wait_seconds: seconds("output_wait"),
    ended_seconds: seconds("ended"),
  };
}

/** The shares and the rate of a stage between two readings. */
function between(first, last, stage) {
  const time = last.seconds - (first?.seconds ?? 0);
  const share = (key) => (time > 0 ? Math.max(0, (last[key][stage] - (first?.[key][stage] ?? 0)) / time) : 0);
  const items = run.sends[stage] ? "items_out" : "items_in";
  return {
    busy: share("busy_seconds"),
    input_wait: share("input_wait_seconds"),
    output_wait: share("output_wait_seconds"),
    ended: share("ended_seconds"),
    rate: share(items),
  };
}

/** The reading that begins the window that ends with the last one. */
function windowBegin() {
  const last = run.readings.at(-1);
  return run.readings.findLast((reading) => last.seconds - reading.seconds >= WINDOW);
}

function remember(reading) {
  const last = run.readings.at(-1);
  if (last && reading.seconds <= last.seconds) return;
  run.readings.push(point(reading));
  // As in the server, every second reading goes when there are many. The newest stay for the window.
  if (run.readings.length > 1500) {
    const begin = run.readings.length - 100;
    run.readings = run.readings.filter((_, index) => index >= begin || index % 2 === 0);
  }
}

function limits(reading) {
  const { stage, reason, why, advice, at_most: most } = reading.bottleneck;
  const now = performance.now();
  // A screen reader speaks each new sentence, so there is one now and then.
  if (now - run.told >= SENTENCE || at("limit").dataset.stage !== (stage ?? "")) {
    run.told = now;
    at("limit").dataset.stage = stage ?? "";
    at("limit").dataset.reason = reason;
    say("limit-sentence", stage === null ? why : `▶ ${stage} ${reason.replaceAll("_", " ")}: ${why}`);
    say("limit-advice", advice);
    say("limit-bound", most === null ? "" : `At most, the run becomes ${short(most)} times as fast by this.`);
  }
  if (stage === null) return [];
  return reading.units.find((unit) => unit.stages.includes(stage))?.stages ?? [stage];
}

function tables(reading, shown, limiting) {
  const stages = reading.stages.map((stage, index) => {
    const { shares } = shown[index];
    return [
      `${limiting.includes(stage.name) ? "▶ " : ""}${stage.name}`, stage.type, STATES[stateOf(shares)],
      count(Math.max(stage.items_in, stage.items_out)), `${short(shares.rate)}/s`,
      ...["busy", "input_wait", "output_wait", "ended"].map((key) => percent(shares[key])),
    ];
  });
  const head = ["stage", "type", "state", "items", "rate", "busy", "waiting in", "waiting out", "ended"];
  table(at("stage-table"), `Stages after ${short(reading.seconds)} seconds`, [head, ...stages]);
  const edges = reading.edges.map((edge) => [
    edge.from, edge.to, `${edge.items} of ${edge.capacity_items}`, count(edge.bytes), percent(edge.mean_fill ?? 0),
  ]);
  table(at("edge-table"), "Edges", [["from", "to", "in it", "bytes", "mean fill"], ...edges]);
  at("ranks").hidden = reading.ranks.length === 0;
  if (reading.ranks.length > 0) {
    const ranks = reading.ranks.map((rank) => [
      `${rank.slowest ? "▶ " : ""}${rank.rank}`, rank.host, count(rank.steps),
      rank.waited === null ? "" : percent(rank.waited), rank.limiting ?? "",
      rank.heard_seconds === null ? "never" : `${short(rank.heard_seconds)} s ago`,
    ]);
    const head = ["rank", "host", "steps", "waits for others", "limited by", "heard of"];
    table(at("rank-table"), "Ranks, ▶ the slowest", [head, ...ranks]);
  }
  const rejected = reading.stages.flatMap((stage) =>
    Object.entries(stage.rejected).map(([reason, times]) => [stage.name, reason, count(times)]));
  at("rejected-none").hidden = rejected.length > 0;
  at("rejected-table").hidden = rejected.length === 0;
  if (rejected.length > 0) table(at("rejected-table"), "Rejected records", [["stage", "reason", "times"], ...rejected]);
}

function stageCurves() {
  const readings = run.readings;
  const step = Math.max(1, Math.floor(readings.length / 200));
  const few = readings.filter((_, index) => index % step === 0 || index === readings.length - 1);
  run.stages.forEach((name, stage) => {
    const points = few.slice(1).map((reading, index) => {
      const { busy, input_wait: starved, output_wait: held, ended } = between(few[index], reading, stage);
      return { seconds: reading.seconds, busy, starved, held, ended };
    });
    areas(at("charts"), `stage ${stage}`, `Time of ${name}`, points);
  });
}

async function numberCurves() {
  const { kinds } = await json("/api/numbers");
  const names = new Set(Object.values(kinds).flatMap((points) => points.flatMap((p) => Object.keys(p.values))));
  const first = ["loss", "gap", "learning_rate", "examples_per_second"];
  const order = [...first.filter((name) => names.has(name)), ...[...names].filter((name) => !first.includes(name)).sort()];
  for (const name of order) {
    const lines = Object.entries(kinds).map(([kind, points]) => ({
      name: kind,
      points: points.filter((p) => name in p.values).map((p) => [p.step, p.values[name] ?? NaN]),
    }));
    curve(at("charts"), `number ${name}`, name.replaceAll("_", " "), "steps", lines);
  }
}

async function slowFacts() {
  await numberCurves();
  const { lines } = await json("/api/log");
  const log = lines.toReversed().map((line) => [`${line.seconds.toFixed(1)} s`, line.level, line.stage ?? "", line.text]);
  table(at("log-table"), "Messages, the newest first", [["time", "level", "stage", "message"], ...log]);
  const { directory, checkpoints } = await json("/api/checkpoints");
  say("checkpoint-place", directory ?? "This run writes no checkpoints.");
  at("checkpoint-table").hidden = checkpoints.length === 0;
  const rows = checkpoints.toReversed().map((one) => {
    const metrics = Object.entries(one.metrics).map(([name, value]) => `${name} ${short(value)}`).join(", ");
    return [one.name, count(one.step), one.best ? "best" : "", metrics];
  });
  table(at("checkpoint-table"), "Checkpoints", [["checkpoint", "step", "kept as", "metrics"], ...rows]);
}

async function tick() {
  const reading = await json("/api/reading");
  remember(reading);
  const last = run.readings.at(-1);
  const begin = windowBegin();
  const shown = reading.stages.map((stage, index) => ({ name: stage.name, shares: between(begin, last, index) }));
  const limiting = limits(reading);
  say("head", `${short(Math.round(reading.seconds))} seconds`);
  colour(at("drawing"), shown, reading.edges, limiting);
  tables(reading, shown, limiting);
  if (run.round % RARELY === 0) {
    await slowFacts();
    stageCurves();
  }
  run.round += 1;
}

async function start() {
  const [history, drawing, resolved] =
    await Promise.all([json("/api/history"), ask("/api/graph"), ask("/api/resolved")]);
  run.readings = history.readings;
  run.stages = history.stages;
  const sources = new Set(history.edges.map(([from]) => from));
  run.sends = history.stages.map((name) => [...sources].some((from) => from.slice(0, from.lastIndexOf(".")) === name));
  document.title = `${history.graph} – Framewise`;
  say("title", history.graph);
  show(at("drawing"), await drawing.text());
  say("resolved-text", await resolved.text());
}

async function watch() {
  let begun = false;
  for (;;) {
    try {
      if (!begun) await start();
      begun = true;
      await tick();
      say("state", "");
      document.body.dataset.ready = "true";
    } catch (error) {
      console.info(error);
      say("state", "The run has ended, or its server does not answer. The page shows what it last said.");
    }
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

watch();
