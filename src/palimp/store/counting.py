"""A wrapper that counts requests: what budgets, `/metrics` and tests read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from threading import Lock

import msgspec

from ..clock import Clock
from ..errors import Error
from .protocol import LostRace, ObjectStore, Page, Stored, Version

__all__ = ["CountingStore", "Tally"]


class Tally(msgspec.Struct):
    """What one operation came to, over all its calls."""

    requests: int = 0
    lost_races: int = 0
    errors: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0


class CountingStore:
    """`store`, counted. Operations are named as the methods are."""

    def __init__(self, store: ObjectStore, clock: Clock | None = None) -> None:
        self.store = store
        self._clock = clock or Clock()
        self._lock = Lock()
        self._tallies: dict[str, Tally] = {}

    @property
    def name(self) -> str:
        """The name of the store that is counted."""
        return self.store.name

    @property
    def requests(self) -> int:
        """How many requests there were in all."""
        return sum(tally.requests for tally in self.tallies().values())

    def tallies(self) -> dict[str, Tally]:
        """Return a copy of the counts, by operation."""
        with self._lock:
            return {name: copy(tally) for name, tally in self._tallies.items()}

    def reset(self) -> None:
        """Begin again at zero."""
        with self._lock:
            self._tallies.clear()

    def create(self, key: str, data: bytes) -> Version:
        """Pass on and count."""
        with self._counted("create", sent=len(data)):
            return self.store.create(key, data)

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Pass on and count."""
        with self._counted("replace", sent=len(data)):
            return self.store.replace(key, data, version)

    def get(self, key: str) -> Stored | None:
        """Pass on and count."""
        with self._counted("get") as call:
            stored = self.store.get(key)
            call.bytes_received = len(stored.data) if stored else 0
            return stored

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Pass on and count."""
        with self._counted("get_range") as call:
            data = self.store.get_range(key, offset, length)
            call.bytes_received = len(data) if data else 0
            return data

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Pass on and count."""
        with self._counted("list"):
            return self.store.list(prefix, after, limit)

    def delete(self, key: str) -> None:
        """Pass on and count."""
        with self._counted("delete"):
            self.store.delete(key)

    def close(self) -> None:
        """Close the store that is counted."""
        self.store.close()

    @contextmanager
    def _counted(self, operation: str, *, sent: int = 0) -> Iterator[Tally]:
        call = Tally(requests=1, bytes_sent=sent)
        started = self._clock.monotonic()
        try:
            yield call
        except LostRace:
            call.lost_races = 1
            raise
        except Error:
            call.errors = 1
            raise
        finally:
            call.seconds = self._clock.monotonic() - started
            with self._lock:
                self._add(self._tallies.setdefault(operation, Tally()), call)

    @staticmethod
    def _add(total: Tally, call: Tally) -> None:
        total.requests += call.requests
        total.lost_races += call.lost_races
        total.errors += call.errors
        total.bytes_sent += call.bytes_sent
        total.bytes_received += call.bytes_received
        total.seconds += call.seconds
