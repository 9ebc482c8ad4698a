// The tutorials' pages (docs/examples/pages/) in a real browser, served by stentor, opened as files and served by another server,
// each talking to the address that stands in it.
//
// Why: what a reader copies shall work as it is. The commands come from the README beside the pages, so that what is
// documented is what is run; only the ports are exchanged for free ones, behind the browser's back (chromium.mjs).
//
//     STENTOR_BIN=target/release/stentor npm test --prefix tests/browser
//
// Everything is done by keyboard alone. Screenshots go to target/screenshots.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { launch } from "./chromium.mjs";
import { PATIENCE_MS, ROOT, startServer, until, within } from "../clients/stentor.mjs";

const PAGES = `${ROOT}/docs/examples/pages`;
const README = readFileSync(`${PAGES}/README.md`, "utf8");
const SCREENSHOTS = `${ROOT}/target/screenshots`;
const PHONE = { width: 360, height: 740 };

// The flags of the README's commands for the server, by the port that a page talks to.
function commands(origin) {
  const found = [...README.matchAll(/^ {4}stentor --listen 127\.0\.0\.1:(\d+)(?: --origin (\S+))?$/gm)];
  const wanted = found.filter((command) => command[2] === origin);
  assert.deepEqual(wanted.map((command) => command[1]), ["9998", "3000", "8080"], `the README starts three with ${origin}`);
  return wanted.map((command) => [command[1], origin === undefined ? [] : ["--origin", origin]]);
}

// The README's server of files, on a free port.
async function serveFiles() {
  const [, line, port] = README.match(/^ {4}python3 (-m http\.server .*) (\d+)$/m);
  assert.equal(port, "5500", "the port that --origin names");
  const child = spawn("python3", ["-u", ...line.split(" "), "0"], { cwd: ROOT, stdio: ["ignore", "pipe", "ignore"] });
  process.once("exit", () => child.kill());
  const listens = new Promise((done, fail) => {
    let said = "";
    child.once("error", fail);
    child.stdout.setEncoding("utf8").on("data", (text) => {
      said += text;
      const found = said.match(/port (\d+)/);
      if (found) done(`127.0.0.1:${found[1]}`);
    });
  });
  const place = await within("a server of files", listens);
  child.unref();
  child.stdout.unref();
  return { place, stop: () => child.kill() };
}

// Servers, files and a browser that finds them where the pages look for them.
async function scene(flagsByPort) {
  const [files, ...servers] = await Promise.all([
    serveFiles(),
    ...flagsByPort.map(([, flags]) => startServer(...flags)),
  ]);
  const places = { "localhost:5500": files.place };
  flagsByPort.forEach(([port], index) => { places[`localhost:${port}`] = `127.0.0.1:${servers[index].port}`; });
  const browser = await launch(chromium, places);
  return {
    servers,
    browser,
    end: async () => {
      await browser.close();
      files.stop();
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

const asFile = (name) => pathToFileURL(`${PAGES}/${name}`).href;
const asServed = (name) => `http://localhost:5500/${name}`;

async function open(browser, url, options = {}) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.finish = async () => {
    await page.context().close();
    assert.deepEqual(complaints, [], `${url} complains`);
  };
  await page.goto(url);
  return page;
}

const lines = (page) => page.locator("#log li").allTextContents();
const shows = (page, line) => until(`“${line}”`, async () => (await lines(page)).includes(line));

async function tryEcho(browser, url) {
  const page = await open(browser, url);
  await page.getByLabel("Text").fill("Grüße, <b>世界</b> 👋");
  await page.keyboard.press("Enter");
  await shows(page, "Closed: 1000 heard enough");
  assert.deepEqual(await lines(page), [
    "Connected.", "Sent: Grüße, <b>世界</b> 👋", "Received: Grüße, <b>世界</b> 👋", "Closed: 1000 heard enough",
  ]);
  assert.equal(await page.locator("#log b").count(), 0, "what came is text, not markup");
  await page.finish();
}

async function tryChat(browser, url) {
  const join = async (name) => {
    const page = await open(browser, url);
    await page.getByLabel("Name").fill(name);
    await page.keyboard.press("Enter");
    await until("the room", async () => (await page.getByRole("status").textContent()) === "In the room.");
    return page;
  };
  const ann = await join("ann");
  const ben = await join("");
  await until("a name from the server", async () => /^user\d+ comes in$/.test((await lines(ann)).at(-1)));
  const name = (await lines(ann)).at(-1).split(" ")[0];

  // Whoever has come in can type at once.
  await ben.keyboard.type("<i>hello</i> 👋");
  await ben.keyboard.press("Enter");
  await shows(ann, `${name}:<i>hello</i> 👋`);
  assert.equal(await ann.locator("#log i").count(), 0, "what was said is text, not markup");

  await ben.getByRole("button", { name: "Leave" }).press("Enter");
  await until("a farewell", async () =>
    (await ben.getByRole("status").textContent()) === "You have left: 1000 left by the door");
  await shows(ann, `${name} left`);
  assert.deepEqual(await lines(ann), ["ann comes in", `${name} comes in`, `${name}:<i>hello</i> 👋`, `${name} left`]);

  // And comes back by the same door.
  await ben.getByRole("button", { name: "Enter" }).press("Enter");
  await until("the room", async () => (await ben.getByRole("status").textContent()) === "In the room.");
  await ben.finish();
  await ann.finish();
}

async function tryDemo(browser, url) {
  const page = await open(browser, url);
  const state = page.getByRole("status");
  const run = async (address) => {
    await page.getByLabel("Address").fill(address);
    await page.keyboard.press("Enter");
    await until("open", async () => (await state.textContent()) === "open");
  };
  assert.equal(await page.getByLabel("Address").inputValue(), "ws://localhost:8080/echo?prefix=ECHO:");
  await run("ws://localhost:8080/echo?prefix=ECHO:");
  await page.getByLabel("Message").press("Enter");
  await shows(page, "text: ECHO:Hello, 世界");
  await page.getByLabel("Message").fill("äb");
  await page.getByRole("button", { name: "Send bytes" }).press("Enter");
  await shows(page, "sent as bytes: c3 a4 62");
  await shows(page, "text: ECHO:äb");
  await page.getByLabel("Close code").fill("1001");
  await page.keyboard.press("Enter");
  await until("a word about codes", async () => /^not closed: /.test((await lines(page)).at(-1)));
  await page.getByLabel("Close code").fill("4321");
  await page.getByLabel("Reason").fill("Grüße");
  await page.keyboard.press("Enter");
  await shows(page, "closed: 4321 Grüße, clean");

  await run("ws://localhost:8080/echo");
  await page.getByRole("button", { name: "Send bytes" }).press("Enter");
  await shows(page, "bytes: c3 a4 62");
  await page.getByRole("button", { name: "Close" }).press("Enter");
  await until("closed", async () => (await state.textContent()) === "closed");

  await run("ws://localhost:8080/chat?name=ann");
  await page.getByRole("button", { name: "Send bytes" }).press("Enter");
  await shows(page, "closed: 1003 the chat speaks text, clean");
  await page.finish();
}

const TRIES = [["echo.html", tryEcho], ["chat.html", tryChat], ["demo.html", tryDemo]];

describe("served by stentor, without a flag", () => {
  let at;
  before(async () => { at = await scene(commands(undefined)); });
  after(() => at?.end());

  for (const [name, tryIt] of TRIES) {
    test(name, async () => {
      const [url] = README.match(new RegExp(`http://localhost:\\d+/examples/${name}`));
      await tryIt(at.browser, url);
      const answer = await fetch(`${at.servers[0].http}/examples/${name}`);
      assert.equal(await answer.text(), readFileSync(`${PAGES}/${name}`, "utf8"), "the page as it is here");
    });
  }
});

for (const [how, origin, url, other] of [
  ["opened as a file, with --origin null", "null", asFile, asServed],
  ["served by another server, with --origin http://localhost:5500", "http://localhost:5500", asServed, asFile],
]) {
  describe(how, () => {
    let at;
    before(async () => { at = await scene(commands(origin)); });
    after(() => at?.end());

    for (const [name, tryIt] of TRIES) test(name, () => tryIt(at.browser, url(name)));

    test("the other way is not let in by that, and the page says so", async () => {
      const page = await open(at.browser, other("echo.html"));
      await page.getByRole("button", { name: "Run" }).press("Enter");
      await shows(page, "Closed: 1006");
      const theirs = other === asFile ? "null" : "http://localhost:5500";
      assert.equal((await lines(page))[0], `No connection. Does stentor run there, and with --origin ${theirs} for this page?`);
      await page.finish();
    });

    test("what the README says of null: a sandboxed frame of any page has it", async () => {
      const page = await open(at.browser, asServed("README.md"));
      const outcome = await page.evaluate(() => new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-scripts";
        frame.srcdoc = `<script>
          const socket = new WebSocket("ws://localhost:9998/echo");
          socket.onopen = () => parent.postMessage("let in", "*");
          socket.onerror = () => parent.postMessage("refused", "*");
        </scr` + "ipt>";
        addEventListener("message", (event) => done(event.data));
        document.documentElement.append(frame);
      }));
      assert.equal(outcome, origin === "null" ? "let in" : "refused");
      await page.finish();
    });
  });
}

describe("without --origin", () => {
  let at;
  before(async () => { at = await scene(commands(undefined)); });
  after(() => at?.end());

  test("no page is let in that the server has not served; each says what is missing, and it is counted", async () => {
    for (const [url, origin] of [[asFile, "null"], [asServed, "http://localhost:5500"]]) {
      const says = `and with --origin ${origin} for this page?`;
      const echo = await open(at.browser, url("echo.html"));
      await echo.getByRole("button", { name: "Run" }).press("Enter");
      await until("a word about it", async () => (await lines(echo)).some((line) => line.endsWith(says)));
      await echo.finish();
      const chat = await open(at.browser, url("chat.html"));
      await chat.getByRole("button", { name: "Enter" }).press("Enter");
      await until("a word about it", async () => (await chat.getByRole("status").textContent()).endsWith(says));
      assert.ok(await chat.getByRole("button", { name: "Enter" }).isEnabled(), "one can try again");
      await chat.finish();
      const demo = await open(at.browser, url("demo.html"));
      await demo.getByRole("button", { name: "Open" }).press("Enter");
      await shows(demo, "closed: 1006 without a reason, not clean");
      assert.ok((await lines(demo)).some((line) => line.endsWith(says)));
      await demo.finish();
    }
    for (const server of at.servers) {
      const metrics = await (await fetch(`${server.http}/metrics`)).text();
      assert.match(metrics, /^stentor_refusals_total\{kind="[a-z]+",reason="origin[a-z_]*"\} 2$/m);
    }
  });
});

describe("for everybody", () => {
  let at;
  before(async () => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    at = await scene(commands("null"));
  });
  after(() => at?.end());

  test("every field has a label, and every page fits a phone, light and dark", async () => {
    for (const [name] of TRIES) {
      for (const colorScheme of ["light", "dark"]) {
        const page = await open(at.browser, asFile(name), { viewport: PHONE, colorScheme });
        assert.equal(await page.locator("html").getAttribute("lang"), "en");
        const unlabelled = await page.evaluate(() =>
          [...document.querySelectorAll("input")].filter((input) => input.labels.length === 0).map((input) => input.id));
        assert.deepEqual(unlabelled, []);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${name} is ${overflow} px too wide`);
        await page.screenshot({ path: `${SCREENSHOTS}/tutorial-${name.replace(".html", "")}-phone-${colorScheme}.png` });
        await page.finish();
      }
    }
  });

  test("the chat's colours can be read, light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(at.browser, asFile("chat.html"), { colorScheme });
      await page.getByLabel("Name").fill("ann");
      await page.keyboard.press("Enter");
      await shows(page, "ann comes in");
      const ratios = await page.evaluate(() => {
        const style = (name, value, property) => {
          const node = document.createElement("li");
          node.className = name;
          node.style.background = value;
          document.getElementById("log").append(node);
          const found = getComputedStyle(node)[property];
          node.remove();
          return found.match(/[\d.]+/g).slice(0, 3).map(Number);
        };
        // Contrast as WCAG 2 defines it: 1 to 21, text needs 4.5.
        const luminance = (rgb) => {
          const [r, g, b] = rgb.map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = luminance(style("", "Canvas", "backgroundColor"));
        return ["enter", "message", "leave"].map((name) => {
          const [high, low] = [luminance(style(name, "", "color")), ground].sort((a, b) => b - a);
          return [name, (high + 0.05) / (low + 0.05)];
        });
      });
      for (const [name, ratio] of ratios) assert.ok(ratio >= 4.5, `${colorScheme}: contrast of ${name} is ${ratio.toFixed(1)}`);
      await page.screenshot({ path: `${SCREENSHOTS}/tutorial-chat-desk-${colorScheme}.png` });
      await page.finish();
    }
  });
});
