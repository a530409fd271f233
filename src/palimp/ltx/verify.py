"""Verifying a segment: reads all of it, keeps nothing.

The file checksum covers pages as they are, not as they are stored: of a payload it covers the
length and what it decompresses to. Some pages have several LZ4 blocks of one length (a match may
point at either of two equal places), so a changed byte can leave every checksum true. What a reader
gets is then right, but the file is not the one that was written. `verify` therefore compresses each
page again and wants the same bytes; for files of another writer that is switched off.
"""

from __future__ import annotations

from typing import NamedTuple

from .checksum import Bytes
from .compression import compress
from .damage import damaged
from .decoder import Decoder
from .header import Header, Trailer
from .layout import FRAME_HEADER_BYTES

__all__ = ["Verified", "verify"]


class Verified(NamedTuple):
    """What a sound segment is."""

    header: Header
    trailer: Trailer
    pages: int
    size: int


def verify(data: Bytes, *, foreign: bool = False) -> Verified:
    """Check every byte of a segment.

    Raises `Invalid` where it is no segment, or one of a version or with flags we do not know, and
    `Internal` where it is damaged: anything in its header, order, payloads, page index, trailer,
    file checksum, length, and for a snapshot its completeness and database checksum.

    `foreign` accepts payloads other than ours that decompress to the right page: files of other
    programs, or of an LZ4 library that compresses differently.
    """
    decoder = Decoder(data)
    header = decoder.header
    # Told last: a payload that is not ours is worth a word only where all else is right.
    not_ours: int | None = None
    for pgno, page, payload in decoder.frames():
        # As bytes: a memoryview is compared element by element.
        if not foreign and not_ours is None and bytes(payload) != compress(page):
            not_ours = pgno
    trailer = decoder.close()
    if not_ours is not None:
        offset = next(entry.offset for entry in decoder.entries if entry.pgno == not_ours)
        raise damaged(
            f"page {not_ours} decompresses to what it was, but from other bytes than ours would be "
            "(if the file is of another program or LZ4 library, verify it as foreign)",
            offset=offset + FRAME_HEADER_BYTES,
            txids=header.txids,
        )
    return Verified(header, trailer, len(decoder.entries), len(data))
