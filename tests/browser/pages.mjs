// The built-in pages in a real browser: Debian's Chromium, without a window.
//
// What the pages promise can only be seen where they run: that the policy lets them work, that colours are the
// colours promised, that they fit a phone. The server is started here on a free port and ends with the test.
//
//     npm install --prefix tests/browser
//     STENTOR_BIN=target/release/stentor npm test --prefix tests/browser
//
// Screenshots of every page (light, dark, phone) go to target/screenshots. Nothing here waits for a time to pass: it
// waits for what should be seen, up to a deadline that only a broken page reaches.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// npm runs scripts in the package's directory, so a relative path is taken from where npm was called.
const CALLED_FROM = process.env.INIT_CWD ?? process.cwd();
const SERVER = resolve(CALLED_FROM, process.env.STENTOR_BIN ?? `${ROOT}/target/debug/stentor`);
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SCREENSHOTS = `${ROOT}/target/screenshots`;
const PATIENCE_MS = 15_000;
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1100, height: 800 };

let server;
let browser;

before(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  server = await startServer(0);
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("echo: open, sent, received, closed with its code, by keyboard alone", async () => {
  const page = await open("/echo");
  await page.getByLabel("Text").fill("Grüße, <b>Stentor</b>!");
  await page.getByLabel("Text").press("Enter");
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
  await line(ann, "ann comes in");
  assert.equal(await ann.locator("#room").textContent(), "two tabs");
  const ben = await open(`${room}?name=ben`);
  await line(ben, "ben comes in");
  await line(ann, "ben comes in");

  await say(ann, "hello, ben");
  await line(ben, "ann:hello, ben");
  await say(ben, "<img src=x onerror=alert(1)>");
  await line(ann, "ben:<img src=x onerror=alert(1)>");
  assert.equal(await ann.locator("#log img").count(), 0, "what was said is text, not markup");
  assert.equal(await ann.getByLabel("Message").inputValue(), "", "the line is empty again");

  await ben.finish();
  await line(ann, "ben left");
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
  await line(page, "ann comes in");
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
    await line(guest, "guest comes in");
    await say(guest, "good evening");
    await guest.finish();
    await line(page, "guest left");
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    for (const type of ["enter", "message", "leave"]) {
      const ratio = contrast(await colour(page, type), ground);
      assert.ok(ratio >= 4.5, `${colorScheme}: contrast of ${type} is ${ratio.toFixed(1)}`);
    }
    await shoot(page, `chat-${colorScheme}`);
    await page.finish();
  }
});

test("index: the numbers are live", async () => {
  const page = await open("/");
  const value = async (id) => Number((await page.locator(`#${id}`).textContent()).replace(/[^0-9.]/g, ""));
  await until("first numbers", async () => /^version \d/.test(await page.locator("#status").textContent()));
  const [connections, messages, departures] = await Promise.all(["connections", "messages", "departures"].map(value));

  const guest = await open("/chat/counted?name=guest");
  await line(guest, "guest comes in");
  await until("one connection more", async () => (await value("connections")) > connections);
  for (const text of ["one", "two", "three"]) await say(guest, text);
  await until("three messages more", async () => (await value("messages")) >= messages + 3);
  await until("deliveries", async () => (await value("deliveries_total")) > 0);
  await until("a fan-out time", async () => /\d (ns|µs|ms|s)$/.test(await page.locator("#fanout").textContent()));
  await guest.finish();
  await until("one departure more", async () => (await value("departures")) > departures);
  await page.finish();
});

test("every page fits a desk and a phone, light and dark", async () => {
  for (const [path, name] of [["/", "index"], ["/chat/hall?name=ann", "chat"], ["/echo", "echo"]]) {
    for (const [viewport, size] of [[DESK, "desk"], [PHONE, "phone"]]) {
      for (const colorScheme of ["light", "dark"]) {
        const page = await open(path, { viewport, colorScheme });
        if (name === "index") await until("numbers", async () => (await page.locator("#turn").textContent()) !== "–");
        if (name === "chat") await line(page, "ann comes in");
        if (name === "echo") {
          await page.getByRole("button").click();
          await until("closed", async () => (await page.locator("[data-step=closed]").count()) === 1);
        }
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${path} is ${overflow} px too wide for ${size}`);
        await shoot(page, `${name}-${size}-${colorScheme}`);
        await page.finish();
      }
    }
  }
});

test("the policy is strict, and no page asks anybody else for anything", async () => {
  for (const path of ["/", "/chat", "/echo"]) {
    const response = await fetch(server.url + path);
    assert.match(response.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self';/);
    const page = await open(path);
    const foreign = page.requested.filter((url) => !url.startsWith(server.url));
    assert.deepEqual(foreign, []);
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
  const echo = `${closed.url.replace("http", "ws")}/echo`;
  assert.equal(await outcome(foreign, echo, ["stentor", `token.${token}`]), "refused", "a page of another port");
  assert.equal(await outcome(foreign, `${server.url.replace("http", "ws")}/echo`, []), "open, ");
  await foreign.context().close();

  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${closed.url}/echo`);
  assert.equal(await outcome(page, echo, ["stentor", `token.${token}`]), "open, stentor");
  assert.equal(await outcome(page, echo, [`token.${token}`, "echo"]), "open, echo", "the service's own choice");
  assert.equal(await outcome(page, echo, [`token.${token}`]), "refused", "nothing was left to choose");
  assert.equal(await outcome(page, echo, ["stentor", `token.${token}x`]), "refused");
  assert.equal(await outcome(page, `${echo}?access_token=${token}`, []), "open, ");
  // The pages pass on the query they were opened with, token and all.
  await page.goto(`${closed.url}/chat/secret?name=ann&token=${token}`);
  await line(page, "ann comes in");
  await page.goto(`${closed.url}/?token=${token}`);
  await until("numbers", async () => /^version/.test(await page.locator("#status").textContent()));
  await context.close();
  await closed.stop();
});

// Last, since it ends the server that the others use.
test("chat: says that the connection is lost, and comes back when the server does", async () => {
  const page = await open("/chat/lasting?name=ann");
  await line(page, "ann comes in");
  const status = page.locator("#status");
  await server.stop();
  await until("a word about it", async () => /^not connected \(\d+/.test(await status.textContent()));
  assert.ok(await page.getByRole("button", { name: "Send" }).isDisabled());
  server = await startServer(server.port);
  await until("connected again", async () => (await status.textContent()) === "connected");
  await page.context().close();
});

// Starts the server and gives it once it says where it listens.
function startServer(port, flags = []) {
  const child = spawn(SERVER, ["--listen", `127.0.0.1:${port}`, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  // However this process ends, the server must not outlive it.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const ended = new Promise((done) => child.once("exit", done)).then(() => process.off("exit", kill));
  const stop = () => {
    child.kill("SIGTERM");
    return ended;
  };
  return new Promise((done, fail) => {
    let log = "";
    child.once("error", fail);
    child.once("exit", (code) => fail(new Error(`the server ended with ${code}:\n${log}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      const found = log.match(/listening on 127\.0\.0\.1:(\d+)/);
      if (found) done({ port: Number(found[1]), url: `http://127.0.0.1:${found[1]}`, stop });
    });
  });
}

// A page in a browser of its own, so to speak. `finish` closes it and fails if it complained about anything.
async function open(path, options = {}) {
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
  const response = await page.goto(server.url + path);
  assert.equal(response.status(), 200, path);
  return page;
}

async function say(page, text) {
  await until("connected", () => page.getByRole("button", { name: "Send" }).isEnabled());
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

const line = (page, text) =>
  until(`“${text}”`, async () => (await page.locator("#log li").allTextContents()).includes(text));

const colour = (page, type) => page.locator(`#log .${type}`).first().evaluate((node) => getComputedStyle(node).color);

const shoot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}/${name}.png` });

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
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
