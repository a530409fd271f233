"""Profiles, entities and tools over HTTP."""

from __future__ import annotations

import httpx

from .conftest import Spoken
from .test_memories import refused, stored


def test_a_profile(http: httpx.Client, name: str) -> None:
    empty = http.get("/v1/profiles/me").json()
    assert (empty["user_id"], empty["profile"], empty["stats"]["total"]) == (name, "", 0)
    stored(http, "Likes tea", memory_type="profile")
    stored(http, "Lives in Lisbon", memory_type="profile", subject_id="p", trust_tier="T3")
    stored(http, "The build is green")
    found = http.get("/v1/profiles/me").json()
    assert found["profile"].splitlines() == ["Lives in Lisbon", "Likes tea"]
    stats = found["stats"]
    assert (stats["total"], stats["by_type"]) == (3, {"profile": 2, "semantic": 1})
    assert stats["avg_confidence"] == 0.85
    assert stats["oldest"] <= stats["newest"]
    narrowed = http.get("/v1/profiles/me", params={"subject_id": "p"}).json()
    assert narrowed["profile"] == "Lives in Lisbon"
    refused(http.get("/v1/profiles/me?branch=none"), 404, "Branch not found: none")


def test_who_sees_whose_profile(spoken: Spoken, name: str) -> None:
    mine, theirs = spoken.user(name), spoken.user("Eve@example.com")
    stored(mine, "Likes tea", memory_type="profile")
    assert mine.get(f"/v1/profiles/{name}").json()["profile"] == "Likes tea"
    refused(theirs.get(f"/v1/profiles/{name}"), 403, "")
    found = spoken.client().get(f"/v1/profiles/{name}").json()
    assert (found["user_id"], found["profile"]) == (name, "Likes tea")


def test_tools_are_noted(spoken: Spoken, name: str) -> None:
    http = spoken.master(name)
    assert http.get("/v1/tool-usage").json() == []
    http.get("/v1/memories", headers={"x-memoria-tool": "kiro", "x-tool-name": "other"})
    http.get("/v1/memories", headers={"x-tool-name": "cursor"})
    http.get("/v1/memories", headers={"x-tool-name": "x" * 129})
    found = http.get("/v1/tool-usage").json()
    assert [one["tool_name"] for one in found] == ["cursor", "kiro"]
    assert all(one["last_used_at"].endswith("Z") for one in found)


def test_entities(http: httpx.Client) -> None:
    path = "/v1/extract-entities"
    assert http.post(path, json={}).json() == {"status": "complete", "unlinked": 0}
    one = stored(http, "lower case words only")
    found = http.post(path, json={"mode": "candidates"}).json()
    assert (found["status"], found["unlinked"], found["existing_entities"]) == ("candidates", 1, [])
    assert found["memories"] == [{"memory_id": one["memory_id"], "content": one["content"]}]
    links = [{"name": "Words", "type": "concept"}, {"name": "cases"}]
    body = {"entities": [{"memory_id": one["memory_id"], "entities": links}]}
    expected = {"entities_created": 2, "entities_reused": 0, "edges_created": 2}
    assert http.post(f"{path}/link", json=body).json() == expected
    assert http.post(f"{path}/link", json=body).json()["entities_created"] == 0
    listed = http.get("/v1/entities").json()["entities"]
    assert {one["name"].lower(): one["entity_type"] for one in listed} == {
        "words": "concept", "cases": "concept",
    }  # fmt: skip
    assert http.post(path, json={}).json()["status"] == "complete"
    nothing = {"entities_created": 0, "entities_reused": 0, "edges_created": 0}
    assert http.post(f"{path}/link", json={"entities": []}).json() == nothing
    missing = {"entities": [{"memory_id": "mem_" + "0" * 32, "entities": links}]}
    refused(http.post(f"{path}/link", json=missing), 404, "Memory not found: ")
    for body in ({}, {"entities": [1]}, {"entities": [{"memory_id": one["memory_id"]}]}):
        refused(http.post(f"{path}/link", json=body), 422, "Validation error: ")
    refused(http.post(path, json={"mode": "internal"}), 503, "LLM")
    refused(http.post(path, json={"mode": "all"}), 422, "mode")
