// Echoes, from open to closed, with the time of each step: one and done, or one connection that stays.

import { address, byId, diagnose, explain, say, stayConnected } from "./connect.js";

const PATIENCE_MS = 5000;
const LINES_MAX = 200;

let started = 0;

function step(name, detail, type = "message") {
  const log = byId("log");
  const line = document.createElement("li");
  line.className = type;
  line.dataset.step = name;
  const ms = (performance.now() - started).toFixed(1);
  line.textContent = `${name}${detail === "" ? "" : `: ${detail}`} (${ms} ms)`;
  log.append(line);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  log.parentElement.scrollTop = log.scrollHeight;
}

function once(text) {
  byId("log").replaceChildren();
  byId("button").disabled = true;
  started = performance.now();
  say("connecting …");

  let wasOpen = false;
  const socket = new WebSocket(address());
  const patience = setTimeout(() => {
    step("error", "no echo came back", "leave");
    socket.close(1000);
  }, PATIENCE_MS);
  socket.onopen = () => {
    wasOpen = true;
    say("connected", "good");
    step("open", "", "enter");
    socket.send(text);
    step("sent", text);
  };
  socket.onmessage = (event) => {
    step("received", event.data);
    socket.close(1000);
  };
  socket.onclose = async (event) => {
    clearTimeout(patience);
    const why = wasOpen ? "" : await diagnose();
    if (why) step("error", why, "leave");
    step("closed", event.code === 1000 && !event.reason ? "1000" : explain(event), "leave");
    say(why ? `not connected: ${why}` : `closed (${explain(event)})`, event.code === 1000 ? "" : "bad");
    byId("button").disabled = false;
  };
}

// A connection that stays: what was sent last is compared with what comes, and timed.
const connection = stayConnected(address, {
  open: () => {
    started = performance.now();
    step("open", "", "enter");
    ready(true);
  },
  message: (event) => step("received", event.data),
  lost: (wasOpen, event) => {
    step("closed", explain(event), "leave");
    ready(false);
  },
});

function ready(isReady) {
  byId("button").disabled = !isReady;
}

byId("run").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value;
  if (!byId("keep").checked) return once(text);
  if (!connection.isOpen()) return;
  started = performance.now();
  connection.send(text);
  step("sent", text);
});

byId("keep").addEventListener("change", () => {
  const isKept = byId("keep").checked;
  byId("log").replaceChildren();
  byId("button").textContent = isKept ? "Send" : "Connect and send";
  started = performance.now();
  ready(!isKept);
  if (isKept) return connection.open();
  connection.stop();
  say("closed (1000)");
});
