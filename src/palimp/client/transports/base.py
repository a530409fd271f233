"""What a client needs of a transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ...api import NO_OPTIONS, Options, Target
from ...api.base import Request, Result

__all__ = ["AsyncTransport", "Transport"]

T = TypeVar("T")


class Transport(Protocol):
    """Carries one operation to a node and its result back, or raises an error of `palimp.errors`.

    `source` is stamped by the client on memories that name none.
    """

    @property
    def source(self) -> str | None:
        """The source this client writes as."""

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation of `OPERATIONS`."""

    def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Carry out what reads or writes files of the caller's."""

    def close(self) -> None:
        """Let go of what the transport holds; a second call does nothing."""


class AsyncTransport(Protocol):
    """The same, awaited."""

    @property
    def source(self) -> str | None:
        """The source this client writes as."""

    async def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation of `OPERATIONS`."""

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Carry out what reads or writes files of the caller's, beside the event loop."""

    async def close(self) -> None:
        """Let go of what the transport holds; a second call does nothing."""
