"""Relations, history, feedback, the words for them, and the project that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from palimp.clock import ManualClock
from palimp.http.dialects.memorysync.names import DIALECT, PROJECT_KEY

from .speaking import TENANT, House
from .test_memories import added, refused

ONE, TWO, FOREIGN = ("proj_" + digit * 16 for digit in "12f")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("relations"), ManualClock())
    yield found
    found.close()


def project(house: House, identity: str, tenant: str = TENANT, **fields: Any) -> None:
    kept = {"id": identity, "name": identity, "tenant_id": tenant, "archived_at": None, **fields}
    text = msgspec.json.encode(kept).decode()
    house.node.context.bindings.put(DIALECT, tenant, PROJECT_KEY + identity, text)


def test_memories_are_related_by_known_types(house: House) -> None:
    http = house.raw("edges")
    one = added(http, "The bridge was closed in May.")["id"]
    two = added(http, "Traffic goes through the tunnel.")["id"]
    path = f"/memory/{one}/relations"
    body = {"to_memory_id": two, "relationship_type": "caused_by", "confidence": 0.4}
    made = http.post(path, json=body).json()
    assert (made["from_memory_id"], made["to_memory_id"], made["confidence"]) == (one, two, 0.4)
    assert made["metadata"] is None
    said = {"source": "Anna", "pages": [1, 2]}
    kept = http.post(path, json={**body, "metadata": said}).json()
    assert (kept["id"], kept["metadata"]) == (made["id"], said)
    (edge,) = http.get("/memory/graph", params={"memory_id": one}).json()["edges"]
    assert edge["metadata"] == said
    too_large = {**body, "metadata": {"text": "x" * 20_000}}
    refused(http.post(path, json=too_large), 413, "PAYLOAD_TOO_LARGE")
    again = http.post(path, json={**body, "confidence": 0.7}).json()
    assert again["metadata"] is None
    assert (again["id"], again["confidence"]) == (made["id"], 0.7)
    refused(http.post(path, json={**body, "to_memory_id": one}), 422, "VALIDATION_ERROR")
    refused(http.post(path, json={**body, "to_memory_id": 99}), 404, "NOT_FOUND")
    wrong = {**body, "relationship_type": "blocks"}
    refused(http.post(path, json=wrong), 422, "VALIDATION_ERROR")
    other = house.raw("edges-other")
    refused(other.post(path, json=body), 404, "NOT_FOUND")
    ours = {"relation_types": ["Blocks"]}
    words = http.put("/memory/ontology", json=ours).json()
    assert (words["custom_relation_types"], words["max_custom_types"]) == (["blocks"], 32)
    assert http.post(path, json=wrong).status_code == 200


def test_a_tenants_own_types_are_kept_apart_and_bounded(house: House) -> None:
    http = house.raw("words", house.new_key(tenant="org_words"))
    before = http.get("/memory/ontology").json()
    assert before["custom_content_types"] == []
    http.put("/memory/ontology", json={"content_types": ["minutes"], "relation_types": ["blocks"]})
    http.put("/memory/ontology", json={"relation_types": []})
    after = http.get("/memory/ontology").json()
    assert after["custom_content_types"] == ["minutes"]
    assert after["relation_types"] == before["builtin_relation_types"]
    refused(http.put("/memory/ontology", json={}), 422, "VALIDATION_ERROR")
    for types in (["9lives"], [f"t{n}" for n in range(33)], "x"):
        body = {"content_types": types}
        refused(http.put("/memory/ontology", json=body), 422, "VALIDATION_ERROR")


def test_history_says_what_changed_and_who_did(house: House) -> None:
    http = house.raw("past")
    made = added(http, "The office is on the third floor.", metadata={"a": 1})
    path = f"/memory/{made['id']}"
    http.patch(path, json={"importance": 0.8, "event_type": "move", "metadata": {"a": 2}})
    http.patch(path, json={"source": "desk"})
    found = http.get(f"{path}/history").json()
    first, second, third = found["revisions"]
    assert (found["total"], found["memory_id"]) == (3, made["id"])
    assert (first["revision"], first["event"], first["diff"]) == (0, "created", {})
    assert second["diff"] == {
        "metadata": {"old": {"a": 1}, "new": {"a": 2}},
        "event_type": {"old": None, "new": "move"},
        "importance": {"old": None, "new": 0.8},
    }
    assert (third["changed_fields"], third["event"]) == (["source"], "updated")
    assert third["actor"]
    assert {one["actor"] for one in found["revisions"]} == {third["actor"]}
    page = http.get(f"{path}/history", params={"limit": 1, "offset": 1}).json()
    assert [one["revision"] for one in page["revisions"]] == [1]
    assert page["total"] == 3
    refused(http.get("/memory/99/history"), 404, "NOT_FOUND")


def test_many_signals_at_once_are_all_counted(house: House) -> None:
    http = house.raw("crowd")
    path = f"/memory/{added(http, 'The third lock has a new keeper.')['id']}/feedback"

    def say(_: int) -> int:
        return http.post(path, json={"signal": "positive"}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(say, range(24))) == {200}
    done = http.post(path, json={"signal": "negative"}).json()
    assert done["summary"]["signal_counts"]["positive"] == 24
    assert done["summary"]["total_signals"] == 25


def test_feedback_moves_the_importance_within_its_bounds(house: House) -> None:
    http = house.raw("judge")
    path = f"/memory/{added(http, 'The coffee machine needs descaling.')['id']}/feedback"
    first = http.post(path, json={"signal": "positive", "comment": "yes"}).json()
    assert (first["importance_before"], first["importance_after"]) == (0.5, 0.55)
    assert first["summary"]["signal_counts"]["positive"] == 1
    second = http.post(path, json={"signal": "positive"}).json()
    assert second["adjustment"] > first["adjustment"]
    mixed = http.post(path, json={"signal": "negative"}).json()
    assert -second["adjustment"] < mixed["adjustment"] < 0
    for _ in range(14):
        last = http.post(path, json={"signal": "negative"}).json()
    assert (last["importance_after"], last["adjustment"]) == (0.05, 0)
    assert last["summary"]["total_signals"] == 17
    assert last["summary"]["trend"]["momentum"] == "negative"
    refused(http.post(path, json={"signal": "loud"}), 422, "VALIDATION_ERROR")
    # It is not what was said about the memory, and no metadata of the caller's.
    assert http.get(path.removesuffix("/feedback")).json()["metadata"] == {}


def test_a_project_is_a_filter_and_what_has_none_is_in_each(house: House) -> None:
    plain = house.raw("scoped")
    shared = added(plain, "Everybody knows the door code.")["id"]
    for identity in (ONE, TWO):
        project(house, identity)
    project(house, FOREIGN, "org_other")
    first, second = (house.raw("scoped", **{"x-project-id": one}) for one in (ONE, TWO))
    one = added(first, "The door of project one is red.")["id"]
    two = added(second, "The door of project two is blue.")["id"]
    assert [one_["id"] for one_ in first.get("/memory/export").json()["memories"]] == [shared, one]
    refused(first.get(f"/memory/{two}"), 404, "NOT_FOUND")
    forgotten = first.request("DELETE", "/memory/forget", json={"memory_ids": [two]})
    assert forgotten.json() == []
    answer = plain.post("/memory/query", json={"query": "door"})
    assert {found["id"] for found in answer.json()["memories"]} == {shared, one, two}
    assert answer.headers["x-memorysync-warning"] == "missing-scope"
    scoped = first.post("/memory/query", json={"query": "door"})
    assert {found["id"] for found in scoped.json()["memories"]} == {shared, one}
    assert "x-memorysync-warning" not in scoped.headers
    same = added(second, "The door of project one is red.")
    assert same["project_id"] == TWO
    house.node.context.audit.flush(10)
    warned = list(house.mem.audit(house.profile().target.namespace, action="scope.missing_project"))
    assert warned
    assert warned[-1].counts == {"projects_spanned": 2}


def test_projects_that_are_none_of_the_tenants_are_refused(house: House) -> None:
    project(house, ONE)
    project(house, TWO)
    project(house, FOREIGN, "org_other")
    bad = house.raw("headers", **{"x-project-id": "proj_1"})
    refused(bad.get("/memory/export"), 400, "ValidationError")
    foreign = house.raw("headers", **{"x-project-id": FOREIGN})
    refused(foreign.get("/memory/export"), 404, "NOT_FOUND")
    locked = house.new_key(project=ONE)
    within = house.raw("headers", locked)
    assert "x-memorysync-warning" not in within.get("/memory/export").headers
    assert added(within, "A memory of the locked key.")["project_id"] == ONE
    beyond = house.raw("headers", locked, **{"x-project-id": TWO})
    refused(beyond.get("/memory/export"), 403, "FORBIDDEN")
    wide = {"x-allow-cross-project": "true"}
    spanning = house.raw("headers", house.new_key(scopes=["memory:*"]), **wide)
    refused(spanning.get("/memory/export"), 403, "FORBIDDEN")
    scopes = ["memory:*", "org:cross_project_read"]
    allowed = house.raw("headers", house.new_key(scopes=scopes), **wide)
    assert "x-memorysync-warning" not in allowed.get("/memory/export").headers


def test_an_archived_project_is_read_and_not_written(house: House) -> None:
    gone = "proj_" + "a" * 16
    project(house, gone, archived_at="2026-01-01T00:00:00+00:00")
    http = house.raw("archived", **{"x-project-id": gone})
    assert http.get("/memory/export").status_code == 200
    refused(http.post("/memory/add", json={"text": "too late for this"}), 409, "CONFLICT")


def test_environments_share_nothing(house: House) -> None:
    live, test = house.raw("env"), house.raw("env", house.new_key(environment="staging"))
    added(live, "Only where it is in earnest.")
    assert test.get("/memory/export").json()["memories"] == []
    assert added(test, "Only where it is tried out.")["environment"] == "staging"
    assert len(live.get("/memory/export").json()["memories"]) == 1


def test_strict_scope_refuses_what_names_no_project(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    house = House(tmp_path_factory.mktemp("strict"), ManualClock(), memorysync_strict_scope=True)
    try:
        http = house.raw("strict")
        assert http.get("/memory/export").status_code == 200
        project(house, ONE)
        house.clock.advance(6)  # type: ignore[attr-defined]
        refused(http.get("/memory/export"), 400, "PROJECT_CONTEXT_REQUIRED")
        named = house.raw("strict", **{"x-project-id": ONE})
        assert named.get("/memory/export").status_code == 200
    finally:
        house.close()


@pytest.mark.parametrize("word", ["allow", "refuse"])
def test_the_policy_of_the_tenants_namespace_decides_on_a_missing_project(
    tmp_path_factory: pytest.TempPathFactory, word: str
) -> None:
    house = House(tmp_path_factory.mktemp(word), ManualClock())
    try:
        http = house.raw("policy")
        added(http, "The keel is made of oak.")
        namespace = house.profile().target.namespace
        house.mem.set_policy(namespace, {"memory": {"unscoped": word}, "audit": {"enabled": True}})
        assert http.get("/memory/export").status_code == 200
        project(house, ONE)
        house.clock.advance(6)  # type: ignore[attr-defined]
        answer = http.post("/memory/query", json={"query": "keel"})
        assert "x-memorysync-warning" not in answer.headers
        if word == "refuse":
            refused(answer, 400, "PROJECT_CONTEXT_REQUIRED")
        else:
            assert len(answer.json()["memories"]) == 1
        named = house.raw("policy", **{"x-project-id": ONE})
        assert len(named.post("/memory/query", json={"query": "keel"}).json()["memories"]) == 1
        keyed = house.new_key(scopes=["memory:*", "org:cross_project_read"])
        wide = house.raw("policy", keyed, **{"x-allow-cross-project": "true"})
        assert len(wide.post("/memory/query", json={"query": "keel"}).json()["memories"]) == 1
        house.node.context.audit.flush(10)
        assert not list(house.mem.audit(namespace, action="scope.missing_project"))
    finally:
        house.close()
