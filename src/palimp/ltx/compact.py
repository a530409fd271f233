"""Joining adjacent segments into one that does the same.

The last image of each page wins. A page that lay beyond the end of the database at the end of any
later segment was cut off there: its earlier images are dead, and if the database has grown over it
again without writing it, it is a page of zeros.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, pairwise

from ..errors import Invalid
from .checksum import Bytes
from .damage import damaged, misplaced, span
from .decoder import Decoder
from .encoder import Encoder
from .header import Header, Trailer
from .layout import lock_page

__all__ = ["ZERO_PAGES_MAX", "check_contiguous", "compact", "compact_to"]

# SQLite writes every page it adds, so no page of zeros is ever needed; a file that asks for many
# was not made by it.
ZERO_PAGES_MAX = 65_536

# Page number, page, and its payload where it is stored already.
_Image = tuple[int, bytes, memoryview | None]


def compact(segments: Sequence[Bytes]) -> bytes:
    """Return one segment that does what `segments`, oldest first, do one after the other.

    It has the first's min txid and pre-apply checksum, and the last's max txid, size, time and
    post-apply checksum; it comes from no WAL and no node. Raises `Invalid` where they do not
    follow one another, naming both, `Internal` where one is damaged.
    """
    made = io.BytesIO()
    compact_to(segments, made.write)
    return made.getvalue()


def compact_to(segments: Sequence[Bytes], write: Callable[[bytes], object]) -> Trailer:
    """Do the same, handing the pieces to `write`; after an error they are to be thrown away."""
    assert segments, "nothing to compact"
    decoders = [Decoder(segment) for segment in segments]
    headers = [decoder.header for decoder in decoders]
    for before, header in pairwise(headers):
        check_contiguous(before, header)
    first, last = headers[0], headers[-1]
    encoder = Encoder(write)
    encoder.header(
        Header(
            page_size=first.page_size,
            commit=last.commit,
            min_txid=first.min_txid,
            max_txid=last.max_txid,
            timestamp_ms=last.timestamp_ms,
            pre_apply_checksum=first.pre_apply_checksum,
            flags=first.flags,
        )
    )
    for pgno, page, payload in _filled(_merged(decoders), headers):
        encoder.page(pgno, page, payload)
    trailers = [decoder.close() for decoder in decoders]
    for (before, header), trailer in zip(pairwise(headers), trailers, strict=False):
        _check_chain(before, header, trailer)
    after = trailers[-1].post_apply_checksum
    if first.is_snapshot and first.has_checksums and encoder.checksum != after:
        raise damaged(
            "the database after it does not have the checksum it gives",
            offset=0,
            txids=(first.min_txid, last.max_txid),
            expected=after,
            found=encoder.checksum,
        )
    return encoder.close(after)


def check_contiguous(before: Header, header: Header) -> None:
    """Raise `Invalid` unless `header` is that of a segment right after `before`."""
    if header.min_txid != before.max_txid + 1:
        kind = "gap" if header.min_txid > before.max_txid else "overlap"
        raise Invalid(
            f"there is a {kind} between the segments: one ends at txid {before.max_txid}, "
            f"the next begins at txid {header.min_txid}",
            what=kind,
            ends_at=before.max_txid,
            begins_at=header.min_txid,
        )
    for what, expected, found in (
        ("page size", before.page_size, header.page_size),
        ("flags", before.flags, header.flags),
    ):
        if expected != found:
            raise misplaced(
                f"{what} of the segment of txid {span(before.txids)} before it",
                txids=header.txids,
                expected=found,
                found=expected,
            )


def _check_chain(before: Header, header: Header, trailer: Trailer) -> None:
    """Check that a segment begins with the database the one before it ended with."""
    if header.has_checksums and header.pre_apply_checksum != trailer.post_apply_checksum:
        raise misplaced(
            f"checksum of the database after the segment of txid {span(before.txids)}",
            txids=header.txids,
            expected=header.pre_apply_checksum,
            found=trailer.post_apply_checksum,
        )


def _merged(decoders: Sequence[Decoder]) -> Iterator[_Image]:
    """Yield each page of the result once, in ascending order, reading all decoders to the end."""
    commits = [decoder.header.commit for decoder in decoders]
    # What lies beyond the smallest size the database has from a segment on was cut off after it.
    survives = list(accumulate(reversed(commits), min))[::-1]
    frames = [_ranked(decoder, -place) for place, decoder in enumerate(decoders)]
    last = 0
    for pgno, rank, page, payload in heapq.merge(*frames, key=lambda one: one[:2]):
        if pgno != last and pgno <= survives[-rank]:
            yield pgno, page, payload
        # Where the latest image was cut off, the earlier ones were too.
        last = pgno


def _ranked(decoder: Decoder, rank: int) -> Iterator[tuple[int, int, bytes, memoryview]]:
    for pgno, page, payload in decoder.frames():
        yield pgno, rank, page, payload


def _filled(images: Iterator[_Image], headers: Sequence[Header]) -> Iterator[_Image]:
    """Yield the pages, and zeros for those that were cut off once and are back, but not written."""
    last = headers[-1]
    zeros, lock = bytes(last.page_size), lock_page(last.page_size)
    following = min(header.commit for header in headers) + 1
    budget = ZERO_PAGES_MAX
    for pgno, page, payload in chain(images, [(last.commit + 1, b"", None)]):
        for missing in range(following, pgno):
            if missing == lock:
                continue
            budget -= 1
            if budget < 0:
                raise damaged(
                    f"over {ZERO_PAGES_MAX} pages were added that no segment has",
                    offset=0,
                    txids=(headers[0].min_txid, last.max_txid),
                )
            yield missing, zeros, None
        following = max(following, pgno + 1)
        if pgno <= last.commit:
            yield pgno, page, payload
