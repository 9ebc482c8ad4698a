// An echo and broadcast server on npm `ws`, as its documentation shows them.
//
// Why: loadgen claims to measure any WebSocket server; a server by other people, in another language, holds it to that.
//
// Invariants: /echo answers the sender alone, every other path reaches every peer of that path, the sender included;
// text stays text and binary stays binary; the first line on stdout is the port.

import { WebSocket, WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });

server.on('listening', () => console.log(server.address().port));

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
