"""The thread that notices what is due: shipments, and handles, files and disk space to give up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..clock import Clock
from ..errors import Kept
from ..observe import logger

__all__ = ["Keeper"]

_LOG = logger("engine")
_BACKOFF_SECONDS = 30.0

Key = tuple[str, str]


class Keeper:
    """Calls `ship` for every branch it was told of, when its time has come, and `tick` in between.

    Started by the first branch that has something to ship. `ship` only puts a job into a lane.
    """

    def __init__(
        self,
        clock: Clock,
        interval: float,
        tick_seconds: float,
        ship: Callable[[Key], None],
        tick: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._tick_seconds = tick_seconds
        self._ship = ship
        self._tick = tick
        self._changed = threading.Condition()
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._since: dict[Key, float] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def dirty(self, key: Key) -> None:
        """Note that a branch has something to ship, after the interval (longer after failures)."""
        pause, now = self._interval * 2 ** self._failures.get(key, 0), self._clock.monotonic()
        self._since.setdefault(key, now)
        self._note(key, now + min(pause, max(self._interval, _BACKOFF_SECONDS)))

    def hurry(self, key: Key) -> None:
        """Note that a branch has so much to ship that it should not wait."""
        self._note(key, self._clock.monotonic())

    def failed(self, key: Key) -> None:
        """Note that shipping failed, so that the next try waits longer."""
        self._failures[key] = min(self._failures.get(key, 0) + 1, 8)
        self.dirty(key)

    def succeeded(self, key: Key) -> None:
        """Note that shipping works."""
        self._failures.pop(key, None)
        self._since.pop(key, None)
        if key in self._due:
            # Of what was committed while it was shipped; when exactly, nobody has noted.
            self._since[key] = self._clock.monotonic()

    def since(self, key: Key) -> float | None:
        """Return since when a branch has had something to ship (monotonic), about."""
        return self._since.get(key)

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="palimp-keeper", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; what is due stays undone."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _note(self, key: Key, due: float) -> None:
        self.start()
        with self._changed:
            self._due[key] = min(due, self._due.get(key, due))
            self._changed.notify()

    def _run(self) -> None:
        next_tick = self._clock.monotonic() + self._tick_seconds
        while True:
            with self._changed:
                first = min([next_tick, *self._due.values()])
                wait = first - self._clock.monotonic()
                if not self._closed and wait > 0:
                    self._changed.wait(wait)
                if self._closed:
                    return
                now = self._clock.monotonic()
                due = [key for key, at in self._due.items() if at <= now]
                for key in due:
                    del self._due[key]
            for key in due:
                self._attempt(lambda key=key: self._ship(key))  # type: ignore[misc]
            if now >= next_tick:
                next_tick = now + self._tick_seconds
                self._attempt(self._tick)

    def _attempt(self, work: Callable[[], None]) -> None:
        # Whatever it was, also a defect: without this thread nothing would be shipped any more.
        kept = Kept()
        with kept:
            work()
        if kept.error is not None:
            _LOG.warning("background work failed: %s", kept.error, exc_info=kept.error)
