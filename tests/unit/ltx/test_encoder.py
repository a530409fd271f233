"""The encoder takes calls in one order only, and what it writes the independent reader reads."""

import pytest

from palimp import ltx
from palimp.ltx import layout

SUM = 1 << 63 | 5
PAGE = bytes(range(256)) * 2


def header(**change):
    given = {"page_size": 512, "commit": 9, "min_txid": 2, "max_txid": 2}
    given |= {"pre_apply_checksum": SUM} | change
    return ltx.Header(**given)


def snapshot(commit: int, **change):
    return header(commit=commit, min_txid=1, pre_apply_checksum=0, **change)


def begun(head) -> ltx.Encoder:
    encoder = ltx.Encoder(lambda piece: None)
    encoder.header(head)
    return encoder


def test_nothing_comes_before_the_header():
    encoder = ltx.Encoder(lambda piece: None)
    with pytest.raises(AssertionError, match="expects a header"):
        encoder.page(1, PAGE)
    with pytest.raises(AssertionError, match="expects a header"):
        encoder.close(SUM)


def test_the_header_comes_once_and_nothing_after_close():
    encoder = begun(header())
    with pytest.raises(AssertionError, match="expects pages or close"):
        encoder.header(header())
    encoder.close(SUM)
    for call in (
        lambda: encoder.close(SUM),
        lambda: encoder.page(1, PAGE),
        lambda: encoder.header(header()),
    ):
        with pytest.raises(AssertionError, match="expects nothing"):
            call()


def test_pages_ascend_and_are_pages_of_the_database(monkeypatch):
    monkeypatch.setattr(layout, "LOCK_OFFSET", 6 * 512)
    encoder = begun(header())
    encoder.page(3, PAGE)
    for pgno, size, message in [
        (3, 512, "page 3 comes after page 3"),
        (2, 512, "page 2 comes after page 3"),
        (0, 512, "page 0 comes after"),
        (10, 512, "page 10 of 9"),
        (7, 512, "page 7 is the lock page"),
        (4, 511, "page 4 has 511 bytes"),
    ]:
        with pytest.raises(AssertionError, match=message):
            encoder.page(pgno, PAGE[:size])
    encoder.page(9, PAGE)
    encoder.close(SUM)


def test_a_snapshot_has_every_page_but_the_lock_page(monkeypatch, independent):
    monkeypatch.setattr(layout, "LOCK_OFFSET", 2 * 512)
    with pytest.raises(AssertionError, match="page 2 comes after page 0 in a snapshot"):
        begun(snapshot(4)).page(2, PAGE)
    encoder = begun(snapshot(4))
    encoder.page(1, PAGE)
    encoder.page(2, PAGE)
    with pytest.raises(AssertionError, match="lock page"):
        encoder.page(3, PAGE)
    with pytest.raises(AssertionError, match="2 pages of 3"):
        encoder.close()
    encoder.page(4, PAGE)
    encoder.close()
    pieces: list[bytes] = []
    pages = [PAGE, PAGE, b"\1" * 512, PAGE]
    trailer = ltx.encode_snapshot(
        pages, pieces.append, page_size=512, commit=4, max_txid=7, timestamp_ms=5, node_id=6
    )
    head, found, _, sums = independent.read(b"".join(pieces), lock_byte=2 * 512)
    assert found == {1: PAGE, 2: PAGE, 4: PAGE}
    assert (head["max_txid"], head["timestamp_ms"], head["node_id"]) == (7, 5, 6)
    assert sums[0] == trailer.post_apply_checksum == independent.database_sum(found)


@pytest.mark.parametrize("commit", [2, 3])
def test_a_snapshot_that_ends_at_the_lock_page(monkeypatch, independent, commit):
    monkeypatch.setattr(layout, "LOCK_OFFSET", 2 * 512)
    pieces: list[bytes] = []
    ltx.encode_snapshot(
        [PAGE] * commit, pieces.append, page_size=512, commit=commit, max_txid=1, timestamp_ms=0
    )
    data = b"".join(pieces)
    assert set(independent.read(data, lock_byte=2 * 512)[1]) == {1, 2}
    assert ltx.verify(data).pages == 2
    image = bytearray()
    ltx.apply(data, image)
    assert image == (PAGE * 2 + bytes(512))[: commit * 512]


def test_the_real_lock_page_of_the_largest_pages(independent):
    """Page 16,385 of 64 KiB holds the byte 0x40000000."""
    page = bytes(65_536)
    head = header(page_size=65_536, commit=16_386)
    data = ltx.encode(head, [(16_384, page), (16_386, page)], SUM)
    assert set(independent.read(data)[1]) == {16_384, 16_386}
    with pytest.raises(AssertionError, match="page 16385 is the lock page"):
        ltx.encode(head, [(16_385, page)], SUM)


def test_checksums_are_required_where_they_are_kept():
    with pytest.raises(AssertionError, match="post-apply checksum"):
        begun(header()).close()
    with pytest.raises(AssertionError, match="post-apply checksum"):
        begun(header()).close(5)
    with pytest.raises(AssertionError, match="not that of an empty database"):
        begun(header(commit=0)).close(SUM)
    with pytest.raises(AssertionError, match="no post-apply checksum"):
        begun(header(flags=2, pre_apply_checksum=0)).close(SUM)
    with pytest.raises(AssertionError, match="not the sum of these pages"):
        begun(snapshot(0)).close(SUM)
    with pytest.raises(AssertionError, match="only a snapshot"):
        _ = begun(header()).checksum
    assert begun(header(flags=2, pre_apply_checksum=0)).close().post_apply_checksum == 0
    assert begun(snapshot(0, flags=2)).close().post_apply_checksum == 0
    assert begun(snapshot(0)).close().post_apply_checksum == ltx.EMPTY_DATABASE


def test_pages_of_every_size_and_kind(independent):
    for size in [512 << n for n in range(8)]:
        kinds = [bytes(size), PAGE * (size // 512), bytearray(b"\xff" * size)]
        given = list(enumerate(kinds, 2))
        data = ltx.encode(header(page_size=size), given, SUM)
        assert independent.read(data)[1] == dict(given) == ltx.decode(data).pages
