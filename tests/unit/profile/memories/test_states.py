"""One table says what leads from one state to another; everything else is a conflict."""

from __future__ import annotations

import apsw
import pytest

from palimp.api import MemoryInput
from palimp.errors import Conflict
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import PlainSealer, prepare
from palimp.profile.lazy import has_table
from palimp.profile.memories import Writer, draft, forget, ingest, states
from palimp.profile.memories.states import STATES, TRANSITIONS, Act, after

SEALER = PlainSealer()
STEPS = ("archive", "quarantine", "restore", "delete", "expire", "purge")
LEGAL = {
    "active": {"archive": "archived", "quarantine": "quarantined", "delete": "soft_deleted"},
    "archived": {"restore": "active", "delete": "soft_deleted"},
    "quarantined": {"restore": "active", "delete": "soft_deleted"},
    "soft_deleted": {"restore": "active", "expire": "hard_delete_pending"},
    "hard_delete_pending": {"purge": "purged"},
    "purged": {},
}


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    prepare(connection)
    return connection


def write(connection: apsw.Connection, text: str) -> str:
    writer = Writer(1, PUBLIC_ID_KEY, SEALER)
    return ingest(connection, [draft(MemoryInput(text=text))], writer).results[0].id


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", STATES)
def test_every_pair_of_state_and_step(state: states.MemoryState, step: str) -> None:
    new = LEGAL[state].get(step)
    if new is not None:
        assert after(state, step, "mem_1") == new
        return
    targets = {name for (_, one), name in TRANSITIONS.items() if one == step}
    with pytest.raises(Conflict, match=f"memory mem_1 is {state}; .* becomes {targets.pop()}"):
        after(state, step, "mem_1")


def test_who_never_moves_a_memory_has_no_table_for_it(connection: apsw.Connection) -> None:
    identity = write(connection, "one")
    forget(connection, identity, SEALER, 2)
    assert not has_table(connection, states.TABLE)
    identity = write(connection, "two")
    states.change(connection, identity, "archive", Act(2), SEALER)
    assert has_table(connection, states.TABLE)


def test_forgetting_leaves_nothing_of_states_and_events(connection: apsw.Connection) -> None:
    identity = write(connection, "one")
    states.change(connection, identity, "archive", Act(2, reason="why"), SEALER)
    forget(connection, identity, SEALER, 3)
    for table in (states.TABLE, "__palimp_events", states.DELETED):
        assert connection.execute(f"SELECT count(*) FROM {table}").get == 0


def test_a_deleted_row_comes_back_to_the_letter(connection: apsw.Connection) -> None:
    identity = write(connection, "one")
    query = "SELECT * FROM __palimp_memories"
    (before,) = connection.execute(query).fetchall()
    states.change(connection, identity, "delete", Act(2, grace_ms=10), SEALER)
    assert connection.execute(query).fetchall() == []
    assert connection.execute("SELECT count(*) FROM __palimp_memories_fts").get == 0
    states.change(connection, identity, "restore", Act(5), SEALER)
    (after_it,) = connection.execute(query).fetchall()
    changed = [(old, new) for old, new in zip(before, after_it, strict=True) if old != new]
    # It is active since then; all else is as it was.
    assert changed == [(1, 5)]
    found = connection.execute("SELECT rowid FROM __palimp_memories_fts('one')").fetchall()
    assert found == [(before[0],)]


EVENTS = [f"{word} was seen" for word in "anna bert carl dora emil fritz gerd hans".split()]


def events(connection: apsw.Connection, texts: list[str]) -> dict[str, int]:
    given = [
        draft(MemoryInput(text=text, type="event", session="s", observed_at=EVENTS.index(text)))
        for text in texts
    ]
    outcome = ingest(connection, given, Writer(1, PUBLIC_ID_KEY, SEALER))
    return dict(zip(texts, outcome.handles, strict=True))


def index(connection: apsw.Connection, handles: dict[str, int]) -> set[tuple[str, str, str, int]]:
    """Every word of the index: the word, of whose entry, in which column and place."""
    connection.execute(
        "CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, '__palimp_memories_fts', 'instance')"
    )
    names = {handle: text for text, handle in handles.items()}
    rows = connection.execute("SELECT term, doc, col, offset FROM temp.v").fetchall()
    connection.execute("DROP TABLE temp.v")
    return {(term, names[doc], column, place) for term, doc, column, place in rows}


@pytest.mark.parametrize("gone", [{0}, {7}, {3}, {3, 4}, {0, 1, 5, 6}, {1, 3, 5, 7}, set(range(8))])
def test_the_index_is_as_if_what_left_had_never_been(
    connection: apsw.Connection, gone: set[int]
) -> None:
    handles = events(connection, EVENTS)
    before = index(connection, handles)
    ids = dict(connection.execute("SELECT text, id FROM __palimp_memories").fetchall())
    rows = [states.find(connection, ids[EVENTS[place]], 2) for place in sorted(gone)]
    moved = [row for row in rows if row is not None]
    assert len(moved) == len(gone)
    states.advance(connection, moved, "delete", Act(2, grace_ms=10), SEALER)
    left = [text for place, text in enumerate(EVENTS) if place not in gone]
    fresh = apsw.Connection(":memory:")
    prepare(fresh)
    expected = index(fresh, events(fresh, left)) if left else set()
    assert index(connection, handles) == expected
    for row in reversed(moved):
        states.change(connection, row.id, "restore", Act(3), SEALER)
    assert index(connection, handles) == before
