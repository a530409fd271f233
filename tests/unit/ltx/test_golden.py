"""Files made by hand from the specification: ours are the same bytes, and are read as they say."""

from pathlib import Path

import pytest

from palimp import ltx
from palimp.errors import Internal

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.ltx"))


def test_the_files_are_those_of_the_script(golden):
    assert {path.stem: path.read_bytes() for path in GOLDEN} == golden.FILES


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_file_is_sound_and_read_alike_by_both_readers(path, independent):
    data = path.read_bytes()
    found = ltx.decode(data)
    header, pages, index, trailer = independent.read(data)
    assert {name: getattr(found.header, name) for name in header} == header
    assert found.pages == pages
    assert found.entries == index
    assert (found.trailer.post_apply_checksum, found.trailer.file_checksum) == trailer
    assert ltx.verify(data, foreign=True).pages == len(pages)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_encoding_gives_the_same_bytes(path):
    data = path.read_bytes()
    found = ltx.decode(data)
    after = found.trailer.post_apply_checksum if found.header.has_checksums else None
    again = ltx.encode(found.header, found.pages.items(), after)
    assert (again == data) == (path.stem != "foreign")


def test_the_fields_are_where_the_specification_has_them(golden):
    header = ltx.decode(golden.FILES["segment"]).header
    assert header == ltx.Header(
        page_size=512,
        commit=4,
        min_txid=4,
        max_txid=4,
        timestamp_ms=1_767_225_600_001,
        pre_apply_checksum=golden.ONE_AND_TWO,
        wal_offset=4_152,
        wal_size=1_100,
        wal_salt_1=7,
        wal_salt_2=8,
        node_id=9,
    )
    assert not header.is_snapshot
    assert ltx.decode(golden.FILES["snapshot"]).header.is_snapshot


def test_applying_by_hand_and_by_program_agree(golden):
    image = bytearray()
    assert ltx.apply(golden.FILES["snapshot"], image) == (3, 2, golden.ONE_AND_TWO)
    assert image == golden.A + golden.B
    assert ltx.apply(golden.FILES["segment"], image, txid=3) == (4, 4, golden.AFTER)
    assert image == golden.A + golden.C + golden.ZERO + golden.D
    assert ltx.apply(golden.FILES["deleted"], image, txid=4) == (9, 0, ltx.EMPTY_DATABASE)
    assert image == b""


def test_compacting_by_hand_and_by_program_agree(golden):
    parts = [golden.FILES["snapshot"], golden.FILES["segment"]]
    assert ltx.compact(parts) == golden.FILES["compacted"]


def test_a_payload_of_another_writer_is_accepted_only_when_said(golden):
    data = golden.FILES["foreign"]
    assert ltx.decode(data).pages == {1: golden.ZERO}
    with pytest.raises(Internal, match="verify it as foreign"):
        ltx.verify(data)
