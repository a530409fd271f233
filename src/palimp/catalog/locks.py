"""Locks that all nodes of a catalog share, as their users see them: held, and whether still.

A lock is a promise with an end. Who holds one renews it while the work goes on; who was stopped for
too long, or cut off, has lost it and is to be told before the next step. What must never happen
twice is guarded by the token, which rises from holder to holder, or by the object store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from ..clock import Clock
from ..errors import Error, Unavailable
from ..observe import logger

__all__ = ["LOCK_SECONDS", "Held", "Lock", "LockTable", "Locks", "NoLocks", "kept_alive"]

_LOG = logger("locks")
LOCK_SECONDS = 120.0
_BEATS = 3


class Lock(NamedTuple):
    """Who holds what, and until when by the clock of the database (ms)."""

    name: str
    holder: str
    token: int
    expires_at: int


class LockTable(Protocol):
    """Where locks are; every method raises `Unavailable` where that is away."""

    def acquire(self, name: str, holder: str, seconds: float) -> Lock | None:
        """Return the lock if it is `holder`'s from now on; None where it is another's."""

    def renew(self, lock: Lock, seconds: float) -> bool:
        """Have the lock for longer; False where it had run out, or is another's."""

    def release(self, lock: Lock) -> None:
        """Let it go, if it is still this holder's."""


class Held:
    """Something this process has for `seconds` at a time, with the token that says so.

    The time counts from when it was asked for, on a clock that goes on while the machine is
    suspended: it ends here before it ends in the database.
    """

    def __init__(self, what: str, token: int, seconds: float, clock: Clock, asked: float) -> None:
        self.what = what
        self.token = token
        self._seconds = seconds
        self._clock = clock
        self._until = asked + seconds
        self._refused = False

    @property
    def lost(self) -> bool:
        """Whether it is not this process's any more, or nobody could be asked for too long."""
        return self._refused or self._clock.boottime() >= self._until

    def check(self) -> None:
        """Return if it is still held; raise `Unavailable` (reason `lock`) where it was lost."""
        if self.lost:
            raise Unavailable(
                f"{self.what} was held here and is not any more: it was not renewed within "
                f"{self._seconds:g} s, or was taken back. What was not finished is another's to "
                "do; begin again",
                reason="lock",
            )

    def renew(self, renew: Callable[[], bool]) -> None:
        """Ask for more time by `renew`, which says whether that was granted."""
        asked = self._clock.boottime()
        try:
            granted = renew()
        except Error as error:
            _LOG.debug("%s was not renewed: %s", self.what, error)
            return
        if granted:
            self._until = asked + self._seconds
        else:
            self._refused = True


@contextmanager
def kept_alive(held: Held, renew: Callable[[], bool], seconds: float) -> Iterator[None]:
    """Renew what is held three times in `seconds`, beside the block, until that ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds / _BEATS):
            held.renew(renew)

    thread = threading.Thread(target=beat, name="palimp-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Locks:
    """The locks of a catalog as one process takes them; `holder` names it. Thread-safe."""

    def __init__(self, table: LockTable, holder: str, clock: Clock) -> None:
        self._table = table
        self._holder = holder
        self._clock = clock

    @contextmanager
    def hold(self, name: str, seconds: float = LOCK_SECONDS) -> Iterator[Held | None]:
        """Hold a lock while the block runs; gives None where another process has it.

        It is renewed meanwhile, so that others have it `seconds` after this process ended without a
        word. Not between threads: the process that has it is given it again.
        """
        asked = self._clock.boottime()
        lock = self._table.acquire(name, self._holder, seconds)
        if lock is None:
            yield None
            return
        held = Held(f"lock {name!r}", lock.token, seconds, self._clock, asked)
        try:
            with kept_alive(held, lambda: self._table.renew(lock, seconds), seconds):
                yield held
        finally:
            try:
                self._table.release(lock)
            except Error as error:
                _LOG.info("lock %r runs out by itself: %s", name, error)


class NoLocks:
    """Where there is no catalog there is one process: it has whatever it asks for."""

    @contextmanager
    def hold(
        self,
        name: str,
        seconds: float = LOCK_SECONDS,  # noqa: ARG002 - as of `Locks`
    ) -> Iterator[Held | None]:
        """Hold a lock while the block runs."""
        yield Held(f"lock {name!r}", 1, float("inf"), Clock(), 0.0)
