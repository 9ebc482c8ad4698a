// One chat room: shows who enters, speaks and leaves, and comes back by itself when the connection is lost.

import { address, byId, say, stayConnected } from "./connect.js";

const LINES_MAX = 1000;
const NEAR_END_PX = 40;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const log = byId("log");
const view = log.parentElement;
const isAtEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < NEAR_END_PX;

function scrollToEnd() {
  view.scrollTop = view.scrollHeight;
  byId("newest").hidden = true;
}

// Peers' words become text nodes, never markup. The time stands beside them, not among them.
function addLine(type, text) {
  const wasAtEnd = isAtEnd();
  const line = document.createElement("li");
  line.className = type;
  line.textContent = text;
  line.dataset.time = clock.format(new Date());
  log.append(line);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  // Who reads what was said before is not torn away from it.
  if (wasAtEnd) scrollToEnd();
  else byId("newest").hidden = false;
}

function receive(event) {
  try {
    const { type, data } = JSON.parse(event.data);
    if (!["enter", "message", "leave"].includes(type)) throw new Error(`unknown type ${type}`);
    addLine(type, String(data));
  } catch (error) {
    say(`a message could not be read: ${error.message}`, "bad");
  }
}

const connection = stayConnected(address, {
  open: () => { byId("send").disabled = false; },
  message: receive,
  lost: () => { byId("send").disabled = true; },
});

// What cannot be sent stays in its field until it can.
byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("text");
  if (field.value === "" || !connection.isOpen()) return;
  connection.send(field.value);
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
  byId("send").disabled = true;
  // Leaves before it comes again: until then the room takes the old name for somebody else's.
  connection.again();
  byId("text").focus();
});

view.addEventListener("scroll", () => { if (isAtEnd()) byId("newest").hidden = true; });
byId("newest").addEventListener("click", scrollToEnd);

byId("name").value = new URL(location.href).searchParams.get("name") ?? "";
byId("room").textContent = decodeURIComponent(location.pathname.split("/")[2] ?? "");
connection.open();
