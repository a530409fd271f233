"""What nodes send to each other, over HTTP/1.1 as our server speaks it, and their connections.

By hand, like the folder's socket: a forwarded request costs both nodes little more than the
operation, and a wait in the middle of an answer can be given up.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from select import POLLIN, poll
from typing import NamedTuple
from urllib.parse import urlsplit

from ..api.answers import Answer
from ..api.wire import NO_CONTENT, Call
from ..clock import Clock

__all__ = ["Lines", "Lost"]

# A node that is alive is connected to at once; one behind a cut is not waited for.
_CONNECT_SECONDS = 2.0
# How often whoever waits for an answer asks whether it is still to be expected.
_LOOK_SECONDS = 1.0
# Shorter than our server keeps an idle connection.
_IDLE_SECONDS = 30.0
_IDLE_MAX = 64
_PIECE_BYTES = 1 << 16
_HEAD_BYTES_MAX = 1 << 16
_END = b"\r\n\r\n"


class Lost(NamedTuple):
    """No answer came; `sent` where the request may have been carried out all the same."""

    said: str
    sent: bool


class Lines:
    """Connections to other nodes, kept for the next request. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._idle: defaultdict[str, list[_Connection]] = defaultdict(list)

    def send(
        self, address: str, call: Call, seconds: float, expected: Callable[[], bool]
    ) -> Answer | Lost:
        """Return the answer to a request, which is sent once.

        It is given up after so many seconds, or once `expected` says that none is to be expected;
        that is asked every second.
        """
        patience = _Patience(self._clock, seconds, expected)
        try:
            connection = self._take(address, patience)
        except (OSError, ValueError) as error:
            return Lost(_said(error), sent=False)
        reusable = False
        try:
            answer = connection.exchange(call, patience)
            reusable = connection.reusable
        except OSError as error:
            return Lost(_said(error), sent=True)
        finally:
            # Interrupted half way: what comes next on it would be the answer to this.
            self._give_back(address, connection, reusable)
        return answer

    def close(self) -> None:
        """Close the idle connections now, the others once they are done."""
        with self._lock:
            self._closed = True
            idle = [one for kept in self._idle.values() for one in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, address: str, patience: _Patience) -> _Connection:
        """Return an idle connection that is alive, or a new one."""
        now = self._clock.monotonic()
        while True:
            with self._lock:
                kept = self._idle.get(address)
                if not kept:
                    break
                connection = kept.pop()
            if now - connection.used_at < _IDLE_SECONDS and connection.quiet:
                return connection
            connection.close()
        return self._connect(address, patience)

    def _connect(self, address: str, patience: _Patience) -> _Connection:
        parts = urlsplit(address)
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        seconds = min(_CONNECT_SECONDS, patience.left())
        sock = socket.create_connection((host, port), seconds)
        try:
            # A request is written in one piece; its end is not to wait for a receipt.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure:
                sock = self._tls.wrap_socket(sock, server_hostname=host)
            sock.settimeout(_LOOK_SECONDS)
        except BaseException:
            sock.close()
            raise
        return _Connection(sock, parts.netloc)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the certificates of the system takes 20 ms. SSL_CERT_FILE names others.
        return ssl.create_default_context()

    def _give_back(self, address: str, connection: _Connection, reusable: bool) -> None:
        connection.used_at = self._clock.monotonic()
        with self._lock:
            kept = self._idle[address]
            if reusable and not self._closed and len(kept) < _IDLE_MAX:
                kept.append(connection)
                return
        connection.close()


class _Patience:
    """How long one request is waited for."""

    def __init__(self, clock: Clock, seconds: float, expected: Callable[[], bool]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock.monotonic() + seconds
        self._expected = expected

    def left(self) -> float:
        """Return how many seconds are left, a moment at least."""
        return max(0.01, self._end - self._clock.monotonic())

    def check(self) -> None:
        """Raise `TimeoutError` where it is waited for no longer."""
        if self._clock.monotonic() >= self._end:
            raise TimeoutError(f"no answer within {self._seconds:.1f} s")
        if not self._expected():
            raise TimeoutError("no answer, and its lease is over")


class _Connection:
    """One request after the other; `OSError` where the other end is gone, or is no node."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self._sock = sock
        self._host = host
        self._poll = poll()
        self._poll.register(sock, POLLIN)
        self.reusable = True
        self.used_at = 0.0

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to read: before anything was asked that would be the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def exchange(self, call: Call, patience: _Patience) -> Answer:
        """Send a request and return its answer."""
        lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in call.headers.items()]
        if call.body or call.method not in ("GET", "DELETE"):
            lines.append(f"content-length: {len(call.body)}")
        head = "\r\n".join(lines).encode("latin-1") + _END
        try:
            self._send(head + call.body, patience)
        except (BrokenPipeError, ConnectionResetError):
            # A request that is refused is not always read to its end; the refusal is there then.
            self.reusable = False
        return self._receive(patience)

    def _send(self, data: bytes, patience: _Patience) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except TimeoutError:
                patience.check()

    def _receive(self, patience: _Patience) -> Answer:
        data = bytearray()
        while (end := data.find(_END)) < 0:
            if len(data) > _HEAD_BYTES_MAX:
                raise ConnectionError(f"an answer with more than {_HEAD_BYTES_MAX:,} bytes of head")
            data += self._more(patience)
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            status = int(first.split(" ", 2)[1])
            size = 0 if status == NO_CONTENT else int(headers["content-length"])
        except (IndexError, KeyError, ValueError):
            raise ConnectionError(f"{first!r:.80} is not an answer of a node") from None
        del data[: end + len(_END)]
        while len(data) < size:
            data += self._more(patience)
        if headers.get("connection") == "close" or len(data) > size:
            self.reusable = False
        return Answer(status, headers, bytes(data))

    def _more(self, patience: _Patience) -> bytes:
        while True:
            try:
                piece = self._sock.recv(_PIECE_BYTES)
            except TimeoutError:
                patience.check()
                continue
            if not piece:
                raise ConnectionResetError("closed in the middle of an answer")
            return piece


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
