"""Applying a segment to a database: pages written, size set, both checksums compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .checksum import Bytes, PageChecksums
from .damage import damaged, misplaced
from .decoder import Decoder
from .header import Header, Trailer

__all__ = ["Position", "apply", "apply_pages"]


class Position(NamedTuple):
    """Where a database stands: its last txid, its pages, its checksum (0 where none is kept)."""

    txid: int
    commit: int
    checksum: int


def apply(
    data: Bytes, image: bytearray, *, sums: PageChecksums | None = None, txid: int | None = None
) -> Position:
    """Apply a segment to a whole database in memory; an error leaves `image` and `sums` untouched.

    `sums` are the checksums of `image` where the caller keeps them (else they are computed), `txid`
    is its position where known. A snapshot replaces whatever is there. Raises `Invalid` where the
    segment is none or does not continue this database, `Internal` where it is damaged.
    """
    decoder = Decoder(data)
    header = decoder.header
    size = header.page_size
    if not header.is_snapshot and len(image) % size:
        raise misplaced(
            "page size", txids=header.txids, expected=size, found=f"{len(image)} bytes in all"
        )
    if sums is not None:
        _check_page_size(header, sums)
        after = sums.copy()
    elif header.is_snapshot or not header.has_checksums:
        # A snapshot says what the database is; without checksums there is nothing to compare.
        after = PageChecksums(size)
    else:
        after = PageChecksums.of(image, size)
    frames = []
    position = _play(decoder, lambda pgno, page: frames.append((pgno, page)), after, txid)
    # From here on nothing can fail, so nothing is left half done.
    if header.is_snapshot:
        # The lock page is not in it, and is zeros.
        image.clear()
    _resize(image, header.commit * size)
    for pgno, page in frames:
        image[(pgno - 1) * size : pgno * size] = page
    if sums is not None:
        sums.become(after)
    return position


def apply_pages(
    data: Bytes,
    write: Callable[[int, bytes], object],
    sums: PageChecksums,
    *,
    txid: int | None = None,
) -> Position:
    """Apply a segment by calling `write(pgno, page)`, page by page, in ascending order.

    Afterwards the caller cuts or extends the database to `commit` pages; pages that were added and
    not written are zeros. After an error what was written and `sums` are to be thrown away: only
    the end of a segment shows whether its pages are right. `sums` are kept up to date; a fresh one
    is right before a snapshot.
    """
    decoder = Decoder(data)
    _check_page_size(decoder.header, sums)
    return _play(decoder, write, sums, txid)


def _play(
    decoder: Decoder, write: Callable[[int, bytes], object], sums: PageChecksums, txid: int | None
) -> Position:
    """Do what both ways of applying have in common; `sums` become those after the segment."""
    header = decoder.header
    # A snapshot continues nothing: it has every page, so nothing of `sums` stays.
    if not header.is_snapshot:
        _check_continues(header, sums, txid)
    for pgno, page, _ in decoder.frames():
        write(pgno, page)
        if header.has_checksums:
            sums.write(pgno, page)
    trailer = decoder.close()
    if header.has_checksums:
        sums.resize(header.commit)
        _check_after(header, trailer, sums)
    return Position(header.max_txid, header.commit, trailer.post_apply_checksum)


def _check_page_size(header: Header, sums: PageChecksums) -> None:
    if header.page_size != sums.page_size:
        raise misplaced(
            "page size", txids=header.txids, expected=header.page_size, found=sums.page_size
        )


def _check_continues(header: Header, sums: PageChecksums, txid: int | None) -> None:
    if txid is not None and header.min_txid != txid + 1:
        raise misplaced(
            f"it begins at txid {header.min_txid}, the database is at txid {txid}",
            txids=header.txids,
            expected=header.min_txid - 1,
            found=txid,
        )
    if header.has_checksums and header.pre_apply_checksum != sums.checksum:
        raise misplaced(
            "checksum of the database before it",
            txids=header.txids,
            expected=header.pre_apply_checksum,
            found=sums.checksum,
        )


def _check_after(header: Header, trailer: Trailer, sums: PageChecksums) -> None:
    if trailer.post_apply_checksum != sums.checksum:
        raise damaged(
            "the database after it does not have the checksum it gives",
            offset=0,
            txids=header.txids,
            expected=trailer.post_apply_checksum,
            found=sums.checksum,
        )


def _resize(image: bytearray, size: int) -> None:
    if len(image) > size:
        del image[size:]
    else:
        image.extend(bytes(size - len(image)))
