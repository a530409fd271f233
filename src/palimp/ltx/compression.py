"""LZ4 blocks: the only place that knows the library.

A payload is a bare block: no frame around it and no size before it, the frame header has that.
"""

from __future__ import annotations

import lz4.block  # type: ignore[import-untyped, unused-ignore]

from .checksum import Bytes

__all__ = ["compress", "decompress"]


def compress(page: Bytes) -> bytes:
    """Return the block of a page; the same page gives the same bytes within one LZ4 version."""
    block: bytes = lz4.block.compress(page, store_size=False)
    return block


def decompress(payload: Bytes, page_size: int) -> bytes | None:
    """Return the page of a block, or None where it is no block or not of exactly one page."""
    try:
        page: bytes = lz4.block.decompress(payload, uncompressed_size=page_size)
    except lz4.block.LZ4BlockError:
        return None
    return page if len(page) == page_size else None
