// The live numbers: asks for /stats once a second and shows what changed since.

const byId = (id) => document.getElementById(id);
const show = (id, text) => { byId(id).textContent = text; };
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

// Nanoseconds in the unit in which they have one to three digits before the point.
function duration(ns) {
  if (!ns) return "–";
  const [scale, unit] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  return `${small.format(ns / scale)} ${unit}`;
}

function uptime(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function render(now, before) {
  const seconds = before ? (now.at - before.at) / 1000 : Infinity;
  const rate = (key) => (before ? Math.max(0, now[key] - before[key]) / seconds : 0);
  const departures = Object.entries(now.departures).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);

  show("connections", number.format(now.connections));
  show("accepted", `${number.format(now.accepted_total)} accepted`);
  show("deliveries", number.format(rate("deliveries_total")));
  show("deliveries_total", `${number.format(now.deliveries_total)} in all`);
  show("messages", number.format(now.messages_in_total));
  show("messages_rate", `${number.format(rate("messages_in_total"))} per second`);
  show("fanout", duration(now.fanout_last_ns.p50));
  show("fanout_p99", `p99 ${duration(now.fanout_last_ns.p99)}`);
  show("turn", duration(now.turn_ns.p99));
  show("turn_max", `max ${duration(now.turn_ns.max)}`);
  show("departures", number.format(departures.reduce((sum, [, count]) => sum + count, 0)));
  show("departures_why", departures.map(([why, count]) => `${why.replaceAll("_", " ")} ${number.format(count)}`).join(", "));
  show("status", `version ${now.version}, up for ${uptime(now.uptime_s)}`);
}

let before = null;

async function refresh() {
  try {
    const response = await fetch(`/stats${location.search}`, { cache: "no-store" });
    if (!response.ok) throw new Error(`/stats says ${response.status}`);
    const now = { ...(await response.json()), at: performance.now() };
    render(now, before);
    before = now;
    byId("status").classList.remove("bad");
  } catch (error) {
    before = null;
    show("status", `no numbers: ${error.message}`);
    byId("status").classList.add("bad");
  }
  setTimeout(refresh, 1000);
}

refresh();
