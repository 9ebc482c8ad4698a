// Engine.IO 4 and Socket.IO 5 as they are on the wire, without any client library: fetch and bare WebSockets.
//
//     tests/socketio/run.sh wire
//
// What the suites that belong to the two protocols ask for, and what a client of the reference counts on. Those suites are no
// packages, and want a server that answers `message` with `message-back`; here the same is asked of the namespaces there are.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { startServer, until, within } from "../clients/stentor.mjs";

const INTERVAL_MS = 300;
const TIMEOUT_MS = 200;

let server;
before(async () => {
  const flags = ["--engine-ping-interval", `${INTERVAL_MS}ms`, "--engine-ping-timeout", `${TIMEOUT_MS}ms`];
  server = await startServer(...flags);
});
after(() => server?.stop());

const address = (path, query) => `${server.http}/${path}/?${query}`;
const POLL = "EIO=4&transport=polling";

async function request(path, query, options) {
  const response = await fetch(address(path, query), options);
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function openPolling(path = "socket.io") {
  const { status, text } = await request(path, POLL);
  assert.equal(status, 200);
  return JSON.parse(text.slice(1)).sid;
}

const poll = (sid, path = "socket.io") => request(path, `${POLL}&sid=${sid}`);
const post = (sid, body, path = "socket.io") => request(path, `${POLL}&sid=${sid}`, { method: "POST", body });

// A WebSocket whose messages are read one by one; `ended` says that it was closed or refused.
function openSocket(path, query) {
  const socket = new WebSocket(address(path, query).replace("http", "ws"));
  const [queue, waiting] = [[], []];
  socket.on("message", (data, isBinary) => {
    const message = isBinary ? data : String(data);
    if (waiting.length) waiting.shift()(message);
    else queue.push(message);
  });
  socket.on("error", () => {});
  socket.ended = within("the end of the WebSocket", new Promise((done) => socket.once("close", done)));
  socket.next = () => within("a message", new Promise((done) => {
    if (queue.length) done(queue.shift());
    else waiting.push(done);
  }));
  // The next message that is no ping.
  socket.said = async () => {
    for (;;) {
      const message = await socket.next();
      if (message !== "2") return message;
      socket.send("3");
    }
  };
  return socket;
}

const openWs = (more = "", path = "socket.io") => openSocket(path, `EIO=4&transport=websocket${more}`);

async function entered(namespace = "/") {
  const socket = openWs();
  assert.match(await socket.said(), /^0/);
  const prefix = namespace === "/" ? "40" : `40${namespace},`;
  socket.send(prefix);
  const answer = await socket.said();
  assert.ok(answer.startsWith(prefix), answer);
  socket.id = JSON.parse(answer.slice(prefix.length)).sid;
  return socket;
}

for (const path of ["socket.io", "engine.io"]) {
  describe(`Engine.IO at /${path}/`, () => {
    test("a handshake says five things, in this order", async () => {
      for (const [of, text] of [
        ["polling", (await request(path, POLL)).text],
        ["websocket", await openWs("", path).next()],
      ]) {
        assert.equal(text[0], "0");
        const value = JSON.parse(text.slice(1));
        assert.deepEqual(Object.keys(value), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
        assert.match(value.sid, /^[\w-]{20}$/);
        assert.deepEqual(value.upgrades, of === "polling" ? ["websocket"] : []);
        assert.deepEqual([value.pingInterval, value.pingTimeout, value.maxPayload], [INTERVAL_MS, TIMEOUT_MS, 1_000_000]);
      }
    });

    test("what is wrong with a request is said, with its code", async () => {
      const cases = [
        ["transport=polling", "GET", 5, "Unsupported protocol version"],
        ["EIO=abc&transport=polling", "GET", 5, "Unsupported protocol version"],
        ["EIO=3&transport=polling", "GET", 5, "Unsupported protocol version"],
        ["EIO=4", "GET", 0, "Transport unknown"],
        ["EIO=4&transport=abc", "GET", 0, "Transport unknown"],
        [POLL, "POST", 2, "Bad handshake method"],
        [POLL, "PUT", 2, "Bad handshake method"],
        [`${POLL}&sid=nobody`, "GET", 1, "Session ID unknown"],
        [`${POLL}&sid=AAAAAAAAAAAAAAAAAAAA`, "POST", 1, "Session ID unknown"],
        ["EIO=4&transport=websocket", "GET", 3, "Bad request"],
      ];
      for (const [query, method, code, message] of cases) {
        const answer = await request(path, query, { method });
        assert.equal(answer.status, 400, query);
        assert.deepEqual(JSON.parse(answer.text), { code, message }, `${method} ${query}`);
        assert.match(answer.headers.get("content-type"), /^application\/json/);
      }
      for (const query of ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]) {
        await openSocket(path, query).ended;
      }
    });

    test("polling: pings and pongs, and the end without", async () => {
      const sid = await openPolling(path);
      for (let n = 0; n < 3; n += 1) {
        assert.deepEqual((await poll(sid, path)).text, "2");
        assert.deepEqual((await post(sid, "3", path)).text, "ok");
      }
      await new Promise((done) => setTimeout(done, INTERVAL_MS + TIMEOUT_MS + 100));
      assert.equal((await poll(sid, path)).status, 400);
    });

    test("WebSocket: pings and pongs, and the end without", async () => {
      const socket = openWs("", path);
      assert.match(await socket.next(), /^0/);
      for (let n = 0; n < 3; n += 1) {
        assert.equal(await socket.next(), "2");
        socket.send("3");
      }
      await socket.ended;
    });

    test("the client closes: its waiting GET is answered with 6, and the session is over", async () => {
      const sid = await openPolling(path);
      const waiting = poll(sid, path);
      await new Promise((done) => setTimeout(done, 50));
      assert.equal((await post(sid, "1", path)).text, "ok");
      assert.equal((await waiting).text, "6");
      assert.equal((await poll(sid, path)).status, 400);

      const socket = openWs("", path);
      await socket.next();
      socket.send("1");
      await socket.ended;
    });

    test("the upgrade; afterwards neither HTTP nor another WebSocket is heard, and the session goes on", async () => {
      const sid = await openPolling(path);
      const waiting = poll(sid, path);
      const socket = openWs(`&sid=${sid}`, path);
      await within("the WebSocket", new Promise((done) => socket.once("open", done)));
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      assert.equal((await waiting).text, "6");
      socket.send("5");
      await until("the upgrade to be heard", async () => (await poll(sid, path)).status === 400);
      assert.equal((await post(sid, "4x", path)).status, 400);
      await openWs(`&sid=${sid}`, path).ended;
      for (let n = 0; n < 3; n += 1) {
        assert.equal(await socket.next(), "2");
        socket.send("3");
      }
      socket.close();
      await socket.ended;
    });

    test("a packet that is none ends the session", async () => {
      const sid = await openPolling(path);
      assert.equal((await post(sid, "abc", path)).status, 400);
      assert.equal((await poll(sid, path)).status, 400);
      const socket = openWs("", path);
      await socket.next();
      socket.send("abc");
      await socket.ended;
    });
  });
}

describe("Engine.IO: messages", () => {
  test("polling: texts and bytes, one by one and together, come back", async () => {
    const sid = await openPolling("engine.io");
    assert.equal((await post(sid, "4hello", "engine.io")).text, "ok");
    assert.equal((await poll(sid, "engine.io")).text, "4hello");
    assert.equal((await post(sid, "4one\x1ebAQIDBA==\x1e4ä€", "engine.io")).text, "ok");
    assert.equal((await poll(sid, "engine.io")).text, "4one\x1ebAQIDBA==\x1e4ä€");
  });

  test("WebSocket: texts and bytes come back", async () => {
    const socket = openWs("", "engine.io");
    await socket.next();
    socket.send("4hello");
    assert.equal(await socket.next(), "4hello");
    socket.send(Buffer.from([1, 2, 3]));
    assert.deepEqual(await socket.next(), Buffer.from([1, 2, 3]));
    socket.close();
  });
});

describe("Socket.IO", () => {
  test("into the main namespace, into another, with something to show", async () => {
    for (const [sent, prefix] of [
      ["40", "40"],
      ['40{"token":"123"}', "40"],
      ["40/chat,", "40/chat,"],
      ['40/chat,{"token":"abc"}', "40/chat,"],
      ["40/chat", "40/chat,"],
    ]) {
      const socket = openWs();
      await socket.said();
      socket.send(sent);
      const answer = await socket.said();
      assert.ok(answer.startsWith(prefix), answer);
      assert.deepEqual(Object.keys(JSON.parse(answer.slice(prefix.length))), ["sid"]);
      socket.close();
    }
  });

  test("not into an unknown one", async () => {
    const socket = openWs();
    await socket.said();
    socket.send("40/random");
    assert.equal(await socket.said(), '44/random,{"message":"Invalid namespace"}');
    socket.close();
  });

  test("acknowledgements, plain and with a binary question", async () => {
    const socket = await entered();
    socket.send('42456["join","room"]');
    assert.equal(await socket.said(), '43456[{"ok":true}]');
    socket.send('451-789["to","room","x",{"_placeholder":true,"num":0}]');
    socket.send(Buffer.from([1, 2, 3]));
    assert.equal(await socket.said(), '43789[{"ok":true}]');
    socket.close();
  });

  test("events and their attachments are passed on as they are", async () => {
    const [one, other] = [await entered(), await entered()];
    one.send('42["message",1,"2",{"3":[true]}]');
    assert.equal(await other.said(), '42["message",1,"2",{"3":[true]}]');
    const head = '452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]';
    one.send(head);
    one.send(Buffer.from([1, 2, 3]));
    one.send(Buffer.from([4, 5, 6]));
    assert.equal(await other.said(), head);
    assert.deepEqual(await other.said(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await other.said(), Buffer.from([4, 5, 6]));
    one.close();
    other.close();
  });

  test("out of one namespace and not of the other", async () => {
    const socket = await entered();
    socket.send("40/chat");
    assert.match(await socket.said(), /^40\/chat,/);
    assert.match(await socket.said(), /^42\/chat,\["welcome",/);
    socket.send("41/chat");
    socket.send('421["leave","room"]');
    assert.equal(await socket.said(), '431[{"ok":true}]');
    socket.send("41");
    assert.equal(await socket.next(), "2", "the session goes on without any");
    socket.close();
  });

  test("what no client says ends the session", async () => {
    for (const wrong of [
      "4abc", "42{}", '42abc["x"]', "42[]", "42[1]", '42["connect"]', '42/chat,["x"]', "43[", '44{"message":"x"}',
      '4511-["x"]', '451-["x"]', "4[",
    ]) {
      const socket = await entered();
      socket.send(wrong);
      // Bytes are awaited there, and a text comes.
      if (wrong === '451-["x"]') socket.send('42["x"]');
      await socket.ended;
    }
    const socket = openWs();
    await socket.said();
    socket.send('42["before anything"]');
    await socket.ended;
  });

  test("a payload as deep as 64 is read, a deeper one ends the session", async () => {
    const deep = (n) => `42["x",${"[".repeat(n)}${"]".repeat(n)}]`;
    const [one, other] = [await entered(), await entered()];
    one.send(deep(60));
    assert.equal(await other.said(), deep(60));
    one.send(deep(70));
    await one.ended;
    other.close();
  });

  test("polling: namespaces, events and attachments, in payloads", async () => {
    const sid = await openPolling();
    assert.equal((await post(sid, "40")).text, "ok");
    assert.match((await poll(sid)).text, /^40\{"sid":"[\w-]{20}"\}$/);
    const other = await entered();
    other.send('451-["bin",{"_placeholder":true,"num":0}]');
    other.send(Buffer.from([1, 2, 3, 4]));
    const got = (await poll(sid)).text.split("\x1e").filter((packet) => packet !== "2");
    if (got.length < 2) got.push(...(await poll(sid)).text.split("\x1e"));
    assert.deepEqual(got.slice(0, 2), ['451-["bin",{"_placeholder":true,"num":0}]', "bAQIDBA=="]);
    assert.equal((await post(sid, '451-["back",{"_placeholder":true,"num":0}]\x1ebAQIDBA==')).text, "ok");
    assert.equal(await other.said(), '451-["back",{"_placeholder":true,"num":0}]');
    assert.deepEqual(await other.said(), Buffer.from([1, 2, 3, 4]));
    other.close();
  });
});
