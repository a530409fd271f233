"""A listing of events is what a list in memory gives, whatever is asked and however they came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimp.api import MemoryInput
from palimp.api.events import EVENT_DEFAULT, KIND_DEFAULT, GetTimelineStats, ListTimeline
from palimp.profile import PlainSealer, memories, prepare
from palimp.profile.memories import timeline

NOW = 1_000_000
WRITER = memories.Writer(NOW, b"k" * 16, PlainSealer())
AGENTS = ("ann", "bob", None)
WORDS = ("error", "general", "tool", None)
KINDS = ("episodic", "decision", None)
TAGS = ("a", "ab", 'a"b', "a\\", "\u00e9,x", '","')
TEXTS = ("Disk full", "disk", "100%", "a_b\\", "\u00e9\U0001f600", "x")

_events = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.sampled_from(TEXTS),
            "agent": st.sampled_from(AGENTS),
            "source": st.sampled_from(WORDS),
            "kind": st.sampled_from(KINDS),
            "session": st.sampled_from(("s", "t", None)),
            "tags": st.lists(st.sampled_from(TAGS), max_size=3, unique=True).map(tuple),
            "importance": st.sampled_from((None, 0.0, 0.5, 1.0)),
            "observed_at": st.integers(0, 6),
        }
    ),
    max_size=25,
)
_asked = st.fixed_dictionaries(
    {
        "order": st.sampled_from(("asc", "desc")),
        "limit": st.integers(1, 8),
        "offset": st.integers(0, 4),
    },
    optional={
        "agent": st.sampled_from(("ann", "bob")),
        "session": st.sampled_from(("s", "u")),
        "kinds": st.lists(st.sampled_from(("episodic", "decision")), max_size=2).map(tuple),
        "events": st.lists(st.sampled_from(("error", "general")), max_size=2).map(tuple),
        "tags": st.lists(st.sampled_from(TAGS), max_size=2).map(tuple),
        "contains": st.sampled_from(("isk", "Disk", "%", "_", "\\", "\u00e9", "x", "full")),
        "since": st.integers(0, 3),
        "until": st.integers(4, 6),
        "importance_min": st.sampled_from((0.0, 0.5)),
    },
)


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    with connection:
        prepare(connection)
    yield connection
    connection.close()


def matches(one: dict[str, Any], asked: dict[str, Any]) -> bool:
    at, least = one["observed_at"], asked.get("importance_min")
    return (
        asked.get("since", -1) < at < asked.get("until", 99)
        and all(asked.get(name) in (None, one[name]) for name in ("agent", "session"))
        and (not asked.get("kinds") or (one["kind"] or KIND_DEFAULT) in asked["kinds"])
        and (not asked.get("events") or (one["source"] or EVENT_DEFAULT) in asked["events"])
        and set(asked.get("tags", ())) <= set(one["tags"])
        and asked.get("contains", "") in one["text"]
        and (least is None or (one["importance"] is not None and one["importance"] >= least))
    )


@settings(max_examples=300, deadline=None)
@given(_events, _asked, st.booleans())
def test_a_listing_is_what_a_list_gives(
    connection: apsw.Connection, events: list[dict[str, Any]], asked: dict[str, Any], indexed: bool
) -> None:
    connection.execute("SAVEPOINT example")
    try:
        drafts = [
            memories.draft(MemoryInput(type="event", dedup_key=f"{number}", **one))
            for number, one in enumerate(events)
        ]
        memories.ingest(connection, drafts, WRITER)
        if not indexed:
            connection.execute("DROP INDEX IF EXISTS __palimp_timeline")
        found, more = timeline.list_events(connection, ListTimeline(**asked), PlainSealer(), NOW)
        wanted = [(one["observed_at"], n) for n, one in enumerate(events) if matches(one, asked)]
        wanted.sort(reverse=asked["order"] == "desc")
        page = wanted[asked["offset"] :][: asked["limit"]]
        assert [event.text for event in found] == [events[n]["text"] for _, n in page]
        assert [event.at_us for event in found] == [at * 1000 for at, _ in page]
        assert more == (len(wanted) > asked["offset"] + asked["limit"])
        counted = timeline.stats(connection, GetTimelineStats(agent=asked.get("agent")), NOW)
        mine = [one for one in events if asked.get("agent") in (None, one["agent"])]
        assert counted.count == sum(counted.by_kind.values()) == len(mine)
        assert counted.errors_24h == sum(one["source"] == "error" for one in mine)
    finally:
        connection.execute("ROLLBACK TO example")
        connection.execute("RELEASE example")
