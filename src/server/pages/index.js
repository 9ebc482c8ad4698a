// The dashboard: what the server sends at /dashboard, four times a second, as numbers and small charts.
//
// It looks only while somebody looks at it: a hidden tab and the button Pause both close the connection, and the server then
// computes nothing. Where a service has no /dashboard, /stats is asked once a second instead.

import { address, byId, say, stayConnected } from "./connect.js";
import { barChart, lineChart } from "./charts.js";

const show = (id, text) => { byId(id).textContent = text; };
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const count = (value) => number.format(value);

// Nanoseconds in the unit in which they have one to three digits before the point.
function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  const [scale, unit] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  return `${small.format(ns / scale)} ${unit}`;
}

function uptime(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const FANOUT = ["first", "half", "p99", "last"];
const TURN = ["p50", "p99", "max"];
const charts = {
  connections: lineChart(byId("chart-connections"), { names: ["connections"], format: short.format }),
  deliveries: lineChart(byId("chart-deliveries"), { names: ["deliveries"], format: short.format }),
  fanout: lineChart(byId("chart-fanout"), { names: FANOUT, format: duration, isLogarithmic: true }),
  turn: lineChart(byId("chart-turn"), { names: TURN, format: duration, isLogarithmic: true }),
};
const drawDepartures = barChart(byId("departures-bars"), byId("departures-row"));

// Rates are those of the last second: a message a second is one a second, and not four, none, none and none.
const RATE_MS = 1000;
const recent = [];
const rates = { here: null, all: null };
const allSeen = { before: null, now: null };

// How much of a counter came in a second, since the numbers `past`.
const rate = (now, past, key, ms) => Math.max(0, now[key] - past[key]) / (ms / 1000);

function render(now) {
  const { here } = now;
  // Started again: nothing of what was drawn belongs to it.
  if (recent.length > 0 && now.uptime_ms < recent.at(-1).uptime_ms) {
    recent.length = 0;
    Object.values(charts).forEach((chart) => chart.clear());
    Object.assign(allSeen, { before: null, now: null });
  }
  while (recent.length > 1 && recent[1].uptime_ms <= now.uptime_ms - RATE_MS) recent.shift();
  const [before] = recent;
  const ms = before ? now.uptime_ms - before.uptime_ms : 0;
  const deliveries = ms > 0 ? rate(here, before.here, "deliveries_total", ms) : null;
  const at = now.uptime_ms;

  show("connections", count(here.connections));
  show("connections-note", `of ${count(here.connections_max)}; ${count(here.accepted_total)} accepted`);
  charts.connections.add(at, [here.connections]);

  if (deliveries !== null) {
    rates.here = deliveries;
    show("deliveries", count(deliveries));
    charts.deliveries.add(at, [deliveries]);
    show("messages-rate", count(rate(here, before.here, "messages_in_total", ms)));
  }
  show("deliveries-total", count(here.deliveries_total));
  show("messages-total", count(here.messages_in_total));
  show("dropped", count(here.dropped_total));

  const fanout = FANOUT.map((name) => here[`fanout_${name}_ns`]);
  if (fanout.every((times) => times.count > 0)) {
    fanout.forEach(({ p50 }, index) => show(`fanout-${FANOUT[index]}`, duration(p50)));
    show("fanout-worst", duration(fanout.at(-1).max));
  }
  charts.fanout.add(at, fanout.map((times) => times.p50 ?? null));

  if (here.turn_ns.count > 0) TURN.forEach((name) => show(`turn-${name}`, duration(here.turn_ns[name])));
  charts.turn.add(at, TURN.map((name) => here.turn_ns[name] ?? null));

  renderDepartures(here.departures);
  renderSlow(here);
  renderWorkers(now);
  show("about", `v${now.version}, up ${uptime(now.uptime_ms)}`);
  recent.push(now);
}

function renderDepartures(departures) {
  const rows = Object.entries(departures).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  show("departures", count(rows.reduce((sum, [, n]) => sum + n, 0)));
  byId("departures-none").hidden = rows.length > 0;
  drawDepartures(rows.map(([why, n]) => [why.replaceAll("_", " "), n]), count);
}

function renderSlow({ peers_behind: behind, slowest_peers: slowest }) {
  show("behind", count(behind));
  byId("slow-none").hidden = slowest.length > 0;
  byId("slow-table").hidden = slowest.length === 0;
  const body = byId("slow-rows");
  body.replaceChildren(...slowest.map((peer) => {
    const row = document.createElement("tr");
    const cells = [`#${peer.connection}`, short.format(peer.owed_bytes), duration(peer.behind_ms * 1e6),
      duration(peer.stalled_ms * 1e6), count(peer.missed)];
    cells.forEach((text) => { row.insertCell().textContent = text; });
    return row;
  }));
}

// This worker and the sum of all; the others tell their numbers once a second.
function renderWorkers({ here, worker, all, uptime_ms: at }) {
  if (!worker) return;
  byId("workers").hidden = false;
  show("worker-here", `This one, ${worker.index + 1} of ${worker.count}`);
  show("worker-all", worker.up === worker.count ? `All ${worker.count}` : `All that are up, ${worker.up} of ${worker.count}`);
  if (all) {
    Object.assign(allSeen, { before: allSeen.now, now: { at, all } });
    const { before: past } = allSeen;
    if (past) rates.all = rate(all, past.all, "deliveries_total", at - past.at);
  }
  const fill = (row, numbers, deliveries) => {
    const total = Object.values(numbers.departures).reduce((sum, n) => sum + n, 0);
    const cells = [count(numbers.connections), deliveries === null ? "–" : count(deliveries),
      duration(numbers.fanout_last_ns?.p99), duration(numbers.turn_ns?.p99), count(total)];
    cells.forEach((text, index) => {
      // What nothing happened to keeps its last time.
      if (text !== "–" || byId(row).cells[index + 1].textContent === "") byId(row).cells[index + 1].textContent = text;
    });
  };
  fill("row-here", here, rates.here);
  if (allSeen.now) fill("row-all", allSeen.now.all, rates.all);
}

let isPaused = false;
let poll = 0;
let isServed = false;

const connection = stayConnected(() => address("/dashboard"), {
  open: () => { isServed = true; },
  message: (event) => render(JSON.parse(event.data)),
  lost: async (wasOpen) => {
    if (wasOpen || isServed) return;
    // A service of somebody's own may have no /dashboard; every server has /stats.
    const response = await fetch(`/dashboard${location.search}`).catch(() => null);
    isServed = response !== null && response.status !== 404;
    if (response === null || isServed) return;
    connection.stop();
    say("this service has no /dashboard: numbers once a second, times since the start");
    if (!isPaused && !document.hidden) askStats();
  },
});

async function askStats() {
  clearTimeout(poll);
  try {
    const response = await fetch(`/stats${location.search}`, { cache: "no-store" });
    if (!response.ok) throw new Error(`/stats says ${response.status}`);
    const stats = await response.json();
    render({ version: stats.version, uptime_ms: stats.uptime_s * 1000, here: stats });
  } catch (error) {
    say(`no numbers: ${error.message}`, "bad");
  }
  poll = setTimeout(askStats, 1000);
}

function lookOrNot() {
  clearTimeout(poll);
  if (isPaused || document.hidden) {
    connection.stop();
    say("paused");
  } else {
    connection.open();
  }
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").textContent = isPaused ? "Go on" : "Pause";
  lookOrNot();
});
document.addEventListener("visibilitychange", lookOrNot);
lookOrNot();
