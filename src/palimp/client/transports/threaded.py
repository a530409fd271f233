"""A synchronous transport for an event loop: every call in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...api import NO_OPTIONS, Options, Target
from ...api.base import Request, Result
from .base import Transport

__all__ = ["Threaded"]

T = TypeVar("T")


class Threaded:
    """Calls another transport in threads, so that the event loop goes on.

    Cancelling the awaiting task does not undo an operation that has begun.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def source(self) -> str | None:
        """The source this client writes as."""
        return self._transport.source

    async def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation in a worker thread."""
        return await self.aside(self._transport.call, operation, target, request, options)

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in a worker thread."""
        import asyncio  # 20 ms that a program without an event loop should not pay

        return await asyncio.to_thread(function, *arguments)

    async def close(self) -> None:
        """Close the transport."""
        await self.aside(self._transport.close)
