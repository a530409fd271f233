"""A server of models as a process of its own, which can be killed and started again in its place."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).parents[2]
# The port it had before: a node knows the server by its address.
_CODE = """
import sys
from http.server import ThreadingHTTPServer
import model_server
port = int(sys.argv[1])
model_server.ThreadingHTTPServer = lambda _, handler: ThreadingHTTPServer(("", port), handler)
with model_server.ModelServer() as server:
    print("there", flush=True)
    sys.stdin.read()
"""


class Embedder:
    """Killed by SIGKILL, so that whoever waits for an answer gets none."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(self.port)],
            cwd=_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "there\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None
