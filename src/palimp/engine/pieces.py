"""From pages to what is shipped: a segment, a snapshot of a file, what two files differ in."""

from __future__ import annotations

import hashlib
import io

from .. import ltx
from ..errors import Internal
from ..observe import logger
from .capture import Capture, Segment
from .protocol import Piece
from .wal import pages_of

__all__ = ["collected", "difference", "piece_of", "snapshot_of"]

_LOG = logger("engine")


def collected(capture: Capture, shipped: int, head: int, now_ms: int) -> Segment:
    """Return what was committed after txid `shipped`, up to `head`, as a segment.

    Or as a snapshot, where nothing was shipped yet or the log is not the one that was followed.
    """
    if not capture.needs_snapshot:
        try:
            return capture.segment(shipped + 1, head, now_ms)
        except Internal as error:
            # It follows nothing from here on, and begins again with all there is.
            _LOG.error("txids %d to %d are shipped as a snapshot: %s", shipped + 1, head, error)
    return capture.snapshot(head, now_ms)


def piece_of(segment: Segment, at: int) -> Piece:
    """Return a segment as the protocol ships it; `at` is when it was made (ms)."""
    return Piece(
        max=segment.max_txid,
        pages=segment.pages,
        commit_pages=segment.commit_pages,
        checksum=segment.checksum,
        sha256=hashlib.sha256(segment.data).hexdigest(),
        data=segment.data,
        at=at,
    )


def snapshot_of(image: bytes, page_size: int, txid: int, at: int) -> Piece:
    """Return a whole database as a snapshot of txids 1 to `txid`."""
    made = io.BytesIO()
    size = len(image) // page_size
    ltx.encode_snapshot(
        pages_of(image, page_size),
        made.write,
        page_size=page_size,
        commit=size,
        max_txid=txid,
        timestamp_ms=at,
    )
    pages = size - (size >= ltx.lock_page(page_size))
    checksum = f"{ltx.database_checksum(image, page_size):016x}"
    return piece_of(Segment(made.getvalue(), 1, txid, pages, size, checksum), at)


def difference(
    before: ltx.PageChecksums,
    image: bytes,
    after: ltx.PageChecksums,
    txids: tuple[int, int],
    at: int,
) -> Piece:
    """Return the segment that makes a database of checksums `before` into `image`.

    `after` are the checksums of `image`, `txids` the range it gets.
    """
    size = after.page_size
    lock = ltx.lock_page(size)
    pages = [
        (pgno, bytes(page))
        for pgno, page in enumerate(pages_of(image, size), 1)
        if pgno != lock and (pgno > len(before) or before[pgno] != after[pgno])
    ]
    header = ltx.Header(
        page_size=size,
        commit=len(after),
        min_txid=txids[0],
        max_txid=txids[1],
        timestamp_ms=at,
        pre_apply_checksum=before.checksum,
        node_id=0,
    )
    data = ltx.encode(header, pages, after.checksum)
    segment = Segment(data, *txids, len(pages), len(after), f"{after.checksum:016x}")
    return piece_of(segment, at)
