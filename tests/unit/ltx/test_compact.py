"""Compacting: one segment that does what several did, and nothing where they do not belong together."""

import itertools
import sys

import pytest

from palimp import ltx
from palimp.errors import Internal, Invalid
from palimp.ltx import layout

ROOM = sys.modules["palimp.ltx.compact"]

HISTORY = [(3, 1, 2, 3), (3, 2), (6, 1, 6), (2, 1), (7, 3, 5), (7,), (4, 4), (9, 9), (8, 8)]


def replayed(segments, image=b"", txid=0) -> bytearray:
    found = bytearray(image)
    for data in segments:
        txid = ltx.apply(data, found, txid=txid).txid
    return found


def test_every_range_of_a_history_compacts_to_what_it_does(line, independent):
    for size, *written in HISTORY:
        line.commit(size, *written)
    segments = line.segments
    for first, end in itertools.combinations(range(len(segments) + 1), 2):
        base = replayed(segments[:first])
        joined = ltx.compact(segments[first:end])
        independent.read(joined)
        header = ltx.verify(joined).header
        assert header.txids == (first + 1, end)
        assert header.timestamp_ms == ltx.decode(segments[end - 1]).header.timestamp_ms
        assert replayed([joined], base, first) == replayed(segments[:end])


def test_compacting_what_was_compacted_gives_the_same_bytes(line):
    for size, *written in HISTORY:
        line.commit(size, *written)
    whole = ltx.compact(line.segments)
    for cut in range(1, len(HISTORY)):
        halves = [ltx.compact(line.segments[:cut]), ltx.compact(line.segments[cut:])]
        assert ltx.compact(halves) == whole
    pieces: list[bytes] = []
    pages = [line.image[n : n + 512] for n in range(0, len(line.image), 512)]
    ltx.encode_snapshot(
        pages,
        pieces.append,
        page_size=512,
        commit=len(pages),
        max_txid=line.txid,
        timestamp_ms=1_767_225_600_000 + line.txid,
    )
    assert b"".join(pieces) == whole


def test_what_was_cut_off_stays_cut_off(line):
    """Shrunk, then grown again without writing: zeros, whatever was there before."""
    line.commit(5, 1, 2, 3, 4, 5)
    base = line.image
    line.commit(5, 5)
    line.commit(3)
    line.commit(6, 6)
    joined = ltx.decode(ltx.compact(line.segments[1:]))
    assert joined.pages == {4: bytes(512), 5: bytes(512), 6: line.pages[5]}
    assert replayed([ltx.compact(line.segments[1:])], base, 1) == line.image
    line.commit(2)
    assert ltx.decode(ltx.compact(line.segments[1:])).pages == {}
    line.commit(0)
    assert ltx.decode(ltx.compact(line.segments)).pages == {}


def test_the_lock_page_is_never_filled_in(line, monkeypatch, independent):
    monkeypatch.setattr(layout, "LOCK_OFFSET", 3 * 512)
    line.commit(6, 1, 2, 3, 5, 6)
    line.commit(2)
    line.commit(7, 7)
    joined = ltx.compact(line.segments)
    assert set(independent.read(joined, lock_byte=3 * 512)[1]) == {1, 2, 3, 5, 6, 7}
    assert replayed([joined]) == line.image


def test_the_number_of_pages_that_are_filled_in_is_bounded(line, monkeypatch):
    line.commit(1, 1)
    line.commit(9)
    monkeypatch.setattr(ROOM, "ZERO_PAGES_MAX", 7)
    with pytest.raises(Internal, match="over 7 pages were added that no segment has"):
        ltx.compact(line.segments)
    monkeypatch.setattr(ROOM, "ZERO_PAGES_MAX", 8)
    assert replayed([ltx.compact(line.segments)]) == line.image


def test_wal_fields_and_node_are_left_out(golden):
    header = ltx.decode(ltx.compact([golden.FILES["segment"]])).header
    assert (header.wal_offset, header.wal_size, header.wal_salt_1, header.node_id) == (0, 0, 0, 0)


def test_segments_that_do_not_follow_one_another_are_refused(line):
    for size in (1, 2, 3, 4):
        line.commit(size, size)
    one, two, three, four = line.segments
    with pytest.raises(Invalid, match="one ends at txid 1, the next begins at txid 3") as caught:
        ltx.compact([one, three])
    assert (caught.value.details["ends_at"], caught.value.details["begins_at"]) == (1, 3)
    with pytest.raises(Invalid, match="overlap between the segments: one ends at txid 2"):
        ltx.compact([two, two])
    with pytest.raises(Invalid, match="overlap"):
        ltx.compact([three, four, two])
    with pytest.raises(AssertionError, match="nothing to compact"):
        ltx.compact([])


def test_segments_of_two_histories_are_refused(line):
    line.commit(1, 1)
    other = type(line)(seed=2)
    other.commit(1, 1)
    second = other.commit(2, 2)
    with pytest.raises(Invalid, match="the segment of txid 2 does not fit: checksum of the data"):
        ltx.compact([line.segments[0], second])
    wide = type(line)(page_size=1_024)
    wide.commit(1, 1)
    with pytest.raises(Invalid, match="page size of the segment of txid 1 before it"):
        ltx.compact([line.segments[0], wide.commit(1, 1)])
    bare = type(line)()
    bare.commit(1, 1, flags=2)
    with pytest.raises(Invalid, match="flags of the segment"):
        ltx.compact([line.segments[0], bare.commit(1, 1, flags=2)])
    assert ltx.decode(ltx.compact(bare.segments)).pages == {1: bare.pages[0]}


def test_damage_in_any_of_them_is_noticed(line):
    for size in (4, 6, 5):
        line.commit(size, *range(1, size + 1))
    for place in range(3):
        for at in (150, -1, -20, 60):
            segments = [bytearray(data) for data in line.segments]
            segments[place][at] ^= 0x40
            with pytest.raises((Internal, Invalid)):
                ltx.compact(segments)


def test_a_short_snapshot_among_them_is_damage_and_no_defect_of_ours(line, golden):
    """The segment after it has the missing page, which must not hide that it is missing."""
    whole = line.commit(3, 1, 2, 3)
    frames = ltx.decode(whole).entries
    end = frames[-1].offset
    short = whole[:end] + bytes(6) + whole[end:]
    line.commit(4, 3, 4)
    with pytest.raises(Internal, match="a snapshot has not every page"):
        ltx.compact([short, line.segments[1]])


def test_a_wrong_checksum_at_the_end_is_noticed(line):
    line.commit(2, 1, 2)
    header = ltx.Header(
        page_size=512, commit=2, min_txid=2, max_txid=2, pre_apply_checksum=line.checksum
    )
    wrong = ltx.encode(header, [(2, bytes(512))], 1 << 63 | 1)
    with pytest.raises(Internal, match=r"segment of txid 1 to 2 is damaged .* checksum it gives"):
        ltx.compact([line.segments[0], wrong])
