"""What a client needs of a transport."""

from __future__ import annotations

from typing import Protocol

from ...api import Target
from ...api.base import Request, Result

__all__ = ["AsyncTransport", "Transport"]


class Transport(Protocol):
    """Carries one operation to a node and its result back, or raises an error of `palimp.errors`.

    `source` is stamped by the client on memories that name none.
    """

    @property
    def source(self) -> str | None:
        """The source this client writes as."""

    def call(self, operation: str, target: Target, request: Request) -> Result:
        """Carry out one operation of `OPERATIONS`."""

    def close(self) -> None:
        """Let go of what the transport holds; a second call does nothing."""


class AsyncTransport(Protocol):
    """The same, awaited."""

    @property
    def source(self) -> str | None:
        """The source this client writes as."""

    async def call(self, operation: str, target: Target, request: Request) -> Result:
        """Carry out one operation of `OPERATIONS`."""

    async def close(self) -> None:
        """Let go of what the transport holds; a second call does nothing."""
