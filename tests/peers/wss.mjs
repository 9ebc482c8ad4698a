// The npm `ws` client against a stentor that speaks TLS with a certificate of its own making.
//
// Why: Node's TLS is OpenSSL, another library than the one in the server; what both agree on is the protocol.
//
// Usage: node wss.mjs PATH-OF-STENTOR      Invariants: whoever was not given the certificate does not get in; text stays
// text, binary stays binary; the close code comes back; the server ends with 0 when it is told to.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

const directory = mkdtempSync(join(tmpdir(), 'stentor-wss-'));
const written = join(directory, 'ca.pem');
const server = spawn(
  process.argv[2],
  ['--tls-listen', '127.0.0.1:0', `--tls-self-signed=${written}`, '--message-max', '2mi'],
  { stdio: ['ignore', 'ignore', 'pipe'] },
);
process.once('exit', () => server.kill('SIGKILL'));
const port = await new Promise((done, fail) => {
  let log = '';
  server.once('exit', (code) => fail(new Error(`stentor ended with ${code}:\n${log}`)));
  server.stderr.setEncoding('utf8').on('data', (text) => {
    log += text;
    const found = log.match(/wss:\/\/127\.0\.0\.1:(\d+)/);
    if (found) done(found[1]);
  });
});
const ca = readFileSync(written);
const connect = (path, options) => new WebSocket(`wss://127.0.0.1:${port}${path}`, options);

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  const socket = connect('/echo', { ca, minVersion: version, maxVersion: version });
  await once(socket, 'open');
  assert.equal(socket._socket.getProtocol(), version);
  for (const message of ['Grüße', Buffer.alloc(0), Buffer.alloc(1 << 20, 'x')]) {
    socket.send(message);
    const [data, isBinary] = await once(socket, 'message');
    assert.equal(isBinary, typeof message !== 'string');
    assert.ok(data.equals(Buffer.from(message)), `${version}: ${data.length} bytes came back`);
  }
  socket.close(4321, 'enough');
  const [code] = await once(socket, 'close');
  assert.equal(code, 4321);
}

const [refused] = await once(connect('/echo', {}), 'error');
assert.match(refused.code, /SELF_SIGNED|UNABLE_TO_VERIFY/);

const listeners = await Promise.all(
  Array.from({ length: 20 }, async () => {
    const socket = connect('/broadcast/all', { ca });
    await once(socket, 'open');
    return socket;
  }),
);
const heard = listeners.map((socket) => once(socket, 'message'));
listeners[0].send('to all');
for (const [data] of await Promise.all(heard)) assert.equal(data.toString(), 'to all');

const farewells = listeners.map((socket) => once(socket, 'close'));
server.removeAllListeners('exit');
const ended = once(server, 'exit');
server.kill('SIGTERM');
for (const [code] of await Promise.all(farewells)) assert.equal(code, 1001);
const [status] = await ended;
assert.equal(status, 0);
rmSync(directory, { recursive: true });
console.log('ok    ws: client over wss');
