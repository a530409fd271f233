"""Databases go where they should be, a few at a time, once nodes neither come nor go."""

from __future__ import annotations

import threading

from ..clock import Clock
from ..engine import Engine
from ..errors import Error, Kept
from ..lease import Leases, preferred
from ..observe import logger

__all__ = ["Rebalancer"]

_LOG = logger("node")
_LOOK_SECONDS = 2.0
# Requests wait while a database is handed over: not for long, and not all at once.
_AT_ONCE = 32
_HAND_OVER_SECONDS = 5.0


class Rebalancer:
    """Hands over what is here and should be elsewhere, in a thread of its own.

    Begins when the nodes have been the same for `seconds`.
    """

    def __init__(self, leases: Leases, engine: Engine, clock: Clock, seconds: float) -> None:
        self._leases = leases
        self._engine = engine
        self._clock = clock
        self._seconds = seconds
        self._known: frozenset[tuple[str, bool]] = frozenset()
        self._since = clock.monotonic()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look every other second from now on."""
        if self._seconds > 0:
            self._thread = threading.Thread(target=self._run, name="palimp-rebalancer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Move nothing any more."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_HAND_OVER_SECONDS)

    def once(self) -> list[str]:
        """Hand over some of what should be elsewhere; return what was."""
        peers = self._leases.peers()
        known, now = frozenset((one.node, one.draining) for one in peers), self._clock.monotonic()
        if known != self._known:
            self._known, self._since = known, now
        if now - self._since < self._seconds:
            return []
        claims, handover = self._engine.claims, self._engine.handover
        if claims is None or handover is None:
            return []
        astray = []
        for name in claims.names():
            better = preferred(peers, name)
            if better is not None and better.node != self._leases.node:
                astray.append(name)
                if len(astray) == _AT_ONCE:
                    break
        return handover.release(astray, _HAND_OVER_SECONDS) if astray else []

    def _run(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            kept = Kept()
            with kept:
                moved = self.once()
                if moved:
                    _LOG.info("handed over %d databases that should be elsewhere", len(moved))
            if isinstance(kept.error, Error):
                _LOG.warning("databases stay where they are: %s", kept.error)
            elif kept.error is not None:
                _LOG.error("moving databases failed", exc_info=kept.error)
