// The npm package socket.io as a peer: an event goes to all others, as stentor's own namespace / does it.
// Its engine is ws, as it comes; compression is off and pings are out of the way, as everywhere in these experiments; what is
// kept of the request of a client is let go, as its documentation advises for many clients.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const port = Number(process.argv[2] ?? 0);
const server = createServer((_, response) => response.writeHead(426).end());
const io = new Server(server, {
  transports: ['websocket'], perMessageDeflate: false, httpCompression: false, serveClient: false,
  pingInterval: 3_600_000,
});
io.engine.on('connection', (raw) => { raw.request = null; });
io.on('connection', (socket) => {
  socket.onAny((...event) => socket.broadcast.emit(...event));
});
server.listen({ port, host: '127.0.0.1', backlog: 4096 }, () => {
  const { address, port } = server.address();
  console.error(`socket.io: listening on ${address}:${port}`);
});
