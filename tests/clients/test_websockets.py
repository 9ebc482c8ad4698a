"""Python `websockets` as a client of stentor, by its asyncio and its threaded interface.

Why: it checks what it hears more strictly than most, and lets fragments be chosen.

    STENTOR_BIN=target/release/stentor tests/clients/run.sh websockets
"""

import asyncio
import json
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect as connect_sync

from stentor import PATIENCE, Server


def open_at(server, path, **options):
    # No proxy that the environment may name stands between two programs of one machine.
    return connect(server.ws + path, proxy=None, **options)


class Websockets(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--message-max", "2mi")
        cls.addClassCleanup(cls.server.stop)

    async def asyncSetUp(self):
        # unittest asks for a warning after a tenth of a second, which a busy machine takes for nothing.
        asyncio.get_running_loop().slow_callback_duration = PATIENCE

    async def heard(self, socket):
        return await asyncio.wait_for(socket.recv(), PATIENCE)

    async def said(self, socket, message, **options):
        await socket.send(message, **options)
        return await self.heard(socket)

    async def test_text_and_binary_come_back_as_they_are(self):
        async with open_at(self.server, "/echo", subprotocols=["chat", "echo"]) as socket:
            self.assertEqual(socket.subprotocol, "echo")
            self.assertEqual(socket.protocol.extensions, [], "nothing is compressed unless the server is told to")
            for message in ["hello", "", "Grüße, 世界 👋", b"\x00\xff\xfe", b"", b"x" * 1_000_000, "ä" * 500_000]:
                self.assertEqual(await self.said(socket, message), message)

    async def test_echo_with_a_prefix_answers_text_whatever_came(self):
        async with open_at(self.server, "/echo?prefix=ECHO:") as socket:
            self.assertEqual(await self.said(socket, "Grüße"), "ECHO:Grüße")
            self.assertEqual(await self.said(socket, b"bytes"), "ECHO:bytes")
            self.assertEqual(await self.said(socket, b"a\xff\xfeb"), "ECHO:a\ufffd\ufffdb")
            self.assertEqual(await self.said(socket, "👋".encode()[:3]), "ECHO:\ufffd")

    async def test_fragments_are_one_message_though_they_cut_a_code_point(self):
        async with open_at(self.server, "/echo") as socket:
            wave = "wave: 👋!".encode()
            parts = [wave[:8], wave[8:9], b"", wave[9:]]
            self.assertEqual(await self.said(socket, parts, text=True), "wave: 👋!")
            self.assertEqual(await self.said(socket, [b"\x00", b"", b"\xff"]), b"\x00\xff")

    async def test_compression(self):
        for mode in ["shared", "context"]:
            server = Server("--deflate", mode, "--message-max", "2mi")
            self.addCleanup(server.stop)
            async with open_at(server, "/echo") as socket:
                self.assertEqual([extension.name for extension in socket.protocol.extensions], ["permessage-deflate"])
                for message in ['{"said":"again"}' * 50_000, "small", bytes(100_000)]:
                    self.assertEqual(await self.said(socket, message), message)

    async def test_pings_are_answered_and_keepalive_finds_a_frozen_server(self):
        server = Server()
        self.addCleanup(server.stop)
        async with open_at(server, "/echo", ping_interval=0.1, ping_timeout=2, close_timeout=1) as socket:
            for payload in [b"", b"x" * 125]:
                pong = await socket.ping(payload)
                await asyncio.wait_for(pong, PATIENCE)
            self.assertEqual(await self.said(socket, "alive"), "alive")
            server.freeze()
            with self.assertRaises(ConnectionClosedError) as caught:
                await self.heard(socket)
            self.assertEqual(caught.exception.sent.reason, "keepalive ping timeout")

    async def test_the_chat(self):
        async with open_at(self.server, "/chat/python?name=ann") as ann:
            heard = [json.loads(await self.heard(ann))]
            async with open_at(self.server, "/chat/python?name=ben") as ben:
                await ben.send("hello 👋")
                heard += [json.loads(await self.heard(ann)) for _ in range(2)]
            heard.append(json.loads(await self.heard(ann)))
            self.assertEqual(
                [(one["type"], one["data"]) for one in heard],
                [
                    ("enter", "ann comes in"),
                    ("enter", "ben comes in"),
                    ("message", "ben:hello 👋"),
                    ("leave", "ben left"),
                ],
            )
            await ann.send(b"bytes")
            with self.assertRaises(ConnectionClosedError) as caught:
                await self.heard(ann)
            self.assertEqual((caught.exception.rcvd.code, caught.exception.rcvd.reason), (1003, "the chat speaks text"))

    async def test_close_codes_and_reasons(self):
        server = Server()
        self.addCleanup(server.stop)
        async with open_at(server, "/echo") as socket:
            await socket.close(4321, "enough")
            self.assertEqual((socket.close_code, socket.close_reason), (4321, "enough"))
        async with open_at(server, "/echo") as socket:
            await socket.send("x" * (64 * 1024 + 1))
            with self.assertRaises(ConnectionClosedError) as caught:
                await self.heard(socket)
            self.assertEqual(caught.exception.rcvd.code, 1009)
        async with open_at(server, "/echo") as socket:
            status = await asyncio.to_thread(server.stop)
            self.assertEqual(status, 0)
            # Going away is an ordinary end.
            with self.assertRaises(ConnectionClosedOK) as caught:
                await self.heard(socket)
            self.assertEqual(caught.exception.rcvd.code, 1001)

    async def test_who_is_refused_learns_the_status_and_why(self):
        for path, options, status in [("/nowhere", {}, 404), ("/echo", {"origin": "https://elsewhere.example"}, 403)]:
            with self.assertRaises(InvalidStatus) as caught:
                await open_at(self.server, path, **options)
            self.assertEqual(caught.exception.response.status_code, status)
            self.assertRegex(caught.exception.response.body.decode(), r".+\n")

    async def test_a_hundred_listeners_hear_one_speaker(self):
        listeners = await asyncio.gather(*(open_at(self.server, "/broadcast/hundred") for _ in range(100)))
        for number in range(20):
            await listeners[0].send(f"news {number}")
        for listener in listeners:
            heard = [await self.heard(listener) for _ in range(20)]
            self.assertEqual(heard, [f"news {number}" for number in range(20)])
        await asyncio.gather(*(listener.close() for listener in listeners))


class Threaded(unittest.TestCase):
    def test_the_interface_without_asyncio(self):
        server = Server()
        self.addCleanup(server.stop)
        with connect_sync(f"{server.ws}/echo?prefix=ECHO:", proxy=None) as socket:
            socket.send("Grüße")
            self.assertEqual(socket.recv(PATIENCE), "ECHO:Grüße")
            socket.send(b"\xff")
            self.assertEqual(socket.recv(PATIENCE), "ECHO:\ufffd")


if __name__ == "__main__":
    unittest.main()
