"""The thread that embeds what writes left behind; it starts with the first write."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..engine import Address
from ..errors import Error, NotFound
from ..observe import Metrics, logger

__all__ = ["Background"]

_LOG = logger("node")
# Writes come in bursts; waiting a moment embeds a burst in one pass and lets the next write in.
_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 5.0


class Background:
    """Calls `work` with every address it was woken for, one at a time, until closed.

    Losing a wake-up loses nothing: what is to be done can be seen in the rows.
    """

    def __init__(self, work: Callable[[Address], object], metrics: Metrics) -> None:
        self._work = work
        self._metrics = metrics
        self._addresses: dict[Address, None] = {}
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

    def close(self) -> None:
        """Finish the batch under way and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._addresses and not self._closed:
                    self._changed.wait()
                self._changed.wait_for(lambda: self._closed, timeout=_PAUSE_SECONDS)
                if self._closed:
                    return
                address = next(iter(self._addresses))
                del self._addresses[address]
            try:
                if self._work(address):
                    self.wake(address)
            except NotFound:
                # Deleted since.
                continue
            except Error as error:
                # A full disk, for instance: the rows stay without vectors and are tried again.
                self._metrics.add("background_failed", code=error.code)
                _LOG.warning("embedding rows of %s failed: %s", address, error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, timeout=_RETRY_SECONDS)
                self.wake(address)
