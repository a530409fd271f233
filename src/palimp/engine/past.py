"""Earlier states, restored into a cache and read beside the live database."""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ..ids import random_id
from ..points import Point
from ..store.disk_faults import disk_faults
from .branch import Branch
from .cleansing import cleanse_file, cleansing
from .faults import sqlite_faults
from .local_database import Committed
from .options import Cleanse, Parts
from .pieces import snapshot_of
from .protocol import Piece
from .protocol.timeline import Timeline
from .restore import Missing, build

__all__ = ["Past", "PastDatabase"]

T = TypeVar("T")
A = TypeVar("A")

_RESTORES_AT_ONCE = 2
_OPEN_MAX = 32


class PastDatabase:
    """One earlier state, read-only for ever. Thread-safe: one reader at a time.

    `time_ms` is when it was: what had not expired then is there.
    """

    def __init__(
        self, path: Path, name: str, txid: int, time_ms: int, freed_of: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.name = name
        self.txid = txid
        self.time_ms = time_ms
        self.size = path.stat().st_size
        self.pins = 0
        self.is_stale = False
        self.freed_of = freed_of
        self._lock = threading.Lock()
        self._attached: dict[type[Any], Any] = {}
        with sqlite_faults(name):
            # Immutable: nobody writes it, so no locks and no log are looked for.
            self._connection = apsw.Connection(
                f"{path.absolute().as_uri()}?immutable=1",
                flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX,
            )
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)

    def read(self, query: Callable[[apsw.Connection], T]) -> Committed[T]:
        """Run `query` on the state."""
        with self._lock, sqlite_faults(self.name):
            return Committed(query(self._connection), self.txid)

    def attachment(self, kind: type[A], make: Callable[[], A]) -> A:
        """Return the one object of `kind` that lives and dies with this handle (caches)."""
        with self._lock:
            found = self._attached.get(kind)
            if found is None:
                found = self._attached[kind] = make()
            return found

    def close(self) -> None:
        """Close it and remove its file."""
        with self._lock:
            self._connection.close()
        self.path.unlink(missing_ok=True)


class Past:
    """Restored earlier states under `root`, the least recently used removed over the budget.

    Nothing in here is needed: every state can be restored again.
    """

    def __init__(self, root: Path, parts: Parts) -> None:
        self._root = root
        self._parts = parts
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, str, int], PastDatabase] = OrderedDict()
        self._building: dict[tuple[str, str, int], threading.Lock] = {}
        self._restores = threading.Semaphore(_RESTORES_AT_ONCE)
        # What a crash left may be torn.
        shutil.rmtree(root, ignore_errors=True)

    @contextmanager
    def use(self, branch: Branch, point: Point) -> Iterator[PastDatabase]:
        """Yield the state of a branch at a point of it; restored if it is not here."""
        found = self._find(branch, point)
        try:
            yield found
        finally:
            with self._lock:
                found.pins -= 1
                if found.is_stale and not found.pins:
                    found.close()
            self._trim()

    def snapshot(
        self, name: str, branch: tuple[str, str], timeline: Timeline, txid: int, cleanse: Cleanse
    ) -> Piece:
        """Return a state without what `cleanse` removes, with its old txid and time.

        Raises `Missing` where an object of it was collected meanwhile.
        """
        fresh = self._fresh((*branch, txid))
        shown = f"{name} at txid {txid}"
        try:
            with disk_faults(shown), sqlite_faults(shown), self._restores:
                build(self._parts.store, timeline.path(txid), fresh)
                page_size = cleanse_file(fresh, cleanse)
                return snapshot_of(fresh.read_bytes(), page_size, txid, timeline.at(txid))
        finally:
            fresh.unlink(missing_ok=True)

    def purge(self, db_id: str | None = None) -> None:
        """Remove what is not being read, of one database or of all."""
        with self._lock:
            idle = [k for k, one in self._open.items() if not one.pins and db_id in (None, k[0])]
            for key in idle:
                self._open.pop(key).close()

    def forget(self, db_id: str) -> None:
        """Give no state of a database to anybody again that was restored before now."""
        with self._lock:
            for key in [key for key in self._open if key[0] == db_id]:
                self._drop(key)

    def _drop(self, key: tuple[str, str, int]) -> None:
        found = self._open.pop(key)
        found.is_stale = True
        if not found.pins:
            found.close()

    def _find(self, branch: Branch, point: Point) -> PastDatabase:
        timeline = branch.timeline()
        while True:
            try:
                return self._pin(branch.name, (*branch.key, timeline.resolve(point)), timeline)
            except Missing as missing:
                # Collected since the manifest was read; or, if it is named still, lost.
                timeline = branch.timeline(anew=True)
                if missing.ref.key in timeline.keys():  # noqa: SIM118 - not a mapping
                    raise missing.as_error(self._parts.store) from missing

    def _pin(self, name: str, key: tuple[str, str, int], timeline: Timeline) -> PastDatabase:
        while True:
            with self._lock:
                found = self._open.get(key)
                if found is not None and found.freed_of != timeline.manifest.erasing:
                    # Restored before another node began to erase.
                    self._drop(key)
                elif found is not None:
                    self._open.move_to_end(key)
                    found.pins += 1
                    return found
                building = self._building.setdefault(key, threading.Lock())
            with building:
                with self._lock:
                    if key in self._open or self._building.get(key) is not building:
                        # Made meanwhile; or made and removed, and somebody else is at it again.
                        continue
                try:
                    made = self._build(name, key, timeline)
                    with self._lock:
                        self._open[key] = made
                finally:
                    with self._lock:
                        self._building.pop(key, None)

    def _build(self, name: str, key: tuple[str, str, int], timeline: Timeline) -> PastDatabase:
        with disk_faults(f"{name} at txid {key[2]}"):
            return self._build_on_disk(name, key, timeline)

    def _build_on_disk(
        self, name: str, key: tuple[str, str, int], timeline: Timeline
    ) -> PastDatabase:
        db_id, _, txid = key
        fresh = self._fresh(key)
        with self._restores:
            try:
                build(self._parts.store, timeline.path(txid), fresh)
                cleanse = cleansing(self._parts, db_id, timeline.manifest.erasing)
                if cleanse is not None:
                    cleanse_file(fresh, cleanse)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
        path = fresh.with_suffix(".db")
        os.rename(fresh, path)
        self._parts.metrics.add("past_states_restored")
        shown = f"{name} at txid {txid}"
        return PastDatabase(path, shown, txid, timeline.at(txid), timeline.manifest.erasing)

    def _fresh(self, key: tuple[str, str, int]) -> Path:
        db_id, branch_id, txid = key
        folder = self._root / db_id / branch_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A word of its own: the one before it may be on its way out.
        return folder / f"{txid:016x}-{random_id('s')}.new"

    def _trim(self) -> None:
        with self._lock:
            size = sum(one.size for one in self._open.values())
            for key, one in list(self._open.items()):
                if size <= self._parts.options.past_budget and len(self._open) <= _OPEN_MAX:
                    break
                if not one.pins:
                    self._open.pop(key).close()
                    size -= one.size
