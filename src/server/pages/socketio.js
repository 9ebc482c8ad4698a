// Socket.IO by hand: a client as small as the protocol allows, by WebSocket alone, and a page that shows what it hears.
//
// A text of Engine.IO is a digit and what it carries: 0 open, 2 ping, 3 pong, 4 message. A message of Socket.IO is a digit, a
// namespace unless it is "/", an id if an answer is wanted, and JSON; bytes follow in messages of their own.

const byId = (id) => document.getElementById(id);
const LINES_MAX = 1000;
const ANSWER_MS = 5000;
const [CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK] = ["0", "1", "2", "3", "4", "5", "6"];

// The parts of a packet: type, how many attachments, namespace, id, data.
function parse(text) {
  const found = text.match(/^([0-6])(?:(\d+)-)?(?:(\/[^,]*)(?:,|$))?(\d+)?([^]*)$/);
  if (!found) throw new Error("a packet that is none");
  const [, type, attachments, namespace, id, data] = found;
  return {
    type,
    attachments: Number(attachments ?? 0),
    namespace: namespace ?? "/",
    id: id === undefined ? undefined : Number(id),
    data: data === "" ? undefined : JSON.parse(data),
  };
}

// Puts bytes where their placeholders are, for showing.
function filled(value, bytes) {
  if (Array.isArray(value)) return value.map((one) => filled(one, bytes));
  if (value === null || typeof value !== "object") return value;
  if (value._placeholder === true) return `<${bytes[value.num]?.byteLength ?? "?"} bytes>`;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filled(one, bytes)]));
}

class Client {
  constructor(namespace, hooks) {
    this.prefix = namespace === "/" ? "" : `${namespace},`;
    this.hooks = hooks;
    this.answers = new Map();
    this.ids = 0;
    const url = new URL("/socket.io/", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = location.search;
    url.searchParams.set("EIO", "4");
    url.searchParams.set("transport", "websocket");
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      try {
        this.hear(data);
      } catch (error) {
        this.hooks.error(error.message);
      }
    };
    this.socket.onclose = ({ code, reason }) => {
      clearTimeout(this.patience);
      this.hooks.closed(reason ? `${code}, ${reason}` : String(code));
    };
  }

  hear(data) {
    if (typeof data !== "string") return this.attach(data);
    const rest = data.slice(1);
    if (data[0] === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(rest);
      this.silence = pingInterval + pingTimeout;
      this.socket.send(`40${this.prefix}`);
    }
    if (data[0] === "2") this.socket.send(`3${rest}`);
    if (data[0] === "4") {
      const packet = parse(rest);
      this.awaited = packet.attachments > 0 ? { packet, bytes: [] } : undefined;
      if (!this.awaited) this.take(packet, []);
    }
    // A server that no longer pings is gone, whatever the network says.
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.socket.close(), this.silence);
  }

  attach(bytes) {
    if (!this.awaited) throw new Error("bytes that nothing has announced");
    this.awaited.bytes.push(bytes);
    if (this.awaited.bytes.length < this.awaited.packet.attachments) return;
    const { packet, bytes: all } = this.awaited;
    this.awaited = undefined;
    this.take(packet, all);
  }

  take({ type, id, data }, bytes) {
    switch (type) {
      case CONNECT: return this.hooks.connected(data.sid);
      case CONNECT_ERROR: return this.hooks.refused(data.message);
      case DISCONNECT: return this.hooks.refused("disconnected by the server");
      case EVENT: case BINARY_EVENT: return this.hooks.event(filled(data, bytes));
      case ACK: case BINARY_ACK: {
        const answer = this.answers.get(id);
        this.answers.delete(id);
        return answer?.(filled(data, bytes));
      }
    }
  }

  emit(event, args) {
    this.socket.send(`42${this.prefix}${JSON.stringify([event, ...args])}`);
  }

  // The same, with an answer; a failure if none comes.
  ask(event, args) {
    const id = this.ids++;
    return new Promise((done, fail) => {
      const patience = setTimeout(() => {
        this.answers.delete(id);
        fail(new Error("no answer"));
      }, ANSWER_MS);
      this.answers.set(id, (answer) => {
        clearTimeout(patience);
        done(answer);
      });
      this.socket.send(`42${this.prefix}${id}${JSON.stringify([event, ...args])}`);
    });
  }

  close() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send("1");
    this.socket.close();
  }
}

let client = null;
// What the status says as long as nothing is wrong.
let state = "";

// What was heard becomes text nodes, never markup.
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

function status(text, isBad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", isBad);
}

function enable(isConnected) {
  for (const id of ["join", "leave", "send"]) byId(id).disabled = !isConnected;
  byId("toggle").textContent = isConnected ? "Disconnect" : "Connect";
}

function connect() {
  const typed = byId("namespace").value.trim();
  const namespace = typed.startsWith("/") ? typed : `/${typed}`;
  byId("namespace").value = namespace;
  if (namespace.includes(",")) return status("a namespace has no comma in it", true);
  status("connecting …");
  let why = "";
  // What an older one still has to say is not about this one.
  const mine = (hook) => (...args) => { if (client === opened) hook(...args); };
  const opened = new Client(namespace, {
    connected: mine((sid) => {
      enable(true);
      state = `connected to ${namespace} as ${sid}`;
      status(state);
      addLine("enter", `connected to ${namespace}`);
    }),
    refused: mine((message) => {
      why = message;
      opened.close();
    }),
    event: mine(([name, ...args]) => addLine("message", `${name} ${args.map((arg) => JSON.stringify(arg)).join(", ")}`)),
    error: mine((message) => status(`a message could not be read: ${message}`, true)),
    closed: mine((code) => {
      client = null;
      enable(false);
      status(`not connected (${why || code})`, true);
      addLine("leave", `disconnected${why ? `: ${why}` : ""}`);
    }),
  });
  client = opened;
}

byId("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client) client.close();
  else connect();
});

async function move(verb) {
  const room = byId("room").value;
  try {
    const [answer] = await client.ask(verb, [room]);
    addLine(answer?.ok ? "enter" : "leave", answer?.ok ? `${verb} ${room}` : answer?.error ?? `${verb}: refused`);
  } catch (error) {
    addLine("leave", `${verb} ${room}: ${error.message}`);
  }
}

byId("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  move("join");
});
byId("leave").addEventListener("click", () => move("leave"));

byId("emit").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("event").value;
  try {
    const args = JSON.parse(`[${byId("args").value}]`);
    client.emit(name, args);
    status(state);
    addLine("muted", `→ ${name} ${args.map((arg) => JSON.stringify(arg)).join(", ")}`);
  } catch (error) {
    status(`the arguments are no JSON: ${error.message}`, true);
  }
});

byId("namespace").value = new URL(location.href).searchParams.get("namespace") ?? "/";
connect();
