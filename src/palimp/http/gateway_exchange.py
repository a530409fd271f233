"""One attempt of a gateway: a request at a node, whose body is sent on while its answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import h11

from ..errors import Error, Invalid, Unavailable
from .gateway_link import Head, Link, Lost
from .messages import Disconnected, Receive, too_large

__all__ = ["Body", "Exchange"]

# What a larger body could cost, times the requests under way, is more than a retry is worth.
_KEPT_BYTES = 64 << 10


class Body:
    """The body of a client's request, kept while it is small so that it can be sent again.

    Raises what `read_body` does, from wherever a piece is taken.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        receive: Receive,
        bytes_max: int,
        seconds: float | None,
    ) -> None:
        length, coded = headers.get("content-length"), "transfer-encoding" in headers
        # Two answers to where a request ends are how one is hidden in another.
        if length is not None and coded:
            raise Invalid("the request has a Content-Length and a Transfer-Encoding; send one")
        self.receive = receive
        self.expected = "expect" in headers
        self.ended = not coded and int(length or 0) == 0
        self.small = self.ended or (
            length is not None and int(length) <= _KEPT_BYTES and not self.expected
        )
        self._bytes_max = bytes_max
        self._seconds = seconds
        self._until: float | None = None
        self._size = 0
        self._kept: bytearray | None = bytearray()
        if length is not None and int(length) > bytes_max:
            raise too_large(int(length), bytes_max)

    @property
    def kept(self) -> bytes | None:
        """All that was taken of it; None where that was too much to keep."""
        return None if self._kept is None else bytes(self._kept)

    async def read(self) -> None:
        """Take all of it, where it is small."""
        while self.small and not self.ended:
            await self.piece()

    async def piece(self) -> bytes:
        """Take the next piece; `ended` says whether it was the last."""
        if self._until is None and self._seconds is not None:
            self._until = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self.receive()
        except TimeoutError:
            raise Unavailable(
                f"the body did not arrive within {self._seconds:g} s ({self._size:,} bytes did); "
                "send it faster",
                code="request_timeout",
            ) from None
        if message["type"] == "http.disconnect":
            raise Disconnected(f"{self._size:,} bytes of its body had come")
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise too_large(self._size, self._bytes_max)
        self.ended = not message.get("more_body")
        if self._kept is not None:
            self._kept += piece
            if len(self._kept) > _KEPT_BYTES:
                self._kept = None
        return piece


class Exchange:
    """A request under way at a node.

    While it is, its client is watched: when that goes away, or its body fails, the node's
    connection is closed, and `head` and `piece` raise why.
    """

    def __init__(self, link: Link, body: Body) -> None:
        self.link = link
        self._body = body
        self._failure: Error | Disconnected | Lost | None = None
        self._beside: asyncio.Task[None] | None = None

    async def begin(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> Head:
        """Send the request, return the head of its answer; raises `Lost`."""
        body = self._body
        whole = body.kept if body.ended else None
        self.link.begin(method, target, headers, whole)
        self._beside = asyncio.create_task(self._go_on(sends=whole is None))
        try:
            return await self.link.head()
        except Lost:
            self._check()
            raise

    async def piece(self) -> bytes:
        """Return the next piece of the answer, nothing at its end; raises `Lost`."""
        try:
            return await self.link.piece()
        except Lost:
            self._check()
            raise

    async def rest(self) -> bytes:
        """Return all of the answer's body; raises `Lost`."""
        found = b""
        while piece := await self.piece():
            found += piece
        return found

    def give_up(self, why: str) -> None:
        """End it from outside: who waits for the answer gets `Lost`."""
        self._failure = Lost(why)
        self.link.close()

    def let_go(self) -> None:
        """Watch the client no more: the answer is whole."""
        if self._beside is not None:
            self._beside.cancel()

    async def abandon(self) -> None:
        """End it where it stands; the client's next message is free to be taken after it."""
        self.link.close()
        if self._beside is not None:
            self._beside.cancel()
            with suppress(asyncio.CancelledError):
                await self._beside

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _go_on(self, *, sends: bool) -> None:
        """Send what is left of the body, then wait for the client to go away."""
        try:
            if sends and not await self._send():
                return
            while (await self._body.receive())["type"] != "http.disconnect":
                pass
            raise Disconnected("its answer was on the way")
        except (Error, Disconnected) as error:
            self._failure = error
            self.link.close()
        except (OSError, h11.LocalProtocolError):
            # The node takes no more of it; what it says of that is on the way.
            pass

    async def _send(self) -> bool:
        """Send the body; False where the node does not want it."""
        body, link = self._body, self.link
        if body.expected:
            # Asking the client for it is what tells it to send: not before the node says so.
            await link.asked_for_body.wait()
            if link.answered:
                return False
        if body.kept:
            await link.send(body.kept)
        while not body.ended:
            piece = await body.piece()
            if piece:
                await link.send(piece)
        link.end()
        return True
