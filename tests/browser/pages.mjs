// The built-in pages in a real browser: Debian's Chromium, without a window.
//
// What the pages promise can only be seen where they run: that the policy lets them work, that colours are the
// colours promised, that they fit a phone. The server is started here on a free port and ends with the test.
//
//     npm install --prefix tests/browser
//     STENTOR_BIN=target/release/stentor npm test --prefix tests/browser
//
// Screenshots of every page (light, dark, phone) go to target/screenshots; `readme-*.png` among them are those of docs/pictures. axe-core
// is let loose on each, while a crowd keeps the numbers moving. Nothing here waits for a time to pass: it
// waits for what should be seen, up to a deadline that only a broken page reaches.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { launch } from "./chromium.mjs";
import { PATIENCE_MS, ROOT, startServer as start, until } from "../clients/stentor.mjs";

const SCREENSHOTS = `${ROOT}/target/screenshots`;
const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1100, height: 800 };

let server;
let browser;

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  // Who does not read is kept, to be looked at.
  server = await startServer(0, ["--stall-timeout", "10m", "--ping-interval", "10m"]);
  browser = await launch(chromium);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("echo: open, sent, received, closed with its code, by keyboard alone", async () => {
  const page = await open("/echo");
  await page.getByLabel("Text", { exact: true }).fill("Grüße, <b>Stentor</b>!");
  await page.getByLabel("Text", { exact: true }).press("Enter");
  const steps = page.locator("#log li");
  await until("four steps", async () => (await steps.count()) === 4);
  const texts = await steps.allTextContents();
  const patterns = [
    /^open \(/, /^sent: Grüße, <b>Stentor<\/b>! \(/, /^received: Grüße, <b>Stentor<\/b>! \(/, /^closed: 1000 \(/,
  ];
  patterns.forEach((pattern, index) => assert.match(texts[index], pattern));
  assert.equal(await page.locator("#log b").count(), 0, "what was echoed is text, not markup");

  await page.getByRole("button").click();
  await until("a second run", async () => (await steps.count()) === 4 && await page.getByRole("button").isEnabled());
  await page.finish();
});

test("chat: two tabs hear who enters (blue), speaks (black), leaves (red)", async () => {
  const room = "/chat/two%20tabs";
  const ann = await open(`${room}?name=ann`);
  await lines(ann, "ann comes in");
  assert.equal(await ann.locator("#room").textContent(), "two tabs");
  const ben = await open(`${room}?name=ben`);
  await lines(ben, "ben comes in");
  await lines(ann, "ben comes in");

  await say(ann, "hello, ben");
  await lines(ben, "ann:hello, ben");
  await say(ben, "<img src=x onerror=alert(1)>");
  await lines(ann, "ben:<img src=x onerror=alert(1)>");
  assert.equal(await ann.locator("#log img").count(), 0, "what was said is text, not markup");
  assert.equal(await ann.getByLabel("Message").inputValue(), "", "the line is empty again");

  await ben.finish();
  await lines(ann, "ben left");
  assert.equal(await colour(ann, "enter"), "rgb(0, 0, 255)");
  assert.equal(await colour(ann, "message"), "rgb(0, 0, 0)");
  const [red, green, blue] = channels(await colour(ann, "leave"));
  assert.ok(red > 200 && green === 0 && blue === 0, "who leaves is red");

  await ann.finish();
});

test("chat: another name is one line away, and the same name can be had again", async () => {
  const page = await open("/chat/names");
  await until("a given name", async () => /^user\d+ comes in$/.test(await page.locator("#log li").first().textContent()));
  const join = async (name) => {
    await page.getByLabel("Your name").fill(name);
    await page.getByLabel("Your name").press("Enter");
  };
  await join("ann");
  await lines(page, "ann comes in");
  assert.match(page.url(), /\?name=ann$/);
  await join("ann");
  const entries = page.locator("#log .enter");
  await until("a third entry", async () => (await entries.count()) === 3);
  assert.equal(await entries.last().textContent(), "ann comes in");
  await page.finish();
});

test("chat: without a name the server gives one, and its texts are JSON with keys in order", async () => {
  const page = await open("/chat/unnamed");
  const frames = [];
  page.on("websocket", (socket) => socket.on("framereceived", (frame) => frames.push(frame.payload)));
  await page.reload();
  await until("a first frame", async () => frames.length > 0);
  assert.match(frames[0], /^\{"type":"enter","data":"user\d+ comes in"\}$/);
  await page.finish();
});

test("chat: every colour is readable, light and dark", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(`/chat/${colorScheme}?name=reader`, { colorScheme });
    const guest = await open(`/chat/${colorScheme}?name=guest`);
    await lines(guest, "guest comes in");
    await say(guest, "good evening");
    await guest.finish();
    await lines(page, "guest left");
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    for (const type of ["enter", "message", "leave"]) {
      const ratio = contrast(await colour(page, type), ground);
      assert.ok(ratio >= 4.5, `${colorScheme}: contrast of ${type} is ${ratio.toFixed(1)}`);
    }
    await shoot(page, `chat-${colorScheme}`);
    await page.finish();
  }
});

test("dashboard: the charts move when messages flow, and the numbers agree with /stats", async () => {
  const page = await open("/");
  await until("first numbers", async () => (await number(page, "connections")) !== null);
  const drawn = (chart) => page.locator(`#chart-${chart} .line`).last().getAttribute("d");
  await until("a line", async () => /L/.test(await drawn("deliveries")));
  assert.equal(await drawn("fanout"), null, "nothing has been published since");

  const guests = [await open("/chat/counted?name=ann"), await open("/chat/counted?name=ben")];
  for (const text of ["one", "two", "three"]) await say(guests[0], text);
  await lines(guests[1], "ann:three");
  await until("a fan-out time", async () => /\d (ns|µs|ms|s)$/.test(await page.locator("#fanout-last").textContent()));
  await until("its line", async () => /^M\d/.test(await drawn("fanout")));
  // The line of deliveries leaves the ground, which is at 116 of 120.
  await until("a hill", async () => (await drawn("deliveries")).match(/,[\d.]+/g).some((y) => Number(y.slice(1)) < 100));

  for (const guest of guests) await guest.finish();
  await until("the guests to have gone", async () => (await page.locator("#departures-bars").textContent()).length > 0);
  // The numbers stand still now, so that what is asked later is the same.
  await until("the same numbers", async () => {
    const stats = await (await fetch(`${server.http}/stats`)).json();
    const shown = await Promise.all(["deliveries-total", "messages-total", "dropped"].map((id) => number(page, id)));
    return shown.join() === [stats.deliveries_total, stats.messages_in_total, stats.dropped_total].join();
  });
  const reasons = await page.locator("#departures-bars .label").allTextContents();
  assert.ok(reasons.includes("peer closed"), String(reasons));
  await page.finish();
});

test("dashboard: looks only while somebody looks at it", async () => {
  const page = await open("/");
  const status = page.locator("#status");
  await until("connected", async () => (await status.textContent()) === "connected");
  await page.getByRole("button", { name: "Pause" }).click();
  await until("paused", async () => (await status.textContent()) === "paused");
  await page.getByRole("button", { name: "Go on" }).click();
  await until("connected again", async () => (await status.textContent()) === "connected");
  await page.finish();
});

test("dashboard: where a service has none, /stats is asked", async () => {
  // As a server with a service of somebody's own.
  const own = createServer(async (request, response) => {
    const answer = request.url === "/dashboard" ? null : await fetch(server.http + request.url);
    response.writeHead(answer?.status ?? 404, { "Content-Type": answer?.headers.get("content-type") ?? "text/plain" });
    response.end(answer ? Buffer.from(await answer.arrayBuffer()) : "");
  });
  own.on("upgrade", (_, socket) => socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
  await new Promise((done) => own.listen(0, "127.0.0.1", done));
  const page = await open("/", { base: `http://127.0.0.1:${own.address().port}` });
  await until("a word about it", async () => /^this service has no \/dashboard/.test(await page.locator("#status").textContent()));
  await until("numbers", async () => (await number(page, "connections")) >= 1);
  await until("a line", async () => /L/.test(await page.locator("#chart-connections .line").getAttribute("d") ?? ""));
  await page.context().close();
  own.close();
  own.closeAllConnections();
});

test("dashboard: with several workers it shows this one and all", async () => {
  const many = await startServer(0, ["--workers", "2"]);
  const page = await open("/", { base: many.http });
  const guests = [];
  for (const name of ["ann", "ben", "cid"]) guests.push(await open(`/chat?name=${name}`, { base: many.http }));
  // Three chats and the dashboard itself; a browser may hold connections for more.
  const cell = (row) => page.locator(`#row-${row} td`).first().textContent();
  await until("the sum", async () => Number(await cell("all")) >= 4);
  assert.match(await page.locator("#worker-all").textContent(), /^All 2$/);
  assert.ok(Number(await cell("here")) >= 1);
  await shoot(page, "dashboard-workers", { fullPage: true });
  for (const guest of [...guests, page]) await guest.finish();
  await many.stop();
});

test("echo: a connection that is kept takes one text after another", async () => {
  const page = await open("/echo");
  await page.getByLabel("Keep the connection open").check();
  await until("connected", async () => (await page.locator("#status").textContent()) === "connected");
  for (const text of ["one", "two"]) {
    await page.getByLabel("Text", { exact: true }).fill(text);
    await page.getByLabel("Text", { exact: true }).press("Enter");
    await until("its echo", async () => (await page.locator("[data-step=received]").last().textContent()).startsWith(`received: ${text} (`));
  }
  await page.getByLabel("Keep the connection open").uncheck();
  await until("closed", async () => /^closed/.test(await page.locator("#status").textContent()));
  await page.finish();
});

test("every page fits a desk and a phone, light and dark, and has nothing that axe-core objects to", async () => {
  await withTraffic(async () => {
    for (const [path, name] of [["/", "dashboard"], ["/chat/hall?name=Ann", "chat"], ["/echo", "echo"], ["/socketio", "socketio"]]) {
      for (const [viewport, size] of [[DESK, "desk"], [PHONE, "phone"]]) {
        for (const colorScheme of ["light", "dark"]) {
          const page = await open(path, { viewport, colorScheme });
          const isInReadme = README[name] && size === "desk" && colorScheme === "light";
          await fill[name](page, isInReadme ? 16 : 4);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          assert.ok(overflow <= 0, `${path} is ${overflow} px too wide for ${size}`);
          await shoot(page, `${name}-${size}-${colorScheme}`, { fullPage: name === "dashboard" });
          // Those of the README.
          if (isInReadme) await shoot(page, `readme-${name}`, { clip: README[name] });
          assert.deepEqual(await objections(page), [], `${path}, ${size}, ${colorScheme}`);
          await page.finish();
        }
      }
    }
  });
});

test("whatever can be reached by the tab key shows that it has the focus", async () => {
  for (const path of ["/", "/chat", "/echo", "/socketio"]) {
    const page = await open(path);
    await until("connected or ready", async () => /connected/.test(await page.locator("#status").textContent()));
    await page.evaluate(() => document.activeElement?.blur());
    const reached = new Set();
    for (let press = 0; press < 30; press += 1) {
      await page.keyboard.press("Tab");
      const [what, outline] = await page.evaluate(() => {
        const { activeElement: at } = document;
        return [at.id || at.textContent, getComputedStyle(at).outlineStyle];
      });
      if (reached.has(what)) break;
      reached.add(what);
      if (!what.includes("\n")) assert.equal(outline, "solid", `${path}: ${what}`);
    }
    assert.ok(reached.size >= 4, `${path}: ${[...reached]}`);
    await page.finish();
  }
});

test("the policy is strict, and no page asks anybody else for anything", async () => {
  for (const path of ["/", "/chat", "/echo", "/socketio"]) {
    const response = await fetch(server.http + path);
    assert.match(response.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self';/);
    const page = await open(path);
    const foreign = page.requested.filter((url) => !url.startsWith(server.http));
    assert.deepEqual(foreign, []);
    // A page that goes while its connection is being made complains, and rightly.
    const state = () => page.locator("#status").textContent();
    await until("connected or ready", async () => /connected/.test(await state()));
    await page.finish();
  }
});

test("only our own pages may connect, and a page can bring a token", async () => {
  const token = "correct-horse-battery-staple";
  const closed = await startServer(0, ["--token", token]);
  const foreign = await open("/");
  // In the page: what a WebSocket to the other server comes to. Its own policy allows it; the server has to decide.
  const outcome = (page, url, protocols) => page.evaluate(([url, protocols]) => new Promise((done) => {
    const socket = new WebSocket(url, protocols);
    socket.onopen = () => { done(`open, ${socket.protocol}`); socket.close(); };
    socket.onerror = () => done("refused");
  }), [url, protocols]);
  const echo = `${closed.ws}/echo`;
  assert.equal(await outcome(foreign, echo, ["stentor", `token.${token}`]), "refused", "a page of another port");
  assert.equal(await outcome(foreign, `${server.ws}/echo`, []), "open, ");
  await foreign.context().close();

  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${closed.http}/echo`);
  assert.equal(await outcome(page, echo, ["stentor", `token.${token}`]), "open, stentor");
  assert.equal(await outcome(page, echo, [`token.${token}`, "echo"]), "open, echo", "the service's own choice");
  assert.equal(await outcome(page, echo, [`token.${token}`]), "refused", "nothing was left to choose");
  assert.equal(await outcome(page, echo, ["stentor", `token.${token}x`]), "refused");
  assert.equal(await outcome(page, `${echo}?access_token=${token}`, []), "open, ");
  // The pages pass on the query they were opened with, token and all.
  await page.goto(`${closed.http}/chat/secret?name=ann&token=${token}`);
  await lines(page, "ann comes in");
  await page.goto(`${closed.http}/?token=${token}`);
  await until("numbers", async () => (await number(page, "connections")) >= 1);
  await context.close();
  await closed.stop();
});

test("over https: the pages speak wss by themselves, with a certificate that the server made up", async () => {
  const options = { base: server.https, ignoreHTTPSErrors: true };
  const echo = await open("/echo", options);
  const sockets = [];
  echo.on("websocket", (socket) => sockets.push(socket.url()));
  await echo.getByLabel("Text", { exact: true }).fill("veiled");
  await echo.getByLabel("Text", { exact: true }).press("Enter");
  const steps = echo.locator("#log li");
  await until("four steps", async () => (await steps.count()) === 4);
  assert.match((await steps.allTextContents())[2], /^received: veiled \(/);
  assert.ok(sockets.length > 0 && sockets.every((url) => url.startsWith("wss://")), String(sockets));
  await echo.finish();

  // One room, whichever way its guests came in.
  const ann = await open("/chat/veiled?name=ann", options);
  await lines(ann, "ann comes in");
  const ben = await open("/chat/veiled?name=ben");
  await lines(ann, "ben comes in");
  await say(ben, "hello through the veil");
  await lines(ann, "ben:hello through the veil");
  await ben.finish();
  await ann.finish();
});

// Last, since it ends the server that the others use.
test("every page says that the connection is lost, counts down, and comes back when the server does", async () => {
  const chat = await open("/chat/lasting?name=ann");
  await lines(chat, "ann comes in");
  const dashboard = await open("/");
  const echo = await open("/echo");
  await echo.getByLabel("Keep the connection open").check();
  const socketio = await open("/socketio");
  const pages = [chat, dashboard, echo, socketio];
  const status = (page) => page.locator("#status").textContent();
  const isConnected = async (page) => /^connected( to \/ as [\w-]{20})?$/.test(await status(page));
  for (const page of pages) await until("connected", () => isConnected(page));
  await server.kill();
  for (const page of pages) {
    await until("a word about it", async () => /^not connected \(1006.*the server cannot be reached$/.test(await status(page)));
    await until("a countdown", async () => /^trying again in \d+ s$/.test(await page.locator("#countdown").textContent()));
    assert.ok(await page.getByRole("button", { name: "Try now" }).isVisible());
  }
  assert.ok(await chat.getByRole("button", { name: "Send" }).isDisabled());
  await shoot(chat, "chat-lost");
  server = await startServer(server.port);
  await until("connected again at once", async () => {
    if ((await status(chat)) === "connected") return true;
    const retry = chat.getByRole("button", { name: "Try now" });
    // It comes back by itself as well, and takes the button away at that moment.
    if (await retry.isVisible()) await retry.click({ timeout: 1000 }).catch(() => {});
    return false;
  });
  for (const page of pages) await until("connected again", () => isConnected(page));
  const told = (await socketio.locator("#log li").allTextContents());
  assert.deepEqual(told, ["connected to /", "disconnected: the connection was lost", "connected to /"]);
  await until("numbers of the new server", async () => (await number(dashboard, "connections")) >= 2);
  await say(chat, "again");
  await lines(chat, "ann:again");
  for (const page of pages) await page.context().close();
});

test("a page that needs a token says so", async () => {
  const closed = await startServer(0, ["--token", "correct-horse-battery-staple"]);
  for (const path of ["/", "/chat"]) {
    const page = await open(path, { base: closed.http });
    await until("what is missing", async () => /the server wants a token/.test(await page.locator("#status").textContent()));
    await page.context().close();
  }
  await closed.stop();
});

// Starts the server, with and without a certificate of its own.
function startServer(port, more = []) {
  return start("--listen", `127.0.0.1:${port}`, "--tls-listen", "127.0.0.1:0", "--tls-self-signed", ...more);
}

// A page in a browser of its own, so to speak. `finish` closes it and fails if it complained about anything.
async function open(path, { base = server.http, ...options } = {}) {
  const context = await browser.newContext({ viewport: DESK, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.requested = [];
  page.on("request", (request) => page.requested.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // Violations of the policy are reported here as errors, too.
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.finish = async () => {
    await context.close();
    assert.deepEqual(complaints, [], `${path} complains`);
  };
  const response = await page.goto(base + path);
  assert.equal(response.status(), 200, path);
  return page;
}

async function say(page, text) {
  await until("connected", () => page.getByRole("button", { name: "Send" }).isEnabled());
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

const lines = (page, text) =>
  until(`“${text}”`, async () => (await page.locator("#log li").allTextContents()).includes(text));

const colour = (page, type) => page.locator(`#log .${type}`).first().evaluate((node) => getComputedStyle(node).color);

const shoot = (page, name, options = {}) => page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, ...options });

// The number that an element shows, null if it shows none.
async function number(page, id) {
  const text = await page.locator(`#${id}`).textContent();
  return /\d/.test(text) ? Number(text.replace(/[^0-9.]/g, "")) : null;
}

// What axe-core finds wrong with a page: rule and element.
async function objections(page) {
  // Into the page as by a debugger: its own policy would not let it in.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

// How much of it the README shows.
const README = {
  dashboard: { x: 0, y: 0, width: 1100, height: 640 },
  chat: { x: 0, y: 0, width: 1100, height: 800 },
};

// What each page shows in its picture.
const fill = {
  async dashboard(page, pointsMin) {
    const points = async () => ((await page.locator("#chart-fanout .line-3").getAttribute("d")) ?? "").split("L").length;
    await until("a fan-out chart", async () => (await points()) >= pointsMin);
    await until("some departures", async () => (await page.locator("#departures-bars li").count()) > 2);
    await until("a slow peer", async () => (await page.locator("#slow-rows tr").count()) > 0);
  },
  async chat(page) {
    await lines(page, "Ann comes in");
    const ben = await open("/chat/hall?name=Ben");
    await lines(ben, "Ben comes in");
    const talk = [
      [ben, "Is anybody here?"], [page, "Me, as always."],
      [ben, "I can hear you from the far end of the square. What did they say your name was?"],
      [page, "Stentor, whose voice was as loud as that of fifty others."], [ben, "That explains it 😀"],
    ];
    for (const [who, text] of talk) {
      await say(who, text);
      await lines(page, `${who === page ? "Ann" : "Ben"}:${text}`);
    }
    await ben.finish();
    await lines(page, "Ben left");
  },
  async echo(page) {
    await page.getByRole("button", { name: "Connect and send" }).click();
    await until("closed", async () => (await page.locator("[data-step=closed]").count()) === 1);
  },
  async socketio(page) {
    const ben = await open("/socketio");
    for (const one of [page, ben]) await lines(one, "connected to /");
    await ben.getByLabel("Event", { exact: true }).fill("greeting");
    await ben.getByRole("button", { name: "Emit" }).click();
    await lines(page, 'greeting "world", {"n":1}');
    await page.getByRole("button", { name: "Join" }).click();
    await lines(page, "join hall");
    await page.getByRole("button", { name: "Emit" }).click();
    await page.getByLabel("Arguments, as JSON").fill('"world", {n: 1}');
    await page.getByRole("button", { name: "Emit" }).click();
    await until("a complaint", async () => /^the arguments are no JSON/.test(await page.getByRole("alert").textContent()));
    await ben.finish();
  },
};

// While `look` runs: many who hear waves of messages, some who have come and gone, one who does not read.
async function withTraffic(look) {
  const crowd = await open("/echo");
  await crowd.evaluate(async (base) => {
    const opened = (path) => new Promise((done, fail) => {
      const socket = new WebSocket(base + path);
      socket.onopen = () => done(socket);
      socket.onerror = fail;
    });
    const all = (count, path) => Promise.all(Array.from({ length: count }, () => opened(path)));
    const [[speaker], listeners] = await Promise.all([all(1, "/broadcast/sea?self=0"), all(200, "/broadcast/sea")]);
    listeners.slice(0, 6).forEach((socket) => socket.close());
    (await opened("/dashboard")).send("?");
    let wave = 0;
    setInterval(() => {
      for (let n = 0; n < 1.5 + Math.sin(wave / 6); n += 1) speaker.send("x".repeat(600));
      wave += 1;
    }, 250);
  }, server.ws);
  const slow = await deaf("/tick/10?size=1048576");
  await Promise.all(["/nowhere", "/chat/%zz", "/tick/nine"].map(async (path) => (await fetch(server.http + path)).text()));
  (await deaf("/echo")).destroy();
  try {
    await look();
  } finally {
    slow.destroy();
    await crowd.finish();
  }
}

// A peer that never reads what it is sent.
async function deaf(path) {
  const socket = connect({ host: "127.0.0.1", port: server.port });
  socket.on("error", () => {});
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  await new Promise((done) => socket.once("readable", done));
  return socket;
}

const channels = (rgb) => rgb.match(/[\d.]+/g).slice(0, 3).map(Number);

// Contrast as WCAG 2 defines it: 1 to 21, text needs 4.5.
function contrast(one, other) {
  const luminance = (rgb) => {
    const [r, g, b] = channels(rgb).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}
