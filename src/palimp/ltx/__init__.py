"""The segment format, LTX version 3: bytes in, bytes out, no files and no network.

Described byte by byte in docs/internals/segment-format.md.
"""

from __future__ import annotations

from .access import Pages
from .apply import Position, apply, apply_pages
from .checksum import EMPTY_DATABASE, PageChecksums, database_checksum, page_checksum
from .compact import check_contiguous, compact, compact_to
from .decoder import Decoder, Frame, Segment, decode
from .encoder import Encoder, encode, encode_snapshot
from .header import Header, Trailer
from .index import Entry
from .layout import CHECKSUM_FLAG, FLAG_NO_CHECKSUM, SEGMENT_BYTES_MIN, is_page_size, lock_page
from .trusted import trusted_pages
from .verify import Verified, verify

__all__ = [
    "CHECKSUM_FLAG",
    "EMPTY_DATABASE",
    "FLAG_NO_CHECKSUM",
    "SEGMENT_BYTES_MIN",
    "Decoder",
    "Encoder",
    "Entry",
    "Frame",
    "Header",
    "PageChecksums",
    "Pages",
    "Position",
    "Segment",
    "Trailer",
    "Verified",
    "apply",
    "apply_pages",
    "check_contiguous",
    "compact",
    "compact_to",
    "database_checksum",
    "decode",
    "encode",
    "encode_snapshot",
    "is_page_size",
    "lock_page",
    "page_checksum",
    "trusted_pages",
    "verify",
]
