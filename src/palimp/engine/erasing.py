"""Erasing from every state of a database: marks, cleansing, what is left in the object store.

What is erased, and how a state is freed of it, is the caller's to say (`Options.erasures`). In
here: that no earlier state becomes readable uncleansed, and that none that was not cleansed stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import apsw

from ..errors import NotFound
from ..ids import MAIN
from ..observe import logger
from ..store.disk_faults import disk_faults
from . import protocol
from .branch import Branch
from .cleansing import cleanse_file, cleansing
from .driver import drive
from .faults import sqlite_faults
from .lookup import Address, Lookup
from .options import Cleanse, Parts
from .past import Past
from .pieces import snapshot_of
from .protocol.heads import list_all
from .protocol.requests import Steps
from .protocol.ship import Piece
from .protocol.timeline import Timeline, own_timeline, read_manifest
from .residents import Residents
from .restore import Missing, build

__all__ = ["Cleansed", "Erasing"]

_LOG = logger("engine")
# It restores, changes and stores whole databases.
_PATIENCE_SECONDS = 600.0


class Cleansed(NamedTuple):
    """How many earlier states were stored again, their bytes, and whether the log is empty."""

    points: int = 0
    bytes: int = 0
    log_emptied: bool = True


class Erasing:
    """The steps of an erasure on the database of a profile; each can be repeated. Thread-safe.

    In this order: `mark`; the caller removes what is erased from the present of every branch;
    `coarsen` every branch; `collect`. Between any two of them the process may end.
    """

    def __init__(self, parts: Parts, residents: Residents, lookup: Lookup, past: Past) -> None:
        self._parts = parts
        self._residents = residents
        self._lookup = lookup
        self._past = past

    def database(self, address: Address) -> str | None:
        """Return the id of a profile's database; None where there is none."""
        found = self._lookup.find(address._replace(branch=MAIN))
        return None if found is None else found.db_id

    def branches(self, address: Address, db_id: str) -> list[Address]:
        """Return the branches that were written, by name."""
        return [address._replace(branch=name) for name, *_ in self._list(db_id)]

    def mark(self, address: Address, db_id: str, erasure: str) -> int:
        """Note in every branch that its earlier states are to be cleansed; return how many.

        A fork made meanwhile either takes the note over or is in the second list.
        """
        marked: set[str] = set()
        while True:
            found = self._list(db_id)
            if {branch_id for _, branch_id, _ in found} <= marked:
                # Restored before: they are restored again, cleansed, for whoever asks next.
                self._past.forget(db_id)
                return len(marked)
            for name, branch_id, manifest in found:
                if erasure not in manifest.erasing:
                    note = partial(protocol.mark_erasing, erasure=erasure)
                    self._change(address._replace(branch=name), (db_id, branch_id), note)
                marked.add(branch_id)

    def unmark(self, address: Address, db_id: str, erasure: str) -> None:
        """Take the notes back: nothing was given up for this erasure, and nothing will be."""
        for name, branch_id, manifest in self._list(db_id):
            if erasure in manifest.erasing:
                take_back = partial(protocol.unmark_erasing, erasure=erasure)
                self._change(address._replace(branch=name), (db_id, branch_id), take_back)
        self._past.forget(db_id)

    def cleanse_present(self, address: Address, db_id: str) -> None:
        """Free a branch that was forked from an earlier state of what is being erased."""
        for name, branch_id, manifest in self._list(db_id):
            cleanse = cleansing(self._parts, db_id, manifest.erasing)
            if name == address.branch and cleanse is not None:
                with self._residents.use((db_id, branch_id), address) as branch:
                    branch.open()
                    branch.write(cleanse)

    def coarsen(self, address: Address, db_id: str, erasures: Sequence[str]) -> Cleansed | None:
        """Leave of a branch its head and its named points, cleansed; None where that was done.

        Costs the restoring and storing of each of these points.
        """
        for name, branch_id, manifest in self._list(db_id):
            if name == address.branch and any(one in manifest.erasing for one in erasures):
                with self._residents.use((db_id, branch_id), address) as branch:
                    branch.open()
                    branch.own()
                    work = partial(_coarsen, branch, self._parts, tuple(erasures))
                    return branch.in_lane(work, "erasing from its history", _PATIENCE_SECONDS)
        return None

    def kept(self, address: Address) -> tuple[int, int]:
        """Return how many earlier states of a branch stay, and about how many bytes that is."""
        found = self._lookup.find(address)
        if found is None:
            return 0, 0
        steps = protocol.read_timeline(found.db_id, found.branch_id)
        try:
            timeline = drive(steps, self._parts.outside, self._parts.options.patience)
        except NotFound:
            return 0, 0
        points = protocol.kept_points(timeline)
        return len(points), sum(
            max(ref.commit for ref in timeline.path(txid)) for txid in points
        ) * 4096

    def collect(self, address: Address, db_id: str) -> int:
        """Delete what no branch needs any more; return how many objects."""
        done = 0
        for name, branch_id, _ in self._list(db_id):
            there = address._replace(branch=name)
            done += self._change(there, (db_id, branch_id), protocol.collect)
        for key in self._manifests(db_id):
            steps = read_manifest(db_id, key)
            manifest = drive(steps, self._parts.outside, self._parts.options.patience)
            if manifest is not None and manifest.state == "deleted":
                collect = protocol.collect_deleted(db_id, key)
                done += drive(collect, self._parts.outside, self._parts.options.patience)
        return done

    def objects(self, db_id: str) -> set[str]:
        """Return the keys of all objects of a database that hold content."""
        keys = self._keys(db_id)
        return {key for key in keys if key.endswith(".ltx")}

    def uncleansed(self, address: Address, db_id: str) -> list[str]:
        """Return the objects that may still hold what was erased: unnamed ones, and unmarked.

        Empty where the erasure is complete: everything a branch names is of its head, newer than
        that, or was cleansed.
        """
        del address
        named: set[str] = set()
        unsafe: set[str] = set()
        for _, branch_id, manifest in self._list(db_id):
            steps = protocol.read_timeline(db_id, branch_id)
            timeline = drive(steps, self._parts.outside, self._parts.options.patience)
            named |= timeline.keys()
            for ref in timeline.refs():
                if manifest.erasing or not (ref.redacted or ref.max >= manifest.erased):
                    unsafe.add(ref.key)
        return sorted(unsafe | (self.objects(db_id) - named))

    def _list(self, db_id: str) -> list[tuple[str, str, protocol.Manifest]]:
        steps = protocol.list_branches(db_id)
        found = drive(steps, self._parts.outside, self._parts.options.patience)
        return [(name, branch, manifest) for name, branch, manifest in found if manifest]

    def _change(
        self,
        address: Address,
        key: tuple[str, str],
        make: Callable[[protocol.Lane], Steps[int | None]],
    ) -> int:
        try:
            with self._residents.use(key, address) as branch:
                branch.open()
                return branch.change(make, "erasing") or 0
        except NotFound as error:
            # Deleted since it was listed: then it shows nothing to anybody.
            _LOG.debug("%s: %s", address, error)
            return 0

    def _keys(self, db_id: str) -> list[str]:
        steps = list_all(f"v1/db/{db_id}/")
        return drive(steps, self._parts.outside, self._parts.options.patience)

    def _manifests(self, db_id: str) -> list[str]:
        return [key.split("/")[-2] for key in self._keys(db_id) if key.endswith("/manifest.json")]


def _coarsen(branch: Branch, parts: Parts, erasures: tuple[str, ...]) -> Cleansed:
    """Only in the lane."""
    cleanse = cleansing(parts, branch.key[0], erasures)
    assert cleanse is not None, "nobody knows what these erasures are"
    branch.ship_or_own()
    branch.fold()
    timeline = branch.drive_lane(own_timeline)
    refs, size = [], 0
    for txid in protocol.kept_points(timeline):
        piece = _cleansed(branch, parts, timeline, txid, cleanse)
        refs.append(branch.drive_lane(partial(protocol.store_point, piece=piece)))
        size += len(piece.data)
    branch.drive_lane(partial(protocol.coarsen, erasures=erasures, points=refs))
    parts.metrics.add("points_cleansed", len(refs))
    return Cleansed(len(refs), size, branch.empty_log())


def _cleansed(
    branch: Branch, parts: Parts, timeline: Timeline, txid: int, cleanse: Cleanse
) -> Piece:
    """Return a state without what is erased, as a snapshot of its old txid and time."""
    name = f"{branch.name} at txid {txid}"
    try:
        with disk_faults(name), sqlite_faults(name):
            path = branch.files.new_incarnation()
            build(parts.store, timeline.path(txid), path)
            cleanse_file(path, cleanse)
            with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
                page_size = connection.pragma("page_size")
            return snapshot_of(path.read_bytes(), page_size, txid, timeline.at(txid))
    except Missing as missing:
        raise missing.as_error(parts.store) from missing
    finally:
        branch.files.remove_old()
