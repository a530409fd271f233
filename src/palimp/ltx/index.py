"""The page index: where in the file each page's frame is, so that one page can be read alone.

For each page in order three unsigned LEB128 numbers: page number, offset of its frame, bytes of
the whole frame. A zero ends them. Then 8 bytes: how many bytes the entries and the zero take.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .damage import damaged
from .header import Header
from .layout import (
    END_OF_PAGES,
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    INDEX_SIZE_BYTES,
    lock_page,
    page_count,
    payload_bytes_max,
)

__all__ = ["Entry", "decode_index", "encode_index"]

# 32 bits of page number, 63 of offset: nothing in an index needs a longer number.
_VARINT_BYTES_MAX = 9
_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


class Entry(NamedTuple):
    """One page of an index."""

    pgno: int
    offset: int
    size: int


def encode_index(entries: Iterable[tuple[int, int, int]]) -> bytes:
    """Return the index with its size."""
    numbers = [_encode_varint(number) for entry in entries for number in entry]
    numbers.append(_ONE_BYTE[0])
    body = b"".join(numbers)
    return body + len(body).to_bytes(INDEX_SIZE_BYTES, "big")


def decode_index(data: bytes, header: Header, offset: int) -> list[Entry]:
    """Return the entries of an index, without its size, that begins at `offset` of its file.

    Checks all that can be known without the frames: that pages ascend and are pages of the
    database, and that the frames lie one behind the other from the header up to the index.
    """
    numbers = _decode_varints(data, header, offset)
    if len(numbers) % 3 != 1 or numbers[-1] != 0:
        raise damaged("the page index has no end", offset=offset, txids=header.txids)
    entries = [Entry(*numbers[at : at + 3]) for at in range(0, len(numbers) - 1, 3)]
    end, last = HEADER_BYTES, 0
    frame_bytes_max = FRAME_HEADER_BYTES + payload_bytes_max(header.page_size)
    lock = lock_page(header.page_size)
    for pgno, start, size in entries:
        if not last < pgno <= header.commit or pgno == lock:
            raise damaged(f"the page index has page {pgno}", offset=offset, txids=header.txids)
        if start != end or not FRAME_HEADER_BYTES < size <= frame_bytes_max:
            raise damaged(
                f"the page index has no right place for page {pgno}",
                offset=offset,
                txids=header.txids,
                expected=end,
                found=start,
            )
        end, last = start + size, pgno
    if end + len(END_OF_PAGES) != offset:
        raise damaged(
            "the page index does not begin where the pages end",
            offset=offset,
            txids=header.txids,
            expected=end + len(END_OF_PAGES),
            found=offset,
        )
    wanted = page_count(header.commit, header.page_size)
    if header.is_snapshot and len(entries) != wanted:
        raise damaged(
            "the page index of a snapshot has not every page",
            offset=offset,
            txids=header.txids,
            expected=wanted,
            found=len(entries),
        )
    return entries


def _encode_varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x20_0000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _decode_varints(data: bytes, header: Header, offset: int) -> list[int]:
    """Return all numbers; each must be written in the fewest bytes, so that there is one way."""
    numbers = []
    value = shift = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        if byte >= 0x80:
            shift += 7
            if shift < 7 * _VARINT_BYTES_MAX:
                continue
        elif byte or not shift:
            numbers.append(value)
            value = shift = 0
            continue
        raise damaged(
            "a number of the page index has too many bytes", offset=offset + at, txids=header.txids
        )
    if shift:
        raise damaged(
            "the page index ends inside a number", offset=offset + len(data), txids=header.txids
        )
    return numbers
