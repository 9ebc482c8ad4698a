// The chat program of a tutorial (chat-client.mjs), run by three people at once, as processes with pipes for terminals.
//
// Why: what a reader of a tutorial has is a program like this one, and it shall run against stentor unchanged.
//
//     STENTOR_BIN=target/release/stentor tests/clients/run.sh chat

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startServer, until, within } from './stentor.mjs';

const PROGRAM = fileURLToPath(new URL('chat-client.mjs', import.meta.url));

let server;
// At / as well: tutorials connect to a bare ws://localhost:3000.
before(async () => { server = await startServer('--service', 'chat'); });
after(() => server?.stop());

function person(url) {
  const child = spawn(process.execPath, [PROGRAM, url], { stdio: ['pipe', 'pipe', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const me = {
    screen: '',
    ended: new Promise((done) => child.once('exit', done)),
    type: (line) => child.stdin.write(`${line}\n`),
    hangUp: () => child.stdin.end(),
    sees: (line) => until(`“${line}”`, () => me.screen.split('\n').includes(line)),
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => { me.screen += text; });
  }
  return me;
}

test('three people enter, talk and leave, each in their own way', async () => {
  const ann = person(`${server.ws}/?name=ann`);
  await ann.sees('* ann comes in');
  const ben = person(`${server.ws}/chat?name=ben`);
  await Promise.all([ann.sees('* ben comes in'), ben.sees('* ben comes in')]);
  const other = person(`${server.ws}/chat?name=ann`);
  await ann.sees('* ann2 comes in');

  ann.type('Who is there?');
  await ben.sees('ann:Who is there?');
  ben.type('Me 👋');
  for (const one of [ann, ben, other]) await one.sees('ben:Me 👋');

  ben.type('/quit');
  await Promise.all([ann.sees('* ben left'), ben.sees('* closed: 1000 quit')]);
  assert.equal(await within('the end of the program', ben.ended), 0);
  other.hangUp();
  await Promise.all([ann.sees('* ann2 left'), other.sees('* closed: 1000')]);

  assert.equal(await server.stop(), 0);
  await ann.sees('* closed: 1001 the server is shutting down');
  const seen = ann.screen.trimEnd().split('\n');
  assert.deepEqual(seen.slice(0, -1), [
    '* connected', '* ann comes in', '* ben comes in', '* ann2 comes in', 'ann:Who is there?', 'ben:Me 👋', '* ben left',
    '* ann2 left',
  ]);

  const late = person(`${server.ws}/chat`);
  await until('a word about it', () => /^cannot connect: .*ECONNREFUSED/m.test(late.screen));
  assert.equal(await within('the end of the program', late.ended), 1);
});
