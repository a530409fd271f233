"""What commits changed since a database was last shipped, as segments and snapshots.

The pages come from the write-ahead log. Whether they are all there is asked three times: SQLite's
count of frames against the hook's, the salts of every frame, and for each snapshot its checksum
against the one that was followed page by page. Where any of them differs a snapshot starts afresh.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from .. import ltx
from ..errors import Internal
from .faults import sqlite_faults
from .wal import Commit, Wal, committed_image, file_pages, pages_of

__all__ = ["Capture", "Segment"]


class Segment(NamedTuple):
    """A segment or snapshot in LTX, and what a manifest says of it (`checksum` as 16 hex digits).

    `pages` is how many it holds, `commit_pages` how many the database has after it.
    """

    data: bytes
    min_txid: int
    max_txid: int
    pages: int
    commit_pages: int
    checksum: str


class Capture:
    """Collects what commits changed since the last shipped state, each page in its latest state.

    Of a new one nothing is shipped: either `start_from_image`, or ship a `snapshot`. From then on
    `commit_seen` follows every COMMIT, and rollbacks leave no trace. Nothing of a commit is left
    out of a segment unnoticed: `Internal` is raised once, and from then on `needs_snapshot`.

    For the one thread in the writer's place, outside of transactions. The connection is in WAL
    mode and never sees `PRAGMA wal_autocheckpoint`, which would replace the hook; nobody else
    writes to the file, and other connections to it close first.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._name = str(path)
        self._path = path
        self._connection = connection
        with sqlite_faults(self._name):
            mode = connection.pragma("journal_mode")
            assert mode == "wal", f"{path} is in journal mode {mode}, not wal"
            self._page_size: int = connection.pragma("page_size")
            self._wal = Wal(connection, path, self._page_size)
        # Why nothing can be followed; None while everything is.
        self._lost: str | None = "nothing of it was shipped yet"
        # The checksum of the shipped state; None while only a snapshot can be shipped.
        self._base: int | None = None
        # Of the state at the last segment; `_since` are the pages committed after it.
        self._sums = ltx.PageChecksums(self._page_size)
        self._since: set[int] = set()
        self._pages: dict[int, bytes] = {}
        self._size = 0
        self._outstanding: Segment | None = None

    @property
    def needs_snapshot(self) -> bool:
        """Whether a snapshot has to be shipped before a segment can be."""
        return self._base is None

    def follows(self, connection: apsw.Connection) -> bool:
        """Whether these are the commits of this connection."""
        return self._connection is connection

    @property
    def backlog_pages(self) -> int:
        """How many pages are committed and not shipped; never more than the database has."""
        return len(self._pages)

    @property
    def backlog_bytes(self) -> int:
        """How many bytes these pages have, which are in memory."""
        return len(self._pages) * self._page_size

    @property
    def wal_bytes(self) -> int:
        """About how long the log is, by which the caller decides when to fold it."""
        return self._wal.size

    def start_from_image(self, sums: ltx.PageChecksums | None = None) -> str:
        """Take the committed content for the shipped state; return its checksum.

        To be compared with the manifest's. `sums` are its page checksums where a restore or a
        clean close left them (they are trusted); else all of it is read.
        """
        self._check_place()
        with sqlite_faults(self._name):
            # Counted before it is read: what comes in between is collected once more, not lost.
            frames = self._wal.frames()
            pages = self._connection.pragma("page_count")
            if sums is None:
                sums = ltx.PageChecksums.of(committed_image(self._connection), self._page_size)
            if sums.page_size != self._page_size or len(sums) != pages:
                raise Internal(
                    f"{self._name} has {pages} pages of {self._page_size} bytes; the checksums "
                    f"are of {len(sums)} of {sums.page_size}"
                )
            self._begin(sums.copy(), frames)
        self._base = sums.checksum
        return _text(self._base)

    def commit_seen(self) -> None:
        """Collect what was committed since the last call; to be called after every COMMIT.

        May be called at any time. After `Unavailable` (the disk) the next call makes up for it.
        """
        self._check_place()
        if self._lost is not None:
            return
        try:
            with sqlite_faults(self._name):
                for commit in self._wal.commits():
                    self._merge(commit)
        except Internal as error:
            self._lose(error.message)
            raise

    def page_checksums(self) -> ltx.PageChecksums:
        """Return the checksums of the committed content, to be stored at a clean close."""
        self.commit_seen()
        self._summarise()
        return self._sums.copy()

    def segment(self, min_txid: int, max_txid: int, timestamp_ms: int, node: int = 0) -> Segment:
        """Return the backlog as a segment that continues the shipped state.

        Nothing counts as shipped before `shipped`: another call, or a snapshot, gives all of it
        once more and withdraws this one.
        """
        assert 1 < min_txid <= max_txid, "a segment of txid 1 would be a snapshot"
        self.commit_seen()
        self._summarise()
        if self._base is None:
            raise Internal(f"{self._name} needs a snapshot: none of it is shipped yet")
        header = ltx.Header(
            page_size=self._page_size,
            commit=self._size,
            min_txid=min_txid,
            max_txid=max_txid,
            timestamp_ms=timestamp_ms,
            pre_apply_checksum=self._base,
            node_id=node,
        )
        data = ltx.encode(header, sorted(self._pages.items()), self._sums.checksum)
        return self._hand_out(data, min_txid, max_txid, len(self._pages))

    def snapshot(self, max_txid: int, timestamp_ms: int, node: int = 0) -> Segment:
        """Return the committed content as a snapshot, page for page as it lies in the file.

        Content that was followed must have the checksum that was followed: else `Internal`, and
        the next call starts afresh. Holds in memory what it returns; the database as well where it
        was not followed yet, or somebody reads what the log has not been folded under.
        """
        self.commit_seen()
        made = io.BytesIO()
        try:
            content = self._content()
            with sqlite_faults(self._name):
                trailer = ltx.encode_snapshot(
                    content,
                    made.write,
                    page_size=self._page_size,
                    commit=self._size,
                    max_txid=max_txid,
                    timestamp_ms=timestamp_ms,
                    node_id=node,
                )
            self._check_followed(trailer.post_apply_checksum)
        except Internal as error:
            self._lose(error.message)
            raise
        pages = self._size - (self._size >= ltx.lock_page(self._page_size))
        return self._hand_out(made.getvalue(), 1, max_txid, pages)

    def shipped(self, segment: Segment) -> None:
        """The segment is linked: the next one continues its state.

        What was committed since it was made stays in the backlog.
        """
        if self._lost is not None:
            return
        assert segment is self._outstanding, "not the segment that was made last"
        self._outstanding = None
        self._base = int(segment.checksum, 16)
        self._pages = {pgno: self._pages[pgno] for pgno in self._since}

    def fold_wal(self, *, shorten: bool = True) -> bool:
        """Write the log into the database file; False, at once, if somebody reads.

        To `shorten` it is to empty it too; who goes on writing keeps the space it has. Only when
        every commit was collected. Of a busy handler only a time-out is put back.
        """
        self.commit_seen()
        with sqlite_faults(self._name):
            return self._wal.fold(shorten=shorten)

    def close(self) -> None:
        """Let go of the log; the connection stays open and will not checkpoint when it closes."""
        self._wal.close()
        self._lose("it was closed")

    def _merge(self, commit: Commit) -> None:
        size, pages = commit.size, commit.pages
        if size > self._size:
            # A page that was cut off and came back unwritten would keep an older state.
            lock = ltx.lock_page(self._page_size)
            for pgno in range(self._size + 1, size + 1):
                if pgno not in pages and pgno != lock:
                    raise Internal(
                        f"{self._name} grew from {self._size} to {size} pages without page {pgno}"
                    )
        elif size < self._size:
            self._pages = {pgno: page for pgno, page in self._pages.items() if pgno <= size}
            self._since = {pgno for pgno in self._since if pgno <= size}
        if max(pages) > size:
            pages = {pgno: page for pgno, page in pages.items() if pgno <= size}
        self._pages.update(pages)
        self._since.update(pages)
        self._size = size

    def _content(self) -> Iterator[bytes | memoryview]:
        """Return the committed pages in order; where they were not followed, begin with them."""
        known = self._lost is None
        with sqlite_faults(self._name):
            if known:
                self._summarise()
                size = self._connection.pragma("page_count")
                if size != self._size:
                    raise Internal(f"{self._name} has {size} pages; its commits wrote {self._size}")
                # With all of the log in the file, and this the writer's place, it stays as it is.
                if self._wal.fold(shorten=False):
                    return file_pages(self._path, self._page_size, self._size)
            frames = 0 if known else self._wal.frames()
            image = committed_image(self._connection, known=known)
            if not known:
                self._begin(ltx.PageChecksums.of(image, self._page_size), frames)
        # Reading all of it has filled the cache with what nobody else may ever want.
        self._connection.release_memory()
        return pages_of(image, self._page_size)

    def _check_followed(self, checksum: int) -> None:
        """Raise `Internal` unless this is the checksum of what the commits made."""
        if checksum != self._sums.checksum:
            raise Internal(
                f"{self._name} has {self._size} pages of checksum {_text(checksum)}; what its "
                f"commits wrote makes {_text(self._sums.checksum)}"
            )

    def _begin(self, sums: ltx.PageChecksums, frames: int) -> None:
        """Follow commits from here on: `sums` are of the content, `frames` of the log are in it."""
        self._wal.begin(frames)
        self._lose("")
        self._lost = None
        self._sums, self._size = sums, len(sums)

    def _lose(self, why: str) -> None:
        self._lost = why
        self._base = self._outstanding = None
        self._pages, self._since = {}, set()

    def _summarise(self) -> None:
        """Bring the page checksums up to date: once a segment, not once a commit."""
        if self._lost is not None:
            raise Internal(f"{self._name} needs a snapshot: {self._lost}")
        for pgno in sorted(self._since):
            self._sums.write(pgno, self._pages[pgno])
        self._sums.resize(self._size)

    def _check_place(self) -> None:
        assert not self._connection.in_transaction, "between transactions only"

    def _hand_out(self, data: bytes, min_txid: int, max_txid: int, pages: int) -> Segment:
        self._since.clear()
        self._outstanding = Segment(
            data, min_txid, max_txid, pages, self._size, _text(self._sums.checksum)
        )
        return self._outstanding


def _text(checksum: int) -> str:
    return f"{checksum:016x}"
