"""Reading what an SQLite connection committed: all of it, and commit by commit from its log."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import apsw

from ..errors import Internal, Unavailable

__all__ = ["Commit", "Wal", "committed_image", "file_pages", "pages_of"]

_HEADER_BYTES = 32
# Magic number, format version, page size, checkpoint number, salts; checksums follow.
_HEADER = struct.Struct(">4I8s")
# The magic number's last bit says how frame checksums are computed, which is not looked at.
_MAGIC = 0x377F0682
_FRAME_BYTES = 24
# Page number, size of the database after a commit (else 0), salts; checksums follow.
_FRAME = struct.Struct(">2I8s")
# A VACUUM writes the whole database: it passes through in pieces.
_READ_BYTES = 1 << 20
_RETRY_SECONDS = 1.0


class Commit(NamedTuple):
    """What one commit wrote, each page in its last state, and how many pages there are now."""

    size: int
    pages: dict[int, bytes]


class Wal:
    """Gives every commit once, from the log of the database at `path`.

    How far the log goes is SQLite's word, from the hook: what lies beyond in the file was rolled
    back or is of an earlier log. `Internal` where the log is not the one that was followed. Has a
    descriptor of its own, which is safe: SQLite puts no locks on this file. Frame checksums are
    not compared; the process that wrote the frames vouches for them.
    """

    def __init__(self, connection: apsw.Connection, path: Path, page_size: int) -> None:
        self._connection = connection
        self._path = path.with_name(f"{path.name}-wal")
        self._page_size = page_size
        self._descriptor = -1
        # Frames in the log: as the hook said, and of those the ones that were given.
        self._reported = 0
        self._given = 0
        self._pending = False
        self._is_folded = False
        self._salts = b""
        # Every frame may be in the database file already: then the next commit begins a new log.
        self._may_restart = True
        # The pragma takes the place of the hook, so it comes first. Both this and a close that
        # checkpoints would put frames into the file, and the log aside, before they are read.
        connection.pragma("wal_autocheckpoint", 0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_wal_hook(self._on_commit)

    @property
    def size(self) -> int:
        """About how many bytes the log has that are not in the database file."""
        return 0 if self._is_folded else self._reported * self._page_size

    def frames(self) -> int:
        """Return SQLite's own count of frames in the log."""
        return self._connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)[0]

    def begin(self, frames: int) -> None:
        """Give what comes after this many frames."""
        self._salts = self._read_salts() if frames else b""
        self._let_go()
        self._reported = self._given = frames
        self._pending = self._is_folded = False
        self._may_restart = True

    def commits(self) -> Iterator[Commit]:
        """Yield the commits that were not given yet; one counts as given when it was dealt with."""
        try:
            frames = self.frames()
        except (apsw.BusyError, apsw.LockedError):
            # A statement is still being read: the count can be compared another time.
            frames = self._reported
        if frames == 0 and self._may_restart and not self._pending:
            # A new log was begun, after a fold that met a reader, by a write that was rolled back.
            self._reported = self._given = 0
        elif frames != self._reported:
            raise self._untrusted("end", f"frame {self._reported}", f"frame {frames}")
        # The count alone does not tell: a new log may have as many frames as the old one.
        if not self._pending:
            return
        salts = self._read_salts()
        if salts != self._salts:
            if self._given and not self._may_restart:
                # Somebody else checkpointed, and what they wrote may be lost.
                raise self._untrusted("salts", self._salts.hex(), salts.hex())
            self._salts, self._given = salts, 0
        elif frames < self._given:
            raise self._untrusted("end", f"frame {self._given} or more", f"frame {frames}")
        for last, commit in self._commits(self._given, frames):
            yield commit
            self._given = last
        self._pending = self._may_restart = False
        # Kept only while it is read: a node has thousands of these open.
        self._let_go()

    def fold(self, *, shorten: bool) -> bool:
        """Write the log into the database file; False, at once, if somebody reads.

        To `shorten` it is to empty it too. Else the next commit begins it anew in the space it has,
        which takes a tenth less than making it grow again. Only when every commit was given. Of a
        busy handler only a time-out is put back.
        """
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if shorten else apsw.SQLITE_CHECKPOINT_RESTART
        connection = self._connection
        timeout = connection.pragma("busy_timeout")
        connection.set_busy_timeout(0)
        # Also where it fails: the frames may be written and only the log not be emptied.
        self._may_restart = True
        try:
            connection.wal_checkpoint("main", mode)
        except (apsw.BusyError, apsw.LockedError):
            return False
        finally:
            connection.set_busy_timeout(timeout)
        self._is_folded = True
        if shorten:
            self._reported = self._given = 0
        return True

    def close(self) -> None:
        """Let go of the hook and the file; the connection will not checkpoint when it closes."""
        with suppress(apsw.ConnectionClosedError):
            self._connection.set_wal_hook(None)
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _on_commit(self, _: apsw.Connection, database: str, frames: int) -> int:
        # Nothing here may raise: the commit has happened, and the caller would be told otherwise.
        if database == "main":
            self._is_folded = False
            self._reported = frames
            self._pending = True
        return apsw.SQLITE_OK

    def _commits(self, number: int, upto: int) -> Iterator[tuple[int, Commit]]:
        """Yield the commits of the frames after `number`, each with the number of its last."""
        stride = _FRAME_BYTES + self._page_size
        at_once = max(1, _READ_BYTES // stride)
        pages: dict[int, bytes] = {}
        while number < upto:
            count = min(at_once, upto - number)
            data = self._read(_HEADER_BYTES + number * stride, count * stride)
            for start in range(0, len(data), stride):
                number += 1
                pgno, size, salts = _FRAME.unpack_from(data, start)
                if salts != self._salts or not pgno:
                    raise self._untrusted(
                        f"frame {number} of page {pgno}", self._salts.hex(), salts.hex()
                    )
                # A page that was spilled to the log comes again if it changed again.
                pages[pgno] = data[start + _FRAME_BYTES : start + stride]
                if size:
                    yield number, Commit(size, pages)
                    pages = {}
        if pages:
            raise self._untrusted(f"frame {upto}", "the end of a commit", f"{len(pages)} pages")

    def _read_salts(self) -> bytes:
        """Return the salts of the log: they change whenever it begins anew."""
        magic, _, page_size, _, salts = _HEADER.unpack_from(self._read(0, _HEADER_BYTES))
        if magic & ~1 != _MAGIC or page_size != self._page_size:
            raise self._untrusted(
                "header",
                f"{_MAGIC:08x} and pages of {self._page_size} bytes",
                f"{magic:08x} and pages of {page_size} bytes",
            )
        return bytes(salts)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise Unavailable(
                f"{self._path}: the disk refused a read ({error.strerror}); what was committed is "
                "intact and is collected with the next commit",
                retry_after=_RETRY_SECONDS,
                reason="disk",
            ) from error
        if len(data) != size:
            raise self._untrusted(f"byte {offset}", f"{size} bytes", f"{len(data)} bytes")
        return data

    def _untrusted(self, where: str, expected: str, found: str) -> Internal:
        return Internal(
            f"{self._path} is not the log that was followed ({where}: expected {expected}, found "
            f"{found}); a snapshot starts afresh",
            where=where,
            expected=expected,
            found=found,
        )


def committed_image(connection: apsw.Connection, *, known: bool = False) -> bytes:
    """Return all pages as they lie in the file, the log included, read through the connection.

    `serialize` gives pages of zeros where the disk refuses to read, silently. So zeros are read
    again in a way that tells, unless the content is `known`: the caller compares its checksum.
    """
    image = connection.serialize("main")
    # What it returns where the first page cannot be read, whatever its type says.
    if not image:
        raise apsw.IOError("its first page cannot be read")
    if not known:
        size: int = connection.pragma("page_size")
        zeros = bytes(size)
        suspect = [n for n, page in enumerate(pages_of(image, size)) if page == zeros]
        if suspect:
            _check_zeros(connection, suspect, size)
    return image


def file_pages(path: Path, page_size: int, count: int) -> Iterator[bytes]:
    """Yield the first `count` pages of a database file that all of its log was folded into.

    Read as SQLite reads: closing a descriptor of our own would drop the locks of its connections.
    Raises `Internal` where the file is shorter.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB
    file = apsw.VFSFile("", str(path), [flags, 0])
    try:
        for start in range(0, count * page_size, page_size):
            page = file.xRead(page_size, start)
            if len(page) != page_size:
                raise Internal(f"{path} ends at byte {start + len(page)}, not with page {count}")
            yield page
    finally:
        file.xClose()


def pages_of(image: bytes, page_size: int) -> Iterator[memoryview]:
    """Return the pages of an image in order, without copying them."""
    view = memoryview(image)
    return (view[start : start + page_size] for start in range(0, len(image), page_size))


def _check_zeros(connection: apsw.Connection, suspect: list[int], size: int) -> None:
    copy = apsw.Connection(":memory:")
    try:
        with copy.backup("main", connection, "main") as backup:
            backup.step()
        again = copy.serialize("main")
    finally:
        copy.close()
    if any(again[n * size : (n + 1) * size].strip(b"\0") for n in suspect):
        raise apsw.IOError("its pages could be read only the second time")
