// A connection that comes back by itself, and says meanwhile what a user would want to know.
//
// Every page shows it in the same way: #status says in words how things stand (and is read out), #countdown when the next
// attempt is made (and is not read out, since it changes every second), #retry makes it now.

export const byId = (id) => document.getElementById(id);

const WAIT_MIN_MS = 500;
const WAIT_MAX_MS = 15000;

// RFC 6455 §7.4.1, in words for whoever looks at a page.
const CODES = {
  1000: "closed in good order",
  1001: "the server is going away",
  1002: "the protocol was broken",
  1003: "this kind of message is not taken here",
  1005: "closed without a reason",
  1006: "the connection was lost, or never made",
  1007: "a text was not UTF-8",
  1008: "not allowed here",
  1009: "a message was too large",
  1011: "the server had a problem",
  1012: "the server starts again",
  1013: "the server is too busy, or we are too slow",
};

// "1001, the server is shutting down": the code, and the reason in the server's words or in ours.
export const explain = ({ code, reason }) => `${code}, ${reason || CODES[code] || "no reason given"}`;

// The address of a WebSocket: the page's own query goes along, with the token that may be in it.
export function address(path = location.pathname) {
  const url = new URL(location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.pathname = path;
  url.hash = "";
  return url;
}

// A browser does not say why a handshake was refused. Plain HTTP does, for the same token and the same server.
export async function diagnose() {
  try {
    const { status } = await fetch(`/stats${location.search}`, { cache: "no-store" });
    if (status === 401) return "the server wants a token: open this page with ?token=… behind its address";
    if (status === 403) return "the server lets no page of this origin in";
    if (status === 503) return "the server is full";
    return "the server is there, and refused the connection";
  } catch {
    return "the server cannot be reached";
  }
}

export function say(text, kind = "") {
  byId("status").textContent = text;
  byId("status").dataset.kind = kind;
}

// Keeps a connection to what `where` gives, until `stop`. `on` may have: open, message(event), lost(wasOpen, event).
export function stayConnected(where, on) {
  let socket = null;
  let failures = 0;
  let timer = 0;

  // What a socket says that has been replaced concerns nobody.
  const current = (own, what) => (event) => { if (socket === own) what(event); };

  function open() {
    clearTimeout(timer);
    byId("countdown").textContent = "";
    byId("retry").hidden = true;
    say("connecting …");
    let wasOpen = false;
    const own = new WebSocket(where());
    socket = own;
    own.binaryType = "arraybuffer";
    own.onopen = current(own, () => {
      wasOpen = true;
      say("connected", "good");
      on.open?.();
    });
    own.onmessage = current(own, (event) => {
      // Only what was good for something counts: who is let in and sent away at once has to wait longer each time.
      failures = 0;
      on.message?.(event);
    });
    own.onclose = current(own, async (event) => {
      say(`not connected (${explain(event)})`, "bad");
      on.lost?.(wasOpen, event);
      // Doubling with a random part: a thousand pages must not come back at the same instant.
      const wait = Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** failures) * (0.5 + Math.random() / 2);
      failures += 1;
      countDown(performance.now() + wait);
      if (wasOpen || event.code !== 1006) return;
      const why = await diagnose();
      if (socket === own && own.readyState === WebSocket.CLOSED) say(`not connected (1006): ${why}`, "bad");
    });
  }

  function countDown(until) {
    clearTimeout(timer);
    const left = until - performance.now();
    if (left <= 0) return open();
    byId("countdown").textContent = `trying again in ${Math.ceil(left / 1000)} s`;
    byId("retry").hidden = false;
    timer = setTimeout(() => countDown(until), Math.min(left, left % 1000 || 1000));
  }

  function stop() {
    clearTimeout(timer);
    byId("countdown").textContent = "";
    byId("retry").hidden = true;
    const own = socket;
    socket = null;
    own?.close(1000);
  }

  // Leaves in good order and comes again. The new handshake waits for the old connection's end.
  function again() {
    const own = socket;
    if (own === null || own.readyState === WebSocket.CLOSED) return open();
    clearTimeout(timer);
    own.onclose = current(own, open);
    own.close(1000);
  }

  const isOpen = () => socket?.readyState === WebSocket.OPEN;
  const retry = () => { if (socket?.readyState === WebSocket.CLOSED) open(); };
  byId("retry").onclick = retry;
  window.addEventListener("online", retry);
  return { open, stop, again, isOpen, send: (text) => socket.send(text) };
}
