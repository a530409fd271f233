"""Projects, keys, exports and rates over HTTP, and what each key may do."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import memorysync
import pytest

from palimp.clock import Clock, ManualClock
from palimp.http.dialects.memorysync.names import namespace_of
from palimp.operations.credentials import tenant_namespace

from .speaking import DAY, TENANT, House

BOAT, OARS, SUM = "The red boat is Anna's", "Anna sold the old oars", '=1+1, Bert said, is "2"'


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("control"), clock)
    yield found
    found.close()


@pytest.fixture
def http(house: House) -> httpx.Client:
    """Who may do everything."""
    return house.raw(None)


def _project(house: House, name: str = "Ships") -> str:
    found: str = house.control().create_project(name)["id"]
    return found


def _new_key(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post("/org/api-keys", json={"name": "app", **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("tenant", ["acme", "Org.A", "a" * 128, "_" * 60])
@pytest.mark.parametrize("environment", ["production", "staging"])
def test_keys_are_recorded_where_the_dialect_has_the_memories(
    tenant: str, environment: str
) -> None:
    assert tenant_namespace(tenant, environment) == namespace_of(tenant, environment)


# -- projects ---------------------------------------------------------------------------------


def test_every_tenant_has_one_default_project(house: House) -> None:
    control = house.control(house.new_key("org_fresh"))
    [first] = control.list_projects()
    assert (first["is_default"], first["tenant_id"]) == (True, "org_fresh")
    assert control.list_projects() == [first]
    with pytest.raises(memorysync.ValidationError, match="default"):
        control.delete_project(first["id"])


def test_a_deleted_project_leaves_its_memories_in_none(house: House) -> None:
    gone, kept = _project(house), _project(house, "Kept")
    users = ("anna", "bert")
    for user in users:
        for project in (gone, kept):
            house.client(user, project=project).add(f"{user} has a boat of {project}")
    staged = house.new_key(environment="staging")
    house.client("anna", key=staged, project=gone).add("anna tries a boat in staging")
    house.client("anna", project=gone).forget([_ids(house, "anna", gone)[0]])
    counted = {one["id"]: one["memory_count"] for one in house.control().list_projects()}
    assert (counted[gone], counted[kept]) == (1, 2)
    house.control().delete_project(gone)
    for user in users:
        states = house.profile(user).list(state="soft_deleted"), house.profile(user).list()
        projects = [one.project for state in states for one in state]
        assert sorted(projects, key=str) == sorted([None, kept], key=str)
    [staging] = house.profile("anna", "staging").list()
    assert staging.project is None
    with pytest.raises(memorysync.NotFoundError):
        house.client("anna", project=gone).query("boat")
    # It is a memory of none, so that it can be restored, and any project sees it.
    [bert] = [one for one in house.profile("bert").list() if one.project is None]
    assert bert.handle in _ids(house, "bert", kept)


def test_a_project_of_many_users_is_deleted_by_a_task_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.http.dialects.memorysync.projects._INLINE_MAX", 1)
    house, clock = House(tmp_path, Clock()), Clock()
    users = ("dora", "emil", "fred")
    try:
        gone = _project(house)
        for user in users:
            house.client(user, project=gone).add(f"{user} has a boat on the lake")
        house.control().delete_project(gone)
        assert gone not in [one["id"] for one in house.control().list_projects()]
        with pytest.raises(memorysync.NotFoundError):
            house.client("dora", project=gone).query("boat")
        [task] = (one for one in house.mem.tasks() if one.kind == "reassign")
        assert task.spec["reassign"]["project"] == gone
        end = clock.monotonic() + 60
        while task.state in ("waiting", "running") and clock.monotonic() < end:
            clock.sleep(0.05)
            task = house.mem.task(task)
        assert (task.state, task.failed) == ("done", 0)
        for user in users:
            assert [one.project for one in house.profile(user).list()] == [None]
    finally:
        house.close()


def _ids(house: House, user: str, project: str | None) -> list[int]:
    found = house.client(user, project=project).query(f"a boat of {user}", k=50)
    return [one.id for one in found.memories]


def test_nothing_is_written_to_an_archived_project(house: House) -> None:
    project = _project(house)
    client = house.client("carl", project=project)
    made = client.add("Carl sails a dinghy on Sundays")
    house.control().archive_project(project)
    with pytest.raises(memorysync.ValidationError, match="archived"):
        client.add("Carl sold the dinghy")
    assert client.get(made.id).text == made.text
    house.control().unarchive_project(project)
    assert type(client.add("Carl sold the dinghy")) is memorysync.Memory


@pytest.mark.parametrize("name", ["", "  ", "n" * 201, None, 7])
def test_what_cannot_name_a_project_is_refused(http: httpx.Client, name: Any) -> None:
    answer = http.post("/org/projects", json={"name": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_projects_of_another_tenant_are_not_there(house: House) -> None:
    project = _project(house)
    other = house.control(house.new_key("org_other"))
    assert project not in [one["id"] for one in other.list_projects()]
    for act in (other.archive_project, other.delete_project):
        with pytest.raises(memorysync.NotFoundError):
            act(project)
    with pytest.raises(memorysync.NotFoundError):
        other.rename_project("no such " + "x" * 300, "name")


# -- keys ---------------------------------------------------------------------------------------


def test_a_key_is_said_once_and_begins_as_its_environment(house: House, http: httpx.Client) -> None:
    made = _new_key(http, scopes=["memory:*"], expires_at="2126-01-31T00:00:00")
    assert re.fullmatch(r"ms_live_[0-9a-f]{32}", made["key"])
    assert made["key"].startswith(made["prefix"])
    assert (made["scopes"], made["expires_at"]) == (["memory:*"], "2126-01-31T00:00:00+00:00")
    [shown] = [one for one in http.get("/org/api-keys").json()["keys"] if one["id"] == made["id"]]
    assert "key" not in shown
    assert type(house.client(key=made["key"]).add("The key opens the boat shed")) is not None
    tested = house.control().test_api_key(made["id"])
    assert (tested["valid"], tested["status"], tested["scopes"]) == (True, "active", ["memory:*"])
    for environment, prefix in (("staging", "ms_test_"), ("development", "ms_dev_")):
        assert house.new_key(environment=environment).startswith(prefix)


def test_a_rotated_key_replaces_the_old_one(house: House, http: httpx.Client) -> None:
    old = _new_key(http)
    new = http.post(f"/org/api-keys/{old['id']}/rotate").json()
    assert (new["name"], new["environment"]) == (old["name"], old["environment"])
    assert http.delete(f"/org/api-keys/{old['id']}").status_code == 404
    assert house.raw("eve", new["key"]).get("/memory/export").status_code == 200
    refused = house.raw("eve", old["key"]).get("/memory/export")
    assert (refused.status_code, refused.json()["detail"]) == (403, "API key revoked")
    assert http.delete(f"/org/api-keys/{new['id']}").status_code == 204
    unknown = house.raw("eve", "ms_live_" + "0" * 32).get("/memory/export")
    assert (unknown.status_code, unknown.json()["detail"]) == (401, "Invalid API key")


def test_keys_are_revoked_together_and_each_is_answered(house: House, http: httpx.Client) -> None:
    ids = [_new_key(http)["id"] for _ in range(2)]
    others = http.get("/org/api-keys").json()["total"]
    done = house.control().bulk_revoke_api_keys([*ids, 12])
    assert {name: done[name] for name in ("revoked", "already_revoked", "not_found")} == {
        "revoked": 2, "already_revoked": 0, "not_found": 1,
    }  # fmt: skip
    again = house.control().bulk_revoke_api_keys(ids)
    assert [one["status"] for one in again["results"]] == ["already_revoked"] * 2
    assert http.get("/org/api-keys").json()["total"] == others - 2
    assert house.control().test_api_key(ids[0])["status"] == "revoked"
    for body in ({}, {"key_ids": []}, {"key_ids": ["1"]}, {"key_ids": [1] * 101}):
        assert http.post("/org/api-keys/bulk-revoke", json=body).status_code == 422


def test_a_key_makes_none_that_reaches_further(house: House) -> None:
    project, other = _project(house), _project(house, "Other")
    own = {"scopes": ["keys:write", "memory:read"], "project": project}
    limited = house.raw(None, house.new_key(**own))
    for wider in (
        {"scopes": ["memory:*"]}, {"scopes": ["*"]}, {}, {"environment": "staging"},
        {"scopes": ["memory:read"], "project_id": other},
    ):  # fmt: skip
        answer = limited.post("/org/api-keys", json={"name": "app", **wider})
        assert answer.status_code == 403, (wider, answer.text)
    made = limited.post("/org/api-keys", json={"name": "app", "scopes": ["memory:read"]})
    assert (made.status_code, made.json()["project_id"]) == (201, project)
    mine = _new_key(house.raw(None))["id"]
    assert limited.delete(f"/org/api-keys/{mine}").status_code == 404


def test_a_key_that_expired_or_lacks_a_scope_is_told_so(house: House, clock: ManualClock) -> None:
    short = house.raw(None, house.new_key(scopes=["memory:read"]))
    for method, path, needed in (
        ("GET", "/org/projects", "projects:read"), ("POST", "/org/projects", "projects:write"),
        ("GET", "/org/api-keys", "keys:read"), ("GET", "/exports", "exports:read"),
        ("GET", "/admin/audit-logs", "audit:read"),
        ("POST", "/admin/encryption/rotate", "encryption:admin"),
        ("POST", "/api/v1/lifecycle/memories/1/archive", "lifecycle:admin"),
    ):  # fmt: skip
        answer = short.request(method, path)
        assert answer.status_code == 403
        assert answer.json()["detail"] == f"Insufficient scope. Missing: {needed}"
    expires = clock.now_ms() + 1_000
    made = house.mem.create_credential("memorysync", TENANT, "brief", expires_at=expires)
    assert house.raw(None, made.secret).get("/org/projects").status_code == 200
    clock.advance(2)
    assert house.raw(None, made.secret).get("/org/projects").status_code == 401


# -- exports --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(house: House) -> House:
    """Two users of a tenant of their own."""
    key = house.new_key("org_export")
    for user, text in (("u1", BOAT), ("u1", OARS), ("u2", SUM)):
        house.client(user, key=key).add(text, source="crm", metadata={"a": 'q"'}, tags=["x"])
    return house


@pytest.fixture
def export(exported: House) -> Callable[..., tuple[dict[str, Any], str]]:
    key = exported.new_key("org_export")

    def make(**fields: Any) -> tuple[dict[str, Any], str]:
        control = exported.control(key)
        job = control.create_export(**fields)["job"]
        found = control.get_export_download_url(job["id"])
        answer = exported.raw(None, key).get(found["download_url"])
        assert answer.status_code == 200
        assert found["filename"] in answer.headers["content-disposition"]
        return job, answer.text

    return make


def test_an_export_holds_all_users_of_the_tenant_and_no_others(
    export: Callable[..., tuple[dict[str, Any], str]],
) -> None:
    job, text = export(format="jsonl", scope="all")
    rows = [json.loads(line) for line in text.splitlines()]
    assert sorted((one["user_id"], one["text"]) for one in rows) == [
        ("u1", OARS), ("u1", BOAT), ("u2", SUM),
    ]  # fmt: skip
    assert rows[0]["metadata"] == {"a": 'q"'}
    assert (job["status"], job["total_rows"], job["progress_percentage"]) == ("completed", 3, 100.0)
    _, table = export(format="csv", scope="all")
    read = list(csv.DictReader(io.StringIO(table)))
    assert [one["text"] for one in read] == [one["text"] for one in rows]
    assert json.loads(read[0]["metadata"]) == {"a": 'q"'}


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"user_id": "u1"}, 2), ({"user_id": "nobody"}, 0), ({"q": "BOAT"}, 1),
        ({"source": "crm"}, 3), ({"source": "web"}, 0), ({"tier": "cold"}, 0),
        ({"is_summary": True}, 0), ({"time_range": "1d"}, 3), ({"date_to": "2001-01-01"}, 0),
    ],
)  # fmt: skip
def test_an_export_takes_filters(
    export: Callable[..., tuple[dict[str, Any], str]], filters: dict[str, Any], count: int
) -> None:
    job, text = export(format="jsonl", filters=filters)
    assert (job["total_rows"], len(text.splitlines())) == (count, count)


def test_what_cannot_be_exported_is_refused(house: House) -> None:
    # Also where there is nothing to be exported yet.
    http = house.raw(None, key=house.new_key(environment="staging"))
    for body in (
        {"format": "pdf"}, {"scope": "some"}, {"scope": "date_range"}, {"filters": {"x": 1}},
        {"filters": {"time_range": "a month"}}, {"filters": {"tier": "icy"}},
    ):  # fmt: skip
        assert http.post("/exports", json=body).status_code == 422, body
    assert http.get("/exports/exp_0").status_code == 404
    assert http.get("/exports/" + "e" * 64 + "/download").status_code == 404


def test_an_export_is_its_projects_and_is_over_after_a_day(
    house: House, clock: ManualClock
) -> None:
    project = _project(house)
    house.client("dora", project=project).add("Dora rows on the lake")
    house.client("dora").add("Dora lives by the lake")
    locked = house.control(house.new_key(project=project))
    job = locked.create_export(format="jsonl", filters={"user_id": "dora"})["job"]
    assert (job["total_rows"], job["project_id"]) == (2, project)
    elsewhere = house.control(house.new_key(environment="staging"))
    with pytest.raises(memorysync.NotFoundError):
        elsewhere.get_export(job["id"])
    again = locked.retry_export(job["id"])["job"]
    assert (again["id"], again["retry_count"]) == (job["id"], 1)
    assert locked.cancel_export(job["id"])["status"] == "completed"
    assert job["id"] in [one["id"] for one in house.control().list_exports()["jobs"]]
    clock.advance(DAY)
    with pytest.raises(memorysync.NotFoundError):
        locked.get_export(job["id"])
    assert house.control().list_exports()["jobs"] == []


# -- rates ----------------------------------------------------------------------------------------


def test_a_key_over_its_rate_waits_in_all_three_windows(tmp_path: Path) -> None:
    clock = ManualClock()
    house = House(tmp_path, clock, memorysync_rate_tier="free")
    http = house.raw()
    assert [http.get("/memory/ontology").status_code for _ in range(3)] == [200, 200, 429]
    refused = http.get("/memory/ontology")
    error = refused.json()["error"]
    assert (error["code"], refused.headers["retry-after"]) == ("RATE_LIMIT_EXCEEDED", "2")
    assert error["retry_after"] == 2
    with pytest.raises(memorysync.RateLimitError) as caught:
        house.client().get_ontology()
    assert caught.value.retry_after_seconds == 2
    # Another key has a rate of its own; what was refused counts in no window.
    other = house.raw(key=house.new_key())
    assert other.get("/memory/ontology").status_code == 200
    clock.advance(1)
    answers = []
    for _ in range(35):
        clock.advance(1)
        answers.append(http.get("/memory/ontology"))
    assert {one.status_code for one in answers[:25]} == {200}
    assert answers[-1].status_code == 429
    assert "30 requests in 60 s" in answers[-1].json()["detail"]
    clock.advance(3_600)
    assert http.get("/memory/ontology").status_code == 200
    house.close()


def test_a_tenant_that_was_deleted_begins_anew(house: House, clock: ManualClock) -> None:
    old = house.new_key("org_brief")
    house.client("eve", key=old).add("Eve keeps bees on the roof")
    done = house.mem.delete_tenant("memorysync", "org_brief")
    assert (done.keys, done.databases) == (1, 1)
    with pytest.raises(memorysync.AuthError, match="revoked"):
        house.client("eve", key=old).export_all()
    clock.advance(1)
    new = house.client("eve", key=house.new_key("org_brief"))
    assert new.export_all().memories == []
    assert type(new.add("Eve sold the bees last week")) is memorysync.Memory
