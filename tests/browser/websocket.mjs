// The browser's own `WebSocket` against stentor, attribute by attribute, in Debian's Chromium.
//
// Why: it is the client that everybody has, and the only one that cannot be told to be lenient. What is asserted here is what
// a page would see; the frames that no page can send come from npm's `ws`.
//
//     npm install --prefix tests/browser
//     STENTOR_BIN=target/release/stentor npm test --prefix tests/browser
//
// Invariant: everything inside `evaluate` runs in a page that the server itself has served, so it has the server's origin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket as Peer } from "ws";
import { chromium } from "playwright-core";
import { launch } from "./chromium.mjs";
import { next, startServer, until } from "../clients/stentor.mjs";

const MIB = 1 << 20;

let server;
let browser;
let page;

before(async () => {
  server = await startServer("--message-max", "4mi");
  browser = await launch(chromium);
  page = await tab(server);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// A tab on a page of the server that has nothing on it, with a few words to write short tests in.
async function tab(at, context = browser) {
  const page = await context.newPage();
  await page.goto(`${at.http}/healthz`);
  await page.evaluate((url) => {
    const PATIENCE_MS = 15_000;
    // The next event of that name.
    window.next = (socket, name) => new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`waited in vain for ${name}`)), PATIENCE_MS);
      socket.addEventListener(name, (event) => { clearTimeout(timer); done(event); }, { once: true });
    });
    window.connect = (path, protocols = []) => new WebSocket(url + path, protocols);
    window.opened = async (path, protocols) => {
      const socket = connect(path, protocols);
      await next(socket, "open");
      return socket;
    };
    window.said = async (socket, message) => {
      const answer = next(socket, "message");
      socket.send(message);
      return (await answer).data;
    };
    // What `onclose` tells.
    window.ended = async (socket) => {
      const { code, reason, wasClean } = await next(socket, "close");
      return { code, reason, wasClean };
    };
    window.until = async (condition) => {
      const deadline = Date.now() + PATIENCE_MS;
      while (!condition()) {
        if (Date.now() > deadline) throw new Error(`waited in vain for ${condition}`);
        await new Promise((done) => setTimeout(done, 5));
      }
    };
  }, at.ws);
  return page;
}

test("readyState goes from 0 to 1 to 2 to 3", async () => {
  const states = await page.evaluate(async () => {
    const socket = connect("/echo");
    const states = [socket.readyState];
    await next(socket, "open");
    states.push(socket.readyState);
    const end = next(socket, "close");
    socket.close();
    states.push(socket.readyState);
    await end;
    return [...states, socket.readyState];
  });
  assert.deepEqual(states, [0, 1, 2, 3]);
});

test("text comes back as a string, binary as binaryType says", async () => {
  const heard = await page.evaluate(async () => {
    const socket = await opened("/echo");
    const bytes = async (data) => [...new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data)];
    const kind = (data) => Object.prototype.toString.call(data).slice(8, -1);
    const heard = [socket.binaryType, await said(socket, "Grüße, 世界 👋"), await said(socket, "")];
    for (const binaryType of ["blob", "arraybuffer"]) {
      socket.binaryType = binaryType;
      for (const message of [Uint8Array.of(0, 255, 254), new Blob(["bl", "ob"]), new ArrayBuffer(0)]) {
        const data = await said(socket, message);
        heard.push([kind(data), await bytes(data)]);
      }
    }
    socket.close();
    return heard;
  });
  const three = (kind) => [[kind, [0, 255, 254]], [kind, [98, 108, 111, 98]], [kind, []]];
  assert.deepEqual(heard, ["blob", "Grüße, 世界 👋", "", ...three("Blob"), ...three("ArrayBuffer")]);
});

test("ECHO: answers text, whatever came, and bytes that are not UTF-8 become U+FFFD", async () => {
  const heard = await page.evaluate(async () => {
    const socket = await opened("/echo?prefix=ECHO:");
    const heard = [];
    for (const message of ["Grüße", "", new Blob(["blob"]), Uint8Array.of(0x61, 0xff, 0xfe, 0x62)]) {
      heard.push(await said(socket, message));
    }
    socket.close();
    return heard;
  });
  assert.deepEqual(heard, ["ECHO:Grüße", "ECHO:", "ECHO:blob", "ECHO:a\u{fffd}\u{fffd}b"]);
});

test("bufferedAmount grows with what is sent and falls to 0", async () => {
  const seen = await page.evaluate(async (size) => {
    const socket = await opened("/broadcast/buffered?self=0");
    const seen = [socket.bufferedAmount];
    for (let count = 0; count < 8; count += 1) socket.send(new Uint8Array(size));
    seen.push(socket.bufferedAmount);
    await until(() => socket.bufferedAmount === 0);
    // What has left the buffer has arrived: the farewell is answered behind it.
    const end = ended(socket);
    socket.close(1000);
    return [...seen, (await end).code];
  }, MIB);
  assert.deepEqual(seen, [0, 8 * MIB, 1000]);
});

test("a server that does not read lets bufferedAmount stand; it falls when it reads again", async () => {
  const at = await startServer("--message-max", "2mi");
  const page = await tab(at);
  await page.evaluate(async () => { window.socket = await opened("/broadcast/frozen?self=0"); });
  at.freeze();
  await page.evaluate((size) => {
    for (let count = 0; count < 32; count += 1) socket.send(new Uint8Array(size));
  }, MIB);
  const amounts = [32 * MIB];
  // It falls as far as the kernel takes it and no further: two looks that see the same.
  await until("what waits to stand still", async () => {
    amounts.push(await page.evaluate(() => new Promise((done) => setTimeout(() => done(socket.bufferedAmount), 200))));
    return amounts.at(-1) === amounts.at(-2);
  });
  assert.ok(amounts.at(-1) > 8 * MIB, `${amounts.at(-1)} bytes wait`);
  at.thaw();
  await page.evaluate(() => until(() => socket.bufferedAmount === 0));
  await page.close();
  await at.stop();
});

test("protocol is the one of those offered that the server speaks; without one in common there is no connection", async () => {
  const outcome = await page.evaluate(async () => {
    const chosen = [];
    for (const offered of [[], ["echo"], ["soap", "echo", "wamp"]]) {
      const socket = await opened("/echo", offered);
      chosen.push(socket.protocol);
      socket.close();
    }
    const stranger = connect("/echo", ["soap"]);
    const [error, end] = await Promise.all([next(stranger, "error"), ended(stranger)]);
    return [...chosen, error.type, end.code];
  });
  assert.deepEqual(outcome, ["", "echo", "echo", "error", 1006]);
});

test("extensions names permessage-deflate with --deflate and is empty without", async () => {
  const extensions = (page) => page.evaluate(async () => {
    const socket = await opened("/echo");
    const text = "again and ".repeat(100_000);
    const same = (await said(socket, text)) === text && (await said(socket, "small")) === "small";
    socket.close();
    return [socket.extensions, same];
  });
  assert.deepEqual(await extensions(page), ["", true]);
  for (const [mode, agreed] of [
    ["shared", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
    ["context", "permessage-deflate"],
  ]) {
    const at = await startServer("--deflate", mode, "--message-max", "2mi");
    const page = await tab(at);
    assert.deepEqual(await extensions(page), [agreed, true]);
    await page.close();
    await at.stop();
  }
});

test("whoever is refused sees onerror, then onclose with 1006, and never onopen", async () => {
  const other = await startServer();
  const events = (url) => page.evaluate(async (url) => {
    const socket = new WebSocket(url);
    const events = [];
    for (const name of ["open", "error", "close"]) socket.addEventListener(name, () => events.push(name));
    const end = await ended(socket);
    return [...events, end, socket.readyState];
  }, url);
  const refused = ["error", "close", { code: 1006, reason: "", wasClean: false }, 3];
  assert.deepEqual(await events(`${server.ws}/nowhere`), refused, "404");
  assert.deepEqual(await events(`${other.ws}/echo`), refused, "a page of another port: 403");
  await other.stop();
  assert.deepEqual(await events(`${other.ws}/echo`), refused, "nobody listens");
});

test("close(1000, 'reason') comes back in onclose; so do other codes, and none as 1005", async () => {
  const ends = await page.evaluate(async () => {
    const ends = [];
    for (const farewell of [[1000, "reason"], [4321, "Grüße 👋"], [1000], []]) {
      const socket = await opened("/echo");
      const end = ended(socket);
      socket.close(...farewell);
      ends.push(await end);
    }
    return ends;
  });
  assert.deepEqual(ends, [
    { code: 1000, reason: "reason", wasClean: true },
    { code: 4321, reason: "Grüße 👋", wasClean: true },
    { code: 1000, reason: "", wasClean: true },
    { code: 1005, reason: "", wasClean: true },
  ]);
});

test("the server's close code and reason are seen in onclose", async () => {
  const ends = await page.evaluate(async () => {
    const chatter = await opened("/chat/closes");
    const end = ended(chatter);
    chatter.send(new Uint8Array(3));
    const loud = await opened("/echo");
    const other = ended(loud);
    loud.send("x".repeat(4 * 1024 * 1024 + 1));
    return [await end, await other];
  });
  assert.deepEqual(ends[0], { code: 1003, reason: "the chat speaks text", wasClean: true });
  assert.equal(ends[1].code, 1009);
  assert.match(ends[1].reason, /./, "and why");

  const at = await startServer();
  const last = await tab(at);
  await last.evaluate(async () => { window.end = ended(await opened("/echo")); });
  assert.equal(await at.stop(), 0);
  assert.deepEqual(await last.evaluate(() => end), { code: 1001, reason: "the server is shutting down", wasClean: true });
  await last.close();

  const killed = await startServer();
  const torn = await tab(killed);
  await torn.evaluate(async () => { window.end = ended(await opened("/echo")); });
  killed.kill();
  assert.deepEqual(await torn.evaluate(() => end), { code: 1006, reason: "", wasClean: false });
  await torn.close();
});

test("a text of 1 MB comes back, of one byte or of four to a character", async () => {
  const outcome = await page.evaluate(async () => {
    const socket = await opened("/echo");
    const outcome = [];
    for (const text of ["x".repeat(1_000_000), "👋".repeat(250_000), "aä世👋".repeat(100_000)]) {
      const data = await said(socket, text);
      outcome.push([new Blob([data]).size, data === text]);
    }
    socket.close();
    return outcome;
  });
  assert.deepEqual(outcome, Array(3).fill([1_000_000, true]));
});

test("emoji that a peer splits over frames are whole in the page", async () => {
  await page.evaluate(async () => {
    const socket = await opened("/broadcast/emoji?role=listen");
    window.heard = [];
    socket.onmessage = (event) => heard.push(event.data);
  });
  const peer = new Peer(`${server.ws}/broadcast/emoji`);
  await next(peer, "open");
  const text = "👩‍👩‍👧 family, 👋🏽 wave";
  const bytes = Buffer.from(text);
  // Cut before every byte in turn: most cuts go through a code point.
  for (let cut = 1; cut < bytes.length; cut += 1) {
    peer.send(bytes.subarray(0, cut), { binary: false, fin: false });
    peer.send(bytes.subarray(cut), { fin: true });
  }
  // And every byte in a frame of its own.
  bytes.forEach((_, at) => peer.send(bytes.subarray(at, at + 1), { binary: false, fin: at + 1 === bytes.length }));
  await page.evaluate((count) => until(() => heard.length === count), bytes.length);
  assert.deepEqual(await page.evaluate(() => [...new Set(heard)]), [text]);
  peer.close();
});

test("ten tabs in a chat room hear who enters, speaks and leaves", async () => {
  const TABS = 10;
  const name = (index) => `tab${index}`;
  const context = await browser.newContext();
  const tabs = [];
  for (let index = 0; index < TABS; index += 1) {
    const page = await tab(server, context);
    await page.evaluate(async (path) => {
      window.heard = [];
      window.socket = connect(path);
      socket.onmessage = (event) => heard.push(Object.values(JSON.parse(event.data)).join(" "));
      await next(socket, "open");
      await until(() => heard.length > 0);
    }, `/chat/ten?name=${name(index)}`);
    tabs.push(page);
  }
  const entered = Array.from({ length: TABS }, (_, index) => `enter ${name(index)} comes in`);

  // All speak at once. In which order is nobody's promise; that it is the same order for all is.
  await Promise.all(tabs.map((page, index) => page.evaluate((text) => socket.send(text), `hello from ${index} 👋`)));
  for (const [index, page] of tabs.entries()) {
    await page.evaluate((count) => until(() => heard.length === count), TABS - index + TABS);
  }
  const heard = await Promise.all(tabs.map((page) => page.evaluate(() => heard)));
  const spoken = heard[0].slice(TABS);
  assert.deepEqual(
    [...spoken].sort(),
    Array.from({ length: TABS }, (_, index) => `message ${name(index)}:hello from ${index} 👋`).sort(),
  );
  heard.forEach((lines, index) => assert.deepEqual(lines, [...entered.slice(index), ...spoken], name(index)));

  // They leave in three ways: a farewell, a closed tab, a page that goes elsewhere.
  const stays = tabs[0];
  for (let index = 1; index < TABS; index += 1) {
    const leave = [
      () => tabs[index].close(),
      () => tabs[index].evaluate(() => socket.close(1000, "good night")),
      () => tabs[index].goto("about:blank"),
    ];
    await leave[index % 3]();
    await stays.evaluate((line) => until(() => heard.at(-1) === line), `leave ${name(index)} left`);
  }
  assert.equal(await stays.evaluate(() => heard.length), TABS + TABS + TABS - 1);
  await context.close();
});
