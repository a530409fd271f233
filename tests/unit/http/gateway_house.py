"""A gateway and the servers behind it: those that behave, and those that do as they are told."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.http.api import Limits
from palimp.http.gateway import Gateway
from palimp.lease import Peer
from palimp.node.serving import Served
from palimp.observe import Metrics

PROFILE = "/v1/memory/acme/alice"
MEMORIES = f"{PROFILE}/memories"
DATABASE = "acme--alice"
LIMITS = Limits(
    request_seconds=30.0,
    read_seconds=30.0,
    write_seconds=30.0,
    body_bytes=4 << 20,
    query_bytes=1 << 20,
    in_flight=64,
)
BODY = b'{"memories": [{"text": "a"}]}'
JSON = {"content-type": "application/json"}


class Table:
    """A placement that says what it is told."""

    def __init__(self) -> None:
        self.known: dict[str, Peer] = {}
        self.cached: dict[str, str] = {}
        self.now: dict[str, str] = {}
        self.down = False
        self.asked: list[str] = []

    def add(self, node: str, port: int, *, draining: bool = False) -> None:
        self.known[node] = Peer(
            node, f"http://127.0.0.1:{port}", "1", 1, node, node, draining=draining
        )

    def holder(self, name: str) -> Peer | None:
        return self.known.get(self.cached.get(name, ""))

    def ask(self, name: str) -> Peer | None:
        self.asked.append(name)
        if self.down:
            raise Unavailable("the lease store is away", reason="lease")
        return self.known.get(self.now.get(name, self.cached.get(name, "")))

    def peers(self) -> tuple[Peer, ...]:
        return tuple(self.known[node] for node in sorted(self.known))

    def held(self) -> int:
        return len(self.cached)

    def close(self) -> None:
        pass


class Seen(msgspec.Struct):
    """What a server was sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given == name]


class Node:
    """A real server, which does as `answer` says with what it was sent; notes it in `seen`."""

    def __init__(self, answer: Callable[[Any, Any, Seen], Any] | None = None) -> None:
        self.seen: list[Seen] = []
        self._answer = answer or _echo
        listener = _listener()
        self.port = listener.getsockname()[1]
        self.served = Served(self, [listener], read_seconds=None)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await _live(receive, send)
            return
        target = scope["raw_path"] + (
            b"?" + scope["query_string"] if scope["query_string"] else b""
        )
        headers = [(n.decode(), v.decode("latin-1")) for n, v in scope["headers"]]
        seen = Seen(scope["method"], target.decode(), headers, b"")
        self.seen.append(seen)
        await self._answer(receive, send, seen)

    def stop(self) -> None:
        self.served.stop(0.2)


class Raw:
    """A server that does with each connection what it is told, as far as bytes go."""

    def __init__(self, *scripts: Callable[[socket.socket], None]) -> None:
        self._listener = _listener()
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._scripts = scripts
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            threading.Thread(target=self._one, args=(connection, script), daemon=True).start()

    def _one(self, connection: socket.socket, script: Callable[[socket.socket], None]) -> None:
        with connection:
            connection.settimeout(20)
            script(connection)

    def stop(self) -> None:
        self._listener.close()


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


async def _live(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def take(receive: Any, seen: Seen) -> None:
    while True:
        message = await receive()
        seen.body += message.get("body", b"")
        if not message.get("more_body"):
            return


async def say(
    send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    given = [(b"content-length", str(len(body)).encode())] if headers is None else headers
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


async def _echo(receive: Any, send: Any, seen: Seen) -> None:
    await take(receive, seen)
    await say(send, 200, seen.body or b"done")


def refusing(status: int = 503, **details: Any) -> Callable[[Any, Any, Seen], Any]:
    """Return what answers each request with an error of ours."""

    async def answer(receive: Any, send: Any, seen: Seen) -> None:
        await take(receive, seen)
        code = "unavailable" if status == 503 else "conflict"
        body = {"error": "not here", "code": code, "details": details}
        await say(send, status, json.dumps(body).encode())

    return answer


def head_of(connection: socket.socket) -> bytes:
    """Read a request up to the end of its headers, and its body if it has a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    wanted = int(length[0].split(b":")[1]) if length else 0
    while len(body) < wanted:
        body += connection.recv(65536)
    return data


def hang_up(connection: socket.socket) -> None:
    head_of(connection)


def saying(data: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(data)

    return script


class House:
    """A gateway and the servers behind it."""

    def __init__(self) -> None:
        self.table = Table()
        self.metrics = Metrics()
        self.behind: list[Node | Raw] = []
        self.fronts: list[Served] = []

    def open(self, limits: Limits = LIMITS, **more: Any) -> Gateway:
        more.setdefault("open_to_all", True)
        listener = _listener()
        dialect = _listener() if "dialect" in more else None
        if dialect is not None:
            self.dialect_port = dialect.getsockname()[1]
            more["ports"] = {self.dialect_port: more.pop("dialect")}
        gateway = Gateway(self.table, limits, Clock(), self.metrics, **more)
        self.port = listener.getsockname()[1]
        sockets = [listener] if dialect is None else [listener, dialect]
        self.fronts.append(
            Served(gateway, sockets, read_seconds=30, write_seconds=limits.write_seconds)
        )
        return gateway

    def add(self, node: str, behind: Node | Raw, **more: Any) -> Any:
        self.behind.append(behind)
        self.table.add(node, behind.port, **more)
        return behind

    def dead(self, node: str) -> None:
        """Add a node at a port where nobody listens."""
        listener = _listener()
        self.table.add(node, listener.getsockname()[1])
        listener.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()
        finally:
            connection.close()

    def error(self, *request: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(*request)[2])
        return found

    def count(self, key: str) -> float:
        return self.metrics.snapshot().get(key, 0)

    def close(self) -> None:
        for front in self.fronts:
            assert front.stop(1.0)
        for one in self.behind:
            one.stop()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
