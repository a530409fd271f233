"""So many requests in so many seconds, for each key: a window that slides."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ...clock import Clock

__all__ = ["Windows"]

_KEYS_MAX = 10_000


class Windows:
    """Counts the requests of keys; of two windows side by side, so that a key costs little.

    What came in the window before counts for as much of it as still lies within the last
    `seconds`. In memory, of this node alone. 0 `requests`: any number. Thread-safe.
    """

    def __init__(self, clock: Clock, requests: int, seconds: int) -> None:
        self.requests = requests
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        # The number of the window, how many came in it, and in the one before.
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def take(self, key: str) -> float:
        """Count one request and return 0, or return in how many seconds one will fit."""
        if not self.requests:
            return 0.0
        number, offset = divmod(self._clock.monotonic(), self.seconds)
        with self._lock:
            known, here, before = self._counts.pop(key, (int(number), 0, 0))
            if known != number:
                here, before = 0, here if known == number - 1 else 0
            wait = self._wait(here, before, offset)
            self._counts[key] = (int(number), here + (not wait), before)
            if len(self._counts) > _KEYS_MAX:
                self._counts.popitem(last=False)
        return wait

    def wait(self, key: str) -> float:
        """Return in how many seconds one request will fit, 0 for at once; counts none."""
        if not self.requests:
            return 0.0
        number, offset = divmod(self._clock.monotonic(), self.seconds)
        with self._lock:
            known, here, before = self._counts.get(key, (int(number), 0, 0))
        if known != number:
            here, before = 0, here if known == number - 1 else 0
        return self._wait(here, before, offset)

    def _wait(self, here: int, before: int, offset: float) -> float:
        room = self.requests - here - 1
        share = before * (1 - offset / self.seconds)
        if share <= room:
            return 0.0
        if room >= 0:
            return max(0.001, (share - room) * self.seconds / before)
        # This window is full by itself: in the next one its share has to have gone down.
        return self.seconds - offset + self.seconds / here
