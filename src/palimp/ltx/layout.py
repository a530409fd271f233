"""Sizes and numbers of LTX version 3. All integers of the format are big-endian.

header | frame, frame, ... | six zero bytes | page index | trailer
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CHECKSUM_FLAG",
    "END_OF_PAGES",
    "FLAG_NO_CHECKSUM",
    "FRAME_HEADER_BYTES",
    "HEADER_BYTES",
    "INDEX_BYTES_MIN",
    "INDEX_SIZE_BYTES",
    "INTEGER_MAX",
    "LOCK_OFFSET",
    "MAGIC",
    "PAGE_BYTES_MAX",
    "PAGE_BYTES_MIN",
    "PAGE_FLAG_SIZE",
    "RESERVED_BYTES",
    "SEGMENT_BYTES_MIN",
    "SNAPSHOT_MIN_TXID",
    "TRAILER_BYTES",
    "is_page_size",
    "lock_page",
    "page_count",
    "payload_bytes_max",
]

MAGIC: Final = b"LTX1"
HEADER_BYTES: Final = 100
RESERVED_BYTES: Final = 20
# A frame begins with its page number (4), its flags (2) and the size of its payload (4).
FRAME_HEADER_BYTES: Final = 10
# A page number of zero and no flags: there is no size and no payload after it.
END_OF_PAGES: Final = bytes(6)
INDEX_SIZE_BYTES: Final = 8
# An index without entries: the zero that ends it, and its size.
INDEX_BYTES_MIN: Final = 1 + INDEX_SIZE_BYTES
TRAILER_BYTES: Final = 16
SEGMENT_BYTES_MIN: Final = HEADER_BYTES + len(END_OF_PAGES) + INDEX_BYTES_MIN + TRAILER_BYTES

FLAG_NO_CHECKSUM: Final = 1 << 1
PAGE_FLAG_SIZE: Final = 1 << 0
# Set in every checksum, so that none is ever zero; zero means that there is none.
CHECKSUM_FLAG: Final = 1 << 63
# Times, offsets and sizes are signed in the implementation that defines the format.
INTEGER_MAX: Final = (1 << 63) - 1

PAGE_BYTES_MIN: Final = 512
PAGE_BYTES_MAX: Final = 65_536
SNAPSHOT_MIN_TXID: Final = 1
# The byte SQLite locks. The page that holds it is never used, so no segment has it.
LOCK_OFFSET = 0x4000_0000


def is_page_size(value: int) -> bool:
    """Return whether SQLite knows pages of this size: a power of two from 512 to 65,536."""
    return PAGE_BYTES_MIN <= value <= PAGE_BYTES_MAX and value & (value - 1) == 0


def lock_page(page_size: int) -> int:
    """Return the number of the page that is never stored."""
    return LOCK_OFFSET // page_size + 1


def page_count(commit: int, page_size: int) -> int:
    """Return how many pages a snapshot of a database of `commit` pages holds."""
    return commit - (commit >= lock_page(page_size))


def payload_bytes_max(page_size: int) -> int:
    """Return the most bytes an LZ4 block of one page takes, incompressible content included."""
    return page_size + page_size // 255 + 16
