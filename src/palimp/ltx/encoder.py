"""Writing a segment: header, pages in ascending order, close; nothing else, and in no other order.

A call out of order, a page out of order or a broken header is a defect of the caller: an assertion.
"""

from __future__ import annotations

import enum
import io
import struct
from collections.abc import Callable, Iterable

from .checksum import Bytes, crc, page_checksum
from .compression import compress
from .header import Header, Trailer
from .index import encode_index
from .layout import (
    CHECKSUM_FLAG,
    END_OF_PAGES,
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    PAGE_FLAG_SIZE,
    SNAPSHOT_MIN_TXID,
    lock_page,
    page_count,
)

__all__ = ["Encoder", "encode", "encode_snapshot"]

_FRAME = struct.Struct(">IHI")
assert _FRAME.size == FRAME_HEADER_BYTES


class _State(enum.Enum):
    HEADER = "a header"
    PAGES = "pages or close"
    CLOSED = "nothing"


class Encoder:
    """Encodes one segment, handing its pieces to `write` in the order of the file.

    What was written before an assertion or an error of `write` is no segment and is thrown away.
    """

    __slots__ = (
        "_crc",
        "_entries",
        "_folded",
        "_header",
        "_is_snapshot",
        "_last",
        "_lock",
        "_offset",
        "_state",
        "_write",
    )

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._state = _State.HEADER
        self._crc = 0
        self._offset = 0
        self._last = 0
        self._folded = 0
        self._entries: list[tuple[int, int, int]] = []

    def header(self, header: Header) -> None:
        """Begin the segment."""
        self._expect(_State.HEADER)
        encoded = header.encode()
        self._header = header
        # Asked for every page, so they are looked up once.
        self._is_snapshot = header.is_snapshot
        self._lock = lock_page(header.page_size)
        self._crc = crc(encoded)
        self._offset = HEADER_BYTES
        self._state = _State.PAGES
        self._write(encoded)

    def page(self, pgno: int, page: Bytes, payload: Bytes | None = None) -> None:
        """Add a page; `payload` is its LZ4 block where the caller has it from another segment."""
        self._expect(_State.PAGES)
        self._check_order(pgno)
        assert len(page) == self._header.page_size, f"page {pgno} has {len(page)} bytes"
        block = compress(page) if payload is None else payload
        frame = _FRAME.pack(pgno, PAGE_FLAG_SIZE, len(block))
        # The file checksum covers the page itself, not the bytes it is stored in.
        self._crc = crc(page, crc(frame, self._crc))
        if self._is_snapshot:
            self._folded ^= page_checksum(pgno, page)
        size = FRAME_HEADER_BYTES + len(block)
        self._entries.append((pgno, self._offset, size))
        self._offset += size
        self._last = pgno
        self._write(frame + block)

    @property
    def checksum(self) -> int:
        """Return the database checksum of a snapshot's pages so far."""
        assert self._is_snapshot, "only a snapshot knows the whole database"
        return self._folded | CHECKSUM_FLAG

    def close(self, post_apply_checksum: int | None = None) -> Trailer:
        """End the segment. The checksum must be given unless it is a snapshot or has none."""
        self._expect(_State.PAGES)
        header = self._header
        after = post_apply_checksum or 0
        if self._is_snapshot:
            wanted = page_count(header.commit, header.page_size)
            assert len(self._entries) == wanted, f"{len(self._entries)} pages of {wanted}"
            if header.has_checksums:
                assert post_apply_checksum in (None, self.checksum), "not the sum of these pages"
                after = self.checksum
        index = encode_index(self._entries)
        sealed = crc(index, crc(END_OF_PAGES, self._crc))
        sealed = crc(after.to_bytes(8, "big"), sealed)
        trailer = Trailer(after, sealed | CHECKSUM_FLAG)
        assert (problem := next(trailer.problems(header), None)) is None, problem
        self._state = _State.CLOSED
        self._write(b"".join((END_OF_PAGES, index, trailer.encode())))
        return trailer

    def _expect(self, state: _State) -> None:
        assert self._state is state, f"the encoder expects {self._state.value}"

    def _check_order(self, pgno: int) -> None:
        assert self._last < pgno, f"page {pgno} comes after page {self._last}"
        assert pgno <= self._header.commit, f"page {pgno} of {self._header.commit}"
        assert pgno != self._lock, f"page {pgno} is the lock page"
        if self._is_snapshot:
            follows = self._last + 1 + (self._last + 1 == self._lock)
            assert pgno == follows, f"page {pgno} comes after page {self._last} in a snapshot"


def encode(
    header: Header, pages: Iterable[tuple[int, Bytes]], post_apply_checksum: int | None = None
) -> bytes:
    """Return a segment of pages that come in ascending order."""
    # `getvalue` copies nothing; a list of frames, joined, would be all of it twice.
    made = io.BytesIO()
    encoder = Encoder(made.write)
    encoder.header(header)
    for pgno, page in pages:
        encoder.page(pgno, page)
    encoder.close(post_apply_checksum)
    return made.getvalue()


def encode_snapshot(
    pages: Iterable[Bytes],
    write: Callable[[bytes], object],
    *,
    page_size: int,
    commit: int,
    max_txid: int,
    timestamp_ms: int,
    node_id: int = 0,
) -> Trailer:
    """Encode a whole database from all its pages in order, handing the pieces to `write`.

    The lock page comes too, as it does from a file; what is in it is left out. Returns the trailer:
    its post-apply checksum is the database's.
    """
    encoder = Encoder(write)
    header = Header(
        page_size=page_size,
        commit=commit,
        min_txid=SNAPSHOT_MIN_TXID,
        max_txid=max_txid,
        timestamp_ms=timestamp_ms,
        node_id=node_id,
    )
    encoder.header(header)
    lock = lock_page(page_size)
    for pgno, page in enumerate(pages, 1):
        if pgno != lock:
            encoder.page(pgno, page)
    return encoder.close()
