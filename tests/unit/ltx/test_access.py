"""Single pages through the index: few reads, the right bytes, damage noticed."""

import pytest

from palimp import ltx
from palimp.errors import Error, Internal, Invalid
from palimp.ltx.access import TAIL_READ_BYTES


class Remote:
    """Bytes somewhere else; counts what is read of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    def __call__(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return bytes(self.data[offset : offset + length])

    def open(self) -> ltx.Pages:
        return ltx.Pages(self, len(self.data))


def test_a_short_segment_is_opened_with_one_read(line):
    line.commit(9, *range(1, 10))
    remote = Remote(line.commit(9, 2, 5, 9))
    pages = remote.open()
    assert remote.reads == [(0, len(remote.data))]
    assert len(pages) == 3
    assert 5 in pages
    assert 4 not in pages
    for pgno in (9, 2, 5):
        assert pages.page(pgno) == line.pages[pgno - 1]
    assert len(remote.reads) == 4
    with pytest.raises(AssertionError, match="page 4 is not in this segment"):
        pages.page(4)


@pytest.mark.parametrize(("count", "reads"), [(60, 2), (4_000, 3)])
def test_a_long_one_with_two_or_three(line, count, reads):
    remote = Remote(line.commit(count, *range(1, count + 1)))
    assert len(remote.data) > TAIL_READ_BYTES
    pages = remote.open()
    assert len(remote.reads) == reads
    assert pages.index == ltx.decode(remote.data).entries
    assert pages.trailer == ltx.decode(remote.data).trailer
    for pgno in (1, 30, count):
        assert pages.page(pgno) == line.pages[pgno - 1]


def test_a_segment_without_pages_has_none(line):
    line.commit(1, 1)
    assert len(Remote(line.commit(1)).open()) == 0


def test_a_page_can_be_compared_with_its_checksum(line):
    line.commit(2, 1, 2)
    pages = Remote(line.segments[0]).open()
    good = ltx.page_checksum(2, line.pages[1])
    assert pages.page(2, good) == line.pages[1]
    with pytest.raises(Internal, match="page 2 does not have its checksum") as caught:
        pages.page(2, good ^ 1)
    assert caught.value.details["found"] == good


def test_what_is_no_segment_is_said_to_be_none(line):
    for data in (b"", b"SQLite format 3\0" * 40, b"LTX"):
        with pytest.raises(Invalid, match="not an LTX file"):
            Remote(data).open()
    with pytest.raises(Internal):
        Remote(line.commit(1, 1)[:120]).open()


def test_truncation_and_damage_of_index_and_frames_are_noticed(line):
    line.commit(3, 1, 2, 3)
    data = line.commit(3, 1, 3)
    for length in range(len(data)):
        with pytest.raises(Error):
            Remote(data[:length]).open()
    entries = ltx.decode(data).entries
    index_start = entries[-1].offset + entries[-1].size + 6
    heads = [at for _, offset, _ in entries for at in range(offset, offset + 10)]
    # The trailer's checksums cannot be compared without reading all; verify does that. That a page
    # of the index has become another shows only when that page is read.
    for at in [*heads, *range(index_start, len(data) - 16)]:
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            broken = bytearray(data)
            broken[at] ^= mask
            with pytest.raises(Error):  # noqa: PT012
                pages = Remote(broken).open()
                for entry in pages.index:
                    pages.page(entry.pgno)


def test_a_store_that_gives_less_than_was_asked_for_is_noticed(line):
    data = line.commit(2, 1, 2)
    with pytest.raises(Internal, match="shorter than it was said to be"):
        ltx.Pages(lambda offset, length: data[offset : offset + length - 1], len(data))
    remote = Remote(data)
    pages = remote.open()
    remote.data = data[:200]
    with pytest.raises(Internal, match="shorter than it was said to be"):
        pages.page(1)


def index_bytes(*numbers: int) -> bytes:
    found = b""
    for number in numbers:
        while number > 127:
            found += bytes((number % 128 + 128,))
            number //= 128
        found += bytes((number,))
    return found


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"", "its page index cannot take 0 bytes"),
        (index_bytes(1, 100, 300), "the page index has no end"),
        (index_bytes(0, 0), "the page index has no end"),
        (index_bytes(1, 100, 300, 0) + b"\x80", "the page index ends inside a number"),
        (b"\x81\x00" + index_bytes(100, 300, 0), "a number of the page index has too many bytes"),
        (b"\xff" * 10 + index_bytes(1), "a number of the page index has too many bytes"),
        (index_bytes(9, 100, 300, 0), "the page index has page 9"),
        (index_bytes(2, 100, 300, 2, 400, 300, 0), "the page index has page 2"),
        (index_bytes(1, 101, 300, 0), "no right place for page 1: expected 100, found 101"),
        (index_bytes(1, 100, 9_000, 0), "no right place for page 1"),
        (index_bytes(1, 100, 300, 0), "does not begin where the pages end"),
    ],
)
def test_an_index_that_cannot_be(line, index, message):
    line.commit(3, 1, 2, 3)
    data = line.commit(3, 1, 3)
    body = data[:900]
    made = body + index + len(index).to_bytes(8, "big") + data[-16:]
    with pytest.raises(Internal, match=message):
        Remote(made).open()


def test_the_index_of_a_snapshot_has_every_page(line):
    data = line.commit(1, 1)
    head = bytearray(data)
    head[15] = 2
    with pytest.raises(Internal, match="snapshot has not every page: expected 2, found 1"):
        Remote(head).open()
