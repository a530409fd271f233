"""How events are found: with which index, also without it, and what is left when they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp.api import MemoryInput
from palimp.api.events import GetTimelineStats, ListTimeline, SessionContext
from palimp.profile import PlainSealer, memories, prepare
from palimp.profile.memories import timeline
from palimp.profile.schema import TIMELINE

NOW = 1_000_000
WRITER = memories.Writer(NOW, b"k" * 16, PlainSealer())
DAY_MS = 86_400_000


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    with connection:
        prepare(connection)
    return connection


def indexes(connection: apsw.Connection) -> set[str]:
    rows: Any = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
    return {name for (name,) in rows}


def write(connection: apsw.Connection, *given: MemoryInput, now_ms: int = NOW) -> None:
    with connection:
        drafts = [memories.draft(one) for one in given]
        memories.ingest(connection, drafts, WRITER._replace(now_ms=now_ms))


def plans(connection: apsw.Connection, ask: Any) -> str:
    """Return how SQLite carries out what a call asks of the memories."""
    asked: list[tuple[str, Any]] = []

    def trace(_cursor: Any, sql: str, bindings: Any) -> bool:
        if "FROM __palimp_memories m" in sql:
            asked.append((sql, bindings))
        return True

    connection.exec_trace = trace
    try:
        ask()
    finally:
        connection.exec_trace = None
    said = [
        row[3]
        for sql, bindings in asked
        for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]
    return "; ".join(said)


def test_the_first_event_makes_the_index_and_no_other_memory_does(
    connection: apsw.Connection,
) -> None:
    write(connection, MemoryInput(text="a fact"), MemoryInput(text="a task", type="task"))
    assert TIMELINE not in indexes(connection)
    write(connection, MemoryInput(text="an event", type="event"))
    assert TIMELINE in indexes(connection)
    connection.execute(f"DROP INDEX {TIMELINE}")
    write(connection, MemoryInput(text="another", type="event"))
    assert TIMELINE in indexes(connection)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    ("fields", "index"),
    [
        ({}, TIMELINE),
        ({"since": 5, "until": 9, "agent": "a", "kinds": ("k", "l"), "tags": ("t",)}, TIMELINE),
        ({"contains": "x", "importance_min": 0.5, "events": ("e",)}, TIMELINE),
        ({"session": "s", "since": 5, "contains": "x"}, "__palimp_session"),
    ],
)
def test_no_listing_sorts(
    connection: apsw.Connection, fields: dict[str, Any], index: str, order: Any
) -> None:
    write(connection, MemoryInput(text="an event", type="event"))
    request = ListTimeline(order=order, **fields)
    plan = plans(connection, lambda: timeline.list_events(connection, request, PlainSealer(), NOW))
    assert index in plan
    assert "TEMP B-TREE" not in plan
    if "since" in fields:
        assert "occurred_at>?" in plan


def test_counting_goes_through_the_index_alone(connection: apsw.Connection) -> None:
    write(connection, MemoryInput(text="an event", type="event"))
    request = GetTimelineStats(agent="a")
    plan = plans(connection, lambda: timeline.stats(connection, request, NOW))
    assert f"SCAN m USING INDEX {TIMELINE}" in plan


def test_the_newest_of_a_session_come_in_the_order_of_the_index(
    connection: apsw.Connection,
) -> None:
    request = SessionContext(session="s", since=5)
    plan = plans(connection, lambda: timeline.of_session(connection, request, PlainSealer(), NOW))
    assert "__palimp_session" in plan
    assert "TEMP B-TREE" not in plan


def test_the_last_day_ends_now(connection: apsw.Connection) -> None:
    for at, source in ((0, "error"), (1, "error"), (DAY_MS, "general")):
        one = MemoryInput(text=f"{at}", type="event", source=source, observed_at=at)
        write(connection, one, now_ms=DAY_MS)
    found = timeline.stats(connection, GetTimelineStats(), DAY_MS)
    assert (found.count, found.last_24h, found.errors_24h) == (3, 2, 1)


def test_what_happened_in_a_session_is_of_every_type(connection: apsw.Connection) -> None:
    types: tuple[Any, ...] = ("fact", "event", "instruction", "task")
    for at, kind in enumerate(types):
        given = MemoryInput(text=kind, type=kind, session="s", observed_at=at)
        write(connection, given, MemoryInput(text=f"other {kind}", type=kind, session="t"))
    ask = SessionContext(session="s", since=None)
    found = timeline.of_session(connection, ask, PlainSealer(), NOW)
    assert [one.text for one in found] == list(reversed(types))
    assert [(one.kind, one.event) for one in found] == [
        ("task", "task"),
        ("instruction", "instruction"),
        ("episodic", "general"),
        ("fact", "fact"),
    ]
    ask = SessionContext(session="s", since=None, kinds=("episodic", "fact"), limit=1)
    (one,) = timeline.of_session(connection, ask, PlainSealer(), NOW)
    assert one.text == "event"


def test_an_older_file_without_the_index_lists_the_same(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.remember("a fact")
        assert list(alice.timeline.list()) == []
        assert alice.timeline.stats().count == 0


def test_an_event_that_is_erased_is_gone_from_every_view(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        alice = mem.profile("alice")
        done = alice.timeline.append("ann", "a wombat", session="s")
        alice.timeline.append("ann", "a quokka", session="s")
        assert done.event is not None
        assert done.event.id is not None
        alice.sync()
        job = alice.erase(done.event.id, grace=0)
        assert job.wait().status == "done"
        assert [one.text for one in alice.timeline.list()] == ["a quokka"]
        assert "wombat" not in alice.session("s").context().text
        assert alice.timeline.stats("ann").count == 1
        assert not alice.verify().findings


def test_a_subject_gets_the_events_too(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.timeline.append("ann", "a wombat", session="s", parent="call 7")
        counts = alice.export_subject(tmp_path / "subject")
        assert counts["memory"] == 1
    files = [path.read_text() for path in (tmp_path / "subject").glob("*.jsonl")]
    assert any("a wombat" in text and "call 7" in text for text in files)
