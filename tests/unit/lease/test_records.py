from __future__ import annotations

import pytest

from palimp.lease.records import NodeRecord, OwnerRecord, read, replaces, unknown_peer


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"null", b'{"format": 1}', b'{"format": 2, "node": "a"}']
)
def test_what_is_not_ours_is_nothing(data: bytes) -> None:
    assert read(data, OwnerRecord) is None
    assert read(data, NodeRecord) is None


def test_fields_of_newer_releases_are_passed_over() -> None:
    found = read('{"format": 1, "node": "a", "since": 3}', OwnerRecord)
    assert found == OwnerRecord(1, "a")


@pytest.mark.parametrize(
    ("process", "home", "first", "may"),
    [("p", "other", False, True), ("q", "h", True, True), ("q", "h", False, False),
     ("q", "other", True, False)],
)  # fmt: skip
def test_who_may_take_a_records_place(process: str, home: str, first: bool, may: bool) -> None:
    def record(process: str, home: str) -> NodeRecord:
        from msgspec.structs import replace

        return NodeRecord(1, 0, replace(unknown_peer("a"), process=process, home=home))

    assert replaces(record("p", "h"), record(process, home), first=first) is may
