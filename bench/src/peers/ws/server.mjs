// The npm package ws as a peer: /echo sends back, any other path broadcasts to all on it, the sender included.
// Compression is off, as everywhere in these experiments; payloads are handed on as the buffers they came in.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const port = Number(process.argv[2] ?? 0);
const sockets = new WebSocketServer({
  noServer: true, perMessageDeflate: false, clientTracking: false, skipUTF8Validation: false,
});
const subscribers = new Set();

const server = createServer((_, response) => response.writeHead(426).end());
server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (peer) => {
    peer.on('error', () => {});
    if (request.url.startsWith('/echo')) {
      peer.on('message', (data, binary) => peer.send(data, { binary }));
      return;
    }
    subscribers.add(peer);
    peer.on('close', () => subscribers.delete(peer));
    peer.on('message', (data, binary) => {
      for (const subscriber of subscribers) subscriber.send(data, { binary });
    });
  });
});
server.listen({ port, host: '127.0.0.1', backlog: 4096 }, () => {
  const { address, port } = server.address();
  console.error(`ws: listening on ${address}:${port}`);
});
