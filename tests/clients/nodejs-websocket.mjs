// npm `nodejs-websocket` as a client of stentor: the package of many a chat tutorial.
//
// Why: it is old, reads frames in its own way, and sends binary data as a stream of fragments.
//
//     STENTOR_BIN=target/release/stentor tests/clients/run.sh nodejs-websocket

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import client from 'nodejs-websocket';
import { next, startServer } from './stentor.mjs';

let server;
before(async () => { server = await startServer('--message-max', '2mi'); });
after(() => server?.stop());

async function open(path, options = {}) {
  const connection = client.connect(server.ws + path, options);
  await next(connection, 'connect');
  return connection;
}

const announced = async (connection) => JSON.parse((await next(connection, 'text'))[0]);

test('the chat: everybody hears who enters, speaks and leaves', async () => {
  const one = client.connect(`${server.ws}/chat`);
  const first = await announced(one);
  assert.match(first.data, /^user\d+ comes in$/);
  const name = first.data.split(' ')[0];

  const two = client.connect(`${server.ws}/chat?name=${encodeURIComponent('安')}`);
  assert.deepEqual(await Promise.all([announced(one), announced(two)]), Array(2).fill({ type: 'enter', data: '安 comes in' }));

  const said = Promise.all([announced(one), announced(two)]);
  one.sendText('hello 👋');
  assert.deepEqual(await said, Array(2).fill({ type: 'message', data: `${name}:hello 👋` }));

  const left = announced(one);
  two.close(1000, 'bye');
  assert.deepEqual(await left, { type: 'leave', data: '安 left' });

  const refused = next(one, 'close');
  one.sendBinary(Buffer.from('bytes'));
  assert.deepEqual(await refused, [1003, 'the chat speaks text']);
});

test('ECHO: answers text to text, and text to binary in as many fragments as it comes', async () => {
  const connection = await open('/echo?prefix=ECHO:');
  const said = async (say) => {
    const answer = next(connection, 'text');
    say();
    return (await answer)[0];
  };
  assert.equal(await said(() => connection.sendText('Grüße')), 'ECHO:Grüße');
  assert.equal(await said(() => connection.sendBinary(Buffer.from('bytes'))), 'ECHO:bytes');
  assert.equal(await said(() => connection.sendBinary(Buffer.from([0xff, 0x61]))), 'ECHO:\u{fffd}a');
  assert.equal(await said(() => {
    const stream = connection.beginBinary();
    // The parts of one code point.
    stream.write(Buffer.from([0xf0, 0x9f]));
    stream.end(Buffer.from([0x91, 0x8b]));
  }), 'ECHO:👋');
  connection.close();
});

test('a large message in fragments of its choosing comes back whole, and a ping is answered', async () => {
  const connection = await open('/echo', { protocols: ['echo'] });
  assert.equal(connection.protocol, 'echo');
  // Half a MiB is what it puts into one frame.
  const bytes = Buffer.alloc(1_300_000, 'stentor');
  const [stream] = await new Promise((done) => {
    connection.once('binary', (incoming) => done([incoming]));
    connection.sendBinary(bytes);
  });
  const parts = await stream.toArray();
  assert.ok(Buffer.concat(parts).equals(bytes));
  const pong = next(connection, 'pong');
  connection.sendPing('beat');
  assert.deepEqual(await pong, ['beat']);
  const end = next(connection.socket, 'close');
  connection.close(1000, 'done');
  await end;
});
