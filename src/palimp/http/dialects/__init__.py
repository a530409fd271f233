"""The HTTP surfaces of other memory systems, each translated to our operations and back.

A dialect holds no policy and no SQL: each of its requests becomes one of ours, or several, and is
admitted, authenticated, limited, counted and carried out like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...api.convert import nearest
from ...errors import Invalid
from ..api import Api, Limits
from ..messages import Receive, Scope, Send
from .memoturn import Memoturn

__all__ = ["DIALECTS", "Dialect", "check_dialect"]

Dialect = Callable[[Scope, Receive, Send], Awaitable[None]]


class Later:
    """A dialect that is imported and made by its first request: most nodes never have one."""

    def __init__(self, make: Callable[[], Dialect]) -> None:
        self._make = make
        self._made: Dialect | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._made is None:
            self._made = self._make()
        await self._made(scope, receive, send)


def _memoria(api: Api, limits: Limits) -> Dialect:
    def make() -> Dialect:
        from .memoria import Memoria

        return Memoria(api, limits)

    return Later(make)


def _memorysync(api: Api, limits: Limits) -> Dialect:
    def make() -> Dialect:
        from .memorysync import MemorySync

        return MemorySync(api, limits)

    return Later(make)


def _memtrace(api: Api, limits: Limits) -> Dialect:
    begun = api.node.context.clock.monotonic()

    def make() -> Dialect:
        from .memtrace import Memtrace

        return Memtrace(api, limits, begun)

    return Later(make)


# By the word under which each is mounted.
DIALECTS: dict[str, Callable[[Api, Limits], Dialect]] = {
    "memoturn": Memoturn,
    "memoria": _memoria,
    "memorysync": _memorysync,
    "memtrace": _memtrace,
}


def check_dialect(name: str) -> str:
    """Return the name of a dialect; raises `Invalid` for others."""
    if name not in DIALECTS:
        raise Invalid(
            f"there is no dialect {name!r:.80}{nearest(name, list(DIALECTS))}; there is "
            f"{', '.join(DIALECTS)}"
        )
    return name
