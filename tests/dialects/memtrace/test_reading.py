"""Reading memories: filters, the window of time, order, pages; searches; one by its key or text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Org, new_org, refused
from .speaking import DAY, HOUR, MINUTE, House
from .test_memories import ID, TAG, TYPE, batch

SEARCH = "search"


def found(org: Org, **body: Any) -> list[str]:
    """Return what a search finds."""
    answer = org.post(SEARCH, body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said) == {"results", "count", "query_time_ms"}
    assert said["count"] == len(said["results"])
    return [one["content"] for one in said["results"]]


@pytest.fixture
def four(org: Org) -> Org:
    """Four memories, a minute between each two."""
    org.add("oldest", session_id="s1", tags=["a", "b"], importance=0.2)
    org.house.clock.sleep(MINUTE)
    org.add("second", agent="agent_2", session_id="s1", tags=["ab"], memory_type="decision")
    org.house.clock.sleep(MINUTE)
    org.add("third", agent="agent_2", session_id="s2", event_type="error", importance=0.5)
    org.house.clock.sleep(MINUTE)
    org.add("newest", memory_type="entity", tags=["a"], importance=0.9)
    return org


# -- filters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["newest", "third", "second", "oldest"]),
        ({"agent_id": "agent_2"}, ["third", "second"]),
        ({"agent_id": ""}, ["newest", "third", "second", "oldest"]),
        ({"session_id": "s1"}, ["second", "oldest"]),
        ({"memory_type": "decision"}, ["second"]),
        ({"memory_type": "other"}, []),
        ({"event_type": "error"}, ["third"]),
        ({"tags": "a"}, ["newest", "oldest"]),
        ({"tags": " a , ,b "}, ["oldest"]),
        ({"tags": "ab"}, ["second"]),
        ({"tags": ","}, ["newest", "third", "second", "oldest"]),
        ({"agent_id": "agent_1", "tags": "a", "memory_type": "entity"}, ["newest"]),
        ({"order": "asc"}, ["oldest", "second", "third", "newest"]),
        ({"order": "ASC"}, ["newest", "third", "second", "oldest"]),
        ({"order": "asc", "limit": 2}, ["oldest", "second"]),
        ({"limit": 2, "offset": 1}, ["third", "second"]),
        ({"offset": -1, "limit": 1}, ["newest"]),
        ({"offset": "x", "limit": "x"}, ["newest", "third", "second", "oldest"]),
        ({"offset": 4}, []),
        ({"limit": 0}, ["newest", "third", "second", "oldest"]),
        ({"limit": -5}, ["newest", "third", "second", "oldest"]),
        ({"limit": "9" * 30}, ["newest", "third", "second", "oldest"]),
        ({"unknown": "1"}, ["newest", "third", "second", "oldest"]),
    ],
)
def test_lists(four: Org, query: dict[str, Any], expected: list[str]) -> None:
    assert four.contents(**query) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["newest", "third", "second", "oldest"]),
        ({"agent_id": "agent_1", "session_id": "s1"}, ["oldest"]),
        ({"memory_types": ["decision", "entity"]}, ["newest", "second"]),
        ({"event_types": ["error", "other"]}, ["third"]),
        (
            {"memory_types": [], "event_types": [], "tags": []},
            ["newest", "third", "second", "oldest"],
        ),
        ({"tags": ["a", "b"]}, ["oldest"]),
        ({"content_contains": "e"}, ["newest", "second", "oldest"]),
        ({"content_contains": "E"}, []),
        ({"content_contains": ""}, ["newest", "third", "second", "oldest"]),
        ({"min_importance": 0.5}, ["newest", "third"]),
        ({"min_importance": 0}, ["newest", "third", "second", "oldest"]),
        ({"min_importance": -1}, ["newest", "third", "second", "oldest"]),
        ({"order": "asc", "limit": 1}, ["oldest"]),
        ({"limit": 0}, ["newest", "third", "second", "oldest"]),
        ({"since": "150s"}, None),
        ({"since": "2m", "until": "now"}, ["newest", "third"]),
        ({"since": "", "until": ""}, ["newest", "third", "second", "oldest"]),
        ({"memory_types": ["decision"], "tags": ["a"]}, []),
        (
            dict.fromkeys(("agent_id", "tags", "limit", "since")),
            ["newest", "third", "second", "oldest"],
        ),
    ],
)
def test_searches(four: Org, body: dict[str, Any], expected: list[str] | None) -> None:
    if expected is None:
        assert four.post(SEARCH, body).status_code == 400
    else:
        assert found(four, **body) == expected


@pytest.mark.parametrize("text", ["100%", "a_c", "it's", "back\\slash", 'quo"te', "ü☃", "; DROP"])
def test_what_a_search_looks_for_is_taken_as_it_is(org: Org, text: str) -> None:
    org.add(f"before {text} after", tags=["copy"])
    org.add("100 abc its backslash quote")
    assert found(org, content_contains=text) == [f"before {text} after"]
    assert found(org, content_contains=text, tags=["copy"]) == [f"before {text} after"]
    assert found(org, content_contains=text.lower() + "!") == []


def test_a_search_of_nothing_written(org: Org) -> None:
    assert found(org) == []
    said = org.get("memories").json()
    assert said == {"memories": [], "count": 0, "has_more": False}


# -- what is no filter ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"agent_id": "1"}, f"invalid agent_id: {ID}"),
        ({"session_id": "a b"}, f"invalid session_id: {ID}"),
        ({"memory_type": "a-b"}, f"invalid memory_type: {TYPE}"),
        ({"event_type": "a.b"}, f"invalid event_type: {TYPE}"),
        ({"tags": "fine,a b"}, f"invalid tag 'a b': {TAG}"),
    ],
)
def test_a_listing_that_cannot_be(org: Org, query: dict[str, str], said: str) -> None:
    refused(org.get("memories", **query), 400, said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"agent_id": "1"}, f"invalid agent_id: {ID}"),
        ({"session_id": "a b"}, f"invalid session_id: {ID}"),
        ({"memory_types": ["a-b"]}, f"invalid memory_type: {TYPE}"),
        ({"event_types": ["a.b"]}, f"invalid event_type: {TYPE}"),
        ({"tags": ["fine", "a b"]}, f"invalid tag 'a b': {TAG}"),
        ({"tags": "a"}, "invalid request body: tags must be a list of texts"),
        ({"memory_types": "a"}, "invalid request body: memory_types must be a list of texts"),
        ({"limit": "5"}, "invalid request body: limit must be a whole number"),
        ({"limit": 5.5}, "invalid request body: limit must be a whole number"),
        ({"limit": True}, "invalid request body: limit must be a whole number"),
        ({"min_importance": 1.5}, "min_importance is 1.5; give 0 to 1"),
        (
            {"min_importance": 10**400},
            "invalid request body: min_importance must be a number up to 1.8e308",
        ),
        ({"content_contains": "ü" * 2_049}, "content_contains has 4,098 bytes; give up to 4,096"),
        ({"min_importance": "1"}, "invalid request body: min_importance must be a number"),
        ({"since": 5}, "invalid request body: since must be text"),
        ([], "invalid request body: it must be a JSON object"),
    ],
)
def test_a_search_that_cannot_be(org: Org, body: Any, said: str) -> None:
    refused(org.post(SEARCH, body), 400, said)


# -- time ----------------------------------------------------------------------------------------


def test_a_window_has_neither_of_its_ends(four: Org) -> None:
    assert four.contents(since="2m") == ["newest", "third"] == four.contents(since="+2m")
    assert four.contents(until="1m") == ["second", "oldest"]
    assert four.contents(since="3m", until="1m") == ["second"]
    assert four.contents(until="now") == four.contents()
    exactly = four.get("memories").json()["memories"][2]["time"]
    for since in (exactly, exactly.removesuffix("Z"), exactly.replace("Z", "+00:00")):
        # The second one is of this very moment.
        assert four.contents(since=since) == ["newest", "third"], since
    assert four.contents(since=exactly, order="asc", until="1m") == []
    newest = four.get("memories").json()["memories"][0]["time"]
    assert four.contents(since=exactly, until=newest) == ["third"]
    assert four.contents(since="2025-12-31") == four.contents()
    assert four.contents(since="2031-01-01T00:00:00Z") == []


@pytest.mark.parametrize("since", ["1m", "8760m", "8760h", "365d", "90m", "24h", "7d", "+5h"])
def test_so_long_ago(org: Org, since: str) -> None:
    org.add("just now")
    assert org.contents(since=since) == ["just now"]
    assert found(org, since=since) == ["just now"]


@pytest.mark.parametrize(
    "since",
    ["0h", "-1h", "8761m", "8761h", "366d", "5s", "2w", "1h30m", "1 h", " 1h", "1.5h", "H", "h",
     "1H", "yesterday", "99999999999999999999h", "2026-13-01", "now", "5"],
)  # fmt: skip
def test_what_is_no_time(org: Org, since: str) -> None:
    for answer in (
        org.get("memories", since=since),
        org.get("agents/a/memories", since=since),
        org.get("sessions/s/memories", since=since),
        org.post(SEARCH, {"since": since}),
    ):
        assert answer.status_code == 400, (since, answer.text)
        assert answer.json()["error"].startswith("since is "), answer.text


def test_a_window_that_ends_before_it_begins(org: Org) -> None:
    answer = org.get("memories", since="1h", until="2h")
    assert answer.status_code == 400
    assert answer.json()["error"] == "since (1h) is not before until (2h)"


def test_the_time_of_an_event_is_within_no_window_that_it_bounds(org: Org) -> None:
    """Also of two that came within one millisecond."""
    first, second = org.add("first"), org.add("second")
    assert "first" not in org.contents(since=first["time"])
    assert "second" not in org.contents(since=second["time"])
    assert "first" not in org.contents(until=first["time"])
    assert "second" not in org.contents(until=second["time"])


def test_times_have_no_zeros_at_their_end(org: Org) -> None:
    clock = org.house.clock
    clock.sleep(1 - clock.now_ms() % 1_000 / 1_000)
    times = []
    for step in (0, 0.1, 0.02, 0.003):
        clock.sleep(step)
        times.append(org.add(f"after {step}")["time"])
    assert [one[19:] for one in times] == ["Z", ".1Z", ".12Z", ".123Z"]
    listed = org.get("memories", order="asc").json()["memories"]
    assert [one["time"] for one in listed] == times


# -- pages ---------------------------------------------------------------------------------------


def test_pages_of_more_than_a_hundred(org: Org) -> None:
    for start in (0, 125):
        items = [{"agent_id": "a", "content": f"memory {n}"} for n in range(start, start + 125)]
        assert batch(org, *items).json()["count"] == 125
        org.house.clock.sleep(1)
    expected = [f"memory {number}" for number in reversed(range(250))]
    seen: list[str] = []
    for offset, more in ((0, True), (100, True), (200, False)):
        said = org.get("memories", offset=offset).json()
        assert (said["count"], said["has_more"]) == (min(100, 250 - offset), more)
        seen += [one["content"] for one in said["memories"]]
    assert seen == expected
    # A page that is exactly full has none behind it.
    for query in ({"limit": 250}, {"limit": 50, "offset": 200}, {"limit": 1_000}, {"limit": 5_000}):
        assert org.get("memories", **query).json()["has_more"] is False, query
    assert org.get("memories", limit=249).json()["has_more"] is True
    assert org.contents(limit=5_000) == expected
    assert org.contents(order="asc", limit=1_000) == expected[::-1]
    assert found(org, limit=5_000) == expected
    assert len(found(org)) == 50
    said = org.get("memories", offset=100_001)
    assert said.status_code == 400
    assert "offset is 100,001" in said.json()["error"]


# -- of an agent, of a session -------------------------------------------------------------------


def test_of_an_agent(four: Org) -> None:
    def contents(**query: Any) -> list[str]:
        answer = four.get("agents/agent_2/memories", **query)
        assert answer.status_code == 200
        said = answer.json()
        assert said["count"] == len(said["memories"])
        return [one["content"] for one in said["memories"]]

    assert contents() == ["third", "second"]
    assert contents(memory_type="decision") == ["second"]
    assert contents(event_type="error") == ["third"]
    assert contents(order="asc", limit=1) == ["second"]
    # What the original passes over is heeded here; the agent is that of the path.
    assert contents(until="90m") == []
    assert contents(offset=1) == ["second"]
    assert contents(session_id="s1", tags="ab") == ["second"]
    assert contents(agent_id="agent_1") == ["third", "second"]
    four.house.clock.sleep(DAY)
    assert contents() == contents(since="") == []
    assert contents(since="25h") == ["third", "second"]
    refused(four.get("agents/a.b/memories"), 400, f"invalid agent_id: {ID}")


def test_of_a_session(four: Org) -> None:
    def contents(**query: Any) -> list[str]:
        answer = four.get("sessions/s1/memories", **query)
        assert answer.status_code == 200
        return [one["content"] for one in answer.json()["memories"]]

    assert contents() == ["second", "oldest"]
    assert contents(memory_type="decision") == ["second"]
    assert contents(since="1m") == []
    assert contents(order="asc", limit=1) == ["oldest"]
    assert contents(agent_id="agent_1", session_id="s2") == ["oldest"]
    four.house.clock.sleep(2 * DAY)
    assert contents() == ["second", "oldest"]
    assert four.get("sessions/never_begun/memories").json()["count"] == 0
    refused(four.get("sessions/a.b/memories"), 400, f"invalid session_id: {ID}")


# -- one -----------------------------------------------------------------------------------------


def test_one_by_its_key_else_by_its_text(org: Org) -> None:
    first = org.add("The barge lies in the third lock")
    org.house.clock.sleep(1)
    org.add("This one says key_1", dedup_key="other")
    org.house.clock.sleep(1)
    keyed = org.add("And this has it", dedup_key="key_1")
    org.house.clock.sleep(1)
    newest = org.add("The barge left the third lock")
    assert org.get(f"memories/{first['dedup_key']}").json() == first
    assert org.get("memories/key_1").json() == keyed
    assert org.get("memories/third lock").json() == newest
    assert org.get("memories/barge%20lies").json() == first
    for word in ("nothing", "THIRD", "%25", "a%2Fb", "..%2Fadmin", "x" * 600):
        refused(org.raw.get(f"/api/v1/memories/{word}"), 404, "memory not found")


# -- shared --------------------------------------------------------------------------------------


def test_one_by_a_key_that_was_not_looked_at(speaks: Callable[..., House]) -> None:
    org = new_org(speaks(memtrace_dedup=False))
    made = org.add("This has it", dedup_key="key_1")
    org.house.clock.sleep(1)
    org.add("This says key_1", dedup_key="key_2")
    assert org.get("memories/key_1").json() == made


def test_what_one_agent_wrote_all_of_its_organisation_read(org: Org) -> None:
    colleague = org.house.raw(org.house.new_key(org.id))
    org.add("of one", agent="one", session_id="shared")
    org.add("of two", agent="two", session_id="shared")
    for path in ("memories", "sessions/shared/memories"):
        said = colleague.get(f"/api/v1/{path}").json()
        assert {one["agent_id"] for one in said["memories"]} == {"one", "two"}


def test_a_memory_of_another_kind_is_shown_as_one_that_the_client_takes(org: Org) -> None:
    """Our own API takes any word for the kind of an event, its client only four."""
    own = org.house.profile(org.id).timeline
    assert own.append("a", "of our own API", kind="thought", event="e").status == "created"
    (one,) = org.client.recall("a").memories
    assert (one.memory_type, one.content) == ("episodic", "of our own API")


def test_hours_are_hours(org: Org) -> None:
    org.add("an hour ago")
    org.house.clock.sleep(HOUR)
    assert org.contents(since="1h") == []
    assert org.contents(since="61m") == ["an hour ago"]
