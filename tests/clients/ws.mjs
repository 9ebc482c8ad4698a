// npm `ws` as a client of stentor: everything that its documentation shows a client do.
//
// Why: it is the client of nearly every program on Node. Frames are its own business, so fragments and pings can be sent on
// purpose, which no browser allows.
//
//     STENTOR_BIN=target/release/stentor tests/clients/run.sh ws

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { next, startServer, until } from './stentor.mjs';

const MIB = 1 << 20;

let server;
before(async () => { server = await startServer(); });
after(() => server?.stop());

// Keeps from the first moment on what it hears: messages may come with the handshake, and several in one tick.
async function open(path, { at = server, protocols = [], ...options } = {}) {
  const socket = new WebSocket(at.ws + path, protocols, options);
  socket.inbox = [];
  socket.on('message', (data, isBinary) => {
    socket.inbox.push(isBinary ? data : data.toString());
    socket.emit('kept');
  });
  await next(socket, 'open');
  return socket;
}

// What the peer hears next; a string if it came as text.
async function heard(socket) {
  while (socket.inbox.length === 0) await next(socket, 'kept');
  return socket.inbox.shift();
}

// Says something and gives what comes back.
function said(socket, ...frame) {
  socket.send(...frame);
  return heard(socket);
}

async function closed(socket) {
  const [code, reason] = await next(socket, 'close');
  return [code, reason.toString()];
}

test('text comes back as text, binary as binary, empty as empty', async () => {
  const socket = await open('/echo', { protocols: ['chat', 'echo'] });
  assert.equal(socket.protocol, 'echo');
  assert.equal(socket.extensions, '', 'nothing is compressed unless the server is told to');
  for (const text of ['hello', '', 'Grüße, 世界 👋']) assert.equal(await said(socket, text), text);
  for (const bytes of [Buffer.from([0, 255, 254]), Buffer.alloc(0), Buffer.alloc(60_000, 7)]) {
    assert.deepEqual(await said(socket, bytes), bytes);
  }
  socket.close();
  assert.deepEqual(await closed(socket), [1005, '']);
});

test('ECHO: answers text, whatever came, and bytes that are not UTF-8 become U+FFFD', async () => {
  const socket = await open('/echo?prefix=ECHO:');
  assert.equal(await said(socket, 'Grüße'), 'ECHO:Grüße');
  assert.equal(await said(socket, ''), 'ECHO:');
  assert.equal(await said(socket, Buffer.from('bytes')), 'ECHO:bytes');
  assert.equal(await said(socket, Buffer.from([0x61, 0xff, 0xfe, 0x62])), 'ECHO:a\u{fffd}\u{fffd}b');
  assert.equal(await said(socket, Buffer.from('👋').subarray(0, 3)), 'ECHO:\u{fffd}');
  socket.terminate();
});

test('with --deflate both compress, and what is said is what is heard', async () => {
  for (const mode of ['shared', 'context']) {
    const at = await startServer('--deflate', mode, '--message-max', '2mi');
    const socket = await open('/echo', { at });
    assert.equal(socket.extensions, 'permessage-deflate');
    const text = '{"said":"again and again"}'.repeat(40_000);
    assert.equal(await said(socket, text), text);
    assert.equal(await said(socket, 'small'), 'small');
    socket.terminate();
    await at.stop();
  }
});

test('a message in fragments is one message, with a code point cut in two and a ping in between', async () => {
  const speaker = await open('/broadcast/fragments');
  const listener = await open('/broadcast/fragments?role=listen');
  const pong = next(speaker, 'pong');
  const bytes = Buffer.from('wave: 👋!');
  const cut = bytes.indexOf(0xf0) + 2;
  speaker.send(bytes.subarray(0, cut), { binary: false, fin: false });
  speaker.ping('between');
  assert.equal((await pong)[0].toString(), 'between', 'a ping is answered before the message is whole');
  speaker.send(bytes.subarray(cut, cut + 1), { fin: false });
  speaker.send(Buffer.alloc(0), { fin: false });
  speaker.send(bytes.subarray(cut + 1), { fin: true });
  assert.deepEqual([await heard(speaker), await heard(listener)], ['wave: 👋!', 'wave: 👋!']);

  for (let part = 0; part < 100; part += 1) speaker.send(Buffer.from([part]), { binary: true, fin: part === 99 });
  assert.deepEqual(await heard(speaker), Buffer.from(Array.from({ length: 100 }, (_, part) => part)));
  speaker.terminate();
  listener.terminate();
});

test('pings are answered with what they carried, and a pong that nobody asked for does no harm', async () => {
  const socket = await open('/echo');
  for (const payload of ['', 'x'.repeat(125)]) {
    const pong = next(socket, 'pong');
    socket.ping(payload);
    assert.equal((await pong)[0].toString(), payload);
  }
  socket.pong('unasked');
  assert.equal(await said(socket, 'still here'), 'still here');
  socket.terminate();
});

test('terminate() ends at once, and the room hears that its peer left', async () => {
  const stays = await open('/chat/terminate?name=stays');
  const goes = await open('/chat/terminate?name=goes');
  goes.terminate();
  assert.deepEqual(await closed(goes), [1006, '']);
  assert.equal(goes.readyState, WebSocket.CLOSED);
  const told = [await heard(stays), await heard(stays), await heard(stays)].map((text) => JSON.parse(text).data);
  assert.deepEqual(told, ['stays comes in', 'goes comes in', 'goes left']);
  stays.close();
});

test('bufferedAmount grows while the server does not read, and falls to 0 when it does', async () => {
  const at = await startServer('--message-max', '2mi');
  const socket = await open('/broadcast/buffered?self=0', { at });
  assert.equal(socket.bufferedAmount, 0);
  at.freeze();
  // More than the kernel takes for both of them.
  const message = Buffer.alloc(MIB);
  for (let count = 0; count < 64; count += 1) socket.send(message);
  assert.ok(socket.bufferedAmount > 16 * MIB, `${socket.bufferedAmount} bytes wait`);
  at.thaw();
  await until('an empty buffer', () => socket.bufferedAmount === 0);
  socket.close(1000);
  assert.deepEqual(await closed(socket), [1000, ''], 'everything was read before the farewell');
  await at.stop();
});

// The recipe of the README of `ws`, for clients, with its times as arguments.
function withHeartbeat(client, interval) {
  function heartbeat() {
    clearTimeout(this.pingTimeout);
    this.pingTimeout = setTimeout(() => this.terminate(), interval);
  }
  client.on('error', console.error);
  client.on('open', heartbeat);
  client.on('ping', heartbeat);
  client.on('close', function clear() { clearTimeout(this.pingTimeout); });
  return client;
}

test('the heartbeat recipe of its README lives with a live server, and finds one that is frozen or dead', async () => {
  const at = await startServer('--ping-interval', '100ms', '--pong-timeout', '10s');
  const client = withHeartbeat(new WebSocket(`${at.ws}/echo`), 3000);
  await next(client, 'open');
  // As many pings as it takes for the recipe's timer to have been wound again and again.
  for (let pings = 0; pings < 5; pings += 1) await next(client, 'ping');
  assert.equal(client.readyState, WebSocket.OPEN);
  const end = closed(client);
  at.freeze();
  assert.deepEqual(await end, [1006, ''], 'no ping for three seconds: given up');
  at.thaw();

  const other = withHeartbeat(new WebSocket(`${at.ws}/echo`), 600_000);
  await next(other, 'open');
  const torn = closed(other);
  at.kill();
  assert.deepEqual(await torn, [1006, '']);
});

test('a close code and a reason come back; those of the server are seen', async () => {
  const socket = await open('/echo');
  socket.close(4321, 'enough');
  assert.deepEqual(await closed(socket), [4321, 'enough']);

  const chatter = await open('/chat');
  chatter.send(Buffer.from('bytes'));
  assert.deepEqual(await closed(chatter), [1003, 'the chat speaks text']);

  const loud = await open('/echo');
  loud.send('x'.repeat(64 * 1024 + 1));
  const [code, reason] = await closed(loud);
  assert.equal(code, 1009);
  assert.match(reason, /./, 'and it says why');

  const at = await startServer();
  const last = await open('/echo', { at });
  const farewell = closed(last);
  assert.equal(await at.stop(), 0);
  assert.equal((await farewell)[0], 1001);
});

test('whoever is refused learns the status', async () => {
  const refusal = async (path, options) => {
    const [, response] = await next(new WebSocket(server.ws + path, options), 'unexpected-response');
    response.destroy();
    return response.statusCode;
  };
  assert.equal(await refusal('/nowhere', {}), 404);
  assert.equal(await refusal('/echo', { origin: 'https://elsewhere.example' }), 403);
  const [error] = await next(new WebSocket(`${server.ws}/nowhere`), 'error');
  assert.equal(error.message, 'Unexpected server response: 404');
});
