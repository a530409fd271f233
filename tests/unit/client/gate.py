"""A TCP server before a real node that does to each request what a script says.

What the script says nothing about is forwarded.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from palimp.http import create_app
from palimp.node import Node
from palimp.node.serving import Served

__all__ = ["Action", "Gate", "House", "Seen", "answer", "error", "forward", "garbage", "half",
           "reset_after", "reset_before", "silent_after", "silent_before"]  # fmt: skip


class Seen(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Action = Callable[["Gate", socket.socket, Seen], bool]


class House:
    """A node on a port."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._served = Served(create_app(node), [self._listener], read_seconds=10)

    def close(self) -> None:
        assert self._served.stop(10)
        self._listener.close()


class Gate:
    """Listens on a port of its own; `seen` is what was asked, `script` what is still to be done."""

    def __init__(self, node_port: int | None = None) -> None:
        self._node_port = node_port
        self.seen: list[Seen] = []
        self.script: list[Action] = []
        # What waits until the test is over.
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept, self._listener)

    def names(self) -> list[str]:
        """Return the method and the last word of the path of every request."""
        return [
            f"{one.method} {one.path.partition('?')[0].rpartition('/')[2]}" for one in self.seen
        ]

    def pull_down(self) -> None:
        """Stop listening; connections that exist go on."""
        # A thread that waits in accept holds on to it, so it is woken first.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def put_up(self) -> None:
        """Listen again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def close(self) -> None:
        self.over.set()
        if self._listener.fileno() >= 0:
            self.pull_down()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def forward(self, seen: Seen) -> bytes:
        """Return what the node answers, as it is sent."""
        assert self._node_port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self._node_port)
        headers = {k: v for k, v in seen.headers.items() if k not in ("host", "connection")}
        connection.request(seen.method, seen.path, seen.body, headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in ("date", "connection")]
        lines = [f"HTTP/1.1 {response.status} -", *(f"{k}: {v}" for k, v in kept), "", ""]
        return "\r\n".join(lines).encode() + body

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(taken)
            self._start(self._serve, taken)

    def _serve(self, taken: socket.socket) -> None:
        try:
            while True:
                seen = _read(taken)
                if seen is None:
                    return
                self.seen.append(seen)
                action = self.script.pop(0) if self.script else forward
                if not action(self, taken, seen):
                    return
        except OSError:
            return
        finally:
            taken.close()


def _read(taken: socket.socket) -> Seen | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = taken.recv(65_536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", 0))
    pieces, size = [body], len(body)
    while size < length:
        more = taken.recv(1 << 20)
        if not more:
            return None
        pieces.append(more)
        size += len(more)
    method, path, _ = first.split(" ")
    return Seen(method, path, headers, b"".join(pieces))


# What can be done to a request. Each returns whether the connection goes on.


def forward(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    taken.sendall(gate.forward(seen))
    return True


def _reset(taken: socket.socket) -> bool:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    taken.close()
    return False


def reset_before(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    return _reset(taken)


def reset_after(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    gate.forward(seen)
    return _reset(taken)


def half(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    whole = gate.forward(seen)
    taken.sendall(whole[: len(whole) - 5])
    return False


def silent_before(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    gate.over.wait()
    return False


def silent_after(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    gate.forward(seen)
    gate.over.wait()
    return False


def garbage(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
    taken.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    return False


def answer(status: int, body: bytes = b"", **headers: str) -> Action:
    """Answer by itself."""

    def act(gate: Gate, taken: socket.socket, seen: Seen) -> bool:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given["content-length"] = str(len(body))
        lines = [f"HTTP/1.1 {status} -", *(f"{k}: {v}" for k, v in given.items()), "", ""]
        taken.sendall("\r\n".join(lines).encode() + body)
        return True

    return act


def error(status: int, code: str, **fields: Any) -> Action:
    """Answer as a node does that refuses."""
    body = {"error": f"said with {code}", "code": code, **fields}
    return answer(status, json.dumps(body).encode(), content_type="application/json")
