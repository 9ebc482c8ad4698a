// npm's socket.io as it comes: what one says, all hear, itself too; rooms by an acknowledged `join`. Prints its port.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer();
const io = new Server(server);
io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack({ ok: true });
  });
  socket.onAny((name, ...args) => {
    if (name === "join") return;
    // The first room is its own.
    const [, room] = socket.rooms;
    (room ? io.to(room) : io).emit(name, ...args);
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
