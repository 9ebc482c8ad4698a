"""The client of `aiohttp` against stentor.

Why: it is what Python programs use that speak HTTP as well, and it has a protocol reader of its own.

    STENTOR_BIN=target/release/stentor tests/clients/run.sh aiohttp
"""

import asyncio
import unittest

import aiohttp
from aiohttp import WSMsgType

from stentor import PATIENCE, Server


class Aiohttp(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--message-max", "2mi")
        cls.addClassCleanup(cls.server.stop)

    async def asyncSetUp(self):
        # unittest asks for a warning after a tenth of a second, which a busy machine takes for nothing.
        asyncio.get_running_loop().slow_callback_duration = PATIENCE
        self.session = aiohttp.ClientSession()
        self.addAsyncCleanup(self.session.close)

    def open_at(self, path, server=None, **options):
        return self.session.ws_connect((server or self.server).ws + path, **options)

    async def test_text_and_binary_come_back_as_they_are(self):
        async with self.open_at("/echo", protocols=["chat", "echo"]) as socket:
            self.assertEqual(socket.protocol, "echo")
            for text in ["hello", "", "Grüße, 世界 👋", "ä" * 500_000]:
                await socket.send_str(text)
                self.assertEqual(await socket.receive_str(timeout=PATIENCE), text)
            for data in [b"\x00\xff\xfe", b"", b"x" * 1_000_000]:
                await socket.send_bytes(data)
                self.assertEqual(await socket.receive_bytes(timeout=PATIENCE), data)

    async def test_echo_with_a_prefix_answers_text_whatever_came(self):
        async with self.open_at("/echo?prefix=ECHO:") as socket:
            await socket.send_str("Grüße")
            self.assertEqual(await socket.receive_str(timeout=PATIENCE), "ECHO:Grüße")
            for data, answer in [(b"bytes", "ECHO:bytes"), (b"a\xff\xfeb", "ECHO:a\ufffd\ufffdb")]:
                await socket.send_bytes(data)
                self.assertEqual(await socket.receive_str(timeout=PATIENCE), answer)

    async def test_compression(self):
        for mode in ["shared", "context"]:
            server = Server("--deflate", mode, "--message-max", "2mi")
            self.addCleanup(server.stop)
            async with self.open_at("/echo", server, compress=15) as socket:
                self.assertTrue(socket.compress, "agreed")
                for text in ['{"said":"again"}' * 50_000, "small"]:
                    await socket.send_str(text)
                    self.assertEqual(await socket.receive_str(timeout=PATIENCE), text)

    async def test_the_chat(self):
        async with self.open_at("/chat/aiohttp?name=ann") as ann:
            heard = [await ann.receive_json(timeout=PATIENCE)]
            async with self.open_at("/chat/aiohttp?name=ben") as ben:
                await ben.send_str("hello 👋")
                heard += [await ann.receive_json(timeout=PATIENCE) for _ in range(2)]
            heard.append(await ann.receive_json(timeout=PATIENCE))
            self.assertEqual(
                [one["data"] for one in heard], ["ann comes in", "ben comes in", "ben:hello 👋", "ben left"]
            )
            await ann.send_bytes(b"bytes")
            end = await ann.receive(timeout=PATIENCE)
            self.assertEqual((end.type, end.data, end.extra), (WSMsgType.CLOSE, 1003, "the chat speaks text"))

    async def test_pings_both_ways(self):
        server = Server("--ping-interval", "100ms")
        self.addCleanup(server.stop)
        async with self.open_at("/echo", server, autoping=False) as socket:
            await socket.ping(b"beat")
            heard = set()
            while heard != {WSMsgType.PING, WSMsgType.PONG}:
                message = await socket.receive(timeout=PATIENCE)
                heard.add(message.type)
                if message.type == WSMsgType.PONG:
                    self.assertEqual(message.data, b"beat")
                else:
                    await socket.pong(message.data)

    async def test_its_heartbeat_finds_a_frozen_server(self):
        server = Server()
        self.addCleanup(server.stop)
        async with self.open_at("/echo", server, heartbeat=0.5) as socket:
            await socket.send_str("alive")
            self.assertEqual(await socket.receive_str(timeout=PATIENCE), "alive")
            server.freeze()
            end = await socket.receive(timeout=PATIENCE)
            self.assertIn(end.type, (WSMsgType.ERROR, WSMsgType.CLOSED))
            self.assertEqual(socket.close_code, 1006)

    async def test_close_codes_and_refusals(self):
        server = Server()
        self.addCleanup(server.stop)
        async with self.open_at("/echo", server) as socket:
            await socket.close(code=4321, message=b"enough")
            self.assertEqual(socket.close_code, 4321)
        async with self.open_at("/echo", server) as socket:
            self.assertEqual(await asyncio.to_thread(server.stop), 0)
            end = await socket.receive(timeout=PATIENCE)
            self.assertEqual((end.type, end.data), (WSMsgType.CLOSE, 1001))
        for path, options, status in [("/nowhere", {}, 404), ("/echo", {"origin": "https://elsewhere.example"}, 403)]:
            with self.assertRaises(aiohttp.WSServerHandshakeError) as caught:
                await self.open_at(path, **options)
            self.assertEqual(caught.exception.status, status)


if __name__ == "__main__":
    unittest.main()
