"""Reading single pages of a segment that lies elsewhere, by its page index."""

from __future__ import annotations

from collections.abc import Callable

from .checksum import page_checksum
from .damage import damaged
from .decoder import decode_frame
from .header import Header, Trailer
from .index import Entry, decode_index
from .layout import (
    HEADER_BYTES,
    INDEX_BYTES_MIN,
    INDEX_SIZE_BYTES,
    SEGMENT_BYTES_MIN,
    TRAILER_BYTES,
)

__all__ = ["TAIL_READ_BYTES", "Pages"]

# Read at once from the end. The index of a thousand pages fits: most need no second read.
TAIL_READ_BYTES = 16_384
_ENDING_BYTES = INDEX_SIZE_BYTES + TRAILER_BYTES


class Pages:
    """The pages of a segment of `size` bytes, through `read(offset, length)`.

    Opening reads the header, and the end with index and trailer: two reads, a third for a long
    index, one in all for a short segment. Then each page is one read. A frame alone has no
    checksum: who keeps checksums of the pages hands the right one to `page`, others trust the
    store.
    """

    __slots__ = ("_entries", "_read", "header", "trailer")

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        if size < SEGMENT_BYTES_MIN:
            # Says "not an LTX file" rather than "damaged" where that is so.
            Header.decode(self._bytes(0, size))
            raise damaged("it is too short", offset=size, expected=SEGMENT_BYTES_MIN, found=size)
        tail_start = 0 if size <= TAIL_READ_BYTES else size - TAIL_READ_BYTES
        tail = self._bytes(tail_start, size - tail_start)
        start = tail[:HEADER_BYTES] if tail_start == 0 else self._bytes(0, HEADER_BYTES)
        self.header = header = Header.decode(start)
        ending = tail[-_ENDING_BYTES:]
        length = int.from_bytes(ending[:INDEX_SIZE_BYTES], "big")
        index_start = size - _ENDING_BYTES - length
        if index_start < SEGMENT_BYTES_MIN - INDEX_BYTES_MIN - TRAILER_BYTES or not length:
            raise damaged(
                f"its page index cannot take {length} bytes",
                offset=size - _ENDING_BYTES,
                txids=header.txids,
            )
        self.trailer = Trailer.decode(ending[INDEX_SIZE_BYTES:])
        problem = next(self.trailer.problems(header), None)
        if problem is not None:
            raise damaged(problem, offset=size - TRAILER_BYTES, txids=header.txids)
        if index_start >= tail_start:
            index = tail[index_start - tail_start : -_ENDING_BYTES]
        else:
            missing = self._bytes(index_start, tail_start - index_start)
            index = missing + tail[:-_ENDING_BYTES]
        entries = decode_index(index, header, index_start)
        self._entries = {entry.pgno: entry for entry in entries}

    def __contains__(self, pgno: int) -> bool:
        return pgno in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def index(self) -> list[Entry]:
        """The page index, in ascending order."""
        return list(self._entries.values())

    def page(self, pgno: int, checksum: int | None = None) -> bytes:
        """Return a page of the segment, with `checksum` compared where it is given."""
        assert pgno in self._entries, f"page {pgno} is not in this segment"
        entry = self._entries[pgno]
        page = decode_frame(self._bytes(entry.offset, entry.size), self.header, entry)
        if checksum is not None and (found := page_checksum(pgno, page)) != checksum:
            raise damaged(
                f"page {pgno} does not have its checksum",
                offset=entry.offset,
                txids=self.header.txids,
                expected=checksum,
                found=found,
            )
        return page

    def _bytes(self, offset: int, length: int) -> bytes:
        found = self._read(offset, length)
        if len(found) != length:
            raise damaged(
                "it is shorter than it was said to be",
                offset=offset + len(found),
                expected=length,
                found=len(found),
            )
        return found
