// The Socket.IO server in a real browser: npm's own bundle, loaded from where the tutorials' pages look for it.
//
//     tests/socketio/run.sh browser
//
// The bundle is served by stentor itself (--socketio-client), under the policy of its pages.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { io } from "socket.io-client";
import { launch } from "../browser/chromium.mjs";
import { metric, next, PATIENCE_MS, PROGRAM, startServer, until } from "../clients/stentor.mjs";

const BUNDLE = fileURLToPath(new URL("node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url));

let server;
let browser;

before(async () => {
  server = await startServer("--socketio-client", BUNDLE);
  browser = await launch(chromium);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

// A page of the server, with npm's client in it.
async function openPage(path = "/echo") {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(server.http + path);
  await page.addScriptTag({ url: "/socket.io/socket.io.js" });
  assert.equal(await page.evaluate(() => typeof window.io), "function");
  return page;
}

test("the client is served as it is, with the headers of a page", async () => {
  const response = await fetch(`${server.http}/socket.io/socket.io.js`);
  assert.equal(response.status, 200);
  assert.equal(await response.text(), readFileSync(BUNDLE, "utf8"));
  assert.match(response.headers.get("content-type"), /^text\/javascript/);
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
  assert.match(response.headers.get("content-security-policy"), /^default-src 'none'/);
  const head = await fetch(`${server.http}/socket.io/socket.io.js`, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), String(readFileSync(BUNDLE).length));
  assert.equal((await fetch(`${server.http}/socket.io/socket.io.js`, { method: "POST" })).status, 405);
});

test("without the flag there is none; a file that cannot be read or is too large is one line and exit 1", async () => {
  const plain = await startServer();
  assert.equal((await fetch(`${plain.http}/socket.io/socket.io.js`)).status, 404);
  await plain.stop();

  const place = mkdtempSync(join(tmpdir(), "stentor-"));
  const [large, empty] = [join(place, "large.js"), join(place, "empty.js")];
  writeFileSync(large, Buffer.alloc((4 << 20) + 1, 32));
  writeFileSync(empty, "");
  for (const [file, says] of [[join(place, "none.js"), /none\.js: No such file/], [large, /4 MiB/], [empty, /empty/]]) {
    for (const workers of ["1", "2"]) {
      const flags = ["--listen", "127.0.0.1:0", "--workers", workers, "--socketio-client", file];
      const { status, stderr } = spawnSync(PROGRAM, flags, { encoding: "utf8", timeout: PATIENCE_MS });
      assert.equal(status, 1, stderr);
      const errors = stderr.split("\n").filter((line) => line.startsWith("error:"));
      assert.equal(errors.length, 1, stderr);
      assert.match(errors[0], says);
    }
  }
  rmSync(place, { recursive: true });
});

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`in Chromium by ${transports.join(", then ")}: events, rooms, acknowledgements, binary`, async () => {
    const page = await openPage();
    const node = io(server.http, { forceNew: true, transports: ["websocket"] });
    await next(node, "connect");
    await page.evaluate((transports) => new Promise((done, fail) => {
      window.socket = window.io({ transports });
      window.said = [];
      window.socket.onAny((...event) => window.said.push(event));
      window.socket.once("connect", done);
      window.socket.once("connect_error", fail);
    }), transports);

    const heard = next(node, "hello");
    await page.evaluate(() => window.socket.emit("hello", "ä😀", { bytes: new Uint8Array([1, 2, 3]) }));
    const [text, value] = await heard;
    assert.deepEqual([text, Buffer.from(value.bytes)], ["ä😀", Buffer.from([1, 2, 3])]);

    node.emit("back", Buffer.from([4, 5]), 6);
    await until("it comes back", () => page.evaluate(() => window.said.length === 1));
    assert.deepEqual(
      await page.evaluate(() => [window.said[0][0], ...new Uint8Array(window.said[0][1]), window.said[0][2]]),
      ["back", 4, 5, 6],
    );

    const answer = await page.evaluate(() => window.socket.timeout(10_000).emitWithAck("join", "room"));
    assert.deepEqual(answer, { ok: true });
    assert.deepEqual(await node.timeout(10_000).emitWithAck("to", "room", "news", 1), { ok: true });
    await until("the news", () => page.evaluate(() => window.said.length === 2));
    if (transports.length === 2) {
      await until("the upgrade", () => page.evaluate(() => window.socket.io.engine.transport.name === "websocket"));
    }
    node.close();
    await page.context().close();
    await until("both have gone", async () => (await metric(server, "socketio_sessions")) === 0);
  });
}

test("in Chromium: the server is killed and comes again, and so does npm's client", async () => {
  let own = await startServer("--socketio-client", BUNDLE);
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${own.http}/echo`);
  await page.addScriptTag({ url: "/socket.io/socket.io.js" });
  await page.evaluate(() => new Promise((done, fail) => {
    window.told = [];
    window.socket = window.io({ reconnectionDelay: 50, reconnectionDelayMax: 200 });
    window.socket.on("disconnect", (reason) => window.told.push(reason));
    window.socket.on("connect", () => { window.told.push(window.socket.id); done(); });
    window.socket.once("connect_error", fail);
  }));
  await own.kill();
  await until("it notices", () => page.evaluate(() => window.told.length === 2));
  own = await startServer("--socketio-client", BUNDLE, "--listen", `127.0.0.1:${own.port}`);
  await until("it is back", () => page.evaluate(() => window.told.length === 3 && window.socket.connected));
  const [before, reason, again] = await page.evaluate(() => window.told);
  assert.match(reason, /^transport (close|error)$/);
  assert.notEqual(again, before, "the server knows nobody from before");
  assert.deepEqual(await page.evaluate(() => window.socket.timeout(10_000).emitWithAck("join", "room")), { ok: true });
  await context.close();
  await own.stop();
});

test("a page of another origin is refused, and let in when it is listed", async () => {
  const listed = await startServer("--origin", `same,${server.http}`);
  const closed = await startServer();
  const page = await openPage();
  // The page's own policy would stop it before the server is asked.
  const free = await (await browser.newContext({ bypassCSP: true })).newPage();
  await free.goto(`${server.http}/echo`);
  await free.addScriptTag({ url: "/socket.io/socket.io.js" });
  const outcome = (url, transports) => free.evaluate(([url, transports]) => new Promise((done) => {
    const socket = window.io(url, { transports, reconnection: false, forceNew: true });
    socket.once("connect", () => { done(socket.io.engine.transport.name); socket.close(); });
    socket.once("connect_error", () => done("refused"));
  }), [url, transports]);
  for (const transport of ["polling", "websocket"]) {
    assert.equal(await outcome(listed.http, [transport]), transport);
    assert.equal(await outcome(closed.http, [transport]), "refused");
  }
  // A POST of this kind is preceded by a preflight.
  const status = await free.evaluate(async (url) => {
    const opened = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await opened.text()).slice(1));
    const posted = await fetch(`${url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, {
      method: "POST", body: "40", headers: { Authorization: "Bearer none" },
    });
    return `${posted.status} ${await posted.text()}`;
  }, listed.http);
  assert.equal(status, "200 ok");
  await free.context().close();
  await page.context().close();
  await listed.stop();
  await closed.stop();
});

test("the page /socketio: connect, emit, rooms, namespaces, by a client of its own", async () => {
  const node = io(server.http, { forceNew: true, transports: ["polling"] });
  await next(node, "connect");
  const context = await browser.newContext({ viewport: { width: 360, height: 740 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  const response = await page.goto(`${server.http}/socketio`);
  assert.match(response.headers()["content-security-policy"], /^default-src 'none'; script-src 'self';/);
  const status = (pattern) =>
    until(`the status ${pattern}`, async () => pattern.test(await page.locator("#status").textContent()));
  const line = (text) =>
    until(`“${text}”`, async () => (await page.locator("#log li").allTextContents()).includes(text));
  await status(/^connected to \/ as [\w-]{20}$/);
  await line("connected to /");

  node.emit("hi", { a: "<b>" }, Buffer.from([1, 2, 3]));
  await line('hi {"a":"<b>"}, "<3 bytes>"');
  assert.equal(await page.locator("#log b").count(), 0, "what was heard is text, not markup");

  const heard = next(node, "greeting");
  await page.getByLabel("Event", { exact: true }).fill("greeting");
  await page.getByLabel("Arguments, as JSON").fill('"ä", [1, {"x": null}]');
  await page.getByLabel("Arguments, as JSON").press("Enter");
  assert.deepEqual(await heard, ["ä", [1, { x: null }]]);
  await line('→ greeting "ä", [1,{"x":null}]');
  await page.getByLabel("Arguments, as JSON").fill("{");
  await page.getByLabel("Arguments, as JSON").press("Enter");
  await until("what is wrong", async () => /^the arguments are no JSON/.test(await page.getByRole("alert").textContent()));

  await page.getByLabel("Room").fill("attic");
  await page.getByLabel("Room").press("Enter");
  await line("join attic");
  await node.timeout(10_000).emitWithAck("to", "attic", "noise", 1);
  await line("noise 1");
  await page.getByRole("button", { name: "Leave" }).click();
  await line("leave attic");
  await page.getByLabel("Room").fill("");
  await page.getByLabel("Room").press("Enter");
  await until("a refusal", async () => /^join wants/.test(await page.locator("#log li").last().textContent()));

  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `${overflow} px too wide for a phone`);
  const screenshots = fileURLToPath(new URL("../../target/screenshots", import.meta.url));
  await page.screenshot({ path: `${screenshots}/socketio-phone-light.png` });
  await page.setViewportSize({ width: 1100, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: `${screenshots}/socketio-desk-dark.png` });

  const enter = async (namespace) => {
    await page.getByRole("button", { name: "Disconnect" }).click();
    await status(/^not connected/);
    await page.getByLabel("Namespace").fill(namespace);
    await page.getByLabel("Namespace").press("Enter");
  };
  await enter("/chat");
  await status(/^connected to \/chat as/);
  await until("a welcome", async () => /^welcome \{/.test(await page.locator("#log li").last().textContent()));
  await enter("/nope");
  await status(/^not connected \(Invalid namespace\)$/);
  assert.ok(await page.getByRole("button", { name: "Emit" }).isDisabled());
  assert.deepEqual(complaints, []);
  await context.close();
  node.close();
  await until("both have gone", async () => (await metric(server, "socketio_sessions")) === 0);
});
