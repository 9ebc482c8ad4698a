"""The README's examples for publishers, run by a shell as they stand there, and their answers compared with those that stand there.

An example that is not run is wrong within a year. Only what is another on each machine is changed: the port, and the epoch, which is
drawn by lot. `websocat` and `curl` are found in PATH.

Invariant: a command is a line of the README that begins with four spaces; an answer is one that begins with a brace behind that.
"""

import json
import os
import pathlib
import re
import subprocess
import time
import unittest
import urllib.request

from stentor import PATIENCE, Server

README = pathlib.Path(__file__).parents[2] / "README.md"
EPOCH = re.compile(r"[0-9a-f]{16}")


def examples():
    """The commands behind "In plain text:", each with the answer below it, or with none."""
    part = README.read_text(encoding="utf-8").split("In plain text:", 1)[1].split("Where others than", 1)[0]
    found = []
    for line in re.findall(r"^    (.*)$", part, re.MULTILINE):
        if line.startswith("{"):
            found[-1][1] = line
        elif found and found[-1][0].rstrip().endswith("|"):
            found[-1][0] += "\n" + line
        else:
            found.append([line, None])
    return found


class Readme(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.port = self.server.ws.rsplit(":", 1)[1]
        self.running = []
        self.addCleanup(self.server.stop)

    def tearDown(self):
        for one in self.running:
            one.kill()
            one.wait()
            one.stdout.close()
            one.stdin.close()

    def start(self, command):
        """A command that goes on, in a shell that becomes it."""
        program = ["sh", "-c", "exec " + command.replace("9001", self.port)]
        one = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.running.append(one)
        return one

    def answer(self, command):
        done = subprocess.run(
            ["sh", "-c", command.replace("9001", self.port)],
            capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "no_proxy": "*"},
        )
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr}")
        return done.stdout.strip()

    def wait_for_listeners(self, count):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/channels") as response:
                if sum(one["subscribers"] for one in json.load(response)["channels"]) == count:
                    return
            time.sleep(0.02)
        self.fail(f"{count} listeners did not come")

    def test_what_stands_there_is_what_happens(self):
        wanted = examples()
        self.assertEqual(
            [command.split()[0] for command, _ in wanted], ["websocat", "curl", "printf", "curl", "websocat"],
            "the examples are others; this test wants to be looked at",
        )
        (listen, _), *questions, (come_back, _) = wanted
        listener = self.start(listen.removesuffix("&"))
        self.wait_for_listeners(1)
        epoch = None
        for command, answer in questions:
            said = self.answer(command)
            self.assertEqual(EPOCH.sub("EPOCH", said), EPOCH.sub("EPOCH", answer), command)
            epoch = epoch or EPOCH.search(said)[0]
        self.assertEqual([listener.stdout.readline() for _ in range(2)], ["hello\n", "one\n"])

        back = self.start(EPOCH.sub(epoch, come_back))
        welcome, *missed = (json.loads(back.stdout.readline()) for _ in range(3))
        self.assertEqual(welcome["epoch"], epoch)
        self.assertEqual([(one["offset"], one["data"]) for one in missed], [(1, "hello"), (2, "one")])


if __name__ == "__main__":
    unittest.main()
