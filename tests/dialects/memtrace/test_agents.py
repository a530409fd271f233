"""Agents: registered once under a name, found by it or by their id, counted, removed."""

from __future__ import annotations

import re
import threading
from typing import Any

import httpx
import pytest

from palimp.operations.organisations import DIALECT

from .conftest import Org, refused
from .speaking import DAY, HOUR, MINUTE


def register(org: Org, name: str = "planner", **fields: Any) -> Any:
    answer = org.post("agents", {"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_agent(org: Org) -> None:
    made = register(org, description="Plans", config={"model": {"size": 3}, "ü": "☃"})
    assert re.fullmatch(r"agent_[0-9a-f]{24}", made["id"])
    assert made == {
        "id": made["id"], "org_id": org.id, "name": "planner", "created_at": made["created_at"],
        "description": "Plans", "config": {"model": {"size": 3}, "ü": "☃"},
    }  # fmt: skip
    for word in (made["id"], "planner"):
        assert org.get(f"agents/{word}").json() == made
    bare = register(org, "bare", description="", config={})
    assert set(bare) == {"id", "org_id", "name", "created_at"}


@pytest.mark.parametrize(
    "name", ["a/b", "with space", "ü☃𝄞", "..", "-", "x" * 1_000, "a\nb", "é%2F"]
)
def test_a_name_may_be_anything(org: Org, name: str) -> None:
    made = register(org, name)
    assert made["name"] == name
    path = httpx.URL(org.house.url).copy_with(raw_path=_encoded(name))
    assert org.raw.get(path).json() == made


def _encoded(name: str) -> bytes:
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    return f"/api/v1/agents/{quoted}".encode()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "name is required"),
        ({"name": ""}, "name is required"),
        ({"name": None}, "name is required"),
        ({"name": 5}, "invalid request body: name must be text"),
        ({"name": "x", "description": 5}, "invalid request body: description must be text"),
        ({"name": "x", "config": []}, "invalid request body: config must be an object"),
    ],
)
def test_what_is_no_agent(org: Org, fields: Any, said: str) -> None:
    refused(org.post("agents", fields), 400, said)
    assert org.get("agents").json() == {"agents": [], "count": 0}


def test_a_config_has_an_end(org: Org) -> None:
    answer = org.post("agents", {"name": "huge", "config": {"x": "y" * (1 << 20)}})
    assert answer.status_code == 400
    assert "1,048,576" in answer.json()["error"]
    assert org.get("agents").json()["count"] == 0
    register(org, "huge")


def test_a_name_is_taken_once(org: Org, other: Org) -> None:
    made = register(org)
    said = "agent 'planner' already exists in this organization"
    refused(org.post("agents", {"name": "planner", "description": "another"}), 409, said)
    # How a client registers it again: 409, then by its name.
    assert org.get("agents/planner").json() == made
    assert org.get("agents").json() == {"agents": [made], "count": 1}
    assert register(other)["id"] != made["id"]
    register(org, "Planner")


def test_of_two_at_once_one_is_made(org: Org) -> None:
    clients = [org.house.raw(org.key) for _ in range(8)]
    answers: list[httpx.Response] = []

    def send(client: httpx.Client) -> None:
        answers.append(client.post("/api/v1/agents", json={"name": "planner"}))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one.status_code for one in answers) == [201] + [409] * 7
    (made,) = (one.json() for one in answers if one.status_code == 201)
    assert org.get("agents").json()["agents"] == [made]
    # Those that came too late left nothing behind.
    assert len(org.house.node.context.bindings.list(DIALECT, org.id, "agent/")) == 1


def test_all_of_them_the_newest_first(org: Org) -> None:
    made = []
    for number in range(3):
        made.append(register(org, f"agent {number}"))
        org.house.clock.sleep(0.01)
    assert org.get("agents").json() == {"agents": made[::-1], "count": 3}


def test_more_than_one_page_of_them(org: Org) -> None:
    bindings = org.house.node.context.bindings
    for number in range(1_001):
        value = f'{{"id": "a{number}", "name": "n{number}", "created_at": {number}}}'
        bindings.put(DIALECT, org.id, f"agent-name/{number:05}", value, 0)
    said = org.get("agents").json()
    assert said["count"] == 1_001
    assert [one["id"] for one in said["agents"]] == [f"a{n}" for n in reversed(range(1_001))]


def test_an_id_comes_before_a_name(org: Org) -> None:
    first = register(org, "first")
    register(org, first["id"])
    assert org.get(f"agents/{first['id']}").json() == first


def test_removing_one(org: Org, other: Org) -> None:
    made, kept = register(org), register(org, "kept")
    org.add("of the planner", agent=made["id"])
    path = f"/api/v1/agents/{made['id']}"
    refused(other.raw.delete(path), 404, "agent not found")
    # By its id alone.
    refused(org.raw.delete("/api/v1/agents/planner"), 404, "agent not found")
    gone = org.raw.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    refused(org.raw.delete(path), 404, "agent not found")
    for word in (made["id"], "planner"):
        refused(org.get(f"agents/{word}"), 404, "agent not found")
    assert org.get("agents").json()["agents"] == [kept]
    assert org.contents() == ["of the planner"]
    again = register(org)
    assert again["id"] != made["id"]
    assert org.get("agents/planner").json() == again
    refused(org.get(f"agents/{made['id']}"), 404, "agent not found")


def test_what_was_interrupted_shows_nowhere(org: Org) -> None:
    """Between its two writes a process may end: an id that leads to a name nobody has."""
    bindings = org.house.node.context.bindings
    bindings.put(DIALECT, org.id, "agent/agent_lost", '{"key": "agent-name/none"}', 0)
    refused(org.get("agents/agent_lost"), 404, "agent not found")
    refused(org.raw.delete("/api/v1/agents/agent_lost"), 404, "agent not found")
    assert org.get("agents").json()["count"] == 0


def test_when_it_was_active_last(org: Org) -> None:
    by_id, by_name = register(org, "by id"), register(org, "by_name")
    clock = org.house.clock

    def active(agent: Any) -> Any:
        return org.get(f"agents/{agent['id']}").json().get("last_active_at")

    assert active(by_id) is None
    first = org.add("one", agent=by_id["id"])["time"]
    batch = [{"agent_id": "by_name", "content": c} for c in ("a", "b")]
    org.post("memories", {"memories": batch})
    assert active(by_id) == active(by_name) == first
    # Not written again with every event.
    clock.sleep(MINUTE / 2)
    org.add("two", agent=by_id["id"])
    assert active(by_id) == first
    clock.sleep(MINUTE)
    third = org.add("three", agent=by_id["id"])["time"]
    assert active(by_id) == third
    assert active(by_name) == first
    assert org.get(f"agents/{by_id['id']}/stats").json()["last_active_at"] == third
    listed = {one["name"]: one["last_active_at"] for one in org.get("agents").json()["agents"]}
    assert listed == {"by id": third, "by_name": first}


# -- figures -------------------------------------------------------------------------------------


def test_figures_of_an_agent_that_is_none(org: Org) -> None:
    assert org.get("agents/nobody/stats").json() == {
        "agent_id": "nobody", "memory_count": 0, "memories_24h": 0, "errors_24h": 0,
        "session_count": 0, "active_sessions": 0, "memory_types": {},
    }  # fmt: skip
    answer = org.get("agents/a.b/stats")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid agent_id: invalid ID format")


def test_figures(org: Org, other: Org) -> None:
    agent = register(org)["id"]
    org.add("an old error", agent=agent, event_type="error")
    org.house.clock.sleep(DAY)
    org.add("a day ago", agent=agent)
    org.house.clock.sleep(HOUR)
    org.add("an error", agent=agent, event_type="error", memory_type="session")
    org.add("a decision", agent=agent, memory_type="decision")
    org.add("under its name", agent="planner")
    other.add("elsewhere", agent=agent)
    first, second = (
        org.post("sessions", {"agent_id": word}).json()["id"] for word in (agent, "planner")
    )
    org.raw.put(f"/api/v1/sessions/{first}", json={"status": "closed"})
    found = org.get(f"agents/{agent}/stats").json()
    assert found.pop("last_active_at").endswith("Z")
    assert found == {
        "agent_id": agent, "memory_count": 4, "memories_24h": 3, "errors_24h": 1,
        "session_count": 2, "active_sessions": 1,
        "memory_types": {"episodic": 2, "session": 1, "decision": 1},
    }  # fmt: skip
    by_name = org.get("agents/planner/stats").json()
    assert (by_name["memory_count"], by_name["session_count"]) == (1, 2)
    org.house.clock.sleep(23 * HOUR)
    # What is as old as a day is not of the last one.
    assert org.get(f"agents/{agent}/stats").json()["memories_24h"] == 2
    assert second != first
