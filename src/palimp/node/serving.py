"""Serving an ASGI app on sockets, from a thread of its own; what is no HTTP is answered here."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from ..api.answers import Answer, encode_error
from ..errors import Error, Invalid, Unavailable
from ..observe import logger

__all__ = ["Served"]

_LOG = logger("node")
HEADER_BYTES_MAX = 256 << 10
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 1_024
_BUSY_SECONDS = 1.0
_LINGER_SECONDS = 1.0
_LOOK_SECONDS = 0.005
# What the server takes to notice that it is to stop, and to tell those who are cut short.
_STOP_SECONDS = 2.0
# macOS: <sys/un.h>, <sys/ucred.h>.
_LOCAL_PEERCRED = 1
_XUCRED_UID_AT, _XUCRED_BYTES = 4, 128


class _Limits(NamedTuple):
    """What a connection may take; None: as much as it takes."""

    read_seconds: float | None
    write_seconds: float | None
    connections: int | None


class _Protocol(H11Protocol):
    """uvicorn's, with limits on what a client may take, and the one shape of errors."""

    limits = _Limits(None, None, None)
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Whatever waits in this process counts as not taken, also after the last of an answer.
        transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            # An answer is written in two pieces; the second is not to wait for the first's receipt.
            # In one piece it would take a turn of the loop more, which costs more (measured).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif peer_uid(sock) not in (os.getuid(), 0):
            _LOG.warning("a process of another user was turned away from the socket")
            transport.abort()
            return
        most = self.limits.connections
        if most is not None and len(self.connections) > most:
            self._refuse(
                Unavailable(
                    f"{most:,} connections are open here already; connect later, or keep fewer",
                    code="overloaded",
                    retry_after=_BUSY_SECONDS,
                )
            )
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.limits.write_seconds is not None:
            self._writing = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            Invalid(
                f"this is not HTTP/1.1, or its headers have more than {HEADER_BYTES_MAX:,} bytes "
                f"({msg})"
            )
        )

    def _watch(self) -> None:
        """Bound the time from the first byte of a request, or from a connection, to its headers.

        So too the time in which what is left of a body may come after its answer.
        """
        answering = self.cycle is not None and not self.cycle.response_complete
        waiting = self.cycle is None or self._leftover() or bool(self.conn.trailing_data[0])
        if answering or not waiting:
            self._stop_watching()
        elif self._reading is None and self.limits.read_seconds is not None:
            self._reading = self.loop.call_later(self.limits.read_seconds, self._too_slow)

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _leftover(self) -> bool:
        """Whether a body still comes that was answered already."""
        return self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def _too_slow(self) -> None:
        self._reading = None
        self._refuse(
            Unavailable(
                f"the headers did not arrive within {self.limits.read_seconds:g} s; send them "
                "faster",
                code="request_timeout",
            )
        )

    def _refuse(self, error: Error) -> None:
        """Answer what never became a request, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        whole = cycle is None or (cycle.response_complete and not cycle.more_body)
        if not whole and cycle.response_started:
            # In the middle of an answer, or of what it answers: there is no place for another.
            self.transport.abort()
            return
        # Written by hand: h11 sends no answer on a connection in which it saw an error.
        answer: Answer = encode_error(error)
        lines = [f"HTTP/1.1 {answer.status} {STATUS_PHRASES[answer.status].decode()}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        lines += [f"content-length: {len(answer.body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1") + answer.body)
        # Closed with something unread, the connection would be reset, and the answer lost with it.
        self._refused = True
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


class _Server(uvicorn.Server):
    """uvicorn's, told to stop instead of looking ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        self._lock = threading.Lock()
        self._stopping = False

    def tell(self) -> None:
        """Stop; from any thread, also before it has begun."""
        with self._lock:
            self._stopping = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._stopping:
                self._told.set()
        while not self._told.is_set():
            # Once a second, for the Date header.
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1.0)
        with self._lock:
            self._loop = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            for task in list(self.server_state.tasks):
                task.cancel()
        await self.lifespan.shutdown()


class Served:
    """Sockets that are served until `stop`.

    A client has `read_seconds` for its headers and `write_seconds` to take what is sent; of
    `connections` no more are open at a time.
    """

    def __init__(
        self,
        app: Any,
        sockets: Sequence[socket.socket],
        *,
        read_seconds: float | None,
        write_seconds: float | None = None,
        connections: int | None = None,
        trusted_proxies: str | None = None,
    ) -> None:
        limits = _Limits(read_seconds, write_seconds, connections)
        protocol = type("Protocol", (_Protocol,), {"limits": limits})
        self._config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=trusted_proxies is not None,
            forwarded_allow_ips=trusted_proxies,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            backlog=_BACKLOG,
        )
        self._server = _Server(self._config)
        self._sockets = list(sockets)
        self._thread = threading.Thread(target=self._run, name="palimp-server", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """In a forked child: close its copies of the sockets, which the parent goes on serving."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            sock = transport and transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                # Not free: what still has the number could close what is somebody else's by then.
                os.dup2(null, sock.fileno(), inheritable=False)
        os.close(null)

    def stop(self, seconds: float) -> bool:
        """Take no new connections, give what is under way so long, end; whether all was done."""
        # Counted in parts of a second too, whatever its type says.
        self._config.timeout_graceful_shutdown = max(0.1, seconds)  # type: ignore[assignment]
        self._server.tell()
        self._thread.join(seconds + _STOP_SECONDS)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether it is serving still."""
        return self._thread.is_alive()

    def _run(self) -> None:
        asyncio.run(self._server.serve(self._sockets))


def peer_uid(sock: socket.socket) -> int:
    """Return the user of the process at the other end of a Unix socket."""
    peercred = getattr(socket, "SO_PEERCRED", None)
    if peercred is not None:
        data = sock.getsockopt(socket.SOL_SOCKET, peercred, struct.calcsize("3i"))
        return int(struct.unpack("3i", data)[1])
    data = sock.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
    return int(struct.unpack_from("=I", data, _XUCRED_UID_AT)[0])
