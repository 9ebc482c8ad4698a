// A chat in the terminal as tutorials write it: what you type is said, what is said is printed.
//
//     node chat-client.mjs ws://localhost:3000/chat?name=ann

import readline from 'node:readline';
import WebSocket from 'ws';

const socket = new WebSocket(process.argv[2] ?? 'ws://localhost:3000/chat');
const lines = readline.createInterface({ input: process.stdin });

socket.on('open', () => {
  console.log('* connected');
  lines.on('line', (line) => (line === '/quit' ? socket.close(1000, 'quit') : socket.send(line)));
  lines.on('close', () => socket.close(1000));
});

socket.on('message', (text) => {
  const { type, data } = JSON.parse(text);
  console.log(type === 'message' ? data : `* ${data}`);
});

socket.on('close', (code, reason) => {
  console.log(`* closed: ${code} ${reason}`.trimEnd());
  lines.close();
});

socket.on('error', (error) => {
  console.error(`cannot connect: ${error.message}`);
  process.exitCode = 1;
});
