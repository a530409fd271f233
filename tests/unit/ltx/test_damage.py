"""Every flipped byte, every truncation and anything appended is noticed; errors say where."""

import struct

import pytest

from palimp import ltx
from palimp.errors import Error, Internal, Invalid
from palimp.ltx import layout

MASKS = (1, 2, 4, 8, 16, 32, 64, 128, 255)


def small_files(line, golden):
    made = [golden.FILES[name] for name in golden.FILES if name != "foreign"]
    made.append(line.commit(3, 1, 2, 3))
    made.append(line.commit(3, 2))
    made.append(line.commit(3))
    return made


def flipped(data: bytes, at: int, mask: int) -> bytearray:
    found = bytearray(data)
    found[at] ^= mask
    return found


def test_every_flipped_byte_of_small_files_is_noticed(line, golden):
    for data in small_files(line, golden):
        ltx.verify(data)
        for at in range(len(data)):
            for mask in MASKS:
                with pytest.raises(Error) as caught:
                    ltx.verify(flipped(data, at, mask))
                assert isinstance(caught.value, Internal | Invalid)


def test_flipped_bytes_of_a_big_file_are_noticed(line):
    line.page_size = 4_096
    data = line.commit(300, *range(1, 301))
    ltx.verify(data)
    for _ in range(150):
        at = line.random.randrange(len(data))
        with pytest.raises(Error):
            ltx.verify(flipped(data, at, line.random.choice(MASKS)))


def test_only_equivalent_payloads_escape_the_checksums(line, golden):
    """What no checksum covers: LZ4 bytes that decompress to the same page. Then nothing is lost."""
    escaped = 0
    for data in small_files(line, golden):
        whole = ltx.decode(data)
        payloads = {
            at for _, start, size in whole.entries for at in range(start + 10, start + size)
        }
        for at in range(len(data)):
            for mask in MASKS:
                try:
                    ltx.verify(flipped(data, at, mask), foreign=True)
                except Error:
                    continue
                escaped += 1
                assert at in payloads
                assert ltx.decode(flipped(data, at, mask)) == whole
    assert escaped > 0


def test_every_truncation_is_noticed(line, golden):
    for data in small_files(line, golden):
        for length in range(len(data)):
            with pytest.raises(Error) as caught:
                ltx.verify(data[:length])
            if length >= 4:
                assert isinstance(caught.value, Internal)


def test_anything_that_follows_is_noticed(line):
    data = line.commit(2, 1, 2)
    for extra in (b"\0", b"x", bytes(16), data):
        with pytest.raises(Internal, match="something follows its trailer"):
            ltx.verify(data + extra)


def test_the_error_has_everything_a_report_needs(line):
    line.commit(3, 1, 2, 3)
    data = bytearray(line.commit(3, 2))
    data[-1] ^= 1
    with pytest.raises(Internal) as caught:
        ltx.verify(data)
    details = caught.value.details
    assert details["what"] == "its content does not have the file checksum"
    assert details["offset"] == len(data) - 8
    assert (details["min_txid"], details["max_txid"]) == (2, 2)
    assert details["expected"] ^ details["found"] == 1
    assert str(caught.value).startswith("the segment of txid 2 is damaged at byte ")
    assert f"{details['found']:016x}" in str(caught.value)


def frame(pgno: int, flags: int, block: bytes) -> bytes:
    return struct.pack(">IHI", pgno, flags, len(block)) + block


def sealed(golden, body: bytes, index: bytes = b"\0") -> bytes:
    return body + bytes(6) + index + struct.pack(">Q", len(index)) + bytes(16)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(1, 3)], "page 1 with flags 0x3 cannot be"),
        ([(0, 1)], "page 0 with flags 0x1 cannot be"),
        ([(1, 0)], "page 1 with flags 0x0 cannot be"),
        ([(5, 1)], "page 5 cannot come after page 0, in a database of 4 pages"),
        ([(2, 1), (2, 1)], "page 2 cannot come after page 2"),
        ([(2, 1), (1, 1)], "page 1 cannot come after page 2"),
    ],
)
def test_frames_that_cannot_be(golden, frames, message):
    head = golden.FILES["segment"][:100]
    body = b"".join(frame(pgno, flags, golden.ZEROS) for pgno, flags in frames)
    with pytest.raises(Internal, match=message):
        ltx.decode(sealed(golden, head + body))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"", "page 1 cannot take 0 bytes"),
        (bytes(600), "page 1 cannot take 600 bytes"),
        (b"\x10a", "what is stored of page 1 is not one page"),
        (b"\xff\xff\xff", "what is stored of page 1 is not one page"),
        (b"\x1f\0\1\0\xff\xe9\x50" + bytes(5), "what is stored of page 1 is not one page"),
        (b"\x1f\0\1\0\xff\xe7\x50" + bytes(5), "what is stored of page 1 is not one page"),
    ],
)
def test_payloads_that_are_not_one_page(golden, block, message):
    data = sealed(golden, golden.FILES["segment"][:100] + frame(1, 1, block))
    with pytest.raises(Internal, match=message):
        ltx.decode(data)


def test_a_snapshot_lacks_no_page(golden):
    head = golden.FILES["compacted"][:100]
    two = [frame(n, 1, golden.ZEROS) for n in (1, 2)]
    with pytest.raises(Internal, match="a snapshot has not every page: expected 4, found 2"):
        ltx.decode(sealed(golden, head + b"".join(two)))
    with pytest.raises(Internal, match="a snapshot lacks a page: expected 1, found 2"):
        ltx.decode(sealed(golden, head + two[1]))


def test_a_snapshot_has_the_database_checksum_of_its_pages(golden):
    fields = (0, 512, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    frames = [(1, golden.ZERO, golden.ZEROS)]
    right = golden.page_sum(1, golden.ZERO)
    ltx.verify(golden.build(fields, frames, right))
    with pytest.raises(Internal, match="its pages do not have the database checksum") as caught:
        ltx.verify(golden.build(fields, frames, right ^ 1))
    assert (caught.value.details["expected"], caught.value.details["found"]) == (right ^ 1, right)


def test_the_lock_page_is_never_in_a_segment(golden, monkeypatch):
    fields = (0, 512, 4, 2, 2, 0, 1 << 63, 0, 0, 0, 0, 0)
    data = golden.build(fields, [(3, golden.ZERO, golden.ZEROS)], 1 << 63 | 1)
    ltx.verify(data)
    monkeypatch.setattr(layout, "LOCK_OFFSET", 2 * 512)
    with pytest.raises(Internal, match="page 3 cannot come after page 0"):
        ltx.verify(data)


def test_older_versions_are_said_to_be_unsupported(golden):
    head = golden.FILES["segment"][:100]
    magic = b"\x04\x22\x4d\x18"
    for start in (struct.pack(">I", 1), struct.pack(">IH", 1, 0)):
        with pytest.raises(Invalid, match="version 2, or an early version 3"):
            ltx.decode(head + start + magic + bytes(100))


def test_the_decoder_too_is_read_in_order(line):
    decoder = ltx.Decoder(line.commit(2, 1, 2))
    with pytest.raises(AssertionError, match="the pages come before close"):
        decoder.close()
    frames = decoder.frames()
    next(frames)
    with pytest.raises(AssertionError, match="the pages come before close"):
        decoder.close()
    list(frames)
    with pytest.raises(AssertionError, match="read already"):
        list(decoder.frames())
    assert decoder.close() == decoder.close()


def test_every_kind_of_buffer_is_read(line):
    data = line.commit(2, 1, 2)
    assert ltx.decode(bytearray(data)) == ltx.decode(memoryview(data)) == ltx.decode(data)
