"""Segments of arbitrary databases: round trips, replay, compaction, flipped bytes.

The second opinion is tests/unit/ltx/independent.py, which shares nothing with our code.
"""

import itertools
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from palimp import ltx
from palimp.errors import Error
from palimp.ltx import layout

HELPERS = Path(__file__).parents[1] / "unit" / "ltx"
independent = SimpleNamespace(**runpy.run_path(str(HELPERS / "independent.py")))

PAGE_SIZES = st.sampled_from([512 << n for n in range(8)])
# Small ones are where pages meet: written twice, cut off, grown over again.
SMALL = st.sampled_from([512, 512, 1_024])
LOCK_PAGES = st.sampled_from([1, 2, 4, 7, 100])
EXAMPLES = settings(max_examples=120, deadline=None)


@contextmanager
def lock_page_is(pgno: int, page_size: int) -> Iterator[int]:
    """Move the byte SQLite locks to where a test can reach it, for both readers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LOCK_OFFSET", (pgno - 1) * page_size)
        assert ltx.lock_page(page_size) == pgno
        yield (pgno - 1) * page_size


@st.composite
def pages(draw: st.DrawFn, size: int) -> bytes:
    """Zeros, text that repeats, noise, and mixtures, as pages of databases are."""
    pattern = draw(st.binary(min_size=1, max_size=24))
    filled = (pattern * (size // len(pattern) + 1))[: draw(st.integers(0, size))]
    return (draw(st.binary(max_size=64)) + filled).ljust(size, b"\0")[:size]


@st.composite
def headers(draw: st.DrawFn) -> ltx.Header:
    first = draw(st.integers(1, 2**64 - 1))
    flags = draw(st.sampled_from([0, 0, 2]))
    before = 0 if flags or first == 1 else draw(st.integers(1 << 63, (1 << 64) - 1))
    wal = draw(st.integers(0, 2**63 - 1))
    words = st.integers(0, 2**32 - 1) if wal else st.just(0)
    return ltx.Header(
        page_size=draw(PAGE_SIZES),
        commit=draw(st.integers(0, 2**32 - 1)),
        min_txid=first,
        max_txid=draw(st.integers(first, 2**64 - 1)),
        timestamp_ms=draw(st.integers(0, 2**63 - 1)),
        pre_apply_checksum=before,
        flags=flags,
        wal_offset=wal,
        wal_size=draw(st.integers(0, 2**63 - 1)) if wal else 0,
        wal_salt_1=draw(words),
        wal_salt_2=draw(words),
        node_id=draw(st.integers(0, 2**64 - 1)),
    )


@EXAMPLES
@given(headers())
def test_every_header_comes_back(header: ltx.Header) -> None:
    data = header.encode()
    assert ltx.Header.decode(data) == header
    read = independent.read_header(data)
    assert {name: getattr(header, name) for name in read} == read


@EXAMPLES
@given(st.data(), PAGE_SIZES)
def test_every_segment_comes_back(data: st.DataObject, page_size: int) -> None:
    header = data.draw(headers().filter(lambda header: header.min_txid > 1))
    header = ltx.Header(
        **{n: getattr(header, n) for n in header.__slots__} | {"page_size": page_size}
    )
    numbers = st.integers(1, max(1, header.commit))
    lock = ltx.lock_page(page_size)
    written = sorted(data.draw(st.sets(numbers, max_size=5 * (header.commit > 0))) - {lock})
    given_pages = [(pgno, data.draw(pages(page_size))) for pgno in written]
    after = None
    if header.has_checksums:
        top = 1 << 63
        after = data.draw(st.integers(top, 2 * top - 1)) if header.commit else top
    encoded = ltx.encode(header, given_pages, after)
    found = ltx.decode(encoded)
    assert (found.header, found.pages) == (header, dict(given_pages))
    assert ltx.verify(encoded) == (header, found.trailer, len(written), len(encoded))
    _, again, index, sums = independent.read(encoded)
    assert (again, index) == (found.pages, found.entries)
    assert sums == (found.trailer.post_apply_checksum, found.trailer.file_checksum)
    reader = ltx.Pages(lambda offset, length: encoded[offset : offset + length], len(encoded))
    assert reader.index == found.entries
    for pgno, page in given_pages:
        assert reader.page(pgno, ltx.page_checksum(pgno, page)) == page


@st.composite
def histories(draw: st.DrawFn, page_size: int, lock: int) -> tuple[list[bytes], list[bytes]]:
    """The segments of commits that grow, shrink, write few or no pages; and the image after each."""
    image: list[bytes] = []
    segments, images = [], []
    for txid in range(1, draw(st.integers(2, 7))):
        size = draw(st.integers(0, 9))
        before = ltx.database_checksum(b"".join(image), page_size) if txid > 1 else 0
        image = (image + [bytes(page_size)] * 9)[:size]
        every = set(range(1, size + 1)) - {lock}
        some = draw(st.sets(st.sampled_from(sorted(every)))) if every else set()
        written = sorted(some if txid > 1 else every)
        for pgno in written:
            image[pgno - 1] = draw(pages(page_size))
        header = ltx.Header(
            page_size=page_size,
            commit=size,
            min_txid=txid,
            max_txid=txid,
            timestamp_ms=txid,
            pre_apply_checksum=before,
        )
        after = ltx.database_checksum(b"".join(image), page_size)
        segments.append(ltx.encode(header, [(n, image[n - 1]) for n in written], after))
        images.append(b"".join(image))
    return segments, images


@EXAMPLES
@given(st.data(), SMALL, LOCK_PAGES)
def test_replaying_and_compacting_give_the_database(
    data: st.DataObject, page_size: int, lock: int
) -> None:
    with lock_page_is(lock, page_size) as lock_byte:
        segments, images = data.draw(histories(page_size, lock))
        image, pages_there = bytearray(), {}
        for txid, (segment, wanted) in enumerate(zip(segments, images, strict=True)):
            ltx.apply(segment, image, txid=txid)
            assert image == wanted
            pages_there = independent.apply(pages_there, segment, lock_byte)
        first, end = data.draw(
            st.sampled_from(list(itertools.combinations(range(len(segments) + 1), 2)))
        )
        joined = ltx.compact(segments[first:end])
        independent.read(joined, lock_byte)
        ltx.verify(joined)
        base = bytearray(images[first - 1] if first else b"")
        assert ltx.apply(joined, base, txid=first).txid == end
        assert base == images[end - 1]


@EXAMPLES
@given(st.data(), SMALL, LOCK_PAGES)
def test_a_snapshot_of_the_image_is_the_compacted_history(
    data: st.DataObject, page_size: int, lock: int
) -> None:
    with lock_page_is(lock, page_size):
        segments, images = data.draw(histories(page_size, lock))
        image = images[-1]
        pieces: list[bytes] = []
        ltx.encode_snapshot(
            (image[n : n + page_size] for n in range(0, len(image), page_size)),
            pieces.append,
            page_size=page_size,
            commit=len(image) // page_size,
            max_txid=len(segments),
            timestamp_ms=len(segments),
        )
        # Of pages that were taken over the payload is taken over: the bytes are equal too.
        assert b"".join(pieces) == ltx.compact(segments)


@EXAMPLES
@given(st.data(), SMALL)
def test_changed_bytes_lengths_and_orders_are_noticed(data: st.DataObject, page_size: int) -> None:
    segments, _ = data.draw(histories(page_size, 100))
    segment = data.draw(st.sampled_from(segments))
    changed = bytearray(segment)
    kind = data.draw(st.sampled_from(["flip", "cut", "extend", "swap", "zero"]))
    at = data.draw(st.integers(0, len(segment) - 1))
    other = data.draw(st.integers(0, len(segment)))
    if kind == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del changed[at:]
    elif kind == "extend":
        changed += data.draw(st.binary(min_size=1, max_size=40))
    elif kind == "swap":
        changed[at:other], changed[other:at] = changed[at:other][::-1], changed[other:at][::-1]
    else:
        changed[at:other] = bytes(max(0, other - at))
    if changed == segment:
        return
    with pytest.raises(Error):
        ltx.verify(changed)


@EXAMPLES
@given(st.binary(max_size=400))
def test_no_input_does_anything_but_raise_an_error_of_ours(junk: bytes) -> None:
    for data in (junk, b"LTX1" + junk):
        with pytest.raises(Error):
            ltx.verify(data)
        with pytest.raises(Error):
            ltx.Pages(lambda offset, length, data=data: data[offset : offset + length], len(data))
