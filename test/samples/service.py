"""What the tests of samples that are services have in common: starting one, talking to it, ending it."""

import os
import re
import socket
import subprocess
import sys

DIRECTORY = os.path.abspath(sys.argv[1])
LIMIT = 120 if "--sanitized" in sys.argv[2:] else 60  # seconds after which something hangs


class Service:
    """A sample that listens on a port of its own choice. `before` is what it prints before it says so."""

    def __init__(self, name, *arguments, **how):
        self.process = subprocess.Popen(
            [os.path.join(DIRECTORY, name), *map(str, arguments)], stderr=subprocess.PIPE, text=True, **how
        )
        self.before = []
        while line := self.process.stderr.readline():
            if found := re.fullmatch(r"listening on port (\d+)\n", line):
                self.port = int(found.group(1))
                return
            self.before.append(line)
        self.process.communicate()
        raise RuntimeError(f"{name} has ended: {self.before}")

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        return client

    def tell(self, number):
        self.process.send_signal(number)

    def end(self):
        """Status and what was printed, after the service has ended."""
        try:
            _, errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, errors

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.process.stderr.close()


def read_all(client):
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


