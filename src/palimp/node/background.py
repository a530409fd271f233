"""The thread that embeds what writes left behind; it starts with the first write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from ..clock import Clock
from ..engine import Address
from ..errors import Error, NotFound
from ..ids import jitter
from ..observe import Metrics, logger

__all__ = ["Background"]

_LOG = logger("node")
# Writes come in bursts; waiting a moment embeds a burst in one pass and lets the next write in.
_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_RETRY_SECONDS_MAX = 60.0


class _Trouble(NamedTuple):
    """What went wrong with a branch, how often in a row, and when it is tried again."""

    kind: tuple[str, object]
    times: int
    due: float


class Background:
    """Calls `work` with every address it was woken for, one at a time, until closed.

    An address that failed is tried again later and later, up to a minute apart, or when the error
    says; the others go on meanwhile. Losing a wake-up loses nothing: what is to be done can be seen
    in the rows.
    """

    def __init__(self, work: Callable[[Address], object], metrics: Metrics) -> None:
        self._work = work
        self._metrics = metrics
        self._clock = Clock()
        self._addresses: dict[Address, None] = {}
        self._troubles: dict[Address, _Trouble] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self, address: Address) -> None:
        """Note that a branch may have rows to embed."""
        with self._changed:
            if self._closed:
                return
            self._addresses[address] = None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="palimp-background", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def pause(self, seconds: float) -> bool:
        """Wait inside of `work`; False where it is to end, because of `close`."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._closed, timeout=seconds)

    def close(self) -> None:
        """Finish the batch under way and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            address = self._next()
            if address is None:
                return
            try:
                more = self._work(address)
            except NotFound:
                # Deleted since.
                self._succeeded(address)
            except Error as error:
                self._failed(address, error)
            else:
                self._succeeded(address)
                if more:
                    self.wake(address)

    def _next(self) -> Address | None:
        """Return the next address whose time has come, when it has; None when closed."""
        with self._changed:
            while not self._closed:
                now = self._clock.monotonic()
                due = {a: self._due(a, now) for a in self._addresses}
                address = min(due, key=due.__getitem__, default=None)
                if address is None:
                    self._changed.wait()
                elif due[address] > now:
                    self._changed.wait(due[address] - now)
                elif not self.pause(_PAUSE_SECONDS):
                    break
                else:
                    del self._addresses[address]
                    return address
        return None

    def _due(self, address: Address, now: float) -> float:
        trouble = self._troubles.get(address)
        return now if trouble is None else trouble.due

    def _failed(self, address: Address, error: Error) -> None:
        """Try again later; of troubles of one kind, one line is logged."""
        self._metrics.add("background_failed", code=error.code)
        kind = (error.code, error.details.get("reason"))
        with self._changed:
            known = self._troubles.get(address)
            if all(trouble.kind != kind for trouble in self._troubles.values()):
                _LOG.warning("embedding rows of %s failed: %s", address, error)
            times = known.times + 1 if known is not None else 1
            seconds = min(_RETRY_SECONDS * 2 ** min(times - 1, 16), _RETRY_SECONDS_MAX)
            # Apart from each other: they all began with the same outage.
            seconds *= 0.5 + jitter() / 2
            seconds = max(seconds, min(error.retry_after or 0.0, _RETRY_SECONDS_MAX))
            self._troubles[address] = _Trouble(kind, times, self._clock.monotonic() + seconds)
            self._addresses[address] = None

    def _succeeded(self, address: Address) -> None:
        """Go on with it, and try those at once that had the same trouble."""
        with self._changed:
            ended = self._troubles.pop(address, None)
            if ended is None:
                return
            others = [a for a, trouble in self._troubles.items() if trouble.kind == ended.kind]
            for other in others:
                self._troubles[other] = self._troubles[other]._replace(due=0.0)
            if not others:
                _LOG.info("embedding goes on: %s is no longer in the way", ended.kind[0])
