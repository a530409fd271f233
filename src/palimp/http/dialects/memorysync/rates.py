"""How often one key, or one address without any, may ask: three windows, checked as one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ....clock import Clock
from ....errors import Unavailable
from ..windows import Windows

if TYPE_CHECKING:
    from ..foreign import Asked
    from .admission import Caller

__all__ = ["TIERS", "Rates"]

# Requests in a second, a minute, an hour; of what is not here any number.
TIERS: dict[str, tuple[int, int, int]] = {
    "free": (2, 30, 100),
    "pro": (10, 200, 5_000),
    "enterprise": (50, 1_000, 50_000),
}
# Of an address: of what needs no key, and of the question whether this is healthy.
_STRANGERS = (10, 200, 2_000)
_HEALTH = (5, 60, 600)
_HEALTH_PATH = "/health"
_SECONDS = (1, 60, 3_600)


class _Limit:
    """Three windows; a request that one has no room for counts in none. Thread-safe."""

    def __init__(self, clock: Clock, requests: tuple[int, int, int]) -> None:
        self._lock = threading.Lock()
        self._windows = [
            Windows(clock, most, seconds) for most, seconds in zip(requests, _SECONDS, strict=True)
        ]

    def take(self, key: str) -> None:
        """Count one request; raises `Unavailable` (429) where there is no room for it."""
        with self._lock:
            wait, full = max(
                ((window.wait(key), window) for window in self._windows),
                key=lambda found: found[0],
            )
            if not wait:
                for window in self._windows:
                    window.take(key)
                return
        raise Unavailable(
            f"Rate limit exceeded: {full.requests:,} requests in {full.seconds:,} s; repeat it in "
            f"{wait:.1f} s",
            code="overloaded",
            reason="rate",
            retry_after=wait,
        )


class Rates:
    """The limits of a tier (`unlimited`: none at all, of nobody). Thread-safe."""

    def __init__(self, clock: Clock, tier: str) -> None:
        most = TIERS.get(tier)
        self._keys = None if most is None else _Limit(clock, most)
        self._strangers = _Limit(clock, _STRANGERS)
        self._health = _Limit(clock, _HEALTH)

    def check(self, asked: Asked, caller: Caller | None) -> None:
        """Count a request of a caller, or of nobody known; raises `Unavailable` (429)."""
        if self._keys is None:
            return
        if caller is not None and caller.key is not None:
            self._keys.take(caller.key)
        elif caller is None or not caller.master:
            health = asked.route is not None and asked.route.path == _HEALTH_PATH
            (self._health if health else self._strangers).take(asked.client)
