"""What was derived from what, and that it goes together."""

from collections.abc import Iterator
from typing import Any

import apsw
import pytest

import palimp
from palimp.api import ForgetLineage
from palimp.profile import PlainSealer, lineage, prepare
from palimp.profile.memories import Writer, draft, ingest

SEALER = PlainSealer()


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    yield connection
    connection.close()


def write(connection: apsw.Connection, text: str, *derived_from: str, **fields: Any) -> str:
    given = draft(palimp.MemoryInput(text=text, derived_from=derived_from, **fields))
    return ingest(connection, [given], Writer(1, b"k", SEALER)).results[0].id


def derived(connection: apsw.Connection, **fields: Any) -> list[str]:
    return [one.id for one in lineage.descendants(connection, ForgetLineage(**fields))]


def left(connection: apsw.Connection) -> set[str]:
    return {text for (text,) in connection.execute("SELECT text FROM __palimp_memories")}


def test_a_session_is_told_from_others_and_from_what_was_written_by_hand(
    connection: apsw.Connection,
) -> None:
    mine = write(connection, "turn", lineage.turn_reference("a", 3), session="a")
    named = write(connection, "named", lineage.session_reference("a"))
    write(connection, "by hand", session="a")
    write(connection, "another", lineage.turn_reference("a/b", 3))
    write(connection, "alike", "turn:ab/3", "xturn:a/3", "turn:a")
    assert set(derived(connection, session="a")) == {mine, named}
    assert len(derived(connection, session="a/b")) == 1


def test_a_source_and_a_memory(connection: apsw.Connection) -> None:
    first = write(connection, "first", lineage.source_reference("s"))
    second = write(connection, "second", first)
    write(connection, "by hand", source="s")
    assert derived(connection, source="s") == [second, first]
    assert derived(connection, memory=first) == [second]
    assert derived(connection, memory="mem_x") == []


def test_a_circle_ends(connection: apsw.Connection) -> None:
    first = write(connection, "first", lineage.source_reference("s"))
    second = write(connection, "second", first)
    third = write(connection, "third", second)
    connection.execute(
        "UPDATE __palimp_memories SET derived_from = ? WHERE id = ?",
        (f'["source:s", "{third}", "{first}"]', first),
    )
    assert set(derived(connection, source="s")) == {first, second, third}
    # Not the memory itself: what was derived from it.
    assert set(derived(connection, memory=first)) == {second, third}


def test_what_is_left_after_a_part_is_found_by_another_call(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "FORGOTTEN_MAX", 2)
    chain = [write(connection, "0", lineage.source_reference("s"))]
    for number in range(1, 5):
        chain.append(write(connection, str(number), chain[-1]))
    request = ForgetLineage(source="s")
    gone, remaining = lineage.forget_descendants(connection, request, SEALER)
    assert (gone, remaining) == ([chain[4], chain[3]], 3)
    assert left(connection) == {"0", "1", "2"}
    assert lineage.forget_descendants(connection, request, SEALER)[1] == 1
    assert lineage.forget_descendants(connection, request, SEALER) == ([chain[0]], 0)
    assert lineage.forget_descendants(connection, request, SEALER) == ([], 0)


@pytest.mark.parametrize("fields", [{}, {"session": "a", "source": "b"}, {"session": ""}])
def test_one_thing_is_named(fields: dict[str, str]) -> None:
    with pytest.raises(palimp.Invalid):
        lineage.check_lineage(ForgetLineage(**fields))
