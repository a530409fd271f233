"""The fixed parts of a segment: header and trailer.

Both know their rules: `problems()` yields one plain message a rule that is broken. The encoder
asserts that there is none, the decoder raises the first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from .checksum import EMPTY_DATABASE, Bytes
from .damage import Txids, damaged, unreadable
from .layout import (
    CHECKSUM_FLAG,
    FLAG_NO_CHECKSUM,
    HEADER_BYTES,
    INTEGER_MAX,
    MAGIC,
    PAGE_BYTES_MAX,
    PAGE_BYTES_MIN,
    RESERVED_BYTES,
    SNAPSHOT_MIN_TXID,
    TRAILER_BYTES,
    is_page_size,
)

__all__ = ["Header", "Trailer"]

_HEADER = struct.Struct(f">4s3I6Q2IQ{RESERVED_BYTES}s")
_TRAILER = struct.Struct(">2Q")
_NOTHING_RESERVED = bytes(RESERVED_BYTES)
_UINT32_MAX = (1 << 32) - 1
_UINT64_MAX = (1 << 64) - 1
assert _HEADER.size == HEADER_BYTES
assert _TRAILER.size == TRAILER_BYTES


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment does: 100 bytes.

    | offset | size | field |
    | --- | --- | --- |
    | 0 | 4 | `LTX1` |
    | 4 | 4 | `flags` |
    | 8 | 4 | `page_size` |
    | 12 | 4 | `commit`: pages of the database after it |
    | 16 | 8 | `min_txid` |
    | 24 | 8 | `max_txid` |
    | 32 | 8 | `timestamp_ms` since 1970 |
    | 40 | 8 | `pre_apply_checksum`: of the database before it |
    | 48 | 8 | `wal_offset` |
    | 56 | 8 | `wal_size` |
    | 64 | 4 | `wal_salt_1` |
    | 68 | 4 | `wal_salt_2` |
    | 72 | 8 | `node_id` |
    | 80 | 20 | zero |
    """

    page_size: int
    commit: int
    min_txid: int
    max_txid: int
    timestamp_ms: int = 0
    pre_apply_checksum: int = 0
    flags: int = 0
    wal_offset: int = 0
    wal_size: int = 0
    wal_salt_1: int = 0
    wal_salt_2: int = 0
    node_id: int = 0

    @property
    def is_snapshot(self) -> bool:
        """Whether it holds the whole database: it begins with the first transaction."""
        return self.min_txid == SNAPSHOT_MIN_TXID

    @property
    def has_checksums(self) -> bool:
        """Whether it says what the database is before and after it."""
        return not self.flags & FLAG_NO_CHECKSUM

    @property
    def txids(self) -> Txids:
        """The first and the last txid."""
        return self.min_txid, self.max_txid

    def problems(self) -> Iterator[str]:
        """Yield every rule it breaks, as a message."""
        if self.flags & ~FLAG_NO_CHECKSUM:
            yield f"flags 0x{self.flags:x} are not known; only 0x2 is"
        if not is_page_size(self.page_size):
            limits = f"{PAGE_BYTES_MIN} to {PAGE_BYTES_MAX}"
            yield f"page size {self.page_size} is no power of two from {limits}"
        if not 0 <= self.commit <= _UINT32_MAX:
            yield f"a database of {self.commit} pages cannot be"
        if not 0 < self.min_txid <= self.max_txid <= _UINT64_MAX:
            yield f"txids {self.min_txid} to {self.max_txid} are no range that begins at 1 or later"
        if not 0 <= self.timestamp_ms <= INTEGER_MAX:
            yield f"time {self.timestamp_ms} is no number of milliseconds since 1970"
        yield from self._checksum_problems()
        yield from self._wal_problems()
        if not 0 <= self.node_id <= _UINT64_MAX:
            yield f"node id {self.node_id} is not of 64 bits"

    def _checksum_problems(self) -> Iterator[str]:
        before = self.pre_apply_checksum
        if self.is_snapshot and before:
            yield "a snapshot has no pre-apply checksum"
        elif not self.is_snapshot and not self.has_checksums and before:
            yield "a segment without database checksums has no pre-apply checksum"
        elif not self.is_snapshot and self.has_checksums and not _is_checksum(before):
            yield f"pre-apply checksum {before:016x} has no bit 63 or too many bits"

    def _wal_problems(self) -> Iterator[str]:
        if not 0 <= self.wal_offset <= INTEGER_MAX or not 0 <= self.wal_size <= INTEGER_MAX:
            yield f"WAL offset {self.wal_offset} or size {self.wal_size} is not of 63 bits"
        if not self.wal_offset and self.wal_size:
            yield "a WAL size needs a WAL offset"
        if not self.wal_offset and (self.wal_salt_1 or self.wal_salt_2):
            yield "WAL salts need a WAL offset"
        if not all(0 <= salt <= _UINT32_MAX for salt in (self.wal_salt_1, self.wal_salt_2)):
            yield "a WAL salt is not of 32 bits"

    def encode(self) -> bytes:
        """Return its 100 bytes."""
        assert (problem := next(self.problems(), None)) is None, problem
        return _HEADER.pack(
            MAGIC,
            self.flags,
            self.page_size,
            self.commit,
            self.min_txid,
            self.max_txid,
            self.timestamp_ms,
            self.pre_apply_checksum,
            self.wal_offset,
            self.wal_size,
            self.wal_salt_1,
            self.wal_salt_2,
            self.node_id,
            bytes(RESERVED_BYTES),
        )

    @classmethod
    def decode(cls, data: Bytes) -> Header:
        """Return the header at the start of `data`.

        Raises `Invalid` where that is no segment or one of another version, `Internal` where it
        is damaged.
        """
        start = bytes(data[: len(MAGIC)])
        if start != MAGIC:
            raise unreadable(
                f"not an LTX file: it begins with {start!r}, not with {MAGIC!r}", found=start
            )
        if len(data) < HEADER_BYTES:
            raise damaged(
                "it ends inside its header",
                offset=len(data),
                expected=HEADER_BYTES,
                found=len(data),
            )
        _, flags, page_size, commit, *rest, reserved = _HEADER.unpack_from(data)
        if flags & ~FLAG_NO_CHECKSUM:
            raise unreadable(
                f"LTX flags 0x{flags:x} are not supported, only 0x2 is: "
                "damaged, or written by a newer release",
                found=flags,
            )
        if reserved != _NOTHING_RESERVED:
            raise unreadable(
                "bytes 80 to 99 of the LTX header are in use: "
                "damaged, or written by a newer release",
                found=reserved,
            )
        header = cls(
            page_size=page_size,
            commit=commit,
            min_txid=rest[0],
            max_txid=rest[1],
            timestamp_ms=rest[2],
            pre_apply_checksum=rest[3],
            flags=flags,
            wal_offset=rest[4],
            wal_size=rest[5],
            wal_salt_1=rest[6],
            wal_salt_2=rest[7],
            node_id=rest[8],
        )
        problem = next(header.problems(), None)
        if problem is not None:
            raise damaged(problem, offset=0, txids=header.txids)
        return header


class Trailer(msgspec.Struct, frozen=True):
    """What seals a segment: 16 bytes.

    | offset | size | field |
    | --- | --- | --- |
    | 0 | 8 | `post_apply_checksum`: of the database after it |
    | 8 | 8 | `file_checksum`: of all that is before it, pages uncompressed |
    """

    post_apply_checksum: int
    file_checksum: int

    def problems(self, header: Header) -> Iterator[str]:
        """Yield every rule it breaks, as a message."""
        after = self.post_apply_checksum
        if not header.has_checksums and after:
            yield "a segment without database checksums has no post-apply checksum"
        elif header.has_checksums and not _is_checksum(after):
            yield f"post-apply checksum {after:016x} has no bit 63 or too many bits"
        elif header.has_checksums and header.commit == 0 and after != EMPTY_DATABASE:
            yield f"post-apply checksum {after:016x} is not that of an empty database"
        if not _is_checksum(self.file_checksum):
            yield f"file checksum {self.file_checksum:016x} has no bit 63 or too many bits"

    def encode(self) -> bytes:
        """Return its 16 bytes."""
        return _TRAILER.pack(self.post_apply_checksum, self.file_checksum)

    @classmethod
    def decode(cls, data: Bytes) -> Trailer:
        """Return the trailer of exactly 16 bytes; whether it holds is asked with the header."""
        return cls(*_TRAILER.unpack(data))


def _is_checksum(value: int) -> bool:
    return CHECKSUM_FLAG <= value <= _UINT64_MAX
