"""Events that are memories of a profile: the cases of every store of events, and what they gain."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api.limits import CONTAINS_BYTES_MAX, TIMELINE_OFFSET_MAX
from palimp.clock import format_us

from .event_cases import EventCases, OverClient, an

KEY = base64.b64encode(b"k" * 32).decode()


class TestProfileEvents(EventCases):
    @pytest.fixture
    def store(self, do: Any, alice: Any) -> OverClient:
        return OverClient(do, alice)


def old(text: str, at_ms: int, **fields: Any) -> dict[str, Any]:
    """Return an event that comes as a memory, with a time of its own."""
    return {"type": "event", "text": text, "observed_at": at_ms, **fields}


def all_texts(do: Any, profile: Any, **filters: Any) -> list[str]:
    return [event.text for event in do.all(profile.timeline.list(**filters))]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], r"an append has 0 events; give 1 to 1,000"),
        ([an("x")] * 1_001, r"an append has 1,001 events"),
        ([{"agent": "a"}], r"field 'text' is missing"),
        ([{"text": "a"}], r"'agent(_id)?' is missing"),
        ([an("x", "")], "agent is empty"),
        ([an("")], "text is empty"),
        ([an("x"), an("y", importance=2)], r"events\[1\].*importance is 2"),
        ([an("x", event="e" * 513)], "event has 513 bytes"),
        ([an("x", parent="")], "parent is empty"),
        ([an("x", tags=["t"] * 65)], "tags has 65 entries"),
        ([an("x", sesion="s")], "unknown field 'sesion'.*did you mean 'session"),
        ([{"agent": "a", "text": 5}], "field 'text': expected `str`"),
        (["x"], "events must be an object with fields"),
        ("x", "extend takes a list of events"),
    ],
)
def test_bad_events_write_nothing(do: Any, alice: Any, events: Any, message: str) -> None:
    with pytest.raises(palimp.Invalid, match=message):
        do(alice.timeline.extend(events))
    assert do.all(alice.timeline.list()) == []


@pytest.mark.parametrize("window", [0, -1, float("nan"), 10**12])
def test_a_bad_window_is_refused(do: Any, alice: Any, window: float) -> None:
    with pytest.raises(palimp.Invalid, match="dedup_window"):
        do(alice.timeline.append("a", "x", dedup_key="k", dedup_window=window))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "limit is 0; give 1 to 1,000"),
        ({"limit": 1_001}, "limit is 1,001"),
        ({"offset": -1}, "offset is -1"),
        ({"offset": TIMELINE_OFFSET_MAX + 1}, "offset is 100,001; give 0 to 100,000, and go"),
        ({"since": "8761h"}, "since is '8761h'; give 1h to 8760h"),
        ({"until": "366d"}, "until is '366d'; give 1d to 365d"),
        ({"since": "1w"}, "since is not a time.*90m, 24h, 7d"),
        ({"since": "1h", "until": "2h"}, "since .1h. is not before until .2h."),
        ({"contains": ""}, "contains is empty"),
        ({"contains": "x" * (CONTAINS_BYTES_MAX + 1)}, "contains has 4,097 bytes"),
        ({"agent": ""}, "agent is empty"),
        ({"kind": ["k"] * 1_001}, "kinds has 1,001 values"),
        ({"tags": ["t"] * 65}, "tags has 65 values"),
        ({"importance_min": 2.0}, "importance_min is 2"),
        ({"order": "up"}, "order"),
        ({"tag": "x"}, "unknown field 'tag'"),
    ],
)
def test_a_listing_that_cannot_be(do: Any, alice: Any, fields: Any, message: str) -> None:
    with pytest.raises(palimp.Invalid, match=message):
        do(alice.timeline.page(**fields))
    do(alice.timeline.append("a", "x"))
    with pytest.raises(palimp.Invalid, match=message):
        do(alice.timeline.page(**fields))


def test_bounds_are_exclusive_to_the_millisecond(do: Any, alice: Any) -> None:
    do(alice.ingest([old(f"at {n}", 1_000_000 + n) for n in range(4)]))
    between = {"since": 1_000_000, "until": 1_000_003}
    assert all_texts(do, alice, **between, order="asc") == ["at 1", "at 2"]
    within = {"since": "1970-01-01T00:16:40.000500Z", "until": "1970-01-01T00:16:40.001500Z"}
    assert all_texts(do, alice, **within) == ["at 1"]
    moment = datetime.fromtimestamp(1_000.001, UTC)
    assert all_texts(do, alice, since=moment, order="asc") == ["at 2", "at 3"]


def test_an_iteration_reads_every_page_once(do: Any, alice: Any) -> None:
    # More of one millisecond than a page has, on both sides others.
    do(alice.ingest([old(f"b{n}", 5_000) for n in range(900)]))
    do(alice.ingest([old(f"b{n}", 5_000) for n in range(900, 1_800)]))
    do(alice.ingest([old(f"a{n}", 4_000 + n) for n in range(300)]))
    do(alice.ingest([old(f"c{n}", 6_000 + n // 2) for n in range(700)]))
    do(alice.ingest([old("zero", 0)]))
    wanted = ["zero", *(f"a{n}" for n in range(300)), *(f"b{n}" for n in range(1_800))]
    wanted += [f"c{n}" for n in range(700)]
    assert all_texts(do, alice, order="asc") == wanted
    assert all_texts(do, alice) == wanted[::-1]


def test_only_what_holds_is_listed(do: Any, alice: Any) -> None:
    done = do(alice.timeline.extend([an(f"e{n}", session="s") for n in range(5)]))
    ids = [one.event.id for one in done]
    do(alice.forget(ids[0]))
    do(alice.lifecycle.archive(ids[1]))
    do(alice.supersede(ids[2], "newer", type="event"))
    do(alice.ingest([{"type": "event", "text": "gone", "expires_at": 5}]))
    do(alice.remember("a fact"))
    views: list[dict[str, Any]] = [{}, {"session": "s"}]
    for filters in views:
        assert all_texts(do, alice, order="asc", **filters)[:2] == ["e3", "e4"]
        assert "e2" not in all_texts(do, alice, **filters)
    assert do(alice.timeline.stats()).count == 3
    do(alice.lifecycle.restore(ids[1]))
    assert "e1" in all_texts(do, alice)


def test_events_are_memories_and_memories_events(do: Any, alice: Any) -> None:
    done = do(alice.timeline.append("ann", "booked flight LH 400", session="s", parent="p"))
    assert [hit.text for hit in do(alice.recall("flight"))] == ["booked flight LH 400"]
    memory = do(alice.get(done.event))
    assert (memory.type, memory.agent, memory.session) == ("event", "ann", "s")
    assert [one.text for one in do.all(alice.list(type="event", since="1h"))] == [memory.text]
    assert do.all(alice.list(until="1h")) == []
    do(alice.ingest([{"type": "event", "text": "plain"}]))
    plain = do.all(alice.timeline.list(contains="plain"))[0]
    assert (plain.agent, plain.kind, plain.event) == (None, "episodic", "general")
    assert all_texts(do, alice, kind="episodic", event="general") == ["plain", memory.text]


def test_a_repeat_is_answered_as_the_first(do: Any, alice: Any) -> None:
    events = [an("one"), an("one")]
    first = do(alice.timeline.extend(events, request_id="r1"))
    assert do(alice.timeline.extend(events, request_id="r1")) == first
    assert [one.status for one in first] == ["created", "created"]
    other = do(alice.timeline.extend(events, request_id="r2", durability="durable"))
    assert other.txid > first.txid
    assert all_texts(do, alice) == ["one"] * 4
    with pytest.raises(palimp.Conflict):
        do(alice.timeline.extend([an("two")], request_id="r1"))
    do(alice.forget(first[0].event))
    again = do(alice.timeline.extend(events, request_id="r1"))
    assert [(one.status, one.event is None) for one in again] == [
        ("created", True),
        ("created", False),
    ]


def test_reads_say_how_new_they_are(do: Any, alice: Any) -> None:
    done = do(alice.timeline.extend([an("x")]))
    page = do(alice.timeline.page(min_txid=done.txid, consistency="primary"))
    assert page.txid == done.txid
    with pytest.raises(palimp.Unavailable, match="not yet"):
        do(alice.timeline.page(min_txid=done.txid + 1))
    assert do(alice.timeline.stats(consistency="cached")).count == 1


def test_the_past_forks_and_merges(do: Any, alice: Any) -> None:
    do(alice.timeline.append("ann", "early", session="s"))
    do(alice.checkpoint("before"))
    do(alice.timeline.append("ann", "late", session="s"))
    past = alice.at("before")
    assert all_texts(do, past, since="1h") == ["early"]
    assert do(past.timeline.stats("ann")).last_24h == 1
    assert "late" not in do(past.session("s").context()).text
    side = do(alice.fork("side", at="before"))
    do(side.timeline.append("bob", "aside", tags=["t"]))
    assert all_texts(do, side) == ["aside", "early"]
    do(alice.merge(side))
    assert set(all_texts(do, alice)) == {"aside", "early", "late"}
    assert all_texts(do, alice, tags=["t"]) == ["aside"]
    do(alice.rewind("before"))
    assert all_texts(do, alice) == ["early"]


def test_a_merge_brings_the_first_events(do: Any, alice: Any) -> None:
    do(alice.remember("a fact"))
    side = do(alice.fork("side"))
    do(side.timeline.extend([an(f"e{n}") for n in range(3)]))
    do(alice.merge(side))
    assert all_texts(do, alice) == ["e2", "e1", "e0"]
    assert not do(alice.verify()).findings


def test_a_file_of_a_profile_with_events(do: Any, client: Any, alice: Any, tmp_path: Path) -> None:
    do(alice.timeline.extend([an(f"e{n}") for n in range(3)]))
    do(alice.export(tmp_path / "file.db"))
    other = client.profile("other")
    do(other.import_(tmp_path / "file.db"))
    assert all_texts(do, other) == ["e2", "e1", "e0"]


def test_sealed_events_are_found_by_what_they_say(do: Any, tmp_path: Path) -> None:
    client = do.open(tmp_path / "sealed", embed_provider="none", master_key=KEY)
    alice = client.profile("alice")
    do(alice.timeline.append("ann", "a plain wombat", session="s"))
    do(client.set_policy("default", {"encryption": {"fields": True}}))
    do(alice.timeline.append("ann", "a sealed Wombat 100%", tags=["t"], parent="p", session="s"))
    assert all_texts(do, alice, contains="ombat") == ["a sealed Wombat 100%", "a plain wombat"]
    assert all_texts(do, alice, contains="Wombat", tags=["t"]) == ["a sealed Wombat 100%"]
    assert all_texts(do, alice, contains="00%", agent="ann") == ["a sealed Wombat 100%"]
    assert all_texts(do, alice, contains="quokka") == []
    do(alice.timeline.append("ann", "sealed with a key", dedup_key="k"))
    found = do.all(alice.timeline.list(dedup_key="k", contains="key"))
    assert [(one.text, one.dedup_key) for one in found] == [("sealed with a key", "k")]
    do(alice.forget(found[0]))
    assert do.all(alice.timeline.list(tags=["t"]))[0].parent == "p"
    assert "sealed Wombat" in do(alice.session("s").context()).text
    do(alice.sync())
    do.all(client.rotate_keys("default"))
    do.all(client.retire_keys("default", force=True))
    assert all_texts(do, alice, contains="sealed") == []
    assert len(all_texts(do, alice)) == 2
    do.end(client)


def test_what_comes_in_is_looked_at(do: Any, client: Any, alice: Any) -> None:
    do(client.set_policy("default", {"redaction": {"personal": "redact"}}))
    done = do(
        alice.timeline.append("ann", "mail jo@example.org", metadata={"to": "jo@example.org"})
    )
    assert done.event.text == "mail [email]"
    assert done.event.metadata == {"to": "[email]"}
    assert "redacted: email (2)" in done.note
    events = [an(f"card-free {n}") for n in range(300)]
    assert {one.status for one in do(alice.timeline.extend(events))} == {"created"}
    with pytest.raises(palimp.Invalid, match=r"events\[1\].*email"):
        do(alice.timeline.extend([an("x"), an("y", "jo@example.org")]))


def test_a_session_as_text(do: Any, alice: Any) -> None:
    done = do(
        alice.timeline.extend(
            [
                an("looked", session="s", event="tool_call"),
                an("chose", session="s", kind="decision", event="decision"),
                an("broke", session="s", kind="session", event="error"),
                an("elsewhere", session="t"),
            ]
        )
    )
    do(alice.remember("Prefers aisle seats", session="s"))
    do(alice.ingest([old("long ago", 5, session="s")]))
    at = format_us(done[0].event.at_us)
    fact = format_us(do.all(alice.list(type="fact"))[0].created_at * 1000)
    text = do(alice.session("s").context())
    assert (
        str(text)
        == text.text
        == (
            f"## Session Context (s)\n\n### Recent Actions (1)\n- [{at}] tool_call: looked\n\n"
            f"### Decisions Made (1)\n- [{at}] decision: chose\n\n"
            f"### Errors (1)\n- [{at}] error: broke\n\n"
            f"### Other (1)\n- [{fact}] fact: Prefers aisle seats\n"
        )
    )
    assert (text.found, text.shown, text.session) == (4, 4, "s")
    assert do(alice.session("s").context(kinds=["decision", "fact"])).found == 2
    assert do(alice.session("s").context(since=None)).found == 5
    assert do(alice.session("s").context(limit=2)).found == 2
    empty = do(alice.session("nobody").context())
    assert (empty.text, empty.found) == ("## Session Context (nobody)\n\n", 0)
    small = do(alice.session("s").context(max_tokens=text.tokens - 1))
    assert (small.found, small.shown) == (4, 3)
    assert small.tokens < text.tokens
    refused: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"limit": 1_001}, "limit is 1,001"),
        ({"since": "5s"}, "since is not a time"),
        ({"kinds": [""]}, r"kinds\[0\] is empty"),
    ]
    for fields, message in refused:
        with pytest.raises(palimp.Invalid, match=message):
            do(alice.session("s").context(**fields))
