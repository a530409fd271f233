"""The folder's owner, over its Unix socket: HTTP/1.1 as our server speaks it, and a pool.

By hand, not by `http.client`: there a wait in the middle of an answer has no end, and headers take
half of the time of a short call.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from select import POLLIN, poll

from ...api import OPERATIONS, Operation, Options, Target
from ...api.answers import Answer, decode_answer, decode_error
from ...api.base import Request, Result
from ...api.wire import Call, encode_call
from ...clock import Clock
from ...node.door import reachable

__all__ = ["SILENT_SECONDS", "Gone", "Silent", "SocketClient"]

# Who hears nothing for so long asks whether anybody is there.
SILENT_SECONDS = 5.0
_ERROR = 400
_HEALTH = Call("GET", "/health", {}, b"")
# More at a time are made and closed again: each costs the owner a descriptor as well.
_IDLE_MAX = 32
_RETRY_SECONDS = 0.02
_PIECE_BYTES = 1 << 16
_HEAD_BYTES_MAX = 1 << 16
_END = b"\r\n\r\n"


class Gone(ConnectionError):
    """The owner does not serve (any more); `sent` where the request may have reached it."""

    def __init__(self, cause: object, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.sent = sent


class Silent(Exception):
    """The owner has the folder, and has not answered in time."""


class SocketClient:
    """Reaches the process that serves a socket; thread-safe.

    `Gone` is raised where it does not serve any more, `Silent` where it is there and does not
    answer: whoever calls knows what to do then.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()

    def call(self, operation: str, target: Target, request: Request, options: Options) -> Result:
        """Carry out one operation."""
        row: Operation = OPERATIONS[operation]
        answer = self._exchange(encode_call(row, target, request, options))
        if answer.status >= _ERROR:
            raise decode_error(answer)
        return decode_answer(row, answer)

    def close(self) -> None:
        """Close the idle connections now, the others once they are done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def abandon(self) -> None:
        """In a forked child: close its copies of the connections, which are the parent's."""
        self._lock = threading.Lock()
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle, self._busy = [], set()

    def is_there(self) -> bool:
        """Whether the owner answers within `SILENT_SECONDS`; raises `Gone` where nobody serves."""
        connection: _Connection | None = None
        try:
            connection = self._connect()
            return connection.exchange(_HEALTH, _give_up).status < _ERROR
        except Silent:
            return False
        except OSError as error:
            raise Gone(error, sent=False) from error
        finally:
            if connection is not None:
                connection.close()

    def _exchange(self, call: Call) -> Answer:
        connection = self._take()
        done = False
        try:
            answer = connection.exchange(call, self._wait)
            done = connection.reusable
        except OSError as error:
            raise Gone(error, sent=True) from error
        finally:
            # Interrupted half way: what comes next on it would be the answer to this.
            self._give_back(connection, done)
        return answer

    def _wait(self) -> None:
        """Return where the owner is only slow."""
        if not self.is_there():
            raise Silent

    def _take(self) -> _Connection:
        """Return an idle connection that is alive, or a new one."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
                self._busy.add(connection)
            if connection.quiet:
                return connection
            self._give_back(connection, reusable=False)
        try:
            connection = self._connect()
        except OSError as error:
            raise Gone(error, sent=False) from error
        with self._lock:
            self._busy.add(connection)
        return connection

    def _give_back(self, connection: _Connection, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if reusable and not self._closed and len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> _Connection:
        end = self._clock.monotonic() + SILENT_SECONDS
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(SILENT_SECONDS)
            try:
                with reachable(self._path) as address:
                    sock.connect(address)
                return _Connection(sock)
            except BlockingIOError:
                # As many wait to be let in as may: the owner lets nobody in.
                sock.close()
                if self._clock.monotonic() > end:
                    raise Silent from None
            except BaseException:
                sock.close()
                raise
            self._clock.sleep(_RETRY_SECONDS)


class _Connection:
    """One request after the other.

    Where nothing moves for `SILENT_SECONDS` it calls what it was given, which raises to give up.
    Raises `OSError` where the other end is gone, or does not speak as our server does.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = poll()
        self._poll.register(sock, POLLIN)
        self.reusable = True

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to read: before anything was asked that would be the end."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def exchange(self, call: Call, wait: Callable[[], None]) -> Answer:
        """Send a request and return its answer."""
        lines = [f"{call.method} {call.path} HTTP/1.1", "host: localhost"]
        lines += [f"{name}: {value}" for name, value in call.headers.items()]
        if call.body or call.method not in ("GET", "DELETE"):
            lines.append(f"content-length: {len(call.body)}")
        head = "\r\n".join(lines).encode("latin-1") + _END
        try:
            self._send(head + call.body, wait)
        except BrokenPipeError:
            # A request that is refused is not always read to its end; the refusal is there then.
            self.reusable = False
        return self._receive(wait)

    def _send(self, data: bytes, wait: Callable[[], None]) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except TimeoutError:
                wait()

    def _receive(self, wait: Callable[[], None]) -> Answer:
        data = bytearray()
        while (end := data.find(_END)) < 0:
            if len(data) > _HEAD_BYTES_MAX:
                raise ConnectionError(f"an answer with more than {_HEAD_BYTES_MAX:,} bytes of head")
            data += self._more(wait)
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            status = int(first.split(" ", 2)[1])
            size = 0 if status == 204 else int(headers["content-length"])
        except (IndexError, KeyError, ValueError):
            raise ConnectionError(f"{first!r:.80} is not an answer of ours") from None
        del data[: end + len(_END)]
        while len(data) < size:
            data += self._more(wait)
        if headers.get("connection") == "close" or len(data) > size:
            self.reusable = False
        return Answer(status, headers, bytes(data))

    def _more(self, wait: Callable[[], None]) -> bytes:
        while True:
            try:
                piece = self._sock.recv(_PIECE_BYTES)
            except TimeoutError:
                wait()
                continue
            if not piece:
                raise ConnectionResetError("closed in the middle of an answer")
            return piece


def _give_up() -> None:
    raise Silent
