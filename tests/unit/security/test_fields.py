"""Sealing fields: each for its place, and nothing that was altered or moved is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.sealing import ESCAPE, PLACEHOLDER, SEALED, Undecipherable, header
from palimp.security.fields import FieldSealer, version_of

PLACE = ("memories", "mem_1", "text")


class Ring:
    """Fixed keys; the highest version seals."""

    def __init__(self, *versions: int, database: str = "db_1", seals: bool = True) -> None:
        self.versions = {version: bytes([version]) * 32 for version in versions}
        self.name = database
        self.seals = seals

    def database(self) -> str:
        return self.name

    def sealing(self) -> tuple[int, bytes] | None:
        return max(self.versions.items()) if self.seals else None

    def tokens(self) -> bytes | None:
        return b"t" * 32

    def opening(self, version: int) -> bytes | None:
        return self.versions.get(version)


def sealer(*versions: int, **ring: object) -> tuple[FieldSealer, list[tuple[str, str, int]]]:
    failed: list[tuple[str, str, int]] = []
    return FieldSealer(Ring(*versions, **ring), lambda *what: failed.append(what)), failed  # type: ignore[arg-type]


@given(st.text(), st.text(max_size=20))
def test_a_text_comes_back_at_its_place_and_says_nothing_elsewhere(text: str, row: str) -> None:
    one, failed = sealer(1)
    stored = one.seal(text, "turns", row, "content")
    assert isinstance(stored, bytes)
    assert stored.startswith(header(1))
    assert one.unseal(stored, "turns", row, "content") == text
    assert len(stored) == 5 + 12 + len(text.encode()) + 16
    assert one.seal(text, "turns", row, "content") != stored
    assert not failed


@pytest.mark.parametrize(
    "place",
    [
        ("turns", "mem_1", "text"),
        ("memories", "mem_2", "text"),
        ("memories", "mem_1", "content"),
        ("memories", "mem_1\0", "text"),
    ],
)
def test_what_was_moved_is_not_read(place: tuple[str, str, str]) -> None:
    one, failed = sealer(3)
    stored = one.seal("secret", *PLACE)
    with pytest.raises(Undecipherable, match="it was altered"):
        one.unseal(stored, *place)
    assert failed == [(*place[:2], 3)]


def test_what_came_from_another_database_is_not_read() -> None:
    stored = sealer(1)[0].seal("secret", *PLACE)
    with pytest.raises(Undecipherable):
        sealer(1, database="db_2")[0].unseal(stored, *PLACE)


def test_no_byte_can_be_altered_and_no_end_cut_off() -> None:
    one, _ = sealer(1)
    stored = one.seal("secret", *PLACE)
    assert isinstance(stored, bytes)
    for place in range(len(stored)):
        altered = bytearray(stored)
        altered[place] ^= 1
        with pytest.raises(Undecipherable):
            one.unseal(bytes(altered), *PLACE)
        with pytest.raises(Undecipherable):
            one.unseal(stored[:place], *PLACE)


def test_the_newest_version_seals_and_older_ones_open() -> None:
    old, (both, failed), (new, _) = sealer(1)[0], sealer(1, 2), sealer(2)
    stored = old.seal("secret", *PLACE)
    assert both.unseal(stored, *PLACE) == "secret"
    assert [version_of(one.seal("x", *PLACE)) for one in (old, both)] == [1, 2]
    with pytest.raises(Undecipherable, match="version 1 of its key is missing"):
        new.unseal(stored, *PLACE)
    assert not failed


def test_where_nothing_is_sealed_both_kinds_of_rows_are_read() -> None:
    sealed = sealer(1)[0].seal("secret", *PLACE)
    plain, _ = sealer(1, seals=False)
    assert plain.seal("open", *PLACE) == "open"
    assert plain.unseal("open", *PLACE) == "open"
    assert plain.unseal(sealed, *PLACE) == "secret"


@pytest.mark.parametrize("data", [b"", b"plain", SEALED, ESCAPE, header(7) + bytes(60)])
def test_data_that_looks_sealed_is_not_taken_for_it(data: bytes) -> None:
    place = ("kv", "1:nk", "value")
    sealing, _ = sealer(1)
    plain, _ = sealer(1, seals=False)
    for one in (sealing, plain):
        stored = one.seal_data(data, *place)
        assert (version_of(stored) == 1) == (one is sealing)
        assert sealing.unseal_data(stored, *place) == data
        assert plain.unseal_data(stored, *place) == data


def test_the_placeholder_is_what_the_dialects_promise() -> None:
    assert PLACEHOLDER == "[REDACTED \u2014 DECRYPTION FAILED]"
