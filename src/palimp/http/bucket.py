"""A token bucket: so many calls a second, and a burst of as many."""

from __future__ import annotations

from ..clock import Clock
from ..errors import Unavailable

__all__ = ["Bucket"]


class Bucket:
    """Lets `rate` calls a second through; used from one event loop."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = max(1.0, rate)
        self._at = clock.monotonic()

    def take(self, what: str) -> None:
        """Take one; raises `Unavailable` (`overloaded`) where none is left."""
        now = self._clock.monotonic()
        self._left = min(max(1.0, self._rate), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            raise Unavailable(
                f"{what} is called more than {self._rate:g} times a second; repeat it later",
                code="overloaded",
                reason="control",
                retry_after=(1 - self._left) / self._rate,
            )
        self._left -= 1
