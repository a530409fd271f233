"""Header and trailer: every rule has its message, and no broken one is written."""

import msgspec
import pytest

from palimp import ltx
from palimp.errors import Internal, Invalid

SUM = 1 << 63 | 77
GOOD = ltx.Header(
    page_size=4_096, commit=3, min_txid=5, max_txid=9, timestamp_ms=1, pre_apply_checksum=SUM
)
RULES = [
    ({"flags": 1}, "flags 0x1 are not known"),
    ({"page_size": 256}, "page size 256 is no power of two"),
    ({"page_size": 1_000}, "page size 1000 is no power of two"),
    ({"page_size": 131_072}, "page size 131072 is no power of two"),
    ({"commit": -1}, "a database of -1 pages cannot be"),
    ({"commit": 1 << 32}, "a database of 4294967296 pages cannot be"),
    ({"min_txid": 0}, "txids 0 to 9 are no range"),
    ({"max_txid": 4}, "txids 5 to 4 are no range"),
    ({"max_txid": 1 << 64}, "txids 5 to 18446744073709551616"),
    ({"timestamp_ms": -1}, "time -1 is no number of milliseconds"),
    ({"timestamp_ms": 1 << 63}, "is no number of milliseconds"),
    ({"min_txid": 1}, "a snapshot has no pre-apply checksum"),
    ({"flags": 2}, "without database checksums has no pre-apply checksum"),
    ({"pre_apply_checksum": 0}, "pre-apply checksum 0000000000000000 has no bit 63"),
    ({"pre_apply_checksum": 77}, "pre-apply checksum 000000000000004d has no bit 63"),
    ({"wal_offset": 1 << 63}, "is not of 63 bits"),
    ({"wal_offset": 32, "wal_size": -1}, "is not of 63 bits"),
    ({"wal_size": 1}, "a WAL size needs a WAL offset"),
    ({"wal_salt_1": 1}, "WAL salts need a WAL offset"),
    ({"wal_salt_2": 1}, "WAL salts need a WAL offset"),
    ({"wal_offset": 32, "wal_salt_2": 1 << 32}, "a WAL salt is not of 32 bits"),
    ({"node_id": 1 << 64}, "node id 18446744073709551616 is not of 64 bits"),
]


@pytest.mark.parametrize(("change", "message"), RULES, ids=[rule[1][:30] for rule in RULES])
def test_every_rule_has_its_message(change, message):
    broken = msgspec.structs.replace(GOOD, **change)
    assert message in " | ".join(broken.problems())
    with pytest.raises(AssertionError):
        broken.encode()


def test_a_good_header_has_no_problem_and_comes_back():
    full = msgspec.structs.replace(
        GOOD, wal_offset=32, wal_size=24, wal_salt_1=1, wal_salt_2=2**32 - 1, node_id=2**64 - 1
    )
    for header in (GOOD, full):
        assert list(header.problems()) == []
        assert len(header.encode()) == 100
        assert ltx.Header.decode(header.encode()) == header
        assert ltx.Header.decode(memoryview(bytearray(header.encode() + b"more"))) == header


def field(offset: int, value: bytes) -> bytes:
    data = GOOD.encode()
    return data[:offset] + value + data[offset + len(value) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an LTX file"),
        (b"LTX", "not an LTX file"),
        (b"SQLite format 3\0" + bytes(200), "not an LTX file: it begins with b'SQLi'"),
        (b"LTX2" + GOOD.encode()[4:], "not an LTX file"),
        (field(4, b"\0\0\0\1"), "LTX flags 0x1 are not supported"),
        (field(99, b"\1"), "bytes 80 to 99 of the LTX header are in use"),
    ],
)
def test_what_is_something_else_is_invalid(data, message):
    with pytest.raises(Invalid, match=message):
        ltx.Header.decode(data)


def test_what_is_damaged_is_internal_and_says_where():
    with pytest.raises(Internal, match="damaged at byte 99: it ends inside its header") as caught:
        ltx.Header.decode(GOOD.encode()[:99])
    assert caught.value.details["expected"] == 100
    assert caught.value.details["found"] == 99
    with pytest.raises(Internal, match="segment of txid 5 to 9 is damaged at byte 0: page size 1"):
        ltx.Header.decode(field(8, (1).to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("header", "after", "sealed", "message"),
    [
        (GOOD, 0, SUM, "post-apply checksum 0000000000000000 has no bit 63"),
        (GOOD, 77, SUM, "has no bit 63"),
        (GOOD, SUM, 77, "file checksum 000000000000004d has no bit 63"),
        (msgspec.structs.replace(GOOD, commit=0), SUM, SUM, "not that of an empty database"),
        (
            msgspec.structs.replace(GOOD, flags=2, pre_apply_checksum=0),
            SUM,
            SUM,
            "without database checksums has no post-apply checksum",
        ),
    ],
)
def test_every_rule_of_the_trailer_has_its_message(header, after, sealed, message):
    assert message in " | ".join(ltx.Trailer(after, sealed).problems(header))
    assert list(ltx.Trailer(SUM, SUM).problems(GOOD)) == []
