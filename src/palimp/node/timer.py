"""The thread that does what is due, every `maintenance_secs`, once something was written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clock import Clock
from ..forks import importing
from ..ids import jitter
from ..observe import Metrics, logger

if TYPE_CHECKING:
    from ..operations.duties import Trouble

__all__ = ["Timer"]

_LOG = logger("node")
# Of what is under way; what takes longer ends with the engine.
_CLOSE_SECONDS = 10.0

Pass = Callable[[Callable[[], bool]], "list[Trouble]"]


class Timer:
    """Calls what `make` gives again and again, from one thread, until closed; never two at once.

    Nothing is made and no thread begins before `start`. Between two passes are `seconds`, spread so
    that nodes that were started together do not go on together. A pass ends early at `close`.
    """

    def __init__(self, make: Callable[[], Pass], seconds: float, metrics: Metrics) -> None:
        self._make = make
        self._seconds = seconds
        self._metrics = metrics
        self._clock = Clock()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._known: set[tuple[str, str]] = set()
        self.started = seconds <= 0

    def start(self) -> None:
        """Begin, unless it has begun, is closed, or never does; costs a glance from then on."""
        with self._lock:
            if self.started or self._closed.is_set():
                return
            self.started = True
            self._thread = threading.Thread(target=self._run, name="palimp-timer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Let the step under way end, for a while, and begin no other."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_SECONDS)

    def _goes_on(self) -> bool:
        return not self._closed.is_set()

    def _run(self) -> None:
        work: Pass | None = None
        while not self._closed.wait(self._seconds * (0.75 + jitter() / 2)):
            if work is None:
                with importing():
                    work = self._make()
            self._pass(work)

    def _pass(self, work: Pass) -> None:
        begun = self._clock.monotonic()
        troubles = work(self._goes_on)
        self._metrics.add("maintenance_passes")
        self._metrics.add("maintenance_seconds", self._clock.monotonic() - begun)
        for duty, _, error in troubles:
            self._metrics.add("maintenance_failed", duty=duty, code=error.code)
        self._tell(troubles)

    def _tell(self, troubles: list[Trouble]) -> None:
        """Log of every kind of failure the first, and again after it had ended."""
        kinds = {(duty, error.code) for duty, _, error in troubles}
        for duty, what, error in troubles:
            if (duty, error.code) not in self._known:
                self._known.add((duty, error.code))
                again = "%s %s: %s; it is tried again in about %g s"
                _LOG.warning(again, duty, what, error, self._seconds)
        if not self._closed.is_set():
            self._known &= kinds
