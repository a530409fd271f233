"""Whether it lives, and whether it takes requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import memtrace
import pytest

from palimp.api import Target
from palimp.api.arcs import BindArc
from palimp.clock import Clock
from palimp.http.dialects.memtrace.health import duration
from palimp.operations import OWNER

from ...arc_double import ArcDouble
from .conftest import new_org, refused
from .speaking import HOUR, ArcHouse, House
from .test_agents import register


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_nobody_has_to_show_a_key(speaks: Callable[..., House], path: str) -> None:
    house = speaks()
    for url in (house.url, house.mounted):
        for headers in ({}, {"x-api-key": "wrong"}):
            assert httpx.get(url + path, headers=headers).status_code == 200, path


def test_health(speaks: Callable[..., House]) -> None:
    house = speaks()
    said = httpx.get(f"{house.url}/health").json()
    assert said == {"status": "ok", "service": "memtrace", "uptime": "0s", "arc": {}}
    house.clock.sleep(2 * HOUR + 30 * 60 + 15.123)
    assert httpx.get(f"{house.url}/health").json()["uptime"] == "2h30m15.123s"
    assert httpx.head(f"{house.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (5, "5ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (1_500, "1.5s"),
        (60_000, "1m0s"),
        (3_600_000, "1h0m0s"),
        (90_061_010, "25h1m1.01s"),
    ],
)
def test_durations_as_they_are_written_there(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_ready_where_no_organisation_has_an_arc(speaks: Callable[..., House]) -> None:
    house = speaks()
    for _ in range(2):
        answer = httpx.get(f"{house.url}/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "arc": {}})
        new_org(house)


def test_a_node_that_stops_is_not_ready(speaks: Callable[..., House]) -> None:
    house: Any = speaks()
    house.app.api.drain()
    answer = httpx.get(f"{house.url}/ready")
    assert answer.status_code == 503
    assert "stopping" in answer.json()["error"]


# -- with an Arc ---------------------------------------------------------------------------------


@pytest.fixture
def arcs(tmp_path: Path) -> Iterator[ArcHouse]:
    house = ArcHouse(tmp_path, Clock(), arc_connect_timeout=0.2)
    # As one that is served does: it asks its Arcs again and again whether they are well.
    house.node.look_after_itself()
    yield house
    house.close()


def told(house: House, path: str, expected: Any) -> None:
    """Wait until a page says this: it is told what was heard last."""
    for _ in range(500):
        answer = httpx.get(house.url + path)
        if (answer.status_code, answer.json()) == expected:
            return
        threading.Event().wait(0.02)
    raise AssertionError((answer.status_code, answer.json()))


def test_an_arc_that_comes_and_goes(arcs: ArcHouse) -> None:
    org = arcs.new_org()
    told(arcs, "/ready", (200, {"status": "ready", "arc": {org: True}}))
    assert httpx.get(f"{arcs.url}/health").json()["arc"] == {org: True}
    arcs.arc.stop()
    told(arcs, "/ready", (503, {"status": "not ready", "arc": {org: False}}))
    health = httpx.get(f"{arcs.url}/health")
    assert (health.status_code, health.json()["arc"]) == (200, {org: False})
    arcs.arc.start()
    told(arcs, "/ready", (200, {"status": "ready", "arc": {org: True}}))


def test_an_organisation_whose_arc_is_not_there(arcs: ArcHouse) -> None:
    """Every route of memories says so with a hint; what is kept beside them goes on."""
    arcs.furnish = lambda org: None  # type: ignore[method-assign]
    org = new_org(arcs)
    reason = {"status": "not ready", "reason": "no_instances"}
    hint = {"hint": "configure an Arc instance with `memtrace org add-arc`"}
    told(arcs, "/ready", (503, {**reason, **hint}))
    assert httpx.get(f"{arcs.url}/health").json()["arc"] == {}
    agent = register(org)["id"]
    session = org.post("sessions", {"agent_id": agent}).json()["id"]
    assert org.get("agents").json()["count"] == org.get("sessions").json()["count"] == 1
    memory = {"agent_id": agent, "content": "x"}
    missing = {
        "error": "no arc instance configured for this org",
        "hint": "ask an admin to run `memtrace org add-arc <org_id>`",
    }
    for answer in (
        org.post("memories", memory),
        org.post("memories", {"memories": [memory, memory]}),
        org.get("memories"),
        org.get("memories/x"),
        org.post("search", {}),
        org.get(f"agents/{agent}/memories"),
        org.get(f"agents/{agent}/stats"),
        org.get(f"sessions/{session}/memories"),
        org.post(f"sessions/{session}/context"),
    ):
        assert (answer.status_code, answer.json()) == (503, missing), answer.request
    for call in (
        lambda: org.client.remember(agent, "x"),
        lambda: org.client.recall(agent),
        lambda: org.client.get_session_context(session),
    ):
        with pytest.raises(memtrace.NoArcInstanceError) as found:
            call()
        assert isinstance(found.value, memtrace.MemtraceError)
        assert found.value.status_code == 503
    # What is wrong is said before.
    refused(org.post("memories", {}), 400, "agent_id is required")
    refused(org.raw.delete("/api/v1/agents/none"), 404, "agent not found")
    # From now on, without a restart.
    ArcHouse.furnish(arcs, org.id)
    assert org.add("there")["content"] == "there"
    assert org.contents() == ["there"]


def test_an_arc_that_is_away_is_no_missing_one(arcs: ArcHouse) -> None:
    org = new_org(arcs)
    org.add("before")
    arcs.arc.stop()
    made = org.add("meanwhile")
    refused(
        org.post("memories", {"agent_id": "agent_1", "content": "meanwhile"}),
        409,
        "duplicate memory",
    )
    answer = org.get("memories")
    assert answer.status_code == 503
    assert "arc instance" not in answer.json()["error"].lower()
    with pytest.raises(memtrace.MemtraceError) as found:
        org.client.recall("agent_1")
    assert type(found.value) is memtrace.MemtraceError
    arcs.arc.start()
    for _ in range(500):
        if org.get("memories").status_code == 200:
            break
        threading.Event().wait(0.02)
    assert org.contents() == ["meanwhile", "before"]
    assert org.get("memories").json()["memories"][0]["time"] == made["time"]


def test_two_organisations_on_two_arcs(arcs: ArcHouse, tmp_path: Path) -> None:
    org = new_org(arcs)
    arcs.furnish = lambda org: None  # type: ignore[method-assign]
    other = arcs.new_org("Other")
    with ArcDouble(tmp_path / "second.duckdb") as second:
        request = BindArc(org=other, url=second.url, database="db2", measurement="mine")
        arcs.node.call("arc.bind", Target(), request, principal=OWNER)
        theirs = arcs.raw(arcs.new_key(other))
        done = theirs.post("/api/v1/memories", json={"agent_id": "a", "content": "theirs"})
        assert done.status_code == 201
        org.add("ours")
        assert org.contents() == ["ours"]
        found = theirs.get("/api/v1/memories").json()["memories"]
        assert [one["content"] for one in found] == ["theirs"]
        assert [one["content"] for one in second.rows("db2", "mine")] == ["theirs"]
        assert [one["content"] for one in arcs.arc.rows("db")] == ["ours"]
