"""Which organisations of this node have an Arc, and the stores of their events.

Nothing of Arc is imported and no thread is started before there is one. What an organisation has is
read from the catalog anew after a second: what was changed by another node holds here soon.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..api import Target
from ..api.arcs import ParkedEvent
from ..clock import Clock
from ..errors import Error, Kept, Unavailable
from ..forks import importing
from ..observe import Metrics, logger
from ..operations import Context
from ..operations.arcs import open_key
from ..operations.organisations import PROFILE, VersionedArc, arc_rows, namespace_of, no_arc
from .settings import Settings

if TYPE_CHECKING:
    from ..arc import ArcEvents, ArcPool

__all__ = ["Arcs"]

_LOG = logger("arc")
# So long a node may go by what it has read.
_KNOWN_SECONDS = 1.0
# What failed is tried again after so long.
_RETRY_SECONDS = 2.0
_STOP_SECONDS = 5.0
# As the namespaces of organisations begin; who has another asks nobody.
_NAMES = ("x-mt_3a", "mt-")
_SPOOL = Path("spool") / "arc.db"


class _Known(NamedTuple):
    """What the catalog said: of each namespace of an organisation that has to do with an Arc."""

    at: float
    rows: dict[str, VersionedArc]


class Arcs:
    """The `EventStores` of a node, and what waits in its spool (`operations.arcs.Waiting`)."""

    def __init__(self, settings: Settings, folder: Path, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._metrics = metrics
        self._context: Context | None = None
        self._lock = threading.RLock()
        self._known: _Known | None = None
        self._pool: ArcPool | None = None
        # As which an organisation is bound, so that its key is opened once.
        self._bound: dict[str, VersionedArc] = {}
        self._refused: dict[str, Error] = {}
        self._serving = False
        self._closed = False
        self._wake = threading.Event()
        self._carrier: threading.Thread | None = None

    def follow(self, context: Context) -> None:
        """Hear of the context, whose catalog says what there is."""
        self._context = context

    def of(self, target: Target) -> ArcEvents | None:
        """Return the store of a profile's events; None where they are kept in it.

        Raises `Unconfigured` where there has to be an Arc and is none, `Unavailable` where that
        cannot be found out.
        """
        namespace = target.namespace or ""
        if target.profile != PROFILE or not namespace.startswith(_NAMES):
            return None
        held = self._rows().get(namespace)
        if held is None:
            return None
        if held.row.state == "draining":
            if self._serving and self._carrier is None:
                # Another node was told, and it may be this one that has to carry it.
                self.look()
            self._wake.set()
            return None
        if not held.row.given:
            self._unbind(held.org)
            raise no_arc()
        with self._lock:
            pool = self._opened()
            self._bind(pool, held)
            return pool.of(held.org)

    def look(self) -> None:
        """Read what there is, and do what follows from it."""
        self._known = None
        rows = self._rows()
        if not self._serving:
            return
        with self._lock:
            if self._closed:
                return
            given = {held.org: held for held in rows.values() if held.row.given}
            if not (given or self._pool or (self._folder / _SPOOL).exists()):
                return
            pool = self._opened()
            for org in pool.bound() - given.keys():
                self._unbind(org)
            for held in given.values():
                with Kept() as kept:
                    self._bind(pool, held)
                if kept.error is not None:
                    _LOG.error("the Arc of %s cannot be used: %s", held.org, kept.error)
            if self._carrier is None and given:
                self._carrier = threading.Thread(
                    target=self._carry_on, name="palimp-arc-carry", daemon=True
                )
                self._carrier.start()
        self._wake.set()

    def changed(self) -> None:
        """Read again what there is: it was changed here."""
        self._known = None
        if self._serving and threading.current_thread() is not self._carrier:
            self.look()

    def start(self) -> None:
        """Bring what waits to the Arcs, from now on; where there are none, nothing happens."""
        self._serving = True
        with Kept() as kept:
            self.look()
        if kept.error is not None:
            # Looked at again with the duties of a node, and by who asks for events.
            _LOG.warning("which organisations have an Arc cannot be read: %s", kept.error)

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most; what is left stays on the disk."""
        with self._lock:
            self._closed = True
            pool, carrier = self._pool, self._carrier
        self._wake.set()
        if carrier is not None:
            carrier.join(_STOP_SECONDS)
        if pool is not None:
            pool.close(seconds)

    def health(self) -> dict[str, bool]:
        """Return of each organisation that has an Arc whether it answered last."""
        given = [held.org for held in self._rows().values() if held.row.given]
        found = {} if self._pool is None else self._pool.health()
        return {org: found.get(org, False) for org in given}

    def gauges(self) -> dict[str, float]:
        """Return what waits, in numbers; nothing where there never was an Arc."""
        return {} if self._pool is None else self._pool.gauges()

    def figures(self, org: str) -> tuple[int, int, bool | None]:
        """Return how many events wait, how many are parked, and whether Arc answered last."""
        pool = self._spooled()
        if pool is None:
            return 0, 0, None
        return pool.pending().get(org, 0), pool.count_parked(org), pool.health().get(org)

    def parked(self, org: str, after: int, limit: int) -> list[ParkedEvent]:
        """Return parked events with higher ids than `after`, by id."""
        pool = self._spooled()
        found = [] if pool is None else pool.parked(org, limit=limit, after=after)
        return [
            ParkedEvent(id=one.id, event=one.event, error=one.error, parked_at=one.parked_ms)
            for one in found
        ]

    def retry(self, org: str, ids: Sequence[int] | None) -> int:
        """Have parked events wait again, and return how many; None: all of them."""
        pool = self._spooled()
        return 0 if pool is None else pool.retry_parked(org, ids)

    def drop(self, org: str, ids: Sequence[int] | None) -> int:
        """Give parked events up, and return how many; None: all of them."""
        pool = self._spooled()
        return 0 if pool is None else pool.drop_parked(org, ids)

    def forget(self, org: str) -> None:
        """Give up all that waits for an organisation's Arc."""
        self._unbind(org)
        pool = self._spooled()
        if pool is not None:
            pool.forget(org)

    def _rows(self) -> dict[str, VersionedArc]:
        """Return what the catalog says, at most a second old."""
        now, known = self._clock.monotonic(), self._known
        if known is not None and now - known.at <= _KNOWN_SECONDS:
            return known.rows
        assert self._context is not None
        rows = {namespace_of(held.org): held for held in arc_rows(self._context)}
        self._known = _Known(now, rows)
        return rows

    def _spooled(self) -> ArcPool | None:
        """Return the pool where something may wait in it; None where nothing ever did."""
        with self._lock:
            if self._pool is None and not (self._folder / _SPOOL).exists():
                return None
            return self._opened()

    def _opened(self) -> ArcPool:
        if self._closed:
            raise Unavailable("this node is closing", reason="closing")
        if self._pool is None:
            # It may be the first who needs it, in a thread that nobody knows of.
            with importing():
                from ..arc import ArcOptions, ArcPool

            known = self._settings
            options = ArcOptions(
                connect_timeout=known.arc_connect_timeout,
                query_timeout=known.arc_query_timeout,
                batch_size=known.arc_write_batch_size,
                flush_interval_ms=known.arc_write_flush_interval_ms,
                spool_bytes=known.arc_spool_bytes,
                settle_seconds=known.arc_settle_secs,
            )
            pool = ArcPool(self._folder, options, self._clock, self._metrics)
            pool.start()
            self._pool = pool
        return self._pool

    def _bind(self, pool: ArcPool, held: VersionedArc) -> None:
        """Let the pool know an organisation's Arc; raises where its key cannot be opened."""
        before, row = self._bound.get(held.org), held.row
        same = before is not None and (before.row.place, before.row.secret) == (
            row.place,
            row.secret,
        )
        if same and pool.of(held.org) is not None:
            return
        assert self._context is not None
        from ..arc import ArcBinding

        key = open_key(self._context, held.org, row.secret)
        pool.bind(ArcBinding(held.org, row.url, key, row.database, row.measurement))
        self._bound[held.org] = held

    def _unbind(self, org: str) -> None:
        """Let nothing more go to an organisation's Arc."""
        with self._lock:
            if self._bound.pop(org, None) is not None and self._pool is not None:
                self._pool.unbind(org)

    def _carry_on(self) -> None:
        """Carry what profiles have to Arcs, until this node closes."""
        pause: float | None = 0.0
        while not self._closed:
            if pause != 0.0:
                self._wake.wait(pause)
                self._wake.clear()
            with Kept() as kept:
                pause = self._carry()
            if kept.error is not None:
                pause = _RETRY_SECONDS
                level = _LOG.info if isinstance(kept.error, Error) else _LOG.error
                level("events are carried to an Arc later: %s", kept.error)

    def _carry(self) -> float | None:
        """Do one step for each organisation; return when the next is due, None: not yet known."""
        from ..operations.carrying import carry, has_work

        assert self._context is not None
        self._known = None
        pause: float | None = None
        for held in self._rows().values():
            if self._closed:
                break
            pool = self._pool
            if pool is None or not has_work(held):
                continue
            due = carry(self._context, held, pool)
            if due is not None:
                pause = due if pause is None else min(pause, due)
        return pause
