// An echo and broadcast server on npm `ws`, as its documentation shows them.
//
// Why: loadgen claims to measure any WebSocket server; a server by other people, in another language, holds it to that.
//
// Invariants: /echo answers the sender alone, every other path reaches every peer of that path, the sender included;
// text stays text and binary stays binary; the first line on stdout is the port.
//
// With two arguments, a certificate and its key, it speaks TLS.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { WebSocket, WebSocketServer } from 'ws';

const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const http = cert ? createSecureServer({ cert, key }) : createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });

http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => console.log(http.address().port));

server.on('connection', (socket, request) => {
  socket.path = new URL(request.url, 'ws://localhost').pathname;
  socket.on('error', () => socket.terminate());
  socket.on('message', (data, binary) => {
    if (socket.path === '/echo') {
      socket.send(data, { binary });
      return;
    }
    for (const peer of server.clients) {
      if (peer.path === socket.path && peer.readyState === WebSocket.OPEN) {
        peer.send(data, { binary });
      }
    }
  });
});
