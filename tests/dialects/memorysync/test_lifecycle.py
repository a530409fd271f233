"""What administrators do over HTTP: states of memories, tiers, policy, keys, the audit."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import DAY, TENANT, House

BASE = "/api/v1/lifecycle"
Do = Callable[..., Any]


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[House]:
    key = base64.b64encode(b"k" * 32).decode()
    found = House(tmp_path_factory.mktemp("lifecycle"), clock, master_key=key)
    found.add_policy({"audit": {"enabled": True}, "encryption": {"fields": True}})
    yield found
    found.close()


@pytest.fixture
def http(house: House) -> httpx.Client:
    return house.raw()


@pytest.fixture
def do(http: httpx.Client) -> Do:
    """Ask for a step of a memory."""

    def ask(identity: int, step: str, expected: int = 200, **body: Any) -> Any:
        answer = http.post(f"{BASE}/memories/{identity}/{step}", json=body)
        assert answer.status_code == expected, answer.text
        return answer.json()

    return ask


def _add(house: House, text: str, **given: Any) -> int:
    made = house.client(**given).add(text)
    assert type(made) is memorysync.Memory
    return made.id


def test_archived_is_read_and_not_found(house: House, do: Do) -> None:
    identity = _add(house, "The mooring in Horta costs ninety")
    done = do(identity, "archive", reason="season is over")
    assert (done["memory_id"], done["retention_status"]) == (identity, "archived")
    assert house.client().get(identity).id == identity
    assert house.client().query("mooring in Horta").memories == []
    assert "archived" in do(identity, "archive", 409)["detail"]
    assert do(identity, "unarchive")["previous_status"] == "archived"
    do(identity, "unarchive", 409)
    assert [one.id for one in house.client().query("mooring in Horta").memories] == [identity]


def test_deleted_comes_back_within_its_grace_alone(
    house: House, http: httpx.Client, do: Do, clock: ManualClock
) -> None:
    identity = _add(house, "The anchor weighs twelve kilos")
    path = f"{BASE}/deletions/{identity}"
    assert http.get(path).status_code == 404
    house.client().forget([identity])
    told = http.get(path).json()
    assert (told["status"], told["retention_status"]) == ("waiting_grace", "soft_deleted")
    assert [one["step"] for one in told["steps"]] == ["soft_deleted"]
    assert do(identity, "restore")["retention_status"] == "active"
    house.client().forget([identity])
    do(identity, "legal-hold", reason="claim")
    assert http.get(path).json()["status"] == "held"
    do(identity, "legal-hold/release")
    clock.advance(8 * DAY)
    do(identity, "restore", 409)
    house.mem.maintain()
    told = http.get(path).json()
    assert (told["status"], told["retention_status"]) == ("done", "purged")
    assert told["steps"][-1]["step"] == "purged"
    do(identity, "restore", 409)


def test_a_tier_by_hand_holds_until_it_is_used(house: House, do: Do) -> None:
    identity = _add(house, "The chart of Faial is from 1991")
    house.client().get(identity)
    assert do(identity, "tier", tier="cold")["changed"] is True
    assert do(identity, "tier", tier="cold")["changed"] is False
    house.mem.maintain()
    [ours] = [one for one in house.profile().list() if one.handle == identity]
    assert ours.memory_tier == "cold"
    house.client().get(identity)
    house.mem.maintain()
    assert house.profile().get(ours.id).memory_tier is None
    do(identity, "tier", tier="warm")
    assert do(identity, "tier", tier="hot")["tier"] == "hot"
    [first, *_, last] = [
        one.changes["tier"] for one in house.profile().lifecycle.events(ours.id) if one.changes
    ]
    assert (first, last) == (("hot", "cold"), ("warm", "hot"))


def test_what_is_not_theirs_is_not_there(house: House, do: Do) -> None:
    project = house.control().create_project("Boats")["id"]
    identity = _add(house, "The rig was inspected in May", project=project)
    other = house.control().create_project("Others")["id"]
    path = f"{BASE}/memories/{identity}/archive"
    assert house.raw("somebody else").post(path).status_code == 404
    assert house.raw(**{"x-project-id": other}).post(path).status_code == 404
    assert house.raw(None).post(path).status_code == 400
    assert house.raw(**{"x-project-id": project}).post(path).status_code == 200
    do(987_654, "archive", 404)
    do("seven", "archive", 422)  # type: ignore[arg-type]
    do(identity, "tier", 422, tier="icy")


def test_the_policy_of_a_tenant_is_read_and_changed(house: House) -> None:
    http = house.raw(None, house.new_key("org_policy"))
    path = f"{BASE}/retention-policy"
    shown = http.get(path).json()
    assert shown == {
        "active_days": 90, "archive_days": 60, "grace_days": 7, "warm_after_days": 30,
        "cold_after_days": 180, "archive_enabled": True, "environment": "production",
    }  # fmt: skip
    changed = http.put(
        path, json={"active_days": 30, "archive_enabled": False, "archive_days": None}
    )
    assert changed.json() == {
        **shown, "active_days": 30, "archive_enabled": False, "archive_days": None,
    }  # fmt: skip
    assert http.get(path).json() == changed.json()
    for body in (
        {},
        {"grace_days": 6},
        {"grace_days": None},
        {"active_days": 0},
        {"active_days": "9"},
    ):
        assert http.put(path, json=body).status_code == 422, body
    other = house.raw(None).get(path).json()
    assert other["active_days"] == 90


def test_a_version_of_the_key_expires_only_where_nothing_needs_it(house: House) -> None:
    http, client = house.raw(), house.client()
    identity = _add(house, "The safe code is known to Ivo")
    first = http.post("/admin/encryption/rotate").json()
    assert first["users"] >= 1
    current = first["version"]
    expire = f"/admin/encryption/keys/{current}/expire"
    assert "current" in http.post(expire).json()["detail"]
    before = f"/admin/encryption/keys/{current - 1}/expire"
    assert http.post(before).status_code == 409
    assert client.get(identity).text == "The safe code is known to Ivo"
    newer = _add(house, "The new safe has another code")
    forced = http.post(before, json={"force": True})
    assert forced.status_code == 200, forced.text
    assert forced.json()["expired"] >= 1
    assert client.get(identity).text.startswith("[REDACTED")
    assert client.get(newer).text == "The new safe has another code"


def test_the_audit_says_who_did_what(house: House, do: Do) -> None:
    identity = _add(house, "The survey is due in autumn")
    do(identity, "archive")
    house.node.context.audit.flush(5)
    found = house.raw(None).get("/admin/audit-logs", params={"event_type": "memory.archive"})
    logs = found.json()["logs"]
    assert {one["event_type"] for one in logs} == {"memory.archive"}
    assert {(one["tenant_id"], one["status"]) for one in logs} >= {(TENANT, "success")}
    page = house.raw(None).get("/admin/audit-logs", params={"limit": 1}).json()
    assert len(page["logs"]) == 1
    assert page["next_cursor"]
