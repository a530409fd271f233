"""Erasing from every state of a database: marks, cleansing, what is left in the object store.

What is erased, and how a state is freed of it, is the caller's to say (`Options.erasures`). In
here: that no earlier state becomes readable uncleansed, and that none that was not cleansed stays.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple, TypeVar

import apsw

from ..errors import Error, NotFound, Unavailable
from ..ids import MAIN
from ..observe import logger
from . import protocol
from .branch import Branch
from .cleansing import cleansing
from .driver import drive
from .files import BranchFiles
from .lookup import Address, Lookup
from .options import Parts
from .past import Past
from .protocol import Piece
from .protocol.heads import list_all
from .protocol.own import still_owned
from .protocol.records import name_key
from .protocol.requests import Steps
from .protocol.timeline import Timeline, own_timeline, read_manifest
from .removing import Removing
from .residents import Residents
from .restore import Missing
from .rounds import STATE_TABLE

__all__ = ["Cleansed", "Erasing"]

T = TypeVar("T")

_LOG = logger("engine")
# SQLite's default, which nothing here changes.
_PAGE_BYTES = 4_096
# It restores, changes and stores whole databases.
_PATIENCE_SECONDS = 600.0
# For so long reads are waited for.
_LOG_TRIES = 400
_LOG_PAUSE_SECONDS = 0.025


class Cleansed(NamedTuple):
    """How many earlier states were stored again, and their bytes."""

    points: int = 0
    bytes: int = 0


class Erasing:
    """The steps of an erasure on the database of a profile; each can be repeated. Thread-safe.

    In this order: `mark`; the caller removes what is erased from the present of every branch, and
    calls `divide`; `coarsen` every branch; `collect`. Between any two of them the process may end.
    """

    def __init__(
        self, parts: Parts, residents: Residents, lookup: Lookup, past: Past, removing: Removing
    ) -> None:
        self._parts = parts
        self._residents = residents
        self._lookup = lookup
        self._past = past
        self._removing = removing
        self._lock = threading.Lock()
        self._working: dict[str, threading.Lock] = {}

    def database(self, address: Address) -> str | None:
        """Return the id of a profile's database; None where there is none."""
        found = self._lookup.find(address._replace(branch=MAIN))
        return None if found is None else found.db_id

    def branches(self, address: Address, db_id: str) -> list[Address]:
        """Return the branches that were written, by name."""
        return [address._replace(branch=name) for name, *_ in self._list(db_id)]

    def mark(self, address: Address, db_id: str, erasure: str) -> int:
        """Note in every branch that its earlier states are to be cleansed; return how many.

        A branch that comes to live afterwards holds nothing of it.
        """
        marked: set[str] = set()
        while True:
            found = self._drive(protocol.unmarked(db_id, marked))
            if not found:
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

    def divide(self, branch: Branch, erasure: str) -> int:
        """Commit that the present was freed of it; return the txid when the store has it.

        Also where there was nothing to remove: what another node wrote before and did not ship ends
        below this txid, so it may not continue the branch, and comes back cleansed.
        """
        branch.write(partial(_note, erasure=erasure))
        return branch.sync().txid

    @contextmanager
    def alone(self, erasure: str) -> Iterator[None]:
        """Let one thread of this node at a time work on an erasure."""
        with self._lock:
            lock = self._working.setdefault(erasure, threading.Lock())
        with lock:
            yield

    def freed(
        self, address: Address, key: tuple[str, str]
    ) -> Callable[[Timeline, int], Piece | None]:
        """Return what gives a fork a state of a branch without what is being erased."""

        def make(timeline: Timeline, txid: int) -> Piece | None:
            cleanse = cleansing(self._parts, key[0], timeline.manifest.erasing) or _nothing
            try:
                return self._past.snapshot(str(address), key, timeline, txid, cleanse)
            except Missing:
                return None

        return make

    def coarsen(self, address: Address, db_id: str, erasures: Sequence[str]) -> Cleansed | None:
        """Leave of a branch its head and its named points, cleansed; None where that was done.

        Costs the restoring and storing of each of these points.
        """
        for name, branch_id, manifest in self._list(db_id):
            if name == address.branch and any(one in manifest.erasing for one in erasures):
                with self._residents.use((db_id, branch_id), address) as branch:
                    branch.open()
                    branch.own()
                    work = partial(self._coarsen, branch, tuple(erasures))
                    return branch.in_lane(work, "erasing from its history", _PATIENCE_SECONDS)
        return None

    def rewritten(self, db_id: str) -> Cleansed:
        """Return how many cleansed states all branches have, and their bytes."""
        found: dict[str, int] = {}
        for _, branch_id, _ in self._list(db_id):
            timeline = self._drive(protocol.read_timeline(db_id, branch_id))
            found.update({ref.key: ref.bytes for ref in timeline.refs() if ref.redacted})
        return Cleansed(len(found), sum(found.values()))

    def kept(self, address: Address) -> tuple[int, int]:
        """Return how many earlier states of a branch stay, and about how many bytes that is."""
        found = self._lookup.find(address)
        if found is None:
            return 0, 0
        try:
            timeline = self._drive(protocol.read_timeline(found.db_id, found.branch_id))
        except NotFound:
            return 0, 0
        points = protocol.kept_points(timeline)
        return len(points), sum(
            max(ref.commit for ref in timeline.path(txid)) for txid in points
        ) * _PAGE_BYTES

    def look_again(self, address: Address, db_id: str) -> None:
        """Let nothing that is on this machine be from before an erasure that another node began.

        Who owned a branch asks nobody until it writes, and would show what was erased elsewhere;
        and files of branches that are not in use lie where they were left.
        """
        self._past.forget(db_id)
        here = {one.key[1] for one in self._residents.all() if one.key[0] == db_id}
        here |= set(BranchFiles.branches(self._parts.root, db_id))
        names = {branch_id: name for name, branch_id, _ in self._list(db_id)} if here else {}
        for branch_id in here:
            try:
                if branch_id in names:
                    there = address._replace(branch=names[branch_id])
                    self._look_at(there, (db_id, branch_id))
                elif self._is_deleted(db_id, branch_id):
                    self._removing.branch((db_id, branch_id), self._parts.options.patience)
            except Error as error:
                _LOG.warning("%s, branch %s, is looked at later: %s", address, branch_id, error)

    def collect(self, address: Address, db_id: str) -> int:
        """Delete what no branch needs any more; return how many objects."""
        done = 0
        self.look_again(address, db_id)
        # What is forming for too long still names what it was to be made of.
        self._drive(protocol.expire(db_id, self._parts.clock.now_ms()))
        for name, branch_id, _ in self._list(db_id):
            there = address._replace(branch=name)
            done += self._change(there, (db_id, branch_id), protocol.collect)
        return done + self._collect_tombstones(db_id)

    def keeps_versions(self, address: Address, key: str) -> bool:
        """Whether the store keeps what is written over or deleted, as far as it says so.

        Asked of an object that was just written and of the profile's name, which is older than all
        of its content: where versions were kept once and are no longer, those from then are there.
        """
        store = self._parts.store
        # Google's store numbers what it keeps no versions of, and says nothing of those it keeps.
        if store.name.startswith("gs://"):
            return False
        found = [store.get(one) for one in (key, name_key(*address[:2]))]
        return any(one is not None and one.version.generation is not None for one in found)

    def collect_deleted(self, db_id: str) -> None:
        """Delete what there is of a deleted database: its objects, and what is on this machine."""
        self._removing.database(db_id)
        self._collect_tombstones(db_id)

    def objects(self, db_id: str) -> set[str]:
        """Return the keys of all objects of a database that hold content."""
        keys = self._keys(db_id)
        return {key for key in keys if key.endswith(".ltx")}

    def uncleansed(self, db_id: str, erasure: str) -> list[str]:
        """Return the objects that may still hold what was erased: unnamed ones, and unmarked.

        Empty where the erasure is complete: everything a branch names is of its head, newer than
        that, or was cleansed.
        """
        # Before the manifests are read: what is being shipped meanwhile is named by then.
        there = self.objects(db_id)
        named: set[str] = set()
        unsafe: set[str] = set()
        for _, branch_id, manifest in self._list(db_id):
            timeline = self._drive(protocol.read_timeline(db_id, branch_id))
            named |= timeline.keys()
            for ref in timeline.refs():
                if erasure in manifest.erasing or not (ref.redacted or ref.max >= manifest.erased):
                    unsafe.add(ref.key)
        return sorted(unsafe | (there - named))

    def _coarsen(self, branch: Branch, erasures: tuple[str, ...]) -> Cleansed:
        """Only in the lane."""
        cleanse = cleansing(self._parts, branch.key[0], erasures)
        assert cleanse is not None, "nobody knows what these erasures are"
        branch.ship_or_own()
        branch.fold()
        # Before the mark goes: afterwards nobody would come back for it.
        self._empty_log(branch)
        timeline = branch.drive_lane(own_timeline)
        refs, size = [], 0
        for txid in protocol.kept_points(timeline):
            try:
                piece = self._past.snapshot(branch.name, branch.key, timeline, txid, cleanse)
            except Missing as missing:
                raise missing.as_error(self._parts.store) from missing
            refs.append(branch.drive_lane(partial(protocol.store_point, piece=piece)))
            size += len(piece.data)
        branch.drive_lane(partial(protocol.coarsen, erasures=erasures, points=refs))
        self._parts.metrics.add("points_cleansed", len(refs))
        return Cleansed(len(refs), size)

    def _empty_log(self, branch: Branch) -> None:
        """Leave no page in the log of the local file that was written before now."""
        for _ in range(_LOG_TRIES):
            if branch.empty_log():
                return
            branch.local.interrupt_long_reads(self._parts.options.read_seconds_max)
            if self._parts.outside.stopping.wait(_LOG_PAUSE_SECONDS):
                break
        raise Unavailable(
            f"{branch.name}: the log of its local file still holds old pages, because it is being "
            "read without a pause; the erasure is tried again",
            reason="busy",
            retry_after=1.0,
        )

    def _drive(self, steps: Steps[T]) -> T:
        return drive(steps, self._parts.outside, self._parts.options.patience)

    def _list(self, db_id: str) -> list[tuple[str, str, protocol.Manifest]]:
        found = self._drive(protocol.list_branches(db_id))
        return [(name, branch, manifest) for name, branch, manifest in found if manifest]

    def _look_at(self, address: Address, key: tuple[str, str]) -> None:
        with self._residents.use(key, address) as branch:
            # However fresh it seems.
            branch.copy.looked_at = -math.inf
            branch.open()
            if branch.owned:
                with suppress(Unavailable):
                    # Fenced: then it was looked at.
                    branch.in_lane(partial(branch.drive_lane, still_owned), "looking who owns it")

    def _is_deleted(self, db_id: str, branch_id: str) -> bool:
        manifest = self._drive(read_manifest(db_id, branch_id))
        return manifest is not None and manifest.state == "deleted"

    def _collect_tombstones(self, db_id: str) -> int:
        done = 0
        for key in self._manifests(db_id):
            if self._is_deleted(db_id, key):
                done += self._drive(protocol.collect_deleted(db_id, key))
        return done

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
        return self._drive(list_all(f"v1/db/{db_id}/"))

    def _manifests(self, db_id: str) -> list[str]:
        return [key.split("/")[-2] for key in self._keys(db_id) if key.endswith("/manifest.json")]


def _note(connection: apsw.Connection, erasure: str) -> None:
    connection.execute(f"INSERT OR REPLACE INTO {STATE_TABLE} VALUES ('erased', ?)", (erasure,))


def _nothing(_: apsw.Connection) -> None:
    return None
