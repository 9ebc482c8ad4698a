// The server as a test sees it: a process on a free port that is started, stopped, frozen, and never outlives the test.
//
// Why one file: the tests of the Node clients, of Socket.IO and in the browser want the same server, and the same patience.
//
// Invariants: a server is ready when it is handed out; nothing here waits for a time to pass, only for what should happen,
// up to a deadline that only a broken server reaches.
//
// STENTOR_BIN names the program (a relative path counts from where npm was called); without it the debug build is taken.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PATIENCE_MS = 30_000;

const CALLED_FROM = process.env.INIT_CWD ?? process.cwd();
export const PROGRAM = resolve(CALLED_FROM, process.env.STENTOR_BIN ?? `${ROOT}/target/debug/stentor`);

// Starts the server with these flags, on a free port unless they name one, and gives it once it says where it listens.
export async function startServer(...flags) {
  const where = flags.includes('--listen') ? [] : ['--listen', '127.0.0.1:0'];
  const child = spawn(PROGRAM, [...where, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = new Promise((done) => child.once('exit', (code) => { process.off('exit', kill); done(code); }));
  const [, port, tls] = await new Promise((done, fail) => {
    let log = '';
    child.once('error', fail);
    child.once('exit', (code) => fail(new Error(`the server ended with ${code}:\n${log}`)));
    child.stderr.setEncoding('utf8').on('data', (text) => {
      log += text;
      const found = log.match(/listening on 127\.0\.0\.1:(\d+)(?:, wss:\/\/(\S+:\d+))?/);
      if (found) done(found);
    });
  });
  // A test that fails before it has stopped its server must not wait for it.
  child.unref();
  child.stderr.unref();
  return {
    port: Number(port),
    http: `http://127.0.0.1:${port}`,
    ws: `ws://127.0.0.1:${port}`,
    // Where it has a certificate.
    https: tls && `https://${tls}`,
    // Takes no processor any more, but keeps its sockets: what a machine looks like whose plug was pulled.
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    // Ends it without a word, and gives the moment when it has ended.
    kill: () => {
      kill();
      return ended;
    },
    // Asks it to end, as an operator would, and gives its exit status.
    stop: () => {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      return within('the end of the server', ended);
    },
  };
}

// The arguments of the next event of that name.
export const next = (emitter, event) =>
  once(emitter, event, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch((error) => {
    throw error.name === 'AbortError' ? new Error(`waited in vain for the event ${event}`) : error;
  });

// What a promise comes to, in time.
export function within(what, promise) {
  let timer;
  const deadline = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

// Asks again and again until a condition holds.
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

// One number of /metrics.
export async function metric(server, name) {
  const text = await (await fetch(`${server.http}/metrics`)).text();
  const found = text.match(new RegExp(`^stentor_${name} (\\d+)$`, 'm'));
  assert.ok(found, `/metrics has ${name}`);
  return Number(found[1]);
}
