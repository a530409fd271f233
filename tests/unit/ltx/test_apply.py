"""Applying: the image is what it should be, or untouched; both checksums are compared."""

import pytest

from palimp import ltx
from palimp.errors import Internal, Invalid
from palimp.ltx import layout

HISTORY = [(3, 1, 2, 3), (3, 2), (6, 1, 6), (2, 1), (2,), (0,), (4, 1, 2, 3, 4), (9, 9), (1,)]


def test_a_history_comes_back_commit_by_commit(line, independent):
    image, pages = bytearray(), {}
    for size, *written in HISTORY:
        data = line.commit(size, *written)
        position = ltx.apply(data, image, txid=line.txid - 1)
        assert position == (line.txid, size, line.checksum)
        assert image == line.image
        pages = independent.apply(pages, data)
        assert list(pages.values()) == line.pages


def test_kept_checksums_stay_right(line):
    image, sums = bytearray(), ltx.PageChecksums(512)
    for size, *written in HISTORY:
        ltx.apply(line.commit(size, *written), image, sums=sums)
        assert sums.checksum == line.checksum
        assert len(sums) == size


def test_a_writer_of_pages_is_handed_them_in_order(line):
    image, sums, position = bytearray(), ltx.PageChecksums(512), None
    for size, *written in HISTORY:
        calls = []

        def write(pgno, page, calls=calls, image=image):
            calls.append(pgno)
            image.extend(bytes(max(0, pgno * 512 - len(image))))
            image[(pgno - 1) * 512 : pgno * 512] = page

        position = ltx.apply_pages(
            line.commit(size, *written), write, sums, txid=position and position.txid
        )
        assert calls == sorted(written)
        image = (image + bytes(size * 512))[: size * 512]
        assert image == line.image
        assert position.checksum == sums.checksum


def test_a_snapshot_replaces_whatever_is_there(line):
    data = line.commit(2, 1, 2)
    image, sums = bytearray(b"x" * 5_000), ltx.PageChecksums.of(bytes(8 * 512), 512)
    ltx.apply(data, image, sums=sums, txid=77)
    assert image == line.image
    assert sums.checksum == line.checksum


def test_the_lock_page_becomes_zeros_with_a_snapshot(line, monkeypatch):
    monkeypatch.setattr(layout, "LOCK_OFFSET", 512)
    image = bytearray(b"x" * 3 * 512)
    ltx.apply(line.commit(3, 1, 3), image)
    assert image == line.pages[0] + bytes(512) + line.pages[2]


def test_what_does_not_continue_the_database_is_refused(line):
    line.commit(3, 1, 2, 3)
    before = line.image
    second = line.commit(3, 2)
    third = line.commit(3, 3)
    image = bytearray(before)
    with pytest.raises(Invalid, match="begins at txid 3, the database is at txid 1") as caught:
        ltx.apply(third, image, txid=1)
    assert (caught.value.details["expected"], caught.value.details["found"]) == (2, 1)
    with pytest.raises(Invalid, match=r"checksum of the database before it: expected [89a-f]"):
        ltx.apply(third, image)
    with pytest.raises(Invalid, match="page size: expected 512, found 1024"):
        ltx.apply(second, image, sums=ltx.PageChecksums(1_024))
    with pytest.raises(Invalid, match="page size: expected 512, found 1000 bytes in all"):
        ltx.apply(second, bytearray(1_000))
    assert image == before


@pytest.mark.parametrize("at", [150, -1, -12])
def test_a_damaged_segment_changes_nothing(line, at):
    line.commit(3, 1, 2, 3)
    image = line.image
    before, sums = bytes(image), ltx.PageChecksums.of(image, 512)
    checksum = sums.checksum
    data = bytearray(line.commit(5, 2, 4, 5))
    data[at] ^= 0x40
    with pytest.raises(Internal):
        ltx.apply(data, image, sums=sums)
    assert image == before
    assert sums.checksum == checksum


def test_a_wrong_checksum_after_it_is_noticed(line):
    """A sound file whose maker was wrong about the database."""
    line.commit(3, 1, 2, 3)
    image, before = line.image, line.checksum
    header = ltx.Header(page_size=512, commit=3, min_txid=2, max_txid=2, pre_apply_checksum=before)
    data = ltx.encode(header, [(2, bytes(512))], 1 << 63 | 1)
    ltx.verify(data)
    with pytest.raises(Internal, match="does not have the checksum it gives: expected 80000") as e:
        ltx.apply(data, image)
    assert e.value.details["found"] != e.value.details["expected"] == 1 << 63 | 1
    assert image == line.image


def test_without_checksums_nothing_is_compared(line):
    line.commit(3, 1, 2, 3, flags=2)
    data = line.commit(4, 2, flags=2)
    image = bytearray(3 * 512)
    assert ltx.apply(data, image) == (2, 4, 0)
    assert image == bytes(512) + line.pages[1] + bytes(2 * 512)
    assert ltx.apply(line.segments[0], image) == (1, 3, 0)
    sums = ltx.PageChecksums(512)
    ltx.apply_pages(data, lambda pgno, page: None, sums)
    assert len(sums) == 0
