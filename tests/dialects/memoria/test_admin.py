"""What only the master key reaches: users, numbers, upkeep, plugins."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from palimp.http.dialects.memoria import ROUTES

NewUser = Callable[..., httpx.Client]
MASTERS = [one for one in ROUTES if one.who == "master"]


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def filled(path: str) -> str:
    values = {"user": "somebody", "key": "governance:x:v1", "version": "1.0.0"}
    for name, value in {**values, "domain": "governance"}.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path
    return path


@pytest.mark.parametrize("route", MASTERS, ids=lambda one: f"{one.method} {one.path}")
def test_a_user_s_key_reaches_none_of_it(user: httpx.Client, route: Any) -> None:
    answer = user.request(route.method, filled(route.path))
    assert (answer.status_code, answer.json()) == (403, {"detail": "Master key required"})


def test_what_is_not_carried_out_says_why(master: httpx.Client) -> None:
    refused = [one for one in MASTERS if one.refusal is not None]
    assert {one.path for one in refused} == {
        "/admin/users/{user}/reset-access-counts",
        "/admin/users/{user}/strategy",
        "/admin/plugins/{key}/{version}/review",
        "/admin/plugins/{key}/{version}/score",
    }
    for one in refused:
        answer = master.request(one.method, filled(one.path), json={})
        assert (answer.status_code, answer.json()) == (501, {"detail": one.refusal})


def test_users_and_their_numbers(master: httpx.Client, new_user: NewUser) -> None:
    names = ["Ada Admin", "bob-admin", "Zoë Admin"]
    before = ok(master.get("/admin/stats"))
    for name in names:
        client = new_user(name)
        ok(client.post("/v1/memories", json={"content": f"{name} was here"}), 201)
        ok(client.post("/v1/snapshots", json={"name": "s"}), 201)
    after = ok(master.get("/admin/stats"))
    assert {name: after[name] - before[name] for name in after} == {
        "total_users": 3, "total_memories": 3, "total_snapshots": 3,
    }  # fmt: skip
    found: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = ok(master.get("/admin/users", params=params))
        found += [one["user_id"] for one in page["users"]]
        assert len(page["users"]) <= 2
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert len(found) == len(set(found)) == after["total_users"]
    assert set(names) <= set(found)
    stats = ok(master.get("/admin/users/Ada%20Admin/stats"))
    assert stats == {"user_id": "Ada Admin", "memory_count": 1, "snapshot_count": 1}
    hygiene = ok(master.get("/admin/health/hygiene"))
    assert hygiene["orphan_graph_nodes"] == 0


def test_the_branches_and_calls_of_a_user(master: httpx.Client, user: httpx.Client) -> None:
    ok(user.post("/v1/memories", json={"content": "on main"}), 201)
    ok(user.post("/v1/branches", json={"name": "B"}), 201)
    ok(user.post("/v1/memories", json={"content": "on B", "branch": "B"}), 201)
    name = ok(user.get("/v1/profiles/me"))["user_id"]
    found = ok(master.get(f"/admin/users/{name}/branch-stats"))
    assert found["branches"] == [{"name": "main", "count": 1}, {"name": "B", "count": 2}]
    assert (found["total"], found["degraded"]) == (3, False)
    calls = ok(master.get(f"/admin/users/{name}/call-stats", params={"days": 500}))
    assert (calls["days"], calls["avg_latency_ms"]) == (90, None)
    assert calls["total_calls"] >= 2
    ok(master.get("/admin/users/nobody-at-all/call-stats"))


def test_deleting_a_user_hides_every_memory_and_can_be_taken_back(
    master: httpx.Client, user: httpx.Client
) -> None:
    name = ok(user.get("/v1/profiles/me"))["user_id"]
    ok(master.delete(f"/admin/users/{name}"))
    for body in ({"content": "on main"}, {"content": "again", "session_id": "s"}):
        ok(user.post("/v1/memories", json=body), 201)
    ok(user.post("/v1/branches", json={"name": "b"}), 201)
    done = ok(master.delete(f"/admin/users/{name}"))
    assert done == {"status": "ok", "user_id": name}
    assert ok(user.get("/v1/memories"))["items"] == []
    assert ok(user.get("/v1/memories", params={"branch": "b"}))["items"] == []
    (safety,) = ok(user.get("/v1/snapshots"))["snapshots"]
    assert safety["name"].startswith("pre_delete_user_")
    ok(user.post(f"/v1/snapshots/{safety['name']}/rollback", json={}))
    assert len(ok(user.get("/v1/memories"))["items"]) == 2


def test_the_keys_and_params_of_a_user(master: httpx.Client, new_user: NewUser) -> None:
    client, other = new_user("Keyed User"), new_user("Keyed User")
    path = "/admin/users/Keyed%20User"
    listed = ok(master.get(f"{path}/keys"))
    assert listed["user_id"] == "Keyed User"
    assert len(listed["keys"]) == 2
    params = ok(master.post(f"{path}/params", json={"feedback_weight": 0.3}))["params"]
    assert params["feedback_weight"] == 0.3
    assert ok(client.get("/v1/retrieval-params"))["feedback_weight"] == 0.3
    assert ok(master.delete(f"{path}/keys"))["revoked"] == 2
    assert client.get("/v1/memories").status_code == other.get("/v1/memories").status_code == 401


def test_the_config_has_no_secrets(master: httpx.Client) -> None:
    answer = master.get("/admin/config")
    found = ok(answer)
    assert (found["has_embedding"], found["has_llm"]) == (False, False)
    assert found["governance_enabled"] is False
    assert "platform-key-of-the-tests" not in answer.text


def test_upkeep_on_behalf_of_a_user(master: httpx.Client, user: httpx.Client) -> None:
    ok(user.post("/v1/memories", json={"content": "something"}), 201)
    name = ok(user.get("/v1/profiles/me"))["user_id"]
    path = f"/admin/governance/{name}/trigger"
    for _ in range(2):
        done = ok(master.post(path))
        assert (done["op"], done["user_id"], done["quarantined"]) == ("governance", name, 0)
        assert done["pollution_detected"] is False
    assert ok(master.post(path, params={"op": "consolidate"}))["status"] == "success"
    linked = ok(master.post(path, params={"op": "extract_entities"}))
    assert linked["processed"] + linked["skipped"] == 1
    weekly = ok(master.post(path, params={"op": "weekly"}))
    assert (weekly["cleaned_snapshots"], weekly["cleaned_branches"]) == (0, 0)
    assert master.post(path, params={"op": "everything"}).status_code == 400


def test_plugins(master: httpx.Client) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    added = master.post("/admin/plugins/signers", json={"signer": "acme", "public_key": key})
    assert ok(added) == {"ok": True}
    listed = ok(master.get("/admin/plugins/signers"))["signers"]
    assert {
        "signer": "acme",
        "algorithm": "ed25519",
        "public_key": key,
        "is_active": True,
    } in listed
    assert master.post("/admin/plugins/signers", json={"signer": "acme"}).status_code == 422
    nothing = base64.b64encode(b"{}").decode()
    for files in ({}, {"../manifest.json": nothing}, {"a.py": nothing}, {"manifest.json": 7}):
        answer = master.post("/admin/plugins", json={"files": files})
        assert answer.status_code == 400, (files, answer.text)
    assert ok(master.get("/admin/plugins")) == []
    assert ok(master.get("/admin/plugins/matrix", params={"domain": "governance"})) == []
    assert ok(master.get("/admin/plugins/domains/governance/bindings")) == []
    rule = {"plugin_key": "governance:none:v1", "selector_value": "1.0.0"}
    path = "/admin/plugins/domains/governance/bindings"
    assert master.post(path, json={**rule, "rollout_percent": 50}).status_code == 501
    assert master.post(path, json=rule).status_code in (404, 409, 422)
    body = {"plugin_key": "governance:none:v1", "version": "1.0.0"}
    activated = master.post("/admin/plugins/domains/governance/activate", json=body)
    assert activated.status_code in (404, 409, 422)
    events = ok(master.get("/admin/plugins/events", params={"limit": 5}))
    assert len(events) <= 5
