"""Sessions: begun for an agent, listed, changed, closed."""

from __future__ import annotations

import re
import threading
from typing import Any

import httpx
import pytest

from .conftest import Org, refused
from .test_agents import register


def begin(org: Org, agent: str, **fields: Any) -> Any:
    answer = org.post("sessions", {"agent_id": agent, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(org: Org, session: str, **fields: Any) -> httpx.Response:
    return org.raw.put(f"/api/v1/sessions/{session}", json=fields)


@pytest.fixture
def agent(org: Org) -> str:
    found: str = register(org)["id"]
    return found


def test_a_session(org: Org, agent: str) -> None:
    made = begin(org, agent, metadata={"ü": [1, {"b": None}]})
    assert re.fullmatch(r"sess_[0-9a-f]{24}", made["id"])
    assert made == {
        "id": made["id"], "org_id": org.id, "agent_id": agent, "status": "active",
        "metadata": {"ü": [1, {"b": None}]}, "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }  # fmt: skip
    assert org.get(f"sessions/{made['id']}").json() == made
    bare = begin(org, "planner", metadata={})
    assert bare["agent_id"] == agent
    assert "metadata" not in bare


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "agent_id is required"),
        ({"agent_id": ""}, "agent_id is required"),
        ({"agent_id": 5}, "invalid request body: agent_id must be text"),
        ({"agent_id": "x", "metadata": "y"}, "invalid request body: metadata must be an object"),
    ],
)
def test_what_is_no_session(org: Org, fields: Any, said: str) -> None:
    refused(org.post("sessions", fields), 400, said)


def test_its_agent_has_to_be_there(org: Org, other: Org) -> None:
    theirs = register(other, "theirs")["id"]
    for word in ("nobody", theirs, "theirs", "not an id"):
        answer = org.post("sessions", {"agent_id": word})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("failed to create session: ")
    assert org.get("sessions").json() == {"sessions": [], "count": 0}


def test_lists(org: Org, agent: str) -> None:
    second = register(org, "second")["id"]
    made = []
    for who in (agent, second, agent):
        made.append(begin(org, who))
        org.house.clock.sleep(0.01)
    assert org.get("sessions").json() == {"sessions": made[::-1], "count": 3}
    assert org.get("sessions", agent_id="").json()["count"] == 3
    for word in (agent, "planner"):
        assert org.get("sessions", agent_id=word).json()["sessions"] == [made[2], made[0]]
    assert org.get("sessions", agent_id="nobody").json() == {"sessions": [], "count": 0}


def test_changing_it(org: Org, agent: str) -> None:
    made = begin(org, agent, metadata={"a": 1, "b": 2})
    org.house.clock.sleep(1)
    changed = put(org, made["id"], metadata={"b": 3, "c": None}).json()
    assert changed["updated_at"] > made["updated_at"]
    assert {**changed, "updated_at": ""} == {
        **made, "metadata": {"a": 1, "b": 3, "c": None}, "updated_at": ""
    }  # fmt: skip
    org.house.clock.sleep(1)
    closed = put(org, made["id"], status="closed").json()
    assert (closed["status"], closed["closed_at"]) == ("closed", closed["updated_at"])
    assert closed["metadata"] == changed["metadata"]
    org.house.clock.sleep(1)
    again = put(org, made["id"], status="closed").json()
    assert again["closed_at"] == again["updated_at"] > closed["closed_at"]
    org.house.clock.sleep(1)
    other = put(org, made["id"], status="on hold").json()
    assert (other["status"], other["closed_at"]) == ("on hold", again["closed_at"])
    touched = put(org, made["id"]).json()
    assert (touched["status"], touched["metadata"]) == ("on hold", changed["metadata"])
    assert org.get(f"sessions/{made['id']}").json() == touched


def test_what_changes_nothing(org: Org, other: Org, agent: str) -> None:
    made = begin(org, agent)
    refused(put(org, "sess_none", status="closed"), 404, "session not found")
    refused(put(other, made["id"], status="closed"), 404, "session not found")
    refused(other.get(f"sessions/{made['id']}"), 404, "session not found")
    said = "invalid request body: status must be text"
    refused(put(org, made["id"], status=1), 400, said)
    said = "invalid request body: metadata must be an object"
    refused(put(org, made["id"], metadata=[]), 400, said)
    answer = org.raw.put(f"/api/v1/sessions/{made['id']}", content=b"")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid request body: ")
    assert org.get(f"sessions/{made['id']}").json() == made


def test_changes_at_once_are_all_there(org: Org, agent: str) -> None:
    session = begin(org, agent)["id"]
    clients = [org.house.raw(org.key) for _ in range(8)]
    answers: list[int] = []

    def send(number: int, client: httpx.Client) -> None:
        body = {"metadata": {str(number): number}}
        answers.append(client.put(f"/api/v1/sessions/{session}", json=body).status_code)

    threads = [threading.Thread(target=send, args=given) for given in enumerate(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [200] * 8
    found = org.get(f"sessions/{session}").json()["metadata"]
    assert found == {str(number): number for number in range(8)}


def test_it_outlives_its_agent(org: Org, agent: str) -> None:
    made = begin(org, agent)
    org.add("said in it", agent=agent, session_id=made["id"])
    assert org.raw.delete(f"/api/v1/agents/{agent}").status_code == 204
    assert org.get(f"sessions/{made['id']}").json() == made
    assert org.get("sessions", agent_id=agent).json()["count"] == 1
    assert org.get(f"sessions/{made['id']}/memories").json()["count"] == 1
    assert put(org, made["id"], status="closed").status_code == 200


def test_memories_need_no_session_that_was_begun(org: Org) -> None:
    org.add("of a session of their own", session_id="mine")
    assert org.get("sessions/mine/memories").json()["count"] == 1
    refused(org.get("sessions/mine"), 404, "session not found")
