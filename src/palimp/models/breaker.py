"""Whether an endpoint is worth asking: a circuit breaker, and the rest it asked for itself."""

from __future__ import annotations

import threading
from typing import Literal

from ..clock import Clock

__all__ = ["COOLDOWN_SECONDS", "FAILURES_MAX", "Breaker"]

FAILURES_MAX = 5
"""After so many failures in a row an endpoint is left alone."""

COOLDOWN_SECONDS = 60.0
"""For so long; then one call tries it, and the others wait for what becomes of that."""


class Breaker:
    """Admits calls to one endpoint: all while it works, none while it rests, one to try it again.

    Goes by time that never jumps: setting the machine's clock neither shortens nor prolongs a rest.
    Whoever was admitted says how it ended, by exactly one of `succeeded`, `failed` and `left`.
    Safe to share between threads.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # In a row.
        self._failures = 0
        self._open = False
        self._probing = False
        self._not_before = 0.0

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """`closed` is what works, as with an electric circuit."""
        with self._lock:
            if not self._open:
                return "closed"
            return "open" if self._clock.monotonic() < self._not_before else "half_open"

    @property
    def wait(self) -> float:
        """Seconds until it may be asked again; 0 where it may be now."""
        with self._lock:
            return max(0.0, self._not_before - self._clock.monotonic())

    def admit(self) -> bool:
        """Return whether the caller may ask the endpoint now."""
        with self._lock:
            if self._clock.monotonic() < self._not_before or self._probing:
                return False
            self._probing = self._open
            return True

    def succeeded(self) -> None:
        """It answered: ask it as usual."""
        with self._lock:
            if self._open:
                self._not_before = 0.0
            self._failures, self._open, self._probing = 0, False, False

    def failed(self, *, rest: float = 0.0, at_once: bool = False) -> None:
        """It did not answer, or not usefully; `at_once`: as if so for the last time of several.

        `rest`: it said for how many seconds it wants to be left alone.
        """
        with self._lock:
            self._failures += 1
            if self._probing or at_once or self._failures >= FAILURES_MAX:
                # What was under way when it opened does not prolong the rest.
                if self._probing or not self._open:
                    rest = max(rest, COOLDOWN_SECONDS)
                self._open = True
            self._probing = False
            self._rest(rest)

    def limited(self, rest: float) -> None:
        """It works, and wants to be left alone for so many seconds."""
        self.succeeded()
        with self._lock:
            self._rest(rest)

    def left(self) -> None:
        """The caller gave up before anything could be said of the endpoint."""
        with self._lock:
            self._probing = False

    def _rest(self, seconds: float) -> None:
        self._not_before = max(self._not_before, self._clock.monotonic() + seconds)
