"""The commits of an owned branch's local file, followed so that they can be shipped."""

from __future__ import annotations

from typing import NamedTuple

from .. import ltx
from .capture import Capture, Segment
from .files import BranchFiles
from .local_database import LocalDatabase
from .options import Options
from .pieces import collected
from .protocol import Manifest

__all__ = ["Boundary", "Commits", "last_boundary"]


class Boundary(NamedTuple):
    """A txid at which a kept segment ends, and when that was (ms)."""

    txid: int
    at: int


def last_boundary(manifest: Manifest) -> Boundary:
    """Return the head of a branch as the store has it."""
    chain = manifest.chain()
    return Boundary(manifest.txid, chain[-1].at if chain else 0)


class Commits:
    """Follows what is committed from the shipped state on; everything in the writer's place.

    `head` is the last txid that was committed, `shipped` the last one that the store has.
    """

    def __init__(self, files: BranchFiles, local: LocalDatabase, options: Options) -> None:
        self.head = 0
        self.shipped = 0
        self._files = files
        self._local = local
        self._options = options
        self._capture: Capture | None = None
        self._wal_mark = 0

    @property
    def is_followed(self) -> bool:
        """Whether it listens to the connection that commits.

        A rollback that failed, or a park that a write overtook, leave it with a closed one.
        """
        return self._capture is not None and self._capture.follows(self._local.writer())

    @property
    def log_bytes(self) -> int:
        """How much was written since what is being shipped was collected."""
        return 0 if self._capture is None else self._capture.wal_bytes - self._wal_mark

    @property
    def backlog_bytes(self) -> int:
        """About how many bytes wait to be shipped."""
        capture = self._capture
        if capture is None:
            return 0
        return max(0, capture.wal_bytes - self._wal_mark) + capture.backlog_bytes

    def follow(self, manifest: Manifest, sums: ltx.PageChecksums | None) -> bool:
        """Follow commits from here on; False where the content is not the manifest's."""
        path = self._files.current()
        assert path is not None
        self.drop()
        writer = self._local.writer()
        self.head = self._local.txid()
        if self.head < manifest.txid:
            return False
        capture = Capture(writer, path)
        if self.head == manifest.txid and self.head:
            known = self._files.read_clean(path, self.head) if sums is None else sums
            if capture.start_from_image(known) != manifest.checksum:
                capture.close()
                return False
        self._capture = capture
        self.shipped = manifest.txid
        self._wal_mark = capture.wal_bytes
        return True

    def collect(self, shipped: int, now_ms: int, *, whole: bool) -> Segment | None:
        """Return what was committed after `shipped`, or all there is; None if that is nothing."""
        capture = self._capture
        if capture is None or not (whole or self.head > shipped):
            return None
        if whole:
            segment = capture.snapshot(self.head, now_ms)
        else:
            segment = collected(capture, shipped, self.head, now_ms)
        self._wal_mark = capture.wal_bytes
        return segment

    def has_shipped(self, segment: Segment, followed: Capture | None) -> None:
        """Note that the store has a segment that `followed` gave; shorten a long log."""
        self.shipped = segment.max_txid
        capture = self._capture
        if capture is None or capture is not followed:
            return
        capture.shipped(segment)
        if capture.wal_bytes > self._options.wal_bytes:
            is_folded = capture.fold_wal(shorten=False)
            if not is_folded and capture.wal_bytes > self._options.wal_bytes_max:
                self._local.interrupt_long_reads(self._options.read_seconds_max)
            self._wal_mark = capture.wal_bytes

    @property
    def followed(self) -> Capture | None:
        """What is followed now: another one after the file was changed for another."""
        return self._capture

    def fold_log(self) -> bool:
        """Leave no old page in the log; False where somebody reads, or nothing is followed."""
        return self._capture is not None and self._capture.fold_wal()

    def finish(self, *, whole: bool) -> ltx.PageChecksums | None:
        """Follow no more; the page checksums where the file is then exactly what was shipped.

        `whole` says that nothing of it is unshipped.
        """
        capture = self._capture
        if capture is None:
            return None
        self._capture = None
        try:
            known = whole and not capture.needs_snapshot
            sums = capture.page_checksums() if known else None
            return sums if capture.fold_wal() else None
        finally:
            capture.close()

    def drop(self) -> None:
        """Follow no more, whatever the file is."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None
