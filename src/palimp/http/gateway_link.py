"""Connections of a gateway to nodes: HTTP/1.1 over streams, each used by one request at a time.

Not by httpx: what a hop costs is its processor time, of which httpx takes four times as much
(measured), and an answer that comes before the body was sent it reads after that.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import h11

from ..clock import Clock
from ..node.serving import HEADER_BYTES_MAX

__all__ = ["Head", "Link", "Links", "Lost", "Unreached"]

_CONNECT_SECONDS = 2.0
# Shorter than a node keeps an idle connection, so that it is rarely closed under a request.
_IDLE_SECONDS = 30.0
_IDLE_MAX = 128
_READ_BYTES = 1 << 16
_CONTINUE = 100

Headers = list[tuple[bytes, bytes]]


class Unreached(ConnectionError):
    """No connection came about: the node has seen nothing of the request."""


class Lost(ConnectionError):
    """The connection ended, or made no sense, before the answer was whole."""


class Head(NamedTuple):
    """The first part of an answer; header names are in lower case."""

    status: int
    headers: Headers


class Link:
    """A connection to a node.

    `head` and `piece` are for one task, `send` may be called by another at the same time.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        # Set once the node says that it takes the body, or answers.
        self.asked_for_body = asyncio.Event()
        self.answered = False

    def begin(self, method: str, target: bytes, headers: Headers, body: bytes | None) -> None:
        """Send a request; None: its body follows by `send` and `end`."""
        self.answered = False
        self.asked_for_body.clear()
        head = h11.Request(method=method, target=target, headers=headers)
        events: list[h11.Event] = [head]
        if body is not None:
            events += [h11.Data(data=body), h11.EndOfMessage()] if body else [h11.EndOfMessage()]
        self._write(events)

    async def send(self, piece: bytes) -> None:
        """Send a piece of the body, once the node has taken enough of those before."""
        self._write([h11.Data(data=piece)])
        await self._writer.drain()

    def end(self) -> None:
        """Send the end of the body."""
        self._write([h11.EndOfMessage()])

    async def head(self) -> Head:
        """Return the head of the answer; raises `Lost`."""
        while True:
            event = await self._next()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == _CONTINUE:
                    self.asked_for_body.set()
            elif isinstance(event, h11.Response):
                self.answered = True
                self.asked_for_body.set()
                return Head(event.status_code, list(event.headers))
            else:
                raise Lost("it closed the connection without an answer")

    async def piece(self) -> bytes:
        """Return the next piece of the answer, nothing at its end; raises `Lost`."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return b""
            else:
                raise Lost("it closed the connection within its answer")

    def reusable(self) -> bool:
        """Whether the exchange is over and another may follow; begins the next."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return self.open

    @property
    def open(self) -> bool:
        """Whether neither side has closed it, as far as is known."""
        return not (self._reader.at_eof() or self._writer.transport.is_closing())

    def close(self) -> None:
        """End it at once; who reads from it gets `Lost`."""
        self._writer.transport.abort()

    def _write(self, events: Iterable[h11.Event]) -> None:
        pieces = (self._http.send(event) for event in events)
        self._writer.write(b"".join(piece for piece in pieces if piece))

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        try:
            while True:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return cast("h11.Event | type[h11.PAUSED]", event)
                self._http.receive_data(await self._reader.read(_READ_BYTES))
        except h11.RemoteProtocolError as error:
            raise Lost(f"it answered what is no HTTP: {error}") from error
        except OSError as error:
            raise Lost(f"the connection broke: {error.strerror or error}") from error


class Links:
    """The connections to all nodes, kept for the next request; used from one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By address, the one used last at the end, each with when that was.
        self._idle: dict[str, list[tuple[float, Link]]] = {}

    async def take(self, address: str) -> Link:
        """Return a connection to a node's URL; raises `Unreached`."""
        idle = self._idle.get(address)
        while idle:
            since, link = idle.pop()
            if link.open and self._clock.monotonic() - since < _IDLE_SECONDS:
                return link
            link.close()
        return await _connect(address)

    def give(self, address: str, link: Link) -> None:
        """Keep a connection if it can be used again, else close it."""
        if not link.reusable():
            link.close()
            return
        idle = self._idle.setdefault(address, [])
        idle.append((self._clock.monotonic(), link))
        if len(idle) > _IDLE_MAX:
            idle.pop(0)[1].close()

    def keep_only(self, addresses: Iterable[str]) -> None:
        """Close what leads to nodes that are not there any more, and what was idle for long."""
        now, still = self._clock.monotonic(), set(addresses)
        for address, idle in list(self._idle.items()):
            kept = [
                (since, link)
                for since, link in idle
                if address in still and link.open and now - since < _IDLE_SECONDS
            ]
            for one in set(idle) - set(kept):
                one[1].close()
            if kept:
                self._idle[address] = kept
            else:
                del self._idle[address]

    def close(self) -> None:
        """Close all that are idle."""
        self.keep_only(())


async def _connect(address: str) -> Link:
    url = urlsplit(address)
    secure = url.scheme == "https"
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if secure else 80), ssl=_tls() if secure else None
            )
    except TimeoutError as error:
        raise Unreached(f"no connection within {_CONNECT_SECONDS:g} s") from error
    except (OSError, ValueError) as error:
        raise Unreached(str(error) or type(error).__name__) from error
    return Link(reader, writer)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
