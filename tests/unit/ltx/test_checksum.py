"""Checksums: known values, and that keeping them up to date equals computing them anew."""

import random

import pytest

from palimp import ltx
from palimp.ltx import checksum, layout


def test_the_crc_is_crc_64_iso(independent):
    assert checksum.crc(b"123456789") == 0xB90956C775A41001
    for size in (0, 1, 7, 8, 511, 4_100):
        data = random.Random(size).randbytes(size)
        assert checksum.crc(data) == independent.crc64(data)


def test_a_page_counts_with_its_number(independent):
    page = bytes(range(256)) * 2
    assert ltx.page_checksum(1, page) == independent.page_sum(1, page)
    assert ltx.page_checksum(1, page) != ltx.page_checksum(2, page)
    assert ltx.page_checksum(2**32 - 1, page) >> 63 == 1


def test_an_empty_database_has_just_the_flag():
    assert ltx.database_checksum(b"", 4_096) == ltx.EMPTY_DATABASE == 1 << 63
    assert ltx.PageChecksums(512).checksum == ltx.EMPTY_DATABASE


def test_writing_and_resizing_equal_computing_anew(independent):
    draw = random.Random(7)
    sums = ltx.PageChecksums(512)
    pages: list[bytes] = []
    for _ in range(200):
        if draw.random() < 0.3:
            size = draw.randrange(12)
            pages = (pages + [bytes(512)] * 12)[:size]
            sums.resize(size)
        else:
            pgno = draw.randrange(1, 13)
            page = draw.randbytes(512)
            pages += [bytes(512)] * (pgno - len(pages))
            pages[pgno - 1] = page
            assert sums.write(pgno, page) == sums[pgno] == independent.page_sum(pgno, page)
        assert len(sums) == len(pages)
        assert sums.checksum == independent.database_sum(dict(enumerate(pages, 1)))
        assert sums.checksum == ltx.PageChecksums.of(b"".join(pages), 512).checksum


def test_they_survive_being_stored_and_copied():
    sums = ltx.PageChecksums.of(random.Random(1).randbytes(5 * 512), 512)
    again = ltx.PageChecksums.from_bytes(sums.to_bytes(), 512)
    other = sums.copy()
    other.write(2, bytes(512))
    assert again.checksum == sums.checksum != other.checksum
    assert [again[n] for n in range(1, 6)] == [sums[n] for n in range(1, 6)]
    sums.become(other)
    assert sums.checksum == other.checksum


def test_the_lock_page_counts_for_nothing(monkeypatch):
    assert [ltx.lock_page(512 << n) for n in range(8)] == [
        (1 << 30) // (512 << n) + 1 for n in range(8)
    ]
    monkeypatch.setattr(layout, "LOCK_OFFSET", 2 * 512)
    image = random.Random(1).randbytes(5 * 512)
    without = image[:1024] + bytes(512) + image[1536:]
    assert ltx.database_checksum(image, 512) == ltx.database_checksum(without, 512)
    sums = ltx.PageChecksums.of(image, 512)
    assert sums[3] == 0
    grown = ltx.PageChecksums.of(image[:512], 512)
    grown.resize(5)
    assert grown.checksum == ltx.database_checksum(image[:512] + bytes(4 * 512), 512)
    with pytest.raises(AssertionError, match="lock page"):
        sums.write(3, bytes(512))


def test_pages_of_other_sizes_are_the_callers_fault():
    sums = ltx.PageChecksums(512)
    with pytest.raises(AssertionError):
        sums.write(1, bytes(511))
    with pytest.raises(AssertionError):
        ltx.PageChecksums(1_000)
    with pytest.raises(AssertionError):
        ltx.PageChecksums.of(bytes(700), 512)
    with pytest.raises(AssertionError):
        _ = sums[1]
    with pytest.raises(AssertionError):
        sums.become(ltx.PageChecksums(1_024))
