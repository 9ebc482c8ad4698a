// One echo, from open to closed, with the time of each step.

const byId = (id) => document.getElementById(id);
const PATIENCE_MS = 5000;

function run(text) {
  byId("log").replaceChildren();
  byId("button").disabled = true;
  const started = performance.now();
  const step = (name, detail, type = "message") => {
    const line = document.createElement("li");
    line.className = type;
    line.dataset.step = name;
    const ms = (performance.now() - started).toFixed(1);
    line.textContent = `${name}${detail === "" ? "" : `: ${detail}`} (${ms} ms)`;
    byId("log").append(line);
  };

  const url = new URL(location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  const socket = new WebSocket(url);
  const patience = setTimeout(() => {
    step("error", "no echo came back", "leave");
    socket.close(1000);
  }, PATIENCE_MS);
  socket.onopen = () => {
    step("open", "", "enter");
    socket.send(text);
    step("sent", text);
  };
  socket.onmessage = (event) => {
    step("received", event.data);
    socket.close(1000);
  };
  socket.onerror = () => step("error", "the connection failed", "leave");
  socket.onclose = (event) => {
    clearTimeout(patience);
    step("closed", event.reason ? `${event.code}, ${event.reason}` : `${event.code}`, "leave");
    byId("button").disabled = false;
  };
}

byId("run").addEventListener("submit", (event) => {
  event.preventDefault();
  run(byId("text").value);
});
