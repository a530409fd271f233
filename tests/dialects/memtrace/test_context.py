"""The text of a session, byte for byte, as the published client gets it."""

from __future__ import annotations

from typing import Any

import pytest
from memtrace import ContextOptions

from .conftest import Org, refused
from .speaking import DAY, MINUTE
from .test_memories import ID, TYPE, batch

HEAD = "## Session Context (s1)\n\n"


def text(org: Org, **options: Any) -> str:
    """Return the text of session s1, with the time of every entry as `T`."""
    found = org.client.get_session_context("s1", ContextOptions(**options))
    assert found.session_id == "s1"
    return found.context


def say(org: Org, content: str, **fields: Any) -> str:
    """Write a memory into the session a minute later, and return its time."""
    org.house.clock.sleep(MINUTE)
    time: str = org.add(content, session_id="s1", **fields)["time"]
    return time


def test_of_a_session_that_is_none(org: Org) -> None:
    found = org.client.get_session_context("s1")
    assert (found.context, found.memory_count) == (HEAD, 0)
    org.add("elsewhere", session_id="s2")
    assert text(org) == HEAD


@pytest.mark.parametrize(
    ("fields", "heading", "end"),
    [
        ({"memory_type": "episodic"}, "Recent Actions", "\n"),
        ({"memory_type": "episodic", "event_type": "error"}, "Recent Actions", "\n"),
        ({"memory_type": "decision", "event_type": "error"}, "Decisions Made", "\n"),
        ({"memory_type": "session", "event_type": "error"}, "Errors", "\n"),
        ({"memory_type": "session"}, "Other", ""),
        ({"memory_type": "entity", "event_type": "error"}, "Other", ""),
    ],
)
def test_each_section_alone(org: Org, fields: Any, heading: str, end: str) -> None:
    first, second = say(org, "first", **fields), say(org, "second", **fields)
    event = fields.get("event_type", "general")
    assert text(org) == (
        f"{HEAD}### {heading} (2)\n- [{second}] {event}: second\n- [{first}] {event}: first\n{end}"
    )


def test_all_of_them(org: Org) -> None:
    other = say(org, "Ravi", memory_type="entity", event_type="person")
    error = say(org, "timed out", memory_type="session", event_type="error")
    decision = say(org, "retry", memory_type="decision", event_type="decision")
    action = say(org, "called\nthe API", event_type="tool_call")
    found = org.client.get_session_context("s1")
    assert found.context == (
        "## Session Context (s1)\n"
        "\n"
        "### Recent Actions (1)\n"
        f"- [{action}] tool_call: called\nthe API\n"
        "\n"
        "### Decisions Made (1)\n"
        f"- [{decision}] decision: retry\n"
        "\n"
        "### Errors (1)\n"
        f"- [{error}] error: timed out\n"
        "\n"
        "### Other (1)\n"
        f"- [{other}] person: Ravi\n"
    )
    assert found.memory_count == 4


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "..."),
        ("ü" * 40, "ü" * 40),
        ("ü" * 41, "ü" * 40 + "..."),
        # No character is cut in two.
        ("x" + "ü" * 40, "x" + "ü" * 39 + "..."),
        ("x" * 78 + "𝄞" + "y", "x" * 78 + "..."),
    ],
)
def test_a_hint_has_80_bytes(org: Org, content: str, hint: str) -> None:
    time = say(org, content)
    assert text(org) == f"{HEAD}### Recent Actions (1)\n- [{time}] general: {hint}\n\n"


def test_some_types_alone(org: Org) -> None:
    action, decision = say(org, "action"), say(org, "decision", memory_type="decision")
    decided = f"### Decisions Made (1)\n- [{decision}] general: decision\n\n"
    acted = f"### Recent Actions (1)\n- [{action}] general: action\n\n"
    assert text(org, include_types=["decision"]) == HEAD + decided
    assert text(org, include_types=["episodic", "decision"]) == HEAD + acted + decided
    assert text(org, include_types=[]) == text(org, include_types=[""]) == HEAD + acted + decided
    assert text(org, include_types=["other"]) == HEAD


def test_at_most_a_hundred(org: Org) -> None:
    items = [{"agent_id": "a", "session_id": "s1", "content": f"m{n}"} for n in range(120)]
    assert batch(org, *items).status_code == 201
    found = org.client.get_session_context("s1")
    assert found.memory_count == 100
    lines = found.context.splitlines()
    assert lines[2] == "### Recent Actions (100)"
    assert [line.rpartition(" ")[2] for line in lines[3:-1]] == [
        f"m{number}" for number in range(119, 19, -1)
    ]


def test_since(org: Org) -> None:
    org.house.clock.sleep(MINUTE)
    say(org, "old")
    org.house.clock.sleep(DAY - MINUTE)
    new = say(org, "new")
    newest = f"{HEAD}### Recent Actions (1)\n- [{new}] general: new\n\n"
    assert text(org) == text(org, since="") == text(org, since="24h") == newest
    assert "general: old" in text(org, since="25h")
    assert "general: old" in text(org, since="2026-01-01T00:00:00Z")
    # What is no time is no time to begin at, as it is there.
    for since in ("all", "366d", "5s", "x"):
        assert text(org, since=since) == newest
    assert text(org, since=new) == HEAD


def test_no_more_tokens_than_asked_for(org: Org) -> None:
    times = [say(org, f"number {n}", memory_type=("decision", "episodic")[n % 2]) for n in range(4)]
    whole = text(org)
    for tokens in (1, 5, 30, 31, 60, 1_000, 10_000_000):
        found = org.client.get_session_context("s1", ContextOptions(max_tokens=tokens))
        assert found.context == HEAD or -(-len(found.context.encode()) // 4) <= tokens
        assert found.memory_count == 4
    assert text(org, max_tokens=0) == text(org, max_tokens=-3) == whole
    assert text(org, max_tokens=len(whole.encode()) // 4 + 1) == whole
    # The oldest go first, and the sections say how many are left.
    size = -(-len(whole.encode()) // 4)
    assert text(org, max_tokens=size - 1) == (
        f"{HEAD}### Recent Actions (2)\n- [{times[3]}] general: number 3\n"
        f"- [{times[1]}] general: number 1\n\n"
        f"### Decisions Made (1)\n- [{times[2]}] general: number 2\n\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"null", b"no JSON", b"[]", b'"x"', b"\xff", b'{"since": 5}',
        b'{"include_types": "decision"}', b'{"max_tokens": "5"}', b'{"since": "24h", "x": 1}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_asks_for_nothing(org: Org, body: bytes) -> None:
    time = say(org, "there")
    headers = {"content-type": "application/json"} if body else {}
    answer = org.raw.post("/api/v1/sessions/s1/context", content=body, headers=headers)
    assert answer.json() == {
        "session_id": "s1", "memory_count": 1,
        "context": f"{HEAD}### Recent Actions (1)\n- [{time}] general: there\n\n",
    }  # fmt: skip


def test_what_is_no_session_and_no_type(org: Org) -> None:
    refused(org.post("sessions/a.b/context", {}), 400, f"invalid session_id: {ID}")
    body = {"include_types": ["fine", "a-b"]}
    refused(org.post("sessions/s1/context", body), 400, f"invalid memory_type: {TYPE}")


def test_several_agents_of_an_organisation_share_it(org: Org, other: Org) -> None:
    say(org, "of one", agent="one")
    say(org, "of two", agent="two")
    other.add("of another organisation", session_id="s1")
    found = org.client.get_session_context("s1")
    assert found.memory_count == 2
    assert "another organisation" not in found.context
