"""What the published client relies on: classes of errors, end users, filters, what is never found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memorysync
import pytest
from memorysync import BulkAddItem

from palimp.clock import ManualClock

from .speaking import DAY, TENANT, House

TEXT = "The barge lies in the third lock"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("conformance"), ManualClock())
    yield found
    found.close()


def _raised(call: Callable[[], Any], kind: type[memorysync.MemorySyncError], status: int) -> Any:
    """Check the class and the status, and that everything is told by which a request is found."""
    with pytest.raises(memorysync.MemorySyncError) as found:
        call()
    error = found.value
    assert (type(error), error.status_code) == (kind, status), error
    assert error.request_id
    assert error.request_id == error.response["request_id"]
    assert str(error) == error.response["detail"] == error.response["error"]["message"]
    assert error.response["error"]["code"]
    return error


def _own(house: House) -> tuple[memorysync.MemorySyncClient, int]:
    """Return a client of a user of its own with one memory, and its id."""
    client = house.client(f"user {next(_NUMBERS)}")
    made = client.add(TEXT)
    assert type(made) is memorysync.Memory
    return client, made.id


# -- errors --------------------------------------------------------------------------------------


def test_classes_of_errors(house: House) -> None:
    client, identity = _own(house)
    auth, validation = memorysync.AuthError, memorysync.ValidationError
    _raised(lambda: house.client(key="ms_live_" + "0" * 32).get(1), auth, 401)
    reads = house.client(key=house.new_key(scopes=["memory:read"]))
    told = _raised(lambda: reads.add(TEXT), auth, 403)
    assert "memory:add" in str(told)
    _raised(lambda: client.get(identity + 987_654), memorysync.NotFoundError, 404)
    bare = memorysync.MemorySyncClient(house.key, house.url)
    told = _raised(lambda: bare.add(TEXT), validation, 400)
    assert told.response["error"]["code"] == "MISSING_END_USER_ID"
    bare.close()
    told = _raised(lambda: client.add(TEXT, importance=1.5), validation, 422)
    assert told.response["error"]["code"] == "VALIDATION_ERROR"
    assert "importance" in str(told)
    _raised(lambda: client.add(""), validation, 422)
    _raised(lambda: client.query("  "), validation, 422)
    much = {"k": "x" * 20_000}
    _raised(lambda: client.update(identity, metadata=much), memorysync.MemorySyncError, 413)
    _raised(lambda: client.connections.get("id1"), memorysync.ServerError, 501)


def test_a_conflict_is_a_validation_error_of_its_status(house: House) -> None:
    client, _ = _own(house)
    project = house.control().create_project("Locks")["id"]
    house.control().archive_project(project)
    there = house.client("conflict", project=project)
    _raised(lambda: there.add(TEXT), memorysync.ValidationError, 409)
    assert client


def test_a_revoked_key_and_none_at_all(house: House) -> None:
    key = house.new_key()
    (found,) = [
        one for one in house.mem.credentials(dialect="memorysync") if key.startswith(one.prefix)
    ]
    house.mem.revoke_credential(found.id)
    told = _raised(lambda: house.client(key=key).get(1), memorysync.AuthError, 403)
    assert "revoked" in str(told)
    answer = house.raw().get("/memory/1", headers={"x-api-key": ""})
    assert (answer.status_code, answer.json()["detail"]) == (401, "API key missing")


def test_too_many_requests_say_when_to_come_again(tmp_path: Path) -> None:
    house = House(tmp_path, ManualClock(), memorysync_rate_tier="free")
    try:
        client = house.client()
        # Two a second, and this second does not end.
        for _ in range(2):
            client.query("anything")
        told = _raised(lambda: client.query("anything"), memorysync.RateLimitError, 429)
        assert 0 < told.retry_after_seconds <= 60
        assert told.response["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        house.clock.sleep(told.retry_after_seconds)
        client.query("anything")
    finally:
        house.close()


# -- end users -----------------------------------------------------------------------------------


def test_the_end_user_of_a_call_goes_before_the_clients(house: House) -> None:
    client = house.client("caller")
    assert type(client.add(TEXT, end_user_id="other 1")) is memorysync.Memory
    data = b"# Notes\n\nThe lock keeper of lock three is called Anselm.\n"
    client.upload(data, filename="n.md", end_user_id="other 2")
    lines = json.dumps({"text": "The lock keeper has two dogs", "client_ref": "1"}).encode()
    job = client.create_import(lines, filename="n.jsonl", end_user_id="other 3")
    # A job is that user's: who asks for it names them, or nobody.
    asking = house.client("other 3")
    for _ in range(500):
        if asking.get_import(job["id"])["progress_percentage"] == 100:
            break
    done = client.bulk_add([BulkAddItem("The lock gate leaks a little", end_user_id="other 4")])
    assert done.created == 1
    for number in range(1, 5):
        assert len(house.client(f"other {number}").export_all().memories) == 1, number
    assert client.export_all().memories == []


# -- filters -------------------------------------------------------------------------------------


def test_tags_of_a_query_are_any_and_of_a_forget_are_all(house: House) -> None:
    client = house.client("tags")
    items = [BulkAddItem("The lock has iron gates", tags=["Iron", "gate"]),
             BulkAddItem("The weir has wooden gates", tags=["wood", "gate"]),
             BulkAddItem("The towpath is paved with gravel", tags=["path"])]  # fmt: skip
    ids = [one.memory_ids[0] for one in client.bulk_add(items).results]
    found = client.query("gates towpath", k=10, filters={"tags": ["iron", "path"]}).memories
    assert sorted(one.id for one in found) == [ids[0], ids[2]]
    for name in ("source", "sources"):
        body = {"query": "gates", "filters": {name: "crm" if name == "source" else ["crm"]}}
        assert house.raw("tags").post("/memory/query", json=body).json()["memories"] == []
    assert client.forget(filters={"tags": ["gate", "path"]}) == []
    assert client.forget(filters={"tags": ["gate", "IRON"]}, dry_run=True) == [ids[0]]
    assert client.forget(filters={"tags": ["gate"]}) == ids[:2]
    assert [one["id"] for one in client.export_all().memories] == [ids[2]]


@pytest.mark.parametrize("filters", [{}, {"tags": []}, {"colour": "red"}])
def test_a_forget_that_means_everything_is_refused(house: House, filters: Any) -> None:
    client, identity = _own(house)
    user = client._end_user_id
    answer = house.raw(user).request("DELETE", "/memory/forget", json={"filters": filters})
    assert answer.status_code == 422
    both = {"filters": {"tags": ["x"]}, "memory_ids": [identity]}
    assert house.raw(user).request("DELETE", "/memory/forget", json=both).status_code == 422
    assert client.get(identity).id == identity


def test_a_forget_answers_with_a_bare_list_and_never_reaches_others(house: House) -> None:
    (client, identity), (other, theirs) = _own(house), _own(house)
    answer = house.raw(client._end_user_id).request(
        "DELETE", "/memory/forget", json={"filters": {"before": "2100-01-01"}}
    )
    assert answer.json() == [identity]
    assert other.get(theirs).id == theirs


# -- what is not found, and what is -------------------------------------------------------------


def test_what_has_expired_is_not_found_although_no_job_ran(house: House) -> None:
    raw = house.raw("ttl")
    made = raw.post("/memory/add", json={"text": "The lock is closed today", "ttl_minutes": 5})
    assert made.status_code == 200, made.text
    query = {"query": "Which lock is closed today?"}
    assert len(raw.post("/memory/query", json=query).json()["memories"]) == 1
    house.clock.sleep(301)
    assert raw.post("/memory/query", json=query).json()["memories"] == []


def test_an_archived_memory_is_read_by_its_id_and_not_found(house: House) -> None:
    client, identity = _own(house)
    raw = house.raw(client._end_user_id)
    path = f"/api/v1/lifecycle/memories/{identity}"
    assert raw.post(f"{path}/archive").status_code == 200
    assert raw.get(f"/memory/{identity}").json()["retention_status"] == "archived"
    assert client.query("third lock barge").memories == []
    assert raw.post(f"{path}/archive").status_code == 409
    assert raw.post(f"{path}/unarchive").status_code == 200
    assert [one.id for one in client.query("third lock barge").memories] == [identity]


def test_what_is_kept_beside_memories_is_never_found(house: House) -> None:
    client = house.client("beside")
    who: dict[str, Any] = {"tenant_id": TENANT, "user_id": "beside"}
    client.put_state(**who, namespace=["n"], key="k", value={"barge": "third lock"})
    turn: Any = {"role": "assistant", "content": "The barge lies in the third lock"}
    client.append_history(**who, session_id="s", turns=[turn])
    assert client.query("third lock barge", k=50).memories == []
    assert client.export_all().memories == []
    assert client.list_memories(**who)["total"] == 0
    assert client.recall(**who, prompt="third lock barge")["memories"] == []


def test_feedback_stays_within_its_bounds(house: House) -> None:
    client, identity = _own(house)
    for signal, bound in (("negative", 0.05), ("positive", 1.0)):
        for _ in range(40):
            told = client.feedback(identity, signal)  # type: ignore[arg-type]
            assert 0.05 <= told.importance_after <= 1.0
        assert told.importance_after == bound
        assert client.get(identity).importance == bound
    assert told.summary.total_signals == 80


def test_a_memory_is_not_related_to_itself_nor_to_anothers(house: House) -> None:
    (client, identity), (_, theirs) = _own(house), _own(house)
    raw = house.raw(client._end_user_id)
    body = {"to_memory_id": identity, "relationship_type": "similar"}
    assert raw.post(f"/memory/{identity}/relations", json=body).status_code == 422
    second = client.add("The lock keeper is on leave until May")
    assert type(second) is memorysync.Memory
    with pytest.raises(memorysync.NotFoundError):
        client.create_relation(identity, to_memory_id=theirs + 10_000, relationship_type="similar")
    once, twice = (
        client.create_relation(identity, to_memory_id=second.id, relationship_type="supports")
        for _ in range(2)
    )
    assert once.id == twice.id


def test_what_a_worker_did_has_no_actor(house: House) -> None:
    client, identity = _own(house)
    client.update(identity, tags=["x"])
    house.clock.sleep(91 * DAY)
    house.mem.maintain()
    found = client.history(identity).revisions
    assert [one.event for one in found] == ["created", "updated", "archived"]
    assert [one.revision for one in found] == [0, 1, 2]
    assert found[1].actor is not None
    assert found[2].actor is None
