"""What every store of events promises, over whatever reaches it.

A subclass of `EventCases` gives the fixture `store`: `OverClient` for the profile's own memories
through a client, `OfStore` for an `EventStore` in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import pytest

from palimp.api.events import (
    AppendEvents,
    Event,
    EventInput,
    EventsAppended,
    GetTimelineStats,
    ListTimeline,
    Timeline,
    TimelineStats,
)
from palimp.clock import format_us
from palimp.operations.events import EventStore


class Store(Protocol):
    """What the cases are written against."""

    def append(
        self, events: list[dict[str, Any]], *, dedup_window: float | None = None
    ) -> EventsAppended:
        """Append events."""

    def list(self, **fields: Any) -> Timeline:
        """Read a page."""

    def stats(self, agent: str | None = None) -> TimelineStats:
        """Count."""

    def wait(self, seconds: float) -> None:
        """Let time pass for the store."""


class OverClient:
    """The events of a profile, through a client."""

    def __init__(self, do: Any, profile: Any) -> None:
        self._do = do
        self._profile = profile

    def append(
        self, events: list[dict[str, Any]], *, dedup_window: float | None = None
    ) -> EventsAppended:
        done: EventsAppended = self._do(
            self._profile.timeline.extend(events, dedup_window=dedup_window)
        )
        return done

    def list(self, **fields: Any) -> Timeline:
        call = self._profile.client.call
        page: Timeline = self._do(
            call("timeline.list", self._profile.target, ListTimeline(**fields))
        )
        return page

    def stats(self, agent: str | None = None) -> TimelineStats:
        found: TimelineStats = self._do(self._profile.timeline.stats(agent))
        # What only a profile has.
        return msgspec.structs.replace(found, txid=None)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class OfStore:
    """An `EventStore`; `now_ms` and `wait` are those of its clock."""

    def __init__(
        self, store: EventStore, now_ms: Callable[[], int], wait: Callable[[float], None]
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self.wait = wait

    def append(
        self, events: list[dict[str, Any]], *, dedup_window: float | None = None
    ) -> EventsAppended:
        given = tuple(EventInput(**event) for event in events)
        return self._store.append(AppendEvents(events=given, dedup_window=dedup_window))

    def list(self, **fields: Any) -> Timeline:
        return self._store.list(ListTimeline(**fields), self._now_ms())

    def stats(self, agent: str | None = None) -> TimelineStats:
        return self._store.stats(GetTimelineStats(agent=agent), self._now_ms())


def an(text: str, agent: str = "ann", **fields: Any) -> dict[str, Any]:
    return {"agent": agent, "text": text, **fields}


def texts(page: Timeline) -> list[str]:
    return [event.text for event in page]


def said(event: Event) -> dict[str, Any]:
    """Return what the caller said of an event: not its time, nor its id."""
    names = set(event.__struct_fields__) - {"at_us", "id"}
    return {name: getattr(event, name) for name in names}


FULL: Mapping[str, Any] = {
    "agent": "ann", "text": "used the tool", "kind": "decision", "event": "tool_call",
    "session": "s1", "metadata": {"a": [1, None, {"b": "\u00fc"}], "n": 1.5}, "tags": ("x.y", "z-1"),
    "importance": 0.25, "parent": "call 7", "dedup_key": "k\\'\"%_",
}  # fmt: skip
TEXTS = [
    "x",
    "two\nlines\r\n",
    'it\'s 100% "_quoted_" \\ back',
    "-- ; drop table events",
    "h\u00e9llo \u043a\u043b\u044e\u0447 \U0001f600",
    "a\ttab",
    "\u00e9" * 200_000,
]
TAGGED = {
    "a": ("a",),
    "ab": ("ab",),
    "both": ("a", "b.c"),
    "none": (),
    "comma": ("b.c", "a-1"),
}


class EventCases:
    """The promises, one a test."""

    def test_a_store_without_events(self, store: Store) -> None:
        page = store.list()
        assert (page.events, page.more) == ((), False)
        assert store.stats() == store.stats("nobody") == TimelineStats(count=0)

    @pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:20])
    def test_a_text_comes_back_as_it_was(self, store: Store, text: str) -> None:
        (done,) = store.append([an(text)])
        assert done.status == "created"
        assert done.event is not None
        (event,) = store.list()
        assert event.text == done.event.text == text
        assert (event.kind, event.event) == ("episodic", "general")
        # What a store of its own keeps is not finer than microseconds.
        assert event.at_us == done.event.at_us

    def test_everything_that_is_said_comes_back(self, store: Store) -> None:
        (done,) = store.append([dict(FULL)])
        assert done.event is not None
        (event,) = store.list()
        assert said(event) == said(done.event) == dict(FULL)

    def test_what_is_not_said_is_absent(self, store: Store) -> None:
        store.append([an("bare")])
        (event,) = store.list()
        assert said(event) == {
            **dict.fromkeys(("session", "metadata", "importance", "parent", "dedup_key")),
            "agent": "ann", "text": "bare", "kind": "episodic", "event": "general", "tags": (),
        }  # fmt: skip

    def test_events_stand_in_the_order_they_came_in(self, store: Store) -> None:
        for start in range(0, 30, 10):
            store.append([an(f"e{number}") for number in range(start, start + 10)])
        names = [f"e{number}" for number in range(30)]
        assert texts(store.list(order="asc")) == names
        assert texts(store.list()) == names[::-1]
        times = [event.at_us for event in store.list(order="asc")]
        assert times == sorted(times)

    def test_the_same_again_is_another_event(self, store: Store) -> None:
        store.append([an("again"), an("again")])
        store.append([an("again", dedup_key="k")])
        store.append([an("again", dedup_key="k")])
        assert texts(store.list()) == ["again"] * 4

    def test_pages_and_whether_there_is_more(self, store: Store) -> None:
        store.append([an(f"e{number}") for number in range(7)])
        for limit, offset, found, more in [
            (7, 0, 7, False), (6, 0, 6, True), (8, 0, 7, False), (3, 3, 3, True),
            (3, 4, 3, False), (3, 7, 0, False), (3, 100_000, 0, False), (1, 6, 1, False),
        ]:  # fmt: skip
            page = store.list(limit=limit, offset=offset, order="asc")
            assert texts(page) == [f"e{n}" for n in range(offset, offset + found)]
            assert page.more is more, (limit, offset)

    def test_by_agent_session_kind_and_event(self, store: Store) -> None:
        store.append(
            [
                an("one", "ann", session="s1", kind="episodic", event="general"),
                an("two", "ann", session="s2", kind="decision", event="error"),
                an("three", "bob", session="s1", kind="session", event="error"),
                an("four", "bob"),
            ]
        )
        for fields, wanted in [
            ({"agent": "ann"}, ["one", "two"]),
            ({"agent": "Ann"}, []),
            ({"session": "s1"}, ["one", "three"]),
            ({"session": "s1", "agent": "bob"}, ["three"]),
            ({"kinds": ("episodic",)}, ["one", "four"]),
            ({"kinds": ("decision", "session")}, ["two", "three"]),
            ({"events": ("error",)}, ["two", "three"]),
            ({"events": ("general", "error"), "agent": "bob"}, ["three", "four"]),
            ({"kinds": ("decision",), "events": ("general",)}, []),
            ({"agent": "it's\\"}, []),
        ]:
            assert texts(store.list(order="asc", **fields)) == wanted, fields

    @pytest.mark.parametrize(
        ("tags", "wanted"),
        [
            (("a",), {"a", "both"}),
            (("a", "b.c"), {"both"}),
            (("b.c", "a"), {"both"}),
            (("b",), set()),
            (("b.c",), {"both", "comma"}),
            (("a-1",), {"comma"}),
            (("A",), set()),
            ((), set(TAGGED)),
        ],
    )
    def test_all_tags_and_each_as_a_whole(
        self, store: Store, tags: tuple[str, ...], wanted: set[str]
    ) -> None:
        store.append([an(text, tags=kept) for text, kept in TAGGED.items()])
        assert set(texts(store.list(tags=tags))) == wanted

    @pytest.mark.parametrize(
        ("contains", "wanted"),
        [
            ("Disk", ["Disk full: 100%"]),
            ("disk", ["a disk_full flag"]),
            ("100%", ["Disk full: 100%"]),
            ("k_f", ["a disk_full flag"]),
            ("%", ["Disk full: 100%"]),
            ("_", ["a disk_full flag"]),
            ("\\", ["it's C:\\ \u00e9"]),
            ("'s", ["it's C:\\ \u00e9"]),
            ("\u00e9", ["it's C:\\ \u00e9"]),
            ("e", []),
            ("full", ["Disk full: 100%", "a disk_full flag"]),
            ("; drop", []),
        ],
    )
    def test_a_text_that_stands_in_it(self, store: Store, contains: str, wanted: list[str]) -> None:
        store.append([an("Disk full: 100%"), an("a disk_full flag"), an("it's C:\\ \u00e9")])
        assert texts(store.list(order="asc", contains=contains)) == wanted

    def test_by_importance(self, store: Store) -> None:
        given = [("no", None), ("low", 0.1), ("half", 0.5), ("high", 1.0)]
        store.append([an(text, importance=value) for text, value in given])
        assert texts(store.list(order="asc", importance_min=0.5)) == ["half", "high"]
        assert texts(store.list(order="asc", importance_min=0.1)) == ["low", "half", "high"]

    def test_conditions_hold_together(self, store: Store) -> None:
        store.append(
            [
                an("disk one", tags=("t",), session="s", importance=0.9),
                an("disk two", tags=("t",), session="s"),
                an("disk three", "bob", tags=("t",), session="s", importance=0.9),
                an("disk four", tags=("u",), session="s", importance=0.9),
                an("five", tags=("t",), session="s", importance=0.9),
            ]
        )
        fields = {"agent": "ann", "tags": ("t",), "session": "s", "importance_min": 0.5}
        assert texts(store.list(contains="disk", since="1h", **fields)) == ["disk one"]

    def test_a_window(self, store: Store) -> None:
        (first,) = store.append([an("first")])
        store.wait(0.01)
        (second,) = store.append([an("second")])
        assert first.event is not None
        assert second.event is not None
        early, late = first.event.at_us // 1000, second.event.at_us // 1000
        assert early < late
        for fields, wanted in [
            ({"since": early - 1}, ["first", "second"]),
            ({"since": early + 1}, ["second"]),
            ({"since": late + 1}, []),
            ({"until": early}, []),
            ({"until": late}, ["first"]),
            ({"until": late + 1}, ["first", "second"]),
            ({"since": early - 1, "until": late}, ["first"]),
            ({"since": "1h"}, ["first", "second"]),
            ({"since": "365d", "until": "1m"}, []),
            ({"until": "8760m"}, []),
            ({"since": "2026-01-01"}, ["first", "second"]),
            ({"until": "2001-02-03T04:05:06Z"}, []),
        ]:
            assert texts(store.list(order="asc", **fields)) == wanted, fields

    def test_a_key_within_its_window_is_a_duplicate(self, store: Store) -> None:
        done = store.append([an("one", dedup_key="k")], dedup_window=3600)
        assert [one.status for one in done] == ["created"]
        done = store.append(
            [an("two", "bob", session="s", dedup_key="k"), an("three", dedup_key="l")],
            dedup_window=3600,
        )
        assert [(one.status, one.event is None) for one in done] == [
            ("duplicate", True),
            ("created", False),
        ]
        assert texts(store.list(order="asc")) == ["one", "three"]

    def test_a_key_twice_in_one_call(self, store: Store) -> None:
        events = [an("one", dedup_key="k"), an("two", dedup_key="k"), an("three")]
        done = store.append(events, dedup_window=3600)
        assert [one.status for one in done] == ["created", "duplicate", "created"]
        assert texts(store.list(order="asc")) == ["one", "three"]

    def test_behind_the_window_a_key_is_new(self, store: Store) -> None:
        store.append([an("one", dedup_key="k")], dedup_window=0.02)
        store.wait(0.05)
        (done,) = store.append([an("two", dedup_key="k")], dedup_window=0.02)
        assert done.status == "created"
        assert texts(store.list(order="asc")) == ["one", "two"]

    def test_by_the_key_it_came_with(self, store: Store) -> None:
        keys = ["k", "K", "k\\'\"%_", "kk", None]
        store.append([an(f"plain {key}", dedup_key=key) for key in keys])
        store.append([an("in a window", dedup_key="k")], dedup_window=3600)
        assert texts(store.list(dedup_key="k", order="asc")) == ["plain k", "in a window"]
        assert texts(store.list(dedup_key=keys[2])) == [f"plain {keys[2]}"]
        assert texts(store.list(dedup_key="other")) == []

    def test_a_bound_leaves_out_what_happened_at_it(self, store: Store) -> None:
        for text in ("first", "second", "third"):
            store.append([an(text)])
            store.wait(0.01)
        first, second, third = (format_us(event.at_us) for event in store.list(order="asc"))
        assert texts(store.list(since=first, until=third)) == ["second"]
        assert texts(store.list(since=second)) == ["third"]
        assert texts(store.list(until=second)) == ["first"]

    def test_what_has_no_key_is_no_duplicate(self, store: Store) -> None:
        done = store.append([an("same"), an("same")], dedup_window=3600)
        assert [one.status for one in done] == ["created", "created"]

    def test_events_in_numbers(self, store: Store) -> None:
        store.append(
            [
                an("1"),
                an("2", kind="decision", event="error"),
                an("3", event="error"),
                an("4", "bob", kind="entity"),
            ]
        )
        assert store.stats("ann") == TimelineStats(
            count=3, last_24h=3, errors_24h=2, by_kind={"episodic": 2, "decision": 1}
        )
        assert store.stats() == TimelineStats(
            count=4,
            last_24h=4,
            errors_24h=2,
            by_kind={"episodic": 2, "decision": 1, "entity": 1},
        )
        assert store.stats("nobody") == TimelineStats(count=0)

    def test_a_thousand_at_once(self, store: Store) -> None:
        done = store.append([an(f"e{number}", tags=("t",)) for number in range(1_000)])
        assert len(done) == 1_000
        assert [one.event.text for one in done if one.event] == [f"e{n}" for n in range(1_000)]
        page = store.list(limit=1_000, order="asc")
        assert texts(page) == [f"e{number}" for number in range(1_000)]
        assert not page.more
        assert store.stats().count == 1_000
