"""ASGI messages: reading bodies within limits, sending answers to clients that may go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from ..api.answers import Answer
from ..api.wire import NO_CONTENT
from ..errors import Invalid, Unavailable
from .room import Share

__all__ = [
    "Disconnected",
    "Receive",
    "Scope",
    "Send",
    "joined_headers",
    "read_body",
    "send_answer",
    "send_lines",
    "too_large",
    "too_many",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# What a client is given its time for, and what waits in this process for a slow one.
_PIECE_BYTES = 1 << 18
_BUSY_SECONDS = 1.0


class Disconnected(ConnectionError):
    """The client went away before its request was whole."""


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    bytes_max: int,
    seconds: float | None,
    share: Share,
) -> bytes:
    """Return the whole body, whose bytes are taken from `share`.

    Raises `Invalid` (413) above `bytes_max`, before anything is read where the length is given;
    `Unavailable` (408) where it takes longer than `seconds`, (429) where other bodies leave no room
    for it; `Disconnected` where it stops half way.
    """
    length = headers.get("content-length")
    if length is not None:
        # Two answers to where a request ends are how one is hidden in another.
        if "transfer-encoding" in headers:
            raise Invalid("the request has a Content-Length and a Transfer-Encoding; send one")
        if int(length) > bytes_max:
            raise too_large(int(length), bytes_max)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected(f"{size:,} bytes of its body had come")
                piece = message.get("body", b"")
                size += len(piece)
                if size > bytes_max:
                    raise too_large(size, bytes_max)
                share.take(len(piece))
                pieces.append(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError:
        raise Unavailable(
            f"the body did not arrive within {seconds:g} s ({size:,} bytes did); send it faster",
            code="request_timeout",
        ) from None


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer, a large body in pieces."""
    headers = _encoded(answer.headers)
    if answer.status != NO_CONTENT:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = memoryview(answer.body)
    for start in range(0, len(body), _PIECE_BYTES) or (0,):
        more = start + _PIECE_BYTES < len(body)
        piece = bytes(body[start : start + _PIECE_BYTES])
        await send({"type": "http.response.body", "body": piece, "more_body": more})


async def send_lines(
    receive: Receive, send: Send, headers: Mapping[str, str], lines: AsyncIterator[bytes]
) -> None:
    """Send pieces as they come, and ask for no more of them once the client is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": _encoded(headers)})
    # Whatever else came, the request is over: nothing but a disconnect can follow it.
    gone = asyncio.ensure_future(receive())
    try:
        async for piece in lines:
            if gone.done():
                return
            for start in range(0, len(piece), _PIECE_BYTES):
                part = piece[start : start + _PIECE_BYTES]
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def too_many(limit: int) -> Unavailable:
    """Return the error for a request that is one too many at a time."""
    return Unavailable(
        f"{limit:,} requests are under way here already; repeat it later",
        code="overloaded",
        reason="requests",
        retry_after=_BUSY_SECONDS,
    )


def too_large(size: int, bytes_max: int) -> Invalid:
    """Return the error of a body of `size` bytes or more."""
    return Invalid(
        f"the body has {size:,} bytes or more, at most {bytes_max:,} are taken here; send it in "
        "smaller pieces",
        code="payload_too_large",
    )


def joined_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name; one that came twice has both values (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found
