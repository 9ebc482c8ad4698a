"""An echo and broadcast server on Python `websockets`, as its documentation shows them.

Why: loadgen claims to measure any WebSocket server; a server by other people, in another language, holds it to that.

Invariants: /echo answers the sender alone, every other path reaches every peer, the sender included; text stays text
and binary stays binary; the first line on stdout is the port.
"""

import asyncio

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

listeners = set()


async def handle(connection):
    echo = connection.request.path == "/echo"
    if not echo:
        listeners.add(connection)
    try:
        async for message in connection:
            if echo:
                await connection.send(message)
            else:
                broadcast(listeners, message)
    except ConnectionClosed:
        pass  # however a client goes, it is gone
    finally:
        listeners.discard(connection)


async def main():
    async with serve(handle, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
