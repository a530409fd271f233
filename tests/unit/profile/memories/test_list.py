"""Listing: all pages, newest first, and every filter."""

from datetime import UTC, datetime
from typing import Any

import pytest

import palimp
from palimp.api import ListMemories, Target
from palimp.clock import ManualClock


@pytest.fixture
def profile(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


def texts(profile: palimp.Profile, **filters: Any) -> list[str]:
    return [memory.text for memory in profile.list(**filters)]


# One memory has what is asked for, the others something else or nothing.
MARKED: dict[str, Any] = {
    "kind": "preference",
    "session": "s1",
    "source": "agent-7",
    "agent": "planner",
    "speaker": "Alice",
    "project": "apollo",
    "environment": "prod",
}


def test_more_than_two_pages_are_read_newest_first(profile: palimp.Profile) -> None:
    expected = [f"item {n}" for n in range(250)]
    profile.ingest([{"text": text} for text in expected])
    assert texts(profile) == expected[::-1]


@pytest.mark.parametrize("limit", [1, 7, 250, 1_000])
def test_the_page_size_does_not_change_what_is_read(profile: palimp.Profile, limit: int) -> None:
    profile.ingest([{"text": f"item {n}", "kind": "odd" if n % 2 else "even"} for n in range(50)])
    assert texts(profile, kind="odd", limit=limit) == [f"item {n}" for n in range(49, 0, -2)]


def test_a_page_says_where_the_next_begins(timed: palimp.Client, profile: palimp.Profile) -> None:
    written = profile.ingest([{"text": f"item {n}"} for n in range(5)])
    target = Target("default", "alice")
    sizes, cursor = [], None
    while True:
        page = timed.call("memories.list", target, ListMemories(limit=2, cursor=cursor))
        sizes.append(len(page.memories))
        assert page.txid == written.txid
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sizes == [2, 2, 1]


def test_a_full_last_page_has_no_next(timed: palimp.Client, profile: palimp.Profile) -> None:
    profile.ingest([{"text": f"item {n}"} for n in range(4)])
    page = timed.call("memories.list", Target("default", "alice"), ListMemories(limit=4))
    assert (len(page.memories), page.next_cursor) == (4, None)


def test_what_is_forgotten_between_pages_costs_no_other(profile: palimp.Profile) -> None:
    done = profile.ingest([{"text": f"item {n}"} for n in range(6)])
    pages = profile.list(limit=2)
    seen = [next(pages).text, next(pages).text]
    profile.forget(done[5])
    profile.forget(done[4])
    profile.remember("newer")
    assert seen + [memory.text for memory in pages] == [f"item {n}" for n in range(5, -1, -1)]


def test_a_profile_that_was_never_written_lists_nothing(timed: palimp.Client) -> None:
    assert list(timed.profile("nobody").list()) == []
    assert list(timed.profiles()) == []


@pytest.mark.parametrize("field", MARKED)
def test_a_label_is_matched_exactly(profile: palimp.Profile, field: str) -> None:
    value = MARKED[field]
    for text, given in (("marked", value), ("longer", value + "x"), ("other", value.upper())):
        profile.remember(text, **{field: given})
    profile.remember("nothing")
    assert texts(profile, **{field: value}) == ["marked"]
    assert texts(profile, **{field: value[:-1]}) == []
    assert texts(profile, **{field: value + "%"}) == []


def test_types_and_kinds_may_be_several(profile: palimp.Profile) -> None:
    for type_ in ("fact", "event", "instruction", "task"):
        profile.remember(type_, type=type_, kind=f"kind of {type_}")
    assert texts(profile, type="event") == ["event"]
    assert texts(profile, type=["event", "fact"]) == ["event", "fact"]
    assert texts(profile, type=[]) == ["task", "instruction", "event", "fact"]
    assert texts(profile, kind=["kind of task", "kind of fact"]) == ["task", "fact"]
    assert texts(profile, type="task", kind="kind of fact") == []


def test_all_tags_must_be_there(profile: palimp.Profile) -> None:
    profile.remember("both", tags=["a", "b"])
    profile.remember("one", tags=["a"])
    profile.remember("longer", tags=["ab", 'a"'])
    profile.remember("none")
    assert texts(profile, tags=["a"]) == ["one", "both"]
    assert texts(profile, tags=["b", "a"]) == ["both"]
    assert texts(profile, tags=["a", "c"]) == []
    assert texts(profile, tags=['a"']) == ["longer"]
    assert len(texts(profile, tags=[])) == 4


def test_a_time_range_means_when_it_was_true(profile: palimp.Profile) -> None:
    for day in (1, 2, 3):
        profile.remember(f"day {day}", type="event", observed_at=f"2020-01-0{day}")
    assert texts(profile, since="2020-01-02") == ["day 3", "day 2"]
    assert texts(profile, until="2020-01-02") == ["day 1"]
    assert texts(profile, since="2020-01-02", until="2020-01-03") == ["day 2"]


def test_a_time_range_means_when_it_was_learnt_where_nothing_else_is_known(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    now = clock.now_ms()
    profile.remember("undated")
    profile.remember("dated", observed_at="2020-01-01")
    assert texts(profile, since=now, until=now + 1) == ["undated"]
    assert texts(profile, until=now) == ["dated"]
    assert texts(profile, since=now + 1) == []


@pytest.mark.parametrize(
    "since", ["2020-01-02T00:00:00Z", 1_577_923_200_000, datetime(2020, 1, 2, tzinfo=UTC)], ids=str
)
def test_a_time_may_be_said_in_every_way(profile: palimp.Profile, since: Any) -> None:
    for day in (1, 2):
        profile.remember(f"day {day}", observed_at=f"2020-01-0{day}")
    assert texts(profile, since=since) == ["day 2"]


def test_importance_is_a_least_one(profile: palimp.Profile) -> None:
    for importance in (0.2, 0.5, 0.9, None):
        profile.remember(str(importance), importance=importance)
    assert texts(profile, importance_min=0.5) == ["0.9", "0.5"]
    assert texts(profile, importance_min=0) == ["0.9", "0.5", "0.2"]


def test_trust_is_a_word(profile: palimp.Profile) -> None:
    for trust in ("T1", "T2", None):
        profile.remember(str(trust), trust=trust)
    assert texts(profile, trust="T2") == ["T2"]
    assert texts(profile, trust="t2") == []
    assert [hit.text for hit in profile.recall("T1 T2", trust="T1")] == ["T1"]


def test_a_topic_is_matched_exactly(profile: palimp.Profile) -> None:
    profile.remember("home fact", topic="home")
    profile.remember("home rule", topic="home", type="instruction")
    profile.remember("homes", topic="homes")
    assert texts(profile, topic="home") == ["home rule", "home fact"]
    assert texts(profile, topic="home", type="fact") == ["home fact"]


def test_superseded_memories_are_listed_when_asked_for(profile: palimp.Profile) -> None:
    for text in ("Rome", "Oslo"):
        profile.remember(text, topic="home")
    assert texts(profile) == ["Oslo"]
    assert texts(profile, include_superseded=True) == ["Oslo", "Rome"]


def test_a_state_without_members_is_empty(profile: palimp.Profile) -> None:
    profile.remember("here")
    assert texts(profile, state="active") == ["here"]
    assert texts(profile, state="archived") == []


def test_filters_hold_together(profile: palimp.Profile) -> None:
    profile.remember("right", tags=["a"], source="x", importance=0.9)
    profile.remember("wrong tag", tags=["b"], source="x", importance=0.9)
    profile.remember("wrong source", tags=["a"], source="y", importance=0.9)
    profile.remember("too small", tags=["a"], source="x", importance=0.1)
    assert texts(profile, tags=["a"], source="x", importance_min=0.5) == ["right"]


@pytest.mark.parametrize("field", ["topic_key", "session_id", "agent_id"])
def test_the_wire_s_names_filter_too(profile: palimp.Profile, field: str) -> None:
    profile.remember("marked", **{field: "x"})
    profile.remember("other")
    assert texts(profile, **{field: "x"}) == ["marked"]


def test_a_quote_in_a_filter_is_a_quote(profile: palimp.Profile) -> None:
    profile.remember("quoted", source="it's; DROP TABLE")
    assert texts(profile, source="it's; DROP TABLE") == ["quoted"]
    assert texts(profile, source="' OR 1=1 --") == []


BAD = [
    ({"limit": 0}, "limit is 0; give 1 to 1,000"),
    ({"limit": 1_001}, "limit is 1,001"),
    ({"limit": "ten"}, "'limit'"),
    ({"cursor": "junk"}, "cursor 'junk' did not come from an earlier page"),
    ({"cursor": "9" * 30}, "cursor '999"),
    ({"since": 5, "until": 5}, "is not before until"),
    ({"since": "soon"}, "since is not a time"),
    ({"importance_min": 1.5}, "importance_min is 1.5"),
    ({"importance_min": float("nan")}, "importance_min is nan"),
    ({"type": "opinion"}, "types"),
    ({"type": 5}, "types"),
    ({"tags": ["a"] * 65}, "tags has 65 values"),
    ({"tags": ["\ud800"]}, "half a surrogate pair"),
    ({"kind": "\ud800"}, "half a surrogate pair"),
    ({"trust": ""}, "trust"),
    ({"kind": ["k"] * 1_001}, "kinds has 1,001 values"),
    ({"session": ""}, "session is empty"),
    ({"topic": ""}, "topic is empty"),
    ({"source": "x" * 513}, "source has 513 bytes"),
    ({"sesion": "s"}, "did you mean 'session'"),
]


@pytest.mark.parametrize("written", [True, False], ids=["written", "never written"])
@pytest.mark.parametrize(("filters", "said"), BAD, ids=lambda value: ascii(value)[:30])
def test_a_bad_filter_is_refused_and_never_matches_all(
    profile: palimp.Profile, filters: dict[str, Any], said: str, written: bool
) -> None:
    """The same refusal whether or not the profile exists: a mistake must not wait for data."""
    if written:
        profile.remember("here")
    with pytest.raises(palimp.Invalid) as caught:
        list(profile.list(**filters))
    assert said in str(caught.value)
