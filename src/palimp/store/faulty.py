"""A wrapper that fails on purpose: errors, delays, lost answers, late landings.

It is handed what decides (a seeded `Chance`, or the `Script` of a test), so that a run can be
repeated from its seed, and a clock, so that no test waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from random import Random
from threading import RLock
from typing import NamedTuple, TypeVar

from ..clock import Clock
from ..errors import Unavailable
from .protocol import LostRace, ObjectStore, Page, Stored, Version

__all__ = ["NO_FAULT", "Chance", "Choose", "Fault", "FaultyStore", "Kind", "Script"]


_T = TypeVar("_T")


class Kind(Enum):
    """What can go wrong with one request."""

    NONE = "none"
    ERROR = "error"  # refused, did not happen
    DELAY = "delay"  # happens, `seconds` later, and is answered
    LOST = "lost"  # happens at once, the answer does not come
    LATE = "late"  # no answer; a write happens `seconds` after its time-out was reported


class Fault(NamedTuple):
    """One decision."""

    kind: Kind = Kind.NONE
    seconds: float = 0.0


NO_FAULT = Fault()
Choose = Callable[[str, str], Fault]


class Chance:
    """Decides by seeded chance; each rate is a probability from 0 to 1, their sum at most 1."""

    def __init__(
        self,
        random: Random,
        *,
        errors: float = 0.0,
        delays: float = 0.0,
        lost: float = 0.0,
        late: float = 0.0,
        seconds_max: float = 5.0,
    ) -> None:
        self._random = random
        self._rates = {
            Kind.ERROR: errors,
            Kind.DELAY: delays,
            Kind.LOST: lost,
            Kind.LATE: late,
        }
        assert 0 <= sum(self._rates.values()) <= 1
        self._seconds_max = seconds_max

    def __call__(self, _operation: str, _key: str) -> Fault:
        """Return what becomes of this request; always draws twice, so that rates shift nothing."""
        drawn = self._random.random()
        seconds = self._random.random() * self._seconds_max
        for kind, rate in self._rates.items():
            if drawn < rate:
                return Fault(kind, seconds)
            drawn -= rate
        return NO_FAULT


class Script:
    """Decides by a list: one fault for each call of `operation` (any, if empty), then none."""

    def __init__(self, faults: Iterable[Fault], operation: str = "") -> None:
        self._faults = iter(faults)
        self._operation = operation

    def __call__(self, operation: str, _key: str) -> Fault:
        """Return the next fault of the list."""
        if self._operation and operation != self._operation:
            return NO_FAULT
        return next(self._faults, NO_FAULT)


class FaultyStore:
    """`store` with faults. A late write lands when a call finds it due, or in `land()`."""

    def __init__(self, store: ObjectStore, choose: Choose, clock: Clock) -> None:
        self.store = store
        self._choose = choose
        self._clock = clock
        # One lock around choosing and landing: a seed must mean one order of draws.
        self._lock = RLock()
        self._late: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    @property
    def name(self) -> str:
        """The name of the store underneath."""
        return self.store.name

    @property
    def pending(self) -> int:
        """How many writes have been given up by their caller and will still land."""
        with self._lock:
            return len(self._late)

    def land(self, *, everything: bool = False) -> int:
        """Let the late writes that are due (or all) happen, in order; return how many that was."""
        with self._lock:
            now = self._clock.monotonic()
            due = sorted(late for late in self._late if everything or late[0] <= now)
            self._late = [late for late in self._late if late not in due]
            for _, _, write in due:
                try:
                    write()
                except (LostRace, Unavailable):
                    continue  # its answer goes nowhere
            return len(due)

    def create(self, key: str, data: bytes) -> Version:
        """Create, unless a fault comes between."""
        return self._write("create", key, lambda: self.store.create(key, data))

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Replace, unless a fault comes between."""
        return self._write("replace", key, lambda: self.store.replace(key, data, version))

    def get(self, key: str) -> Stored | None:
        """Get, unless a fault comes between."""
        return self._read("get", key, lambda: self.store.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Get a range, unless a fault comes between."""
        return self._read("get_range", key, lambda: self.store.get_range(key, offset, length))

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """List, unless a fault comes between."""
        return self._read("list", prefix, lambda: self.store.list(prefix, after, limit))

    def delete(self, key: str) -> None:
        """Delete, unless a fault comes between."""
        self._write("delete", key, lambda: self.store.delete(key))

    def close(self) -> None:
        """Let everything land that is still under way, then close."""
        self.land(everything=True)
        self.store.close()

    def _read(self, operation: str, key: str, call: Callable[[], _T]) -> _T:
        if self._next(operation, key).kind in (Kind.NONE, Kind.DELAY):
            return call()
        raise self._failure(operation, key, in_doubt=False)

    def _write(self, operation: str, key: str, call: Callable[[], _T]) -> _T:
        fault = self._next(operation, key)
        if fault.kind in (Kind.NONE, Kind.DELAY):
            return call()
        if fault.kind is Kind.ERROR:
            raise self._failure(operation, key, in_doubt=False)
        with self._lock:
            self._count += 1
            seconds = fault.seconds if fault.kind is Kind.LATE else 0.0
            self._late.append((self._clock.monotonic() + seconds, self._count, call))
            if fault.kind is Kind.LOST:
                self.land()
        raise self._failure(operation, key, in_doubt=True)

    def _next(self, operation: str, key: str) -> Fault:
        with self._lock:
            self.land()
            fault = self._choose(operation, key)
        if fault.kind is Kind.DELAY:
            self._clock.sleep(fault.seconds)
            self.land()
        return fault

    def _failure(self, operation: str, key: str, *, in_doubt: bool) -> Unavailable:
        outcome = "no answer came" if in_doubt else "refused on purpose"
        return Unavailable(
            f"{self.name}: {operation} {key}: {outcome}; repeat it",
            reason="store",
            in_doubt=in_doubt,
        )
