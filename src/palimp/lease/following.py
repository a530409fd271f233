"""The thread that follows who has which database, and what it heard last."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from ..errors import Kept, Unavailable
from ..ids import jitter
from ..observe import logger
from .known import Known
from .placement import Peer

__all__ = ["Follower"]

_LOG = logger("lease")
_BACKOFF_SECONDS_MAX = 2.0
_CLOSE_SECONDS = 5.0


class Follower(ABC):
    """Follows the changes of a lease store; `Placement`. Thread-safe.

    While they cannot be followed what was last heard holds on; `ask` asks the store itself.
    """

    def __init__(self) -> None:
        self.known = Known()
        self._closed = threading.Event()
        self._read = threading.Event()
        self._thread: threading.Thread | None = None
        self._troubled = False

    @abstractmethod
    def ask(self, name: str) -> Peer | None:
        """Return who has it now; see `Placement.ask`."""

    @abstractmethod
    def follow(self) -> float:
        """Read what there is, or what changed; return after how many seconds to go on."""

    def holder(self, name: str) -> Peer | None:
        """Return who has a database; see `Placement.holder`."""
        return self.known.holder(name)

    def peers(self) -> tuple[Peer, ...]:
        """Return the nodes that are alive; see `Placement.peers`."""
        return self.known.peers()

    def held(self) -> int:
        """Return how many databases are at some node; see `Placement.held`."""
        return self.known.held()

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="palimp-placement", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything was read once; whether it was."""
        return self._read.wait(seconds)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    @property
    def closed(self) -> bool:
        """Whether the thread is to end."""
        return self._closed.is_set()

    def has_read(self) -> None:
        """Note that everything was read."""
        self._read.set()
        if self._troubled:
            self._troubled = False
            _LOG.info("who has which database is followed again")

    def _run(self) -> None:
        failures, pause = 0, 0.0
        while not self._closed.wait(pause):
            # Whatever it was, also a defect: without this thread nothing new would be heard of.
            kept = Kept()
            with kept:
                pause = self.follow()
            if kept.error is None:
                failures = 0
                continue
            failures += 1
            longest = min(_BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(failures, 8))
            pause = longest * (0.5 + jitter() / 2)
            if not self._troubled and not self.closed:
                self._troubled = True
                known = isinstance(kept.error, Unavailable)
                _LOG.warning(
                    "what was last heard of who has which database holds on: %s",
                    kept.error,
                    exc_info=None if known else kept.error,
                )
