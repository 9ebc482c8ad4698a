// One chat room: shows who enters, speaks and leaves, and comes back by itself when the connection is lost.

const byId = (id) => document.getElementById(id);
const LINES_MAX = 1000;
const WAIT_MAX_MS = 15000;

let socket = null;
let failures = 0;
let timer = 0;

function status(text, isBad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", isBad);
}

// Peers' words become text nodes, never markup.
function addLine(type, text) {
  const log = byId("log");
  const wasAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("li");
  line.className = type;
  line.textContent = text;
  log.append(line);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (wasAtEnd) log.scrollTop = log.scrollHeight;
}

function receive(event) {
  try {
    const { type, data } = JSON.parse(event.data);
    if (!["enter", "message", "leave"].includes(type)) throw new Error(`unknown type ${type}`);
    addLine(type, String(data));
  } catch (error) {
    status(`a message could not be read: ${error.message}`, true);
  }
}

function connect() {
  clearTimeout(timer);
  const url = new URL(location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  status("connecting …");
  socket = new WebSocket(url);
  socket.onopen = () => {
    failures = 0;
    status("connected");
    byId("send").disabled = false;
  };
  socket.onmessage = receive;
  socket.onclose = (event) => {
    byId("send").disabled = true;
    // Doubling with a random part: a thousand pages must not come back at the same instant.
    const wait = Math.min(WAIT_MAX_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    const why = event.reason ? `${event.code}, ${event.reason}` : event.code;
    status(`not connected (${why}); trying again in ${(wait / 1000).toFixed(1)} s`, true);
    timer = setTimeout(connect, wait);
  };
}

// Leaves before it comes again: until then the room takes the old name for somebody else's.
function rejoin() {
  byId("send").disabled = true;
  if (socket.readyState === WebSocket.CLOSED) return connect();
  socket.onclose = connect;
  socket.close(1000);
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("text");
  if (field.value === "" || socket.readyState !== WebSocket.OPEN) return;
  socket.send(field.value);
  field.value = "";
});

// The name stands in the page's address, so that a reload or a bookmark keeps it.
byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = new URL(location.href);
  const name = byId("name").value.trim();
  if (name) url.searchParams.set("name", name);
  else url.searchParams.delete("name");
  history.replaceState(null, "", url);
  rejoin();
  byId("text").focus();
});

window.addEventListener("online", () => { if (socket.readyState === WebSocket.CLOSED) connect(); });

byId("name").value = new URL(location.href).searchParams.get("name") ?? "";
connect();
byId("room").textContent = decodeURIComponent(location.pathname.split("/")[2] ?? "");
