"""A profile whose events are in a store of their own: asked under the rules of every profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import palimp
from palimp.api import Target
from palimp.api.events import (
    AppendEvents,
    Event,
    EventAppended,
    EventInput,
    EventsAppended,
    GetTimelineStats,
    ListTimeline,
    SessionContext,
    Timeline,
    TimelineStats,
)
from palimp.client.transports.embedded import Embedded
from palimp.node import Node, load_settings
from palimp.operations.dispatch import dispatch
from palimp.operations.events import EventStore

HERE = Target("default", "elsewhere")


class Listed:
    """Events in a list; what it was asked is kept."""

    def __init__(self) -> None:
        self.given: list[EventInput] = []
        self.asked: list[Any] = []

    def append(self, request: AppendEvents) -> EventsAppended:
        self.given += request.events
        results = tuple(EventAppended(status="created") for _ in request.events)
        return EventsAppended(results=results)

    def list(self, request: ListTimeline, now_ms: int) -> Timeline:
        self.asked.append(request)
        found = tuple(
            Event(text=one.text, agent=one.agent, at_us=now_ms * 1000) for one in self.given
        )
        return Timeline(events=found, more=False)

    def stats(self, request: GetTimelineStats, now_ms: int) -> TimelineStats:
        return TimelineStats(count=len(self.given))


class Stores:
    def __init__(self, store: EventStore) -> None:
        self.store = store

    def of(self, target: Target) -> EventStore | None:
        return self.store if target.profile == HERE.profile else None


class World:
    def __init__(self, path: Path) -> None:
        self.node = Node(load_settings({"data_dir": path, "embed_provider": "none"}))
        self.store = Listed()
        self.context = msgspec.structs.replace(self.node.context, event_stores=Stores(self.store))

    def call(self, operation: str, request: Any, target: Target = HERE) -> Any:
        return dispatch(self.context, operation, target, request)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = World(tmp_path / "memory")
    yield world
    world.node.close()


def append(world: World, *events: EventInput, target: Target = HERE) -> Any:
    return world.call("timeline.append", AppendEvents(events=events), target)


def test_each_profile_has_its_own_store(world: World) -> None:
    append(world, EventInput(agent="a", text="there"))
    append(world, EventInput(agent="a", text="here"), target=Target("default", "alice"))
    assert [one.text for one in world.store.given] == ["there"]
    page = world.call("timeline.list", ListTimeline())
    assert ([one.text for one in page], page.txid) == (["there"], None)
    assert world.call("timeline.stats", GetTimelineStats()).count == 1
    here = world.call("timeline.list", ListTimeline(), Target("default", "alice"))
    assert [one.text for one in here] == ["here"]


def test_a_session_is_asked_of_the_store(world: World) -> None:
    append(world, EventInput(agent="a", text="there", session="s"))
    found = world.call(
        "sessions.context", SessionContext(session="s", kinds=("decision",), limit=7)
    )
    assert "general: there" in found.text
    assert world.store.asked == [
        ListTimeline(session="s", kinds=("decision",), since="24h", limit=7)
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"agent": "", "text": "x"}, "agent is empty"),
        ({"agent": "a", "text": ""}, "text is empty"),
        ({"agent": "a", "text": "x" * 1_048_577}, "text has 1,048,577 bytes"),
        ({"agent": "a", "text": "x", "importance": 1.5}, "importance is 1.5"),
        ({"agent": "a", "text": "x", "metadata": {"a": "x" * 70_000}}, "metadata has"),
    ],
)
def test_limits_hold_for_every_store(world: World, event: Any, message: str) -> None:
    good = EventInput(agent="a", text="good")
    with pytest.raises(palimp.Invalid, match=rf"events\[1\].*{message}"):
        append(world, good, EventInput(**event))
    for operation, request in [
        ("timeline.list", ListTimeline(limit=0)),
        ("timeline.list", ListTimeline(since="9000h")),
        ("timeline.stats", GetTimelineStats(agent="")),
        ("sessions.context", SessionContext(session="")),
    ]:
        with pytest.raises(palimp.Invalid):
            world.call(operation, request)
    assert world.store.given == []
    assert world.store.asked == []


def test_a_policy_holds_for_every_store(world: World) -> None:
    mem = palimp.Client(Embedded(world.node))
    mem.set_policy("default", {"redaction": {"personal": "redact"}})
    done = append(
        world,
        EventInput(
            agent="a", text="mail jo@example.org", parent="jo@example.org", metadata={"n": 1}
        ),
        EventInput(agent="a", text="nothing", dedup_key="k"),
    )
    assert [one.note for one in done] == ["redacted: email (2)", None]
    first, second = world.store.given
    assert (first.text, first.parent, first.metadata) == ("mail [email]", "[email]", {"n": 1})
    assert second == EventInput(agent="a", text="nothing", dedup_key="k")


def test_it_has_no_earlier_states(world: World) -> None:
    past = msgspec.structs.replace(HERE, at="before")
    with pytest.raises(palimp.Invalid, match="which has no earlier states"):
        world.call("timeline.list", ListTimeline(), past)


def test_every_read_waits_for_what_it_is_to_hold(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        alice = mem.profile("alice")
        done = alice.timeline.append("ann", "hello", session="s")
        txid = alice.timeline.stats().txid
        assert done.event is not None
        assert txid is not None
        for read in (alice.timeline.page, alice.timeline.stats, alice.session("s").context):
            read(min_txid=txid)
            with pytest.raises(palimp.Unavailable, match="not yet"):
                read(min_txid=txid + 1)
