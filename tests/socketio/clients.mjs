// npm's `socket.io-client` and `engine.io-client` against stentor: every promise about Socket.IO that a user would notice.
//
//     tests/socketio/run.sh clients
//
// Each test runs by WebSocket, by polling, and with the upgrade from one to the other, where that makes a difference. Nothing
// waits for a time to pass, but where a time is what is tested.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { Socket as EngineSocket } from "engine.io-client";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { metric, next, startServer, until, within } from "../clients/stentor.mjs";

const WAYS = {
  "websocket": { transports: ["websocket"] },
  "polling": { transports: ["polling"] },
  "polling, then websocket": { transports: ["polling", "websocket"] },
};

let server;
const clients = [];

before(async () => { server = await startServer(); });
after(async () => {
  clients.forEach((client) => client.close());
  await server?.stop();
});

// A client in a namespace, connected.
async function enter(namespace, options = WAYS.websocket, url = server.http) {
  const client = io(url + namespace, { forceNew: true, reconnection: false, ...options });
  clients.push(client);
  client.said = [];
  client.onAny((...event) => client.said.push(event));
  await next(client, "connect");
  return client;
}

const ask = (client, ...event) => client.timeout(10_000).emitWithAck(...event);
const transport = (client) => client.io.engine.transport.name;
const bytes = (...values) => Buffer.from(values);

for (const [way, options] of Object.entries(WAYS)) {
  describe(way, () => {
    test("an event of one goes to all others, with all its arguments, and not back", async () => {
      const [ann, ben, cem] = [await enter("/", options), await enter("/", options), await enter("/")];
      const heard = [next(ben, "hello"), next(cem, "hello")];
      ann.emit("hello", 1, { x: [1, null, 2.5] }, "ä😀\u2028", true);
      for (const args of await Promise.all(heard)) assert.deepEqual(args, [1, { x: [1, null, 2.5] }, "ä😀\u2028", true]);
      await ask(ann, "join", "barrier");
      assert.deepEqual(ann.said, [], "nobody hears himself");
      for (const client of [ann, ben, cem]) client.close();
    });

    test("rooms: join, to, leave, each acknowledged", async () => {
      const [ann, ben, cem] = [await enter("/", options), await enter("/", options), await enter("/", options)];
      for (const client of [ann, ben]) assert.deepEqual(await ask(client, "join", "room"), { ok: true });
      const heard = next(ben, "news");
      assert.deepEqual(await ask(cem, "to", "room", "news", 42, "x"), { ok: true });
      assert.deepEqual(await heard, [42, "x"]);
      await until("ann to hear it, too", () => ann.said.some(([name]) => name === "news"));

      assert.deepEqual(await ask(ben, "leave", "room"), { ok: true });
      assert.deepEqual(await ask(ann, "to", "room", "later"), { ok: true });
      const last = next(ben, "barrier");
      ann.emit("barrier");
      await last;
      assert.ok(!ben.said.some(([name]) => name === "later"), "who has left hears nothing");
      assert.ok(!cem.said.some(([name]) => name === "news"), "who was never in it, neither");

      const refused = await ask(ann, "to", "room");
      assert.equal(refused.ok, false);
      assert.match(refused.error, /name of a room/);
      assert.equal((await ask(ann, "join", "x".repeat(129))).ok, false);
      for (const client of [ann, ben, cem]) client.close();
    });

    test("binary both ways, nested", async () => {
      const [ann, ben] = [await enter("/", options), await enter("/", options)];
      const heard = next(ben, "bin");
      ann.emit("bin", bytes(1, 2, 3), { deep: [{ er: Buffer.from("hey") }, "text"] }, bytes());
      const [first, second, third] = await heard;
      assert.deepEqual(Buffer.from(first), bytes(1, 2, 3));
      assert.deepEqual(Buffer.from(second.deep[0].er), Buffer.from("hey"));
      assert.deepEqual([second.deep[1], Buffer.from(third).length], ["text", 0]);
      for (const client of [ann, ben]) client.close();
    });

    test("a message of 900 000 bytes arrives, whichever way it goes", async () => {
      const [ann, ben] = [await enter("/", options), await enter("/", options)];
      const large = "ä".repeat(450_000);
      const heard = next(ben, "large");
      ann.emit("large", large);
      assert.ok((await heard)[0] === large);
      const whole = Buffer.alloc(600_000, 7);
      const binary = next(ben, "large");
      ann.emit("large", whole);
      assert.ok(Buffer.from((await binary)[0]).equals(whole));
      for (const client of [ann, ben]) client.close();
    });

    test("two thousand messages each way at once: all come, once, in order", async () => {
      const [ann, ben] = [await enter("/", options), await enter("/", options)];
      const heard = (client) => client.said.filter(([name]) => name === "n").map(([, value]) => value);
      const wanted = Array.from({ length: 2000 }, (_, n) => n);
      for (const n of wanted) {
        ann.emit("n", n);
        ben.emit("n", n);
        // In many packets and turns, not in one.
        if (n % 50 === 0) await new Promise((done) => setImmediate(done));
      }
      for (const client of [ann, ben]) {
        await until("all of them", () => heard(client).length >= wanted.length);
        assert.deepEqual(heard(client), wanted);
      }
      for (const client of [ann, ben]) client.close();
    });

    test("/chat: who speaks is told to all, who comes and goes to the others", async () => {
      const ann = await enter("/chat", options);
      const [welcome] = ann.said.length ? ann.said.map((event) => event[1]) : await next(ann, "welcome");
      assert.equal(welcome.name.length, 6);
      const joined = next(ann, "user joined");
      const ben = await enter("/chat", options);
      const [{ name }] = await joined;
      const [both, typing] = [[next(ann, "chat message"), next(ben, "chat message")], next(ann, "typing")];
      ben.emit("typing");
      assert.deepEqual(await ask(ben, "chat message", "good evening"), { ok: true });
      assert.deepEqual(await Promise.all(both), [["good evening", name], ["good evening", name]]);
      assert.deepEqual(await typing, [name]);
      const left = next(ann, "user left");
      ben.close();
      assert.equal((await left)[0].name, name);
      ann.close();
    });

    test("/tutorial: a message to all, one to the others, and a warning a second after", async () => {
      const ann = await enter("/tutorial", options);
      await until("the first message", () => ann.said.length === 1);
      assert.deepEqual(ann.said.shift(), ["server message", { msg: "hello, everybody" }]);
      const ben = await enter("/tutorial", options);
      await until("both messages", () => ann.said.length === 2);
      assert.deepEqual(ann.said.map(([, { msg }]) => msg), ["hello, everybody", "broadcast"]);
      ann.said.length = 0;
      assert.deepEqual(await ask(ben, "client message", "here I am"), { ok: true });
      await until("what ben said", () => ann.said.length === 1);
      assert.deepEqual(ann.said, [["server message", { msg: "here I am" }]]);

      const began = Date.now();
      ann.emit("random", 0.5);
      ann.emit("random", 0.96);
      ann.emit("random", 0.99);
      await until("two warnings", () => ann.said.length === 3);
      assert.deepEqual(ann.said.slice(1), [["warn", 1], ["warn", 2]]);
      assert.ok(Date.now() - began >= 990, "a second later");
      for (const client of [ann, ben]) client.close();
    });

    test("/broadcast: its rooms are the channels of plain WebSockets", async () => {
      const channel = `bridge-${way.replaceAll(/\W+/g, "-")}`;
      const ann = await enter("/broadcast", options);
      assert.deepEqual(await ask(ann, "join", channel), { ok: true });
      const plain = new WebSocket(`${server.ws}/broadcast/${channel}`);
      const got = [];
      plain.on("message", (data, isBinary) => got.push(isBinary ? data : String(data)));
      await next(plain, "open");

      plain.send("a text");
      plain.send(bytes(0, 255, 1));
      await until("both", () => ann.said.length === 2);
      assert.deepEqual(ann.said[0], ["message", "a text"]);
      assert.equal(ann.said[1][0], "message");
      assert.deepEqual(Buffer.from(ann.said[1][1]), bytes(0, 255, 1));

      ann.emit("message", "from a socket");
      ann.emit("message", bytes(9, 8, 7));
      // The plain peer hears itself, too: that is what /broadcast is.
      await until("all four", () => got.length === 4);
      assert.deepEqual(got, ["a text", bytes(0, 255, 1), "from a socket", bytes(9, 8, 7)]);

      const posted = await fetch(`${server.http}/publish/${channel}`, {
        method: "POST", body: "from HTTP", headers: { "Content-Type": "text/plain" },
      });
      assert.equal(posted.status, 200);
      await until("what was posted", () => ann.said.length === 3 && got.length === 5);
      assert.deepEqual([ann.said[2], got[4]], [["message", "from HTTP"], "from HTTP"]);
      const batch = await fetch(`${server.http}/publish`, {
        method: "POST", headers: { "Content-Type": "application/x-ndjson" },
        body: `${JSON.stringify({ channel, data: "one" })}\n${JSON.stringify({ channel, data: { two: 2 } })}\n`,
      });
      assert.equal(batch.status, 200);
      await until("the batch", () => ann.said.length === 5 && got.length === 7);
      assert.deepEqual(ann.said.slice(3), [["message", "one"], ["message", '{"two":2}']]);
      plain.close();
      ann.close();
    });

    test("disconnect: out of one namespace, the other goes on; then out of all", async () => {
      const ann = await enter("/", options);
      const chat = ann.io.socket("/chat");
      await next(chat, "connect");
      const why = next(chat, "disconnect");
      chat.disconnect();
      assert.deepEqual((await why)[0], "io client disconnect");
      assert.deepEqual(await ask(ann, "join", "still here"), { ok: true });

      const before = await metric(server, "socketio_sessions");
      ann.close();
      await until("the session to end", async () => (await metric(server, "socketio_sessions")) < before);
    });

    test("an unknown namespace is refused, in the reference's words", async () => {
      const client = io(`${server.http}/nope`, { forceNew: true, reconnection: false, ...options });
      clients.push(client);
      const [error] = await next(client, "connect_error");
      assert.equal(error.message, "Invalid namespace");
      client.close();
    });
  });
}

test("the upgrade, with messages both ways all the while: nothing lost, nothing twice, in order", async () => {
  const ben = await enter("/", WAYS.websocket);
  for (let round = 0; round < 10; round += 1) {
    const name = `round ${round}`;
    // It goes over when we say so, and not before messages are under way.
    const options = { forceNew: true, reconnection: false, upgrade: false, ...WAYS["polling, then websocket"] };
    const ann = io(server.http, options);
    clients.push(ann);
    const [up, down] = [[], []];
    ann.on(name, (n) => down.push(n));
    ben.on(name, (n) => up.push(n));
    await next(ann, "connect");
    await ask(ann, "join", name);
    assert.equal(transport(ann), "polling");
    let isOver = false;
    const upgraded = within("the upgrade", new Promise((done) => ann.io.engine.once("upgrade", done)));
    upgraded.then(() => { isOver = true; });
    let n = 0;
    for (let rest = 200; rest > 0; n += 1) {
      if (n === 10 * round) ann.io.engine._probe("websocket");
      // Two hundred after the upgrade; before it, as many as there is time for. By the namespace, and by a room.
      ann.emit(name, n);
      if (n % 2) ben.emit(name, n);
      else ben.emit("to", name, name, n);
      if (isOver) rest -= 1;
      assert.ok(n < 100_000, "an upgrade does not take so long");
      if (n % 3 === 0) await new Promise((done) => setImmediate(done));
    }
    await upgraded;
    assert.equal(transport(ann), "websocket");
    await until(`${n} both ways`, () => up.length >= n && down.length >= n).catch((error) => {
      const missing = (list) => Array.from({ length: n }, (_, n) => n).filter((n) => !list.includes(n));
      throw new Error(`${name}: ${error.message}; missing up: ${missing(up)}; down: ${missing(down)}`);
    });
    const wanted = Array.from({ length: n }, (_, n) => n);
    assert.deepEqual(up, wanted, `${name}: client to server`);
    // A namespace and a room are two topics, each of which keeps its order.
    for (const odd of [0, 1]) {
      assert.deepEqual(down.filter((n) => n % 2 === odd), wanted.filter((n) => n % 2 === odd), `${name}: server to client`);
    }
    assert.equal(down.length, n);
    ann.close();
  }
  ben.close();
});

test("binary messages survive the upgrade, too", async () => {
  const [ben, ann] = [await enter("/"), await enter("/", WAYS["polling, then websocket"])];
  const got = [];
  ann.on("part", (n, data) => got.push([n, data.length]));
  let n = 0;
  for (let rest = 20; rest > 0; n += 1) {
    ben.emit("part", n, Buffer.alloc(n % 1000));
    if (transport(ann) === "websocket") rest -= 1;
    assert.ok(n < 100_000, "an upgrade does not take so long");
    await new Promise((done) => setImmediate(done));
  }
  await until("all of them", () => got.length >= n);
  assert.deepEqual(got, Array.from({ length: n }, (_, n) => [n, n % 1000]));
  for (const client of [ann, ben]) client.close();
});

test("a client of two namespaces has one connection, and is called differently in each", async () => {
  const ann = await enter("/");
  const chat = ann.io.socket("/chat");
  await next(chat, "connect");
  assert.equal(chat.io.engine, ann.io.engine);
  assert.notEqual(chat.id, ann.id);
  assert.match(ann.id, /^[\w-]{20}$/);
  ann.io._close();
});

test("what the server sends to one alone goes to him alone: a room that is called like him", async () => {
  const [ann, ben, cem] = [await enter("/"), await enter("/", WAYS.polling), await enter("/")];
  for (const other of [ben, cem]) {
    const heard = next(other, "whisper");
    assert.deepEqual(await ask(ann, "to", other.id, "whisper", other.id), { ok: true });
    assert.deepEqual(await heard, [other.id]);
  }
  assert.equal(ben.said.length + cem.said.length, 2);
  for (const client of [ann, ben, cem]) client.close();
});

test("names that mean something to JavaScript are only names", async () => {
  const [ann, ben] = [await enter("/"), await enter("/")];
  const heard = next(ben, "__proto__");
  ann.emit("__proto__", JSON.parse('{"__proto__":{"x":1},"constructor":2}'));
  const [value] = await heard;
  assert.equal(JSON.stringify(value), '{"__proto__":{"x":1},"constructor":2}');
  assert.deepEqual(await ask(ann, "join", "constructor"), { ok: true });
  for (const client of [ann, ben]) client.close();
});

test("engine.io-client: what it sends comes back, text and binary, by every way", async () => {
  for (const [way, options] of Object.entries(WAYS)) {
    const socket = new EngineSocket(server.http, { path: "/engine.io/", ...options });
    await next(socket, "open");
    const got = [];
    socket.on("message", (data) => got.push(typeof data === "string" ? data : Buffer.from(data)));
    const sent = [];
    for (let n = 0; n < 100; n += 1) {
      const message = n % 3 ? `text ${n} ä` : Buffer.alloc(n, n);
      sent.push(message);
      socket.send(message);
      if (n % 10 === 0) await new Promise((done) => setImmediate(done));
    }
    await until(`${way}: all of them`, () => got.length >= sent.length);
    assert.deepEqual(got, sent, way);
    if (way.includes(",")) await until("the upgrade", () => socket.transport.name === "websocket");
    const closed = next(socket, "close");
    socket.close();
    assert.equal((await closed)[0], "forced close");
  }
});

test("an event for many is published once, however many hear it and in whichever words", async () => {
  const own = await startServer();
  const sockets = [];
  for (const way of [...Object.values(WAYS), ...Object.values(WAYS)]) sockets.push(await enter("/broadcast", way, own.http));
  for (const socket of sockets) assert.deepEqual(await ask(socket, "join", "sea"), { ok: true });
  const plain = new WebSocket(`${own.ws}/broadcast/sea?self=0`);
  await next(plain, "open");
  const before = await metric(own, "published_total");
  const heard = [...sockets.slice(1).map((socket) => next(socket, "message")), next(plain, "message")];
  sockets[0].emit("message", "once");
  for (const [text] of await Promise.all(heard)) assert.equal(String(text), "once");
  assert.equal(await metric(own, "published_total"), before + 1, "five sockets, three ways, and one that is none");
  plain.close();
  for (const socket of sockets) socket.close();
  await own.stop();
});

test("reconnection: the server is killed and comes again, and so do its clients", async () => {
  let own = await startServer();
  const options = { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
  const all = Object.values(WAYS).map((way) => io(own.http, { ...options, ...way }));
  clients.push(...all);
  await Promise.all(all.map((client) => next(client, "connect")));
  const before = all.map((client) => client.id);
  const gone = all.map((client) => next(client, "disconnect"));
  await own.kill();
  for (const [reason] of await Promise.all(gone)) assert.match(reason, /^transport (close|error)$/);
  const again = all.map((client) => (client.connected ? null : next(client, "connect")));
  own = await startServer("--listen", `127.0.0.1:${own.port}`);
  await Promise.all(again);
  all.forEach((client, n) => assert.notEqual(client.id, before[n], "the server knows nobody from before"));
  const heard = all.slice(1).map((client) => next(client, "again"));
  all[0].emit("again", 1);
  assert.deepEqual(await Promise.all(heard), [[1], [1]]);
  all.forEach((client) => client.close());
  await own.stop();
});

test("a client that is asked answers, or is told that it has not", async () => {
  const probe = createServer().listen(0, "127.0.0.1");
  await next(probe, "listening");
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  const example = spawn(process.env.ANSWERS, [`127.0.0.1:${port}`], { stdio: "ignore" });
  try {
    for (const way of Object.values(WAYS)) {
      const client = io(`http://127.0.0.1:${port}`, { forceNew: true, reconnectionDelay: 50, ...way });
      clients.push(client);
      await next(client, "connect");
      client.once("question", (...args) => args.pop()(args[0] + 1, args[1]));
      const answered = next(client, "answered");
      client.emit("ask", 41, bytes(1, 2));
      const [value, binary] = await answered;
      assert.deepEqual([value, Buffer.from(binary)], [42, bytes(1, 2)]);
      const unanswered = next(client, "unanswered");
      client.emit("ask", "nobody listens now");
      assert.deepEqual(await unanswered, ["operation has timed out"]);
      client.close();
    }
  } finally {
    example.kill("SIGKILL");
  }
});

test("a client that does not answer pings is let go; one that does stays", async () => {
  const own = await startServer("--engine-ping-interval", "300ms", "--engine-ping-timeout", "1500ms");
  const good = [];
  for (const way of Object.values(WAYS)) good.push(await enter("/", way, own.http));
  // It hears the ping and says nothing.
  const mute = await enter("/", WAYS.websocket, own.http);
  mute.io.engine.transport.send = () => {};
  const reason = next(mute, "disconnect");
  await until("four sessions", async () => (await metric(own, "socketio_sessions")) === 4);
  await until("three sessions", async () => (await metric(own, "socketio_sessions")) === 3);
  await reason;
  // One that polls, and never asks again.
  await fetch(`${own.http}/socket.io/?EIO=4&transport=polling`);
  await until("it is counted", async () => (await metric(own, "socketio_polled_total")) === 3);
  await until("it is let go", async () => (await metric(own, "socketio_sessions")) === 3);
  for (const client of good) assert.ok(client.connected, "who answers is still here");
  good.forEach((client) => client.close());
  await until("nobody", async () => (await metric(own, "socketio_sessions")) === 0);
  await own.stop();
});

test("SIGTERM: clients are told, and the server ends at once", async () => {
  const own = await startServer();
  const all = [];
  for (const way of Object.values(WAYS)) all.push(await enter("/", way, own.http));
  // Whoever loses its connection in the midst of the upgrade may take a ping's time to notice: npm's client has paused its polling.
  await until("the upgrade", () => transport(all.at(-1)) === "websocket");
  const gone = all.map((client) => next(client, "disconnect"));
  const ended = own.stop();
  for (const [reason] of await Promise.all(gone)) assert.match(reason, /^transport (close|error)$/);
  await within("the server to end", ended);
});

test("when all have gone, nothing of them is left", async () => {
  clients.forEach((client) => client.close());
  await until("no session", async () => (await metric(server, "socketio_sessions")) === 0);
  // The one that asks is still there, and what Node keeps for its next request.
  await until("few connections", async () => (await metric(server, "connections")) <= 4);
  assert.equal(await metric(server, "topics"), 0);
  assert.equal(await metric(server, "socketio_faults_total"), 0, "no client of npm breaks the protocol");
});
