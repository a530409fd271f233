"""Reading a segment: header, pages in ascending order, close.

Everything is checked on the way; what the pages' bytes are worth is known only after `close`, which
compares the file checksum. Who cannot take pages back reads through to `close` first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import Error, Internal
from .checksum import Bytes, crc, page_checksum
from .compression import decompress
from .damage import damaged, unreadable
from .header import Header, Trailer
from .index import Entry, encode_index
from .layout import (
    CHECKSUM_FLAG,
    END_OF_PAGES,
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    INDEX_BYTES_MIN,
    PAGE_FLAG_SIZE,
    TRAILER_BYTES,
    lock_page,
    page_count,
    payload_bytes_max,
)

__all__ = ["Decoder", "Frame", "Segment", "decode", "decode_frame"]

_FRAME = struct.Struct(">IHI")
# How an LZ4 frame begins. Version 2 has one after the page number, early writers of version 3
# after six bytes; we read neither.
_LZ4_FRAME_MAGIC = b"\x04\x22\x4d\x18"
# After the last frame there is more than a frame header, so reading one never passes the end.
assert len(END_OF_PAGES) + INDEX_BYTES_MIN + TRAILER_BYTES >= FRAME_HEADER_BYTES


class Frame(NamedTuple):
    """One page of a segment, and the LZ4 block it is stored as."""

    pgno: int
    page: bytes
    payload: memoryview


class Segment(NamedTuple):
    """A whole segment, checked."""

    header: Header
    pages: dict[int, bytes]
    entries: list[Entry]
    trailer: Trailer


class Decoder:
    """Decodes one segment that lies in memory; nothing is copied before it is asked for.

    Raises `Invalid` where `data` is no segment, `Internal` where it is damaged.
    """

    __slots__ = ("_crc", "_data", "_entries", "_folded", "_is_at_end", "_lock", "_offset", "header")

    def __init__(self, data: Bytes) -> None:
        self._data = memoryview(data)
        self.header = Header.decode(self._data)
        self._crc = crc(self._data[:HEADER_BYTES])
        self._offset = HEADER_BYTES
        self._entries: list[Entry] = []
        self._folded = 0
        self._is_at_end = False
        self._lock = lock_page(self.header.page_size)

    def frames(self) -> Iterator[Frame]:
        """Yield the pages in ascending order; may be asked for once."""
        assert self._offset == HEADER_BYTES, "the pages were read already"
        header = self.header
        is_summed = header.is_snapshot and header.has_checksums
        last = 0
        while not self._ends_here():
            start = self._offset
            pgno, frame_header, payload = self._frame(start)
            self._check_order(pgno, last)
            page = decompress(payload, header.page_size)
            if page is None:
                raise self._damaged(f"what is stored of page {pgno} is not one page", start)
            self._crc = crc(page, crc(frame_header, self._crc))
            if is_summed:
                self._folded ^= page_checksum(pgno, page)
            size = FRAME_HEADER_BYTES + len(payload)
            self._entries.append(Entry(pgno, start, size))
            self._offset = start + size
            last = pgno
            yield Frame(pgno, page, payload)
        wanted = page_count(header.commit, header.page_size)
        if header.is_snapshot and len(self._entries) != wanted:
            raise self._damaged(
                "a snapshot has not every page", self._offset, wanted, len(self._entries)
            )
        self._offset += len(END_OF_PAGES)
        self._is_at_end = True

    @property
    def entries(self) -> list[Entry]:
        """The pages read so far, and where they are."""
        return self._entries

    def close(self) -> Trailer:
        """Check what follows the pages, to the last byte; nothing may follow the trailer."""
        assert self._is_at_end, "the pages come before close"
        header, data = self.header, self._data
        index = encode_index(self._entries)
        index_end = self._offset + len(index)
        self._check_index(index)
        self._check_length(index_end + TRAILER_BYTES)
        trailer = Trailer.decode(data[index_end:])
        problem = next(trailer.problems(header), None)
        if problem is not None:
            raise self._damaged(problem, index_end)
        sealed = crc(index, crc(END_OF_PAGES, self._crc))
        sealed = crc(trailer.post_apply_checksum.to_bytes(8, "big"), sealed) | CHECKSUM_FLAG
        if sealed != trailer.file_checksum:
            raise self._damaged(
                "its content does not have the file checksum",
                index_end + 8,
                trailer.file_checksum,
                sealed,
            )
        if header.is_snapshot and header.has_checksums:
            found = self._folded | CHECKSUM_FLAG
            if found != trailer.post_apply_checksum:
                raise self._damaged(
                    "its pages do not have the database checksum",
                    index_end,
                    trailer.post_apply_checksum,
                    found,
                )
        return trailer

    def _ends_here(self) -> bool:
        end = self._offset + len(END_OF_PAGES)
        return self._data[self._offset : end] == END_OF_PAGES

    def _frame(self, start: int) -> tuple[int, memoryview, memoryview]:
        """Return page number, frame header and payload of the frame at `start`."""
        data = self._data
        payload_start = start + FRAME_HEADER_BYTES
        if payload_start > len(data):
            raise self._damaged("it ends inside its pages", len(data))
        pgno, flags, size = _FRAME.unpack_from(data, start)
        if flags != PAGE_FLAG_SIZE or not pgno:
            raise self._bad_frame(start, pgno, flags)
        if not 0 < size <= payload_bytes_max(self.header.page_size):
            raise self._damaged(f"page {pgno} cannot take {size} bytes", start)
        if payload_start + size > len(data):
            raise self._damaged(f"it ends inside page {pgno}", len(data))
        return pgno, data[start:payload_start], data[payload_start : payload_start + size]

    def _bad_frame(self, start: int, pgno: int, flags: int) -> Error:
        follows = bytes(self._data[start + 4 : start + 10])
        if follows.startswith(_LZ4_FRAME_MAGIC) or follows[2:] == _LZ4_FRAME_MAGIC:
            raise unreadable(
                "this LTX file stores its pages as LZ4 frames: version 2, or an early version 3; "
                "only version 3 with LZ4 blocks is supported",
                offset=start,
            )
        return self._damaged(f"page {pgno} with flags 0x{flags:x} cannot be", start)

    def _check_order(self, pgno: int, last: int) -> None:
        header = self.header
        if last < pgno <= header.commit and pgno != self._lock:
            if not header.is_snapshot:
                return
            wanted = last + 1 + (last + 1 == self._lock)
            if pgno == wanted:
                return
            raise self._damaged("a snapshot lacks a page", self._offset, wanted, pgno)
        where = f"after page {last}, in a database of {header.commit} pages"
        raise self._damaged(f"page {pgno} cannot come {where}", self._offset)

    def _check_index(self, expected: bytes) -> None:
        found = bytes(self._data[self._offset : self._offset + len(expected)])
        if found == expected:
            return
        pairs = enumerate(zip(expected, found, strict=False))
        differs = next((at for at, (one, other) in pairs if one != other), len(found))
        what = "the page index is not that of the pages"
        if differs == len(found):
            what = "it ends inside its page index"
        raise self._damaged(what, self._offset + differs)

    def _check_length(self, expected: int) -> None:
        if len(self._data) != expected:
            short = len(self._data) < expected
            what = "it ends inside its trailer" if short else "something follows its trailer"
            raise self._damaged(what, min(len(self._data), expected), expected, len(self._data))

    def _damaged(
        self, what: str, offset: int, expected: object = None, found: object = None
    ) -> Internal:
        return damaged(what, offset=offset, txids=self.header.txids, expected=expected, found=found)


def decode(data: Bytes) -> Segment:
    """Return a whole segment, checked."""
    decoder = Decoder(data)
    pages = {pgno: page for pgno, page, _ in decoder.frames()}
    trailer = decoder.close()
    return Segment(decoder.header, pages, decoder.entries, trailer)


def decode_frame(data: Bytes, header: Header, entry: Entry) -> bytes:
    """Return the page of one frame that was read by its index entry.

    That it is the page the index promised, and exactly one page, is all a frame alone can show: its
    content is covered by checksums of the whole segment and of the database only.
    """
    where = f"the frame of page {entry.pgno}"
    assert len(data) == entry.size, f"{len(data)} bytes are not the frame of {entry}"
    pgno, flags, size = _FRAME.unpack_from(data)
    wanted = (entry.pgno, PAGE_FLAG_SIZE, entry.size - FRAME_HEADER_BYTES)
    if (pgno, flags, size) != wanted:
        raise damaged(
            f"{where} begins with other numbers",
            offset=entry.offset,
            txids=header.txids,
            expected=wanted,
            found=(pgno, flags, size),
        )
    page = decompress(memoryview(data)[FRAME_HEADER_BYTES:], header.page_size)
    if page is None:
        raise damaged(f"{where} is not one page", offset=entry.offset, txids=header.txids)
    return page
