// Socket.IO by hand: a client as small as the protocol allows, by WebSocket alone, and a page that shows what it hears.
//
// A text of Engine.IO is a digit and what it carries: 0 open, 2 ping, 3 pong, 4 message. A message of Socket.IO is a digit, a
// namespace unless it is "/", an id if an answer is wanted, and JSON; bytes follow in messages of their own.

import { address, byId, say, stayConnected } from "./connect.js";

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

// One connection's worth of the protocol: what is heard becomes calls of `hooks`, what is said goes through `send`.
class Client {
  constructor(namespace, send, hooks) {
    this.prefix = namespace === "/" ? "" : `${namespace},`;
    this.send = send;
    this.hooks = hooks;
    this.answers = new Map();
    this.ids = 0;
  }

  hear(data) {
    if (typeof data !== "string") return this.attach(data);
    const rest = data.slice(1);
    if (data[0] === "0") {
      const { pingInterval, pingTimeout } = JSON.parse(rest);
      this.silence = pingInterval + pingTimeout;
      this.send(`40${this.prefix}`);
    }
    if (data[0] === "2") this.send(`3${rest}`);
    if (data[0] === "4") {
      const packet = parse(rest);
      this.awaited = packet.attachments > 0 ? { packet, bytes: [] } : undefined;
      if (!this.awaited) this.take(packet, []);
    }
    // A server that no longer pings is gone, whatever the network says.
    clearTimeout(this.patience);
    this.patience = setTimeout(this.hooks.silent, this.silence);
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
    this.send(`42${this.prefix}${JSON.stringify([event, ...args])}`);
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
      this.send(`42${this.prefix}${id}${JSON.stringify([event, ...args])}`);
    });
  }

  // Nothing more will come.
  end() {
    clearTimeout(this.patience);
  }
}

let client = null;
let isIn = false;

const log = byId("log");
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// What was heard becomes text nodes, never markup. The time stands beside them, not among them.
function addLine(type, text) {
  const view = log.parentElement;
  const wasAtEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  const line = document.createElement("li");
  line.className = type;
  line.textContent = text;
  line.dataset.time = clock.format(new Date());
  log.append(line);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (wasAtEnd) view.scrollTop = view.scrollHeight;
}

const shown = (args) => args.map((arg) => JSON.stringify(arg)).join(", ");

function enter(isConnected) {
  isIn = isConnected;
  for (const id of ["join", "leave", "send"]) byId(id).disabled = !isConnected;
}

function where() {
  const url = address("/socket.io/");
  url.searchParams.set("EIO", "4");
  url.searchParams.set("transport", "websocket");
  return url;
}

// Not to come again until somebody asks for it.
function part(why, kind) {
  if (isIn) addLine("leave", `disconnected${why ? `: ${why}` : ""}`);
  client?.end();
  enter(false);
  connection.stop();
  say(why ? `not connected (${why})` : "not connected", kind);
  byId("toggle").textContent = "Connect";
}

const connection = stayConnected(where, {
  open: () => {
    const namespace = byId("namespace").value;
    say("connecting …");
    client = new Client(namespace, connection.send, {
      connected: (sid) => {
        enter(true);
        say(`connected to ${namespace} as ${sid}`, "good");
        addLine("enter", `connected to ${namespace}`);
      },
      refused: (message) => part(message, "bad"),
      event: ([name, ...args]) => addLine("message", `${name} ${shown(args)}`),
      silent: () => connection.again(),
    });
  },
  message: ({ data }) => {
    try {
      client.hear(data);
    } catch (error) {
      say(`a message could not be read: ${error.message}`, "bad");
    }
  },
  lost: () => {
    client?.end();
    if (isIn) addLine("leave", "disconnected: the connection was lost");
    enter(false);
  },
});

function connect() {
  const typed = byId("namespace").value.trim();
  const namespace = typed.startsWith("/") ? typed : `/${typed}`;
  byId("namespace").value = namespace;
  if (namespace.includes(",")) return part("a namespace has no comma in it", "bad");
  byId("toggle").textContent = "Disconnect";
  connection.open();
}

byId("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("toggle").textContent === "Connect") return connect();
  part("", "");
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
  if (isIn) move("join");
});
byId("leave").addEventListener("click", () => move("leave"));

// What is wrong is said below the field, where whoever typed it looks.
function complain(text) {
  byId("wrong").textContent = text;
  byId("args").setAttribute("aria-invalid", String(text !== ""));
}

byId("emit").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("event").value;
  let args;
  try {
    args = JSON.parse(`[${byId("args").value}]`);
  } catch (error) {
    return complain(`the arguments are no JSON: ${error.message}`);
  }
  complain("");
  if (!isIn) return;
  client.emit(name, args);
  addLine("muted", `→ ${name} ${shown(args)}`);
});

byId("namespace").value = new URL(location.href).searchParams.get("namespace") ?? "/";
connect();
