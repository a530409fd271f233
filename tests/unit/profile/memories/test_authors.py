"""Who wrote a memory, wrote it again, or let another one take its place stands in its events."""

from __future__ import annotations

import apsw
import pytest

from palimp.api import GetEvents, MemoryInput
from palimp.api.lifecycle import ListEvents
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import PlainSealer, compare, complete, prepare
from palimp.profile.lazy import has_table
from palimp.profile.memories import (
    Writer,
    authors,
    draft,
    events,
    forget,
    happened,
    ingest,
    states,
    take_place,
)
from palimp.profile.memories.states import Act

SEALER = PlainSealer()


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    return connection


def write(
    connection: apsw.Connection,
    *texts: str,
    at: int,
    by: str | None,
    topic: str | None = None,
    said: tuple[str, ...] = (),
) -> list[str]:
    given = [MemoryInput(text=text, topic=topic, tags=said) for text in texts]
    done = ingest(
        connection, [draft(one) for one in given], Writer(at, PUBLIC_ID_KEY, SEALER, None, by)
    )
    return [one.id for one in done.results]


def told(connection: apsw.Connection, identity: str) -> list[tuple[str, str | None]]:
    found, _ = events.page(connection, GetEvents(id=identity), SEALER)
    return [(one.event, one.actor) for one in found]


def rows(connection: apsw.Connection) -> list[tuple[str, int, str | None]]:
    return connection.execute(f"SELECT * FROM {authors.TABLE} ORDER BY 1, 2").fetchall()


def test_each_event_has_its_own_actor(connection: apsw.Connection) -> None:
    (first,) = write(connection, "Tea", at=1, by="ann", topic="drink")
    (second,) = write(connection, "Coffee", at=2, by="bob", topic="drink")
    assert told(connection, first) == [("created", "ann"), ("superseded", "bob")]
    write(connection, "Tea", at=3, by="cy", topic="drink")
    assert told(connection, first) == [("created", "ann"), ("revived", "cy")]
    assert told(connection, second) == [("created", "bob"), ("superseded", "cy")]
    page = happened.page(connection, ListEvents(), SEALER, 9, sees_all=True)
    assert sorted((one.event, one.actor) for one in page) == [
        ("created", "ann"), ("created", "bob"), ("revived", "cy"), ("superseded", "cy"),
    ]  # fmt: skip


def test_one_writer_has_one_row_however_much_is_written(connection: apsw.Connection) -> None:
    write(connection, *(f"note {n}" for n in range(20)), at=1, by="owner")
    later = write(connection, *(f"more {n}" for n in range(20)), at=2, by="owner")
    assert rows(connection) == [("created", 1, "owner")]
    (other,) = write(connection, "by another", at=3, by="key")
    (last,) = write(connection, "the first again", at=4, by="owner")
    assert len(rows(connection)) == 3
    assert [told(connection, one)[0][1] for one in (later[-1], other, last)] == [
        "owner", "key", "owner",
    ]  # fmt: skip


def test_what_was_written_before_has_no_actor_and_needs_no_table(
    connection: apsw.Connection,
) -> None:
    (old,) = write(connection, "of an earlier release", at=1, by=None, topic="t")
    assert not has_table(connection, authors.TABLE)
    (new,) = write(connection, "of this one", at=2, by="ann", topic="t")
    assert told(connection, old) == [("created", None), ("superseded", "ann")]
    assert told(connection, new) == [("created", "ann")]
    (unknown,) = write(connection, "of nobody", at=3, by="")
    assert told(connection, unknown) == [("created", None)]


def test_what_the_node_does_later_is_not_said_to_be_of_who_did_it_before(
    connection: apsw.Connection,
) -> None:
    (old,) = write(connection, "Tea", at=1, by="ann", topic="drink")
    write(connection, "Coffee", at=2, by="bob", topic="drink")
    write(connection, "Tea", at=3, by="cy", topic="drink")
    (third,) = write(connection, "Water", at=4, by="bob")
    handles = dict(connection.execute("SELECT id, handle FROM __palimp_memories"))
    assert take_place(connection, handles[old], handles[third], 5, None)
    assert told(connection, old)[-1] == ("superseded", None)


def test_deleted_it_keeps_its_authors_and_removed_it_leaves_none(
    connection: apsw.Connection,
) -> None:
    (first,) = write(connection, "Tea", at=1, by="ann", topic="drink")
    write(connection, "Coffee", at=2, by="bob", topic="drink")
    states.change(connection, first, "delete", Act(3, "cy"), SEALER)
    assert told(connection, first) == [
        ("created", "ann"), ("superseded", "bob"), ("soft_deleted", "cy"),
    ]  # fmt: skip
    states.change(connection, first, "purge", Act(4), SEALER)
    assert [one for one, _ in told(connection, first)][:1] == ["soft_deleted"]
    assert [step for step, _, _ in rows(connection)] == ["created", "created"]
    (third,) = write(connection, "Milk", at=5, by="bob", topic="drink")
    assert len(rows(connection)) == 3
    for (identity,) in connection.execute("SELECT id FROM __palimp_memories").fetchall():
        forget(connection, identity, SEALER, 6)
    assert told(connection, third) == []
    assert {step for step, _, _ in rows(connection)} == {"created"}


def test_a_merge_brings_along_who_wrote_it_there(connection: apsw.Connection) -> None:
    (old,) = write(connection, "Tea", at=1, by="ann", topic="drink")
    theirs = apsw.Connection(":memory:")
    with theirs.backup("main", connection, "main") as backup:
        backup.step()
    write(connection, "Here since", at=2, by="ann")
    (new,) = write(theirs, "Coffee", at=3, by="bob", topic="drink")
    steps = [
        compare.plan.Step(None, compare.version(connection, one), compare.version(theirs, one))
        for one in (old, new)
    ]
    luggage = compare.pack(theirs, ((one.id, one.theirs) for one in steps), SEALER)
    writer = Writer(9, PUBLIC_ID_KEY, SEALER, None, "merger")
    compare.bring(connection, compare.Task(steps, luggage), writer)
    assert told(connection, old) == [("created", "ann"), ("superseded", "bob")]
    assert told(connection, new) == [("created", "bob")]
    (after,) = write(connection, "Written after it", at=10, by="merger")
    assert told(connection, after) == [("created", "merger")]


def test_a_file_from_elsewhere_may_have_the_table(connection: apsw.Connection) -> None:
    write(connection, "one", at=1, by="ann")
    other = apsw.Connection(":memory:")
    complete(other, [authors.TABLE])
    schema = f"SELECT sql FROM sqlite_schema WHERE name = '{authors.TABLE}'"
    assert other.execute(schema).get == connection.execute(schema).get
