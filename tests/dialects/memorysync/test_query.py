"""Finding memories: filters, clamps, weights, and what travels with an answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from palimp.clock import ManualClock

from .speaking import House
from .test_memories import added, refused


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("query"), ManualClock())
    yield found
    found.close()


@pytest.fixture(scope="module")
def http(house: House) -> httpx.Client:
    client = house.raw("asker")
    added(client, "Boats at the old harbour, red.", source="mail", tags=["red"], session_id="s")
    added(client, "Boats at the old harbour, blue.", source="chat", tags=["blue", "sea"])
    added(client, "Boats at the old harbour, green.", tags=["green"], metadata={"deck": 2})
    return client


def texts(http: httpx.Client, question: str = "boats harbour", **body: Any) -> set[str]:
    answer = http.post("/memory/query", json={"query": question, **body})
    assert answer.status_code == 200, answer.text
    return {one["text"].rsplit(" ", 1)[1].strip(".") for one in answer.json()["memories"]}


def test_an_answer_has_scores_context_and_what_was_applied(http: httpx.Client) -> None:
    body = http.post("/memory/query", json={"query": "boats", "k": 2, "session_id": "s"}).json()
    assert len(body["memories"]) == 2
    assert all(0 <= one["score"] <= 1 and type(one["id"]) is int for one in body["memories"])
    assert body["memories"][0]["text"].endswith("red.")
    assert "harbour" in body["context"]
    assert (body["session_id"], body["degraded"]) == ("s", False)
    assert body["applied_filters"]["expansion_used"] is False
    assert body["latency_ms"] >= 0
    same = http.post("/memory/retrieve", json={"query": "boats", "k": 2, "session_id": "s"}).json()
    assert [one["id"] for one in same["memories"]] == [one["id"] for one in body["memories"]]


def test_filters_say_which_are_meant(http: httpx.Client) -> None:
    assert texts(http, filters={"tags": ["RED", "sea"]}) == {"red", "blue"}
    assert texts(http, filters={"source": "mail"}) == {"red"}
    assert texts(http, filters={"sources": ["mail", "chat"]}) == {"red", "blue"}
    assert texts(http, filters={"tier": "cold"}) == set()
    assert texts(http, filters={"memory_type": "preference"}) == set()
    assert texts(http, filters={"memory_type": "fact"}) == {"red", "blue", "green"}
    assert texts(http, filters={"until": "2001-01-01"}) == set()
    assert texts(http, filters={"since": "2001-01-01T00:00:00"}) == {"red", "blue", "green"}
    assert texts(http, filters={"include_summaries": False}) == {"red", "blue", "green"}
    assert texts(http, metadata_filter={"deck": 2}) == {"green"}
    assert texts(http, "entirely unrelated question about taxes") == set()


def test_numbers_are_clamped_and_nonsense_is_refused(http: httpx.Client) -> None:
    assert len(texts(http, k=0)) == 1
    assert len(texts(http, k=51, traversal_depth=9)) == 3
    assert len(texts(http, weights={"semantic": 1, "quality": 3}, computation_tier="high")) == 3
    for body in (
        {"query": " "},
        {"query": "x" * 8_001},
        {},
        {"query": "q", "k": "many"},
        {"query": "q", "weights": {"loudness": 1}},
        {"query": "q", "computation_tier": "extreme"},
        {"query": "q", "filters": {"tier": "lukewarm"}},
        {"query": "q", "filters": {"since": "yesterday-ish"}},
        {"query": "q", "filters": {"since": "2026-01-02", "until": "2026-01-01"}},
        {"query": "q", "filters": []},
    ):
        refused(http.post("/memory/query", json=body), 422, "VALIDATION_ERROR")


def test_what_has_expired_was_superseded_or_forgotten_is_not_found(house: House) -> None:
    client, clock = house.raw("gone"), house.clock
    assert isinstance(clock, ManualClock)
    added(client, "Alice is the CTO")
    added(client, "Alice is the CEO")
    added(client, "Boats leave within the hour, soon.", ttl_minutes=1)
    forgotten = added(client, "Boats that nobody remembers, lost.")["id"]
    client.request("DELETE", "/memory/forget", json={"memory_ids": [forgotten]})
    assert texts(client, "Alice job") == {"CEO"}
    assert texts(client, "boats") == {"soon"}
    clock.advance(61)
    assert texts(client, "boats") == set()


def test_two_end_users_never_see_each_other(house: House, http: httpx.Client) -> None:
    assert texts(house.raw("somebody-else")) == set()
    assert texts(http) == {"red", "blue", "green"}


def test_relations_are_followed_as_far_as_asked(house: House) -> None:
    client = house.raw("depths")
    lines = ("The lighthouse went dark.", "Nobody paid a bill.", "Two clerks left.", "Wages fell.")
    ids = [added(client, line)["id"] for line in lines]
    for one, other in pairwise(ids):
        body = {"to_memory_id": other, "relationship_type": "caused_by"}
        assert client.post(f"/memory/{one}/relations", json=body).status_code == 200

    def found(**asked: Any) -> set[int]:
        body = {"query": "lighthouse", "k": 10, "computation_tier": "high", **asked}
        answer = client.post("/memory/query", json=body).json()
        depth = answer["applied_filters"]["traversal_depth"]
        assert depth == min(max(asked.get("traversal_depth", 2), 1), 3)
        return {one["id"] for one in answer["memories"]}

    for depth in (1, 2, 3):
        assert found(traversal_depth=depth) == set(ids[: depth + 1])
    assert found() == found(traversal_depth=2)
    assert found(traversal_depth=9) == set(ids)
    assert found(traversal_depth=-1) == set(ids[:2])
