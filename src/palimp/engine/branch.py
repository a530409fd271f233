"""One branch on this node: its local file, the right to write it, and shipping what it commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from .. import ltx
from ..errors import Error, NotFound, Unavailable
from ..observe import logger
from ..store.disk_faults import disk_faults
from .claims import database_name
from .commits import Boundary, Commits, last_boundary
from .driver import drive
from .fence import Fence, fenced, lapsed, note_fenced, taken_over, unanswered
from .lanes import Job, LaneQueue
from .local_copy import LocalCopy
from .local_database import Committed, LocalDatabase, Repeat, Terms
from .lookup import Address
from .options import Parts
from .pieces import difference, piece_of, snapshot_of
from .protocol import (
    Fenced,
    Lane,
    Manifest,
    is_crowded,
    read_timeline,
    rebase,
    ship,
    stop_cleanly,
    take_ownership,
)
from .protocol.requests import Steps
from .protocol.timeline import Timeline
from .wal import committed_image

__all__ = ["SEGMENTS_MAX", "Boundary", "Branch"]

T = TypeVar("T")
A = TypeVar("A")

_LOG = logger("engine")
# The manifest describes the head by about so many segments, and those that are large already.
SEGMENTS_MAX = 64
# A job of the lane that takes longer than this: the store does not answer.
_BROKEN_SECONDS = 5.0


class Branch:
    """Reads and writes one branch; ships what is committed, in order, while this node owns it.

    What `write` returned survives the process and a power cut; with `durable` it also survives this
    machine. A local file that may not continue the branch is never dropped while it holds commits
    that are nowhere else: they become a recovered branch. Thread-safe.

    Everything that changes which file or which epoch counts happens in the writer's place.
    """

    def __init__(self, parts: Parts, address: Address, db_id: str, branch_id: str) -> None:
        self.address = address
        self.name = name = str(address)
        self.key = (db_id, branch_id)
        self.local = LocalDatabase(
            name,
            check=parts.check,
            gate=self._gate,
            committed=self._committed,
            clock=parts.clock,
            queue_depth=parts.options.queue_depth,
            metrics=parts.metrics,
        )
        self.copy = LocalCopy(parts, name, self.key, self.local)
        self.files = self.copy.files
        self.queue = LaneQueue()
        self.used_at = parts.clock.monotonic()
        self._staleness = parts.options.staleness
        self._parts = parts
        self._lane: Lane | None = None
        # Of the lease under which it was owned, and when it was last looked at for this node.
        self._grant = 0
        self._looked_at = float("-inf")
        self._first_txid = 1
        self._commits = Commits(self.files, self.local, parts.options)
        self._fence: Fence | None = None
        self._timeline: Timeline | None = None
        self._dirty = False
        self._hurried = False
        self._progress = threading.Condition()
        self._ship_waiting: Job[None] | None = None

    # -- reading and writing ----------------------------------------------------------------------

    def open(self) -> bool:
        """Make the local file what the branch is, or not much older; False if never written.

        Raises `NotFound` where it was deleted, `Unavailable` where the store does not answer.
        """
        self.used_at = now = self._parts.clock.monotonic()
        copy = self.copy
        written = copy.written
        if written is not None and self._is_current(now):
            return written
        with self.local.writers_place(self._parts.options.patience), disk_faults(self.name):
            # From before the store is asked: what it says may be as old.
            now = self._parts.clock.monotonic()
            if copy.opened and self._is_current(now):
                return bool(copy.written)
            try:
                manifest = copy.look(anew=self._parts.claims is not None)
            except Unavailable as error:
                if not copy.opened:
                    raise
                # What is here was true; without the store nobody can know better.
                _LOG.warning("%s is read as it was: %s", self.name, error)
                copy.looked_at = now
                return bool(copy.written)
            if self._lane is None or self._is_taken(manifest):
                copy.settle(manifest)
                copy.recover()
                if copy.is_ahead:
                    # Commits of a process that ended before it could ship them.
                    self._mark_dirty()
            copy.has_looked(now)
            self._looked_at = now
            return bool(copy.written)

    def _is_current(self, now: float) -> bool:
        """Whether what is here may be read without asking the store."""
        claims = self._parts.claims
        if claims is None:
            return self._lane is not None or now - self.copy.looked_at < self._staleness
        since = claims.since(self.database)
        if since is None:
            return now - self.copy.looked_at < self._staleness
        # Nobody else may write meanwhile: what was looked at once is what there is.
        owned = self._lane is not None and claims.lasts(self.database, self._grant)
        return owned or self._looked_at > since

    def _is_taken(self, manifest: Manifest | None) -> bool:
        """Whether another node owns it by now, of which this one has not heard."""
        lane = self._lane
        if lane is None or manifest is None or manifest.epoch <= lane.manifest.epoch:
            return False
        self._note_loss(manifest)
        return True

    def read(self, query: Callable[[apsw.Connection], T]) -> Committed[T]:
        """Run `query` inside one consistent snapshot; `open` was called before."""
        return self.local.read(query)

    def write(
        self,
        operation: Callable[[apsw.Connection], T],
        *,
        durable: bool = False,
        repeat: Repeat | None = None,
        alone: bool = False,
        derived: bool = False,
    ) -> Committed[T]:
        """Run `operation` in a transaction of a round (`LocalDatabase.write`); all or nothing.

        With `durable` it returns when object storage has it. Where the store fails after the commit
        it is `Unavailable` with `in_doubt` and `txid`: the same request id again waits for it.
        """
        # A repeat is answered all the same: it may have been committed, and waits for that.
        refused = durable and self.is_stuck
        run = self._refuse_durable if refused else operation
        done = self.local.write(run, repeat, alone=alone, derived=derived)
        if durable:
            self.wait_shipped(done.txid)
        elif self._parts.claims is not None:
            self._confirm(done.txid)
        return done

    def attachment(self, kind: type[A], make: Callable[[], A]) -> A:
        """Return the one object of `kind` that lives and dies with this content (caches)."""
        return self.local.attachment(kind, make)

    # -- shipping ---------------------------------------------------------------------------------

    @property
    def owned(self) -> bool:
        """Whether this node may write it."""
        return self._lane is not None

    @property
    def database(self) -> str:
        """The name under which it is claimed, with its other branches."""
        return database_name(self.address)

    @property
    def next_txid(self) -> int:
        """The number the next commit gets; in the writer's place of an owner."""
        return max(self._commits.head + 1, self._first_txid)

    @property
    def manifest(self) -> Manifest | None:
        """The manifest as this node last saw it."""
        lane = self._lane
        return lane.manifest if lane is not None else self.copy.manifest

    @property
    def unshipped(self) -> bool:
        """Whether something is committed here that object storage does not have."""
        lane = self._lane
        return lane is not None and self._commits.head > lane.manifest.txid

    @property
    def is_stuck(self) -> bool:
        """Whether object storage does not answer what the lane asked of it."""
        begun = self.queue.begun
        return begun is not None and self._parts.clock.monotonic() - begun > _BROKEN_SECONDS

    @property
    def backlog_bytes(self) -> int:
        """About how many bytes wait to be shipped."""
        return self._commits.backlog_bytes if self.unshipped else 0

    def sync(self) -> Boundary:
        """Ship everything that is committed; when this returns it survives this machine.

        Raises `NotFound` for a branch that was never written.
        """
        if not self.open():
            raise NotFound(f"{self.name} was never written", code="database_not_found")
        if self._lane is not None or self.copy.is_ahead:
            self.own()
            self.wait_shipped(self._commits.head)
        manifest = self.manifest
        assert manifest is not None
        return last_boundary(manifest)

    def wait_shipped(self, txid: int) -> None:
        """Return when object storage has everything up to `txid`."""
        if self._has_shipped(txid):
            return
        try:
            job = self.ship_soon()
            job.wait(self._parts.options.patience, f"{self.name}: shipping up to txid {txid}")
        except Error as error:
            if self._has_shipped(txid):
                return
            raise error.located("", txid=txid, in_doubt=True) from error
        if not self._has_shipped(txid):
            # Fenced meanwhile, and what holds now does not have it.
            raise self._fence_error(in_doubt=True, txid=txid)

    def _has_shipped(self, txid: int) -> bool:
        # Another owner's txids are higher than those that were set aside because of it.
        return self._commits.shipped >= txid and txid not in self.copy.set_aside

    def ship_soon(self) -> Job[None]:
        """Put a shipment into the lane; one that waits there already will do."""
        with self._progress:
            if self._ship_waiting is None:
                self._ship_waiting = self._parts.lanes.submit(self.queue, self.ship_or_own)
            return self._ship_waiting

    def timeline(self, *, anew: bool = False) -> Timeline:
        """Return everything that can be read of it, as this node last saw it, or as it is `anew`.

        What was never shipped has no point yet, so that is done first. Raises `NotFound` for a
        branch that was never written.
        """
        if self.open() and (self.manifest is None or not self.manifest.txid):
            self.sync()
        if self.manifest is None or not self.manifest.txid:
            raise NotFound(f"{self.name} was never shipped", code="database_not_found")
        manifest, known = self.manifest, self._timeline
        if anew or known is None or known.manifest.nonce != manifest.nonce:
            known = self._timeline = drive(
                read_timeline(*self.key, None if anew else manifest),
                self._parts.outside,
                self._parts.options.patience,
            )
        return known

    def own(self) -> None:
        """Take the right to write, if this node does not have it."""
        with self.local.writers_place(self._parts.options.patience):
            self._claim()
            self._hold()

    def change(self, make: Callable[[Lane], Steps[T]], what: str) -> T:
        """Change the manifest as its owner, after what was submitted to the lane before."""
        self.own()
        return self.in_lane(lambda: self.drive_lane(make), what)

    def in_lane(self, work: Callable[[], T], what: str, seconds: float | None = None) -> T:
        """Run `work` in the lane and return what it returns; `Unavailable` if it takes longer."""
        job = self._parts.lanes.submit(self.queue, work)
        return job.wait(seconds or self._parts.options.patience, f"{self.name}: {what}")

    def drive_lane(self, make: Callable[[Lane], Steps[T]]) -> T:
        """Run a protocol on the lane; only inside of `in_lane`."""
        lane = self._lane
        if lane is None:
            raise self._fence_error()
        try:
            return drive(make(lane), self._parts.outside)
        except Fenced as lost:
            if self._lane is lane:
                self._lose(lost.manifest)
            raise self._fence_error() from lost
        finally:
            if lane.unsettled and self._lane is lane:
                self._drop_lane()

    def park(self) -> bool:
        """Close the handle of an idle branch once it is shipped; False where somebody is inside."""
        if self.unshipped:
            self.ship()
        try:
            with self.local.writers_place(0):
                if self.unshipped:
                    return False
                self.copy.promote()
                sums = self._commits.finish(whole=not self.unshipped)
                txid = self._commits.head
        except Unavailable:
            return False
        if not self.local.try_close():
            return False
        path = self.files.current()
        if sums is not None and path is not None:
            self.files.write_clean(path, txid, sums)
            self.files.mark_closed()
        return True

    def leave(self) -> None:
        """Give up the right to write so that no txids are skipped; only in the lane."""
        # In the writer's place: what is acknowledged after this is not in the limit.
        with self.local.writers_place(self._parts.options.patience):
            lane = self._lane
            if lane is None or self.unshipped:
                return
            self.drive_lane(stop_cleanly)
            self._commits.drop()
            self.files.mark_closed()
            self.copy.manifest = lane.manifest
            self._lane = None
            self.copy.looked_at = self._parts.clock.monotonic()

    def hand_over(self) -> bool:
        """Ship and leave, so that another node can go on; only in the lane. False if it cannot."""
        with self.local.writers_place(self._parts.options.patience):
            pass  # Whoever was about to own it has done so now; after them nobody begins to.
        if self._lane is not None:
            self.ship()
            # Closed in order where nobody reads: then later reads here go on from this file.
            self.park()
            self.leave()
        return self._lane is None and not self.copy.is_ahead

    def close(self) -> bool:
        """Ship, leave and close in order; only in the lane. True if the store has all that is here.

        False where somebody is inside, or something is only here.
        """
        with self.local.writers_place(self._parts.options.patience):
            if not self.copy.opened and self.files.current() is not None:
                self.copy.settle(self.copy.look())
            self.copy.recover()
            if self._lane is None and self.copy.is_ahead:
                self._hold()
        if not self.park() or self.unshipped or self.files.strays():
            return False
        settled = self._lane is not None or self.copy.opened or self.files.current() is None
        self.leave()
        return settled

    def abandon(self) -> None:
        """Close the handle whatever was shipped: what is committed is in the file."""
        with self.local.writers_place(self._parts.options.patience):
            self._commits.drop()
            self._lane = None
        self.local.close()

    # -- in the writer's place --------------------------------------------------------------------

    def commit_file(self, path: Path, txid: int) -> None:
        """Let a whole other file be the next commit; only in the lane, everything before shipped.

        It is shipped as the pages that differ, and only then counts here: a crash before the
        manifest has it leaves what was, a crash after it a local file that is behind.
        """
        lane = self._lane
        assert lane is not None
        assert not self.unshipped, "what is committed is shipped before"
        image = path.read_bytes()
        writer = self.local.writer()
        size = writer.pragma("page_size")
        after, now_ms = ltx.PageChecksums.of(image, size), self._parts.clock.now_ms()
        if lane.manifest.txid:
            before = ltx.PageChecksums.of(committed_image(writer), size)
            piece = difference(before, image, after, (lane.manifest.txid + 1, txid), now_ms)
        else:
            piece = snapshot_of(image, size, txid, now_ms)
        self.drive_lane(lambda lane: ship(lane, piece))
        try:
            self._commits.drop()
            self.local.switch(path)
            self.files.make_current(path)
            self._follow(lane.manifest, after)
        except BaseException:
            # The local file is behind what was shipped: nothing may be committed to it.
            self._drop_lane()
            raise
        self.copy.written = True
        self.files.note_shipped(piece.max, piece.checksum)
        self._parts.shipments.tell(self.key, lane.manifest, piece.data)

    def _gate(self) -> Terms:
        """Say what may be handed out; the branch is owned and followed afterwards."""
        self._parts.check_pressure(self.name)
        self._claim()
        lane = self._hold()
        return Terms(self._first_txid, lane.manifest.limit)

    def _claim(self) -> None:
        """Make sure that it is this node's to write; what was owned under a lost lease is not."""
        claims = self._parts.claims
        if claims is None:
            return
        grant = claims.hold(self.database)
        if grant != self._grant:
            if self._lane is not None:
                self._drop_lane()
            # The lease says whose turn it is: nothing has to be left to anybody.
            self._grant, self._fence = grant, None

    def _confirm(self, txid: int) -> None:
        """Raise `Unavailable`, in doubt, where another node may have taken over before a commit."""
        claims = self._parts.claims
        assert claims is not None
        if claims.lasts(self.database, self._grant) and txid not in self.copy.set_aside:
            return
        raise lapsed(self.name, txid)

    def _hold(self) -> Lane:
        """Own the branch and follow what is committed to its file, if this node does not."""
        lane = self._lane
        with disk_faults(self.name):
            if lane is None:
                return self._own()
            if not self._commits.is_followed and not self._follow(lane.manifest, None):
                # The file is not what it was when it was closed: own the branch and look anew.
                self._drop_lane()
                return self._own()
        return lane

    def _own(self) -> Lane:
        self._claim()
        self._check_fence()
        parts = self._parts
        try:
            take = take_ownership(*self.key, parts.node)
            taken = drive(take, parts.outside, parts.options.patience)
        except Unavailable as error:
            # An epoch may be taken; whatever the caller wanted to write with it is not written.
            raise error.located(self.name, in_doubt=False) from error
        before = taken.before
        if before is not None and taken_over(self.name, before, parts.node):
            parts.metrics.add("branches_taken_over")
        known = self.copy.opened and before is not None and self.copy.manifest == before
        if not known:
            self.copy.settle(before)
        sums = self.copy.promote()
        if not self.local.has_file:
            self.copy.begin()
        manifest = taken.lane.manifest
        if not self._follow(manifest, sums):
            # Ours by its epoch, and yet not what was shipped: it may not continue the branch.
            self.copy.part(manifest)
            self.copy.settle(manifest)
            self._follow(manifest, self.copy.promote())
        self._lane, self._first_txid = taken.lane, taken.first_txid
        self._fence = None
        if self._commits.head > manifest.txid:
            self._mark_dirty()
        parts.metrics.add("branches_owned")
        self.copy.recover()
        return taken.lane

    def _follow(self, manifest: Manifest, sums: ltx.PageChecksums | None) -> bool:
        """Follow commits from here on; False where the content is not the manifest's."""
        follows = self._commits.follow(manifest, sums)
        if follows:
            self.files.mark_open(str(self.address))
        return follows

    def _committed(self, txid: int) -> None:
        self._commits.head = txid
        self.copy.written = True
        if not self._dirty:
            self._mark_dirty()
        elif not self._hurried and self._commits.log_bytes > self._parts.options.ship_wal_bytes:
            self._hurried = True
            self._parts.hurry(self.key)

    def _mark_dirty(self) -> None:
        self._dirty = True
        self._parts.dirty(self.key)

    # -- in the lane ------------------------------------------------------------------------------

    def ship_or_own(self) -> None:
        """Ship what is committed, also what an earlier process left; only in the lane."""
        with self._progress:
            self._ship_waiting = None
        if self._lane is None and self.copy.is_ahead:
            # Another node may have gone on without it since it was looked at.
            self.copy.look_anew()
            self.open()
            if self.copy.is_ahead:
                self.own()
        self.ship()

    def ship(self) -> None:
        """Ship what is committed now; only in the lane."""
        try:
            self._ship()
        except BaseException:
            # Whatever it was: it is tried again.
            if self.unshipped:
                self._mark_dirty()
            raise

    def fold(self) -> None:
        """Make one snapshot of the head and what it consists of; only in the lane."""
        self._ship(whole=True)

    def empty_log(self) -> bool:
        """Leave no old page in the log: only in the lane. False where somebody reads."""
        with self.local.writers_place(self._parts.options.patience):
            return self._commits.fold_log()

    def _ship(self, *, whole: bool = False) -> None:
        now_ms = self._parts.clock.now_ms()
        with self.local.writers_place(self._parts.options.patience):
            self._dirty = self._hurried = False
            if not whole and not self.unshipped:
                return
            lane = self._hold()
            followed = self._commits.followed
            segment = self._commits.collect(lane.manifest.txid, now_ms, whole=whole)
            if segment is None:
                return
        piece = piece_of(segment, now_ms)
        self.drive_lane(lambda lane: (rebase if segment.min_txid == 1 else ship)(lane, piece))
        with self.local.writers_place(self._parts.options.patience):
            self._commits.has_shipped(segment, followed)
        self.files.note_shipped(piece.max, piece.checksum)
        self._parts.shipments.tell(self.key, lane.manifest, piece.data)
        self._parts.metrics.add("segments_shipped")
        self._parts.metrics.add("segment_bytes_shipped", len(piece.data))
        if is_crowded(lane.manifest, SEGMENTS_MAX):
            # Who keeps the manifest short does it now, not at the next shipment of its own.
            self._parts.hurry(self.key)

    def _lose(self, manifest: Manifest) -> None:
        """Another node owns the branch, or it was deleted: stop; set aside what is only here."""
        self._note_loss(manifest)
        try:
            self.open()
        except Error as error:
            _LOG.warning("%s: %s", self.name, error)

    def _note_loss(self, manifest: Manifest) -> None:
        parts = self._parts
        note_fenced(self.name, parts.node, manifest)
        parts.metrics.add("branches_fenced")
        # Where there are leases, they say when this node may have it back.
        pause = parts.options.fenced_pause if parts.claims is None else 0.0
        self._fence = Fence(manifest, parts.clock.monotonic() + pause)
        self._drop_lane()

    def _drop_lane(self) -> None:
        with self.local.writers_place(self._parts.options.patience):
            self._lane = None
            self._dirty = self._hurried = False
            self._commits.drop()
            self.copy.close()

    # -- small things -----------------------------------------------------------------------------

    def _refuse_durable(self, _: apsw.Connection) -> Any:
        raise unanswered(self.name, _BROKEN_SECONDS)

    def _check_fence(self) -> None:
        if self._fence is not None and self._parts.clock.monotonic() < self._fence.until:
            raise self._fence_error()

    def _fence_error(self, **details: Any) -> Unavailable:
        parts = self._parts
        return fenced(self.name, parts.node, self._fence, parts.clock.monotonic(), **details)
