"""The server as a Python test sees it: a process on a free port that is started, stopped, frozen, and never outlives the test.

Invariants: a server is ready when it is handed out; nothing waits for a time to pass, only for what should happen, up to a
deadline that only a broken server reaches.

STENTOR_BIN names the program.
"""

import atexit
import contextlib
import os
import re
import signal
import subprocess

PATIENCE = 15  # seconds


class Server:
    def __init__(self, *flags):
        program = [os.environ["STENTOR_BIN"], "--listen", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        atexit.register(self.process.kill)
        log = ""
        for line in self.process.stderr:
            log += line.decode()
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", log):
                self.ws = f"ws://127.0.0.1:{found[1]}"
                return
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{log}")

    def freeze(self):
        """Takes its processor away but leaves its sockets: what a machine looks like whose plug was pulled."""
        self.process.send_signal(signal.SIGSTOP)

    def stop(self):
        """Asks it to end, as an operator would, and gives its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        self.process.stderr.close()
        return self.process.wait(PATIENCE)
