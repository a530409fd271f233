"""Adding, reading, changing and removing memories, and who is let in to do so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from palimp.clock import ManualClock
from palimp.http.dialects.foreign import Table
from palimp.http.dialects.memorysync import ROUTES

from .speaking import House

LARGE = 16_384


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("core"), ManualClock())
    yield found
    found.close()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the one shape that errors have, and return it."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["error"]["code"] == code
    assert body["detail"] == body["error"]["message"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def added(http: httpx.Client, text: str, **fields: Any) -> dict[str, Any]:
    answer = http.post("/memory/add", json={"text": text, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- who is let in -----------------------------------------------------------------------------


def test_keys_that_are_none_and_scopes_that_are_missing(house: House) -> None:
    with httpx.Client(base_url=house.url) as nobody:
        said = refused(nobody.get("/memory/export"), 401, "UNAUTHORIZED")
        assert said["detail"] == "API key missing"
        headers = {"x-api-key": "ms_live_" + "0" * 32}
        said = refused(nobody.get("/memory/export", headers=headers), 401, "UNAUTHORIZED")
        assert said["detail"] == "Invalid API key"
    reader = house.raw("scoped", house.new_key(scopes=["memory:read"]))
    assert reader.get("/memory/export").status_code == 200
    said = refused(reader.post("/memory/add", json={"text": "a long text"}), 403, "FORBIDDEN")
    assert said["detail"] == "Insufficient scope. Missing: memory:add"
    key = house.new_key(tenant="org_gone")
    for one in house.mem.credentials(dialect="memorysync", subject="org_gone"):
        house.mem.revoke_credential(one.id)
    said = refused(house.raw(key=key).get("/memory/export"), 403, "FORBIDDEN")
    assert said["detail"] == "API key revoked"
    other = house.raw(**{"x-tenant-id": "org_other"}).get("/memory/export")
    assert refused(other, 403, "FORBIDDEN")["detail"] == "API key belongs to another tenant"
    bearer = house.raw(authorization="Bearer ms_live_" + "0" * 32)
    refused(bearer.get("/memory/export"), 401, "UNAUTHORIZED")


def test_without_an_end_user_there_are_no_memories(house: House) -> None:
    http = house.raw(None)
    refused(http.post("/memory/add", json={"text": "a long text"}), 400, "MISSING_END_USER_ID")
    refused(http.get("/memory/1"), 400, "MISSING_END_USER_ID")
    assert added(http, "a text of the body's user", end_user_id="body")["id"] == 1
    assert len(house.raw("body").get("/memory/export").json()["memories"]) == 1


def test_every_answer_has_an_id_and_health_asks_for_no_key(house: House) -> None:
    with httpx.Client(base_url=house.url) as nobody:
        answer = nobody.get("/health")
        assert answer.headers["x-request-id"]
        health = {"status": "ok", "db": "healthy", "vector_db": "healthy", "cache": "healthy"}
        assert answer.json() == health
        refused(nobody.get("/nothing/here"), 404, "NOT_FOUND")
        refused(nobody.put("/memory/add"), 405, "METHOD_NOT_ALLOWED")


# -- adding ------------------------------------------------------------------------------------


def test_a_memory_comes_back_as_it_was_given(house: House) -> None:
    http = house.raw("whole")
    metadata = {"a": [1, None, {"b": "é"}], "_ms": "theirs"}
    made = added(
        http,
        "The harbour closes at nine.",
        tags=["Port", "port", " Night "],
        source="email",
        event_type="notice",
        importance=0.9,
        metadata=metadata,
        session_id="s1",
        ttl_minutes=60,
    )
    read = http.get(f"/memory/{made['id']}").json()
    for name in ("id", "text", "tags", "source", "event_type", "importance", "metadata"):
        assert read[name] == made[name], name
    assert read["metadata"] == metadata
    assert read["tags"] == ["port", "night"]
    assert read["text"] == "The harbour closes at nine."
    assert (read["tier"], read["importance"], read["is_summary"]) == ("hot", 0.9, False)
    assert read["created_at"].endswith("+00:00")
    assert read["expires_at"] > read["created_at"]
    assert "status" not in read
    assert added(http, "Nothing else was said of it.", content="ignored")["importance"] == 0.5
    by_alias = http.post("/memory/add", json={"content": "by the other name"}).json()
    assert by_alias["text"] == "by the other name"


def test_what_is_not_worth_it_is_skipped(house: House) -> None:
    http = house.raw("low")
    for text, reason in (
        ("ok", "no_high_value_content"),
        ("thank you", "no_high_value_content"),
        ("12345 67890 !", "no_high_value_content"),
        ("a b c d", "low_value_input"),
    ):
        body = added(http, text)
        assert (body["status"], body["reason"], body["memory_ids"]) == ("skipped", reason, [])
    for body in ({"text": " "}, {}, {"text": 5}, {"text": "long enough", "importance": 2}):
        refused(http.post("/memory/add", json=body), 422, "VALIDATION_ERROR")
    refused(http.post("/memory/add", json=[1]), 422, "VALIDATION_ERROR")
    assert http.get("/memory/export").json()["memories"] == []
    assert added(http, "我住在柏林的中心")["id"] == 1


def test_a_reference_is_stored_once(house: House) -> None:
    http = house.raw("ref")
    first = added(http, "The order was shipped on Monday.", client_ref="r-1")
    again = added(http, "Other words, and the same reference.", client_ref="r-1")
    said = (again["status"], again["reason"], again["memory_ids"])
    assert said == ("skipped", "already_ingested", [first["id"]])
    other = added(http, "The order was shipped on Monday.", client_ref="r-2")
    assert other["id"] != first["id"]
    long = http.post("/memory/add", json={"text": "long enough", "client_ref": "x" * 129})
    refused(long, 422, "VALIDATION_ERROR")


def test_the_same_again_is_a_duplicate_and_another_value_takes_its_place(house: House) -> None:
    http = house.raw("same")
    first = added(http, "The gate code is written on the wall.")
    again = added(http, "The gate code  is written on the wall")
    assert (again["reason"], again["memory_ids"]) == ("duplicate", [first["id"]])
    cto = added(http, "Alice is the CTO")
    assert (cto["extracted_key"], cto["extracted_type"]) == ("person:alice/job", "fact")
    assert added(http, "alice serves as CTO.")["memory_ids"] == [cto["id"]]
    assert http.get(f"/memory/{cto['id']}").json()["evidence_count"] == 1
    ceo = added(http, "Alice is the CEO")
    live = {one["id"] for one in http.get("/memory/export").json()["memories"]}
    assert ceo["id"] in live
    assert cto["id"] not in live
    # More than the value is said: it is not the same, though it has the same key.
    assert added(http, "Alice is the CEO of Acme")["id"] != ceo["id"]


def test_without_dedup_only_the_same_words_soon_after_are_a_repeat(house: House) -> None:
    http, clock = house.raw("loose"), house.clock
    assert isinstance(clock, ManualClock)
    first = added(http, "Alice is the CTO", deduplicate=False)
    assert added(http, "alice is the cto.", deduplicate=False)["memory_ids"] == [first["id"]]
    assert added(http, "Alice serves as CTO", deduplicate=False)["id"] != first["id"]
    clock.advance(601)
    assert added(http, "Alice is the CTO", deduplicate=False)["id"] != first["id"]


def test_metadata_has_a_limit_in_bytes(house: House) -> None:
    http = house.raw("large")
    fits = {"k": "é" * ((LARGE - 8) // 2)}
    made = added(http, "with as much as fits", metadata=fits)
    over = {"k": fits["k"] + "x"}
    said = refused(
        http.post("/memory/add", json={"text": "with too much of it", "metadata": over}),
        413,
        "PAYLOAD_TOO_LARGE",
    )
    assert said["error"]["details"] == [{"field": "metadata", "size": LARGE + 1, "limit": LARGE}]
    patched = http.patch(f"/memory/{made['id']}", json={"metadata": over})
    refused(patched, 413, "PAYLOAD_TOO_LARGE")
    deep: Any = 1
    for _ in range(40):
        deep = {"d": deep}
    nested = http.post("/memory/add", json={"text": "nested too deep", "metadata": deep})
    refused(nested, 422, "VALIDATION_ERROR")
    assert len(http.get("/memory/export").json()["memories"]) == 1


def test_bulk_says_of_each_what_became_of_it(house: House) -> None:
    http = house.raw("bulk")
    items = [
        {"text": "The first of several memories."},
        {"text": "ok"},
        {"text": "With too much metadata.", "metadata": {"k": "x" * LARGE}},
        {"text": "Of another end user.", "end_user_id": "bulk-other"},
        {"text": "With a tag too long.", "tags": ["x" * 600]},
        {"text": "The first of several memories."},
        {"text": "The last of several memories.", "client_ref": "last"},
    ]
    answer = http.post("/memory/bulk-add", json={"items": items})
    assert answer.status_code == 207
    body = answer.json()
    assert (body["total"], body["created"], body["skipped"], body["rejected"]) == (7, 3, 2, 2)
    statuses = [one["status"] for one in body["results"]]
    created, skipped, rejected = "created", "skipped", "rejected"
    assert statuses == [created, skipped, rejected, created, rejected, skipped, created]
    assert body["results"][2]["reason"] == "metadata_too_large"
    assert body["results"][5]["memory_ids"] == body["results"][0]["memory_ids"]
    assert len(http.get("/memory/export").json()["memories"]) == 2
    assert len(house.raw("bulk-other").get("/memory/export").json()["memories"]) == 1
    refused(http.post("/memory/bulk-add", json={"items": []}), 422, "VALIDATION_ERROR")
    many = {"items": [{"text": f"number {n} of many"} for n in range(51)]}
    refused(http.post("/memory/bulk-add", json=many), 422, "VALIDATION_ERROR")


# -- changing ----------------------------------------------------------------------------------


def test_what_is_said_about_a_memory_changes_and_its_words_do_not(house: House) -> None:
    http = house.raw("patch")
    made = added(http, "The lift is out of order.", metadata={"a": 1}, event_type="fault")
    path = f"/memory/{made['id']}"
    body = {"tags": ["Lift"], "importance": 0.2, "source": "desk", "event_type": "closed"}
    done = http.patch(path, json=body).json()
    assert (done["tags"], done["importance"]) == (["lift"], 0.2)
    assert (done["source"], done["event_type"]) == ("desk", "closed")
    assert (done["metadata"], done["text"]) == ({"a": 1}, made["text"])
    assert http.patch(path, json={"metadata": {"b": 2}}).json()["metadata"] == {"b": 2}
    for wrong in ({}, {"text": "other words"}, {"importance": -1}, {"tags": "one"}):
        refused(http.patch(path, json=wrong), 422, "VALIDATION_ERROR")
    refused(http.patch("/memory/999", json={"tags": []}), 404, "NOT_FOUND")
    refused(http.get("/memory/abc"), 422, "VALIDATION_ERROR")
    refused(house.raw("patch-other").patch(path, json={"source": "x"}), 404, "NOT_FOUND")


def test_a_batch_of_edits_says_which_it_could_not_see(house: House) -> None:
    http = house.raw("batch")
    ids = [added(http, f"Row {name} of the batch.")["id"] for name in ("one", "two")]
    items = [
        {"memory_id": ids[0], "tags": ["x"]},
        {"memory_id": 999, "tags": ["x"]},
        {"memory_id": ids[1], "source": "s", "importance": 0.1},
    ]
    answer = http.post("/memory/batch-update", json={"items": items})
    assert answer.status_code == 207
    body = answer.json()
    assert (body["total"], body["updated"], body["not_found"]) == (3, 2, 1)
    assert body["results"][2]["changed_fields"] == ["importance", "source"]
    twice = {"items": [items[0], items[0]]}
    refused(http.post("/memory/batch-update", json=twice), 422, "VALIDATION_ERROR")
    # One that is wrong leaves all as they are.
    wrong = {"items": [{"memory_id": ids[0], "source": "new"}, {"memory_id": ids[1]}]}
    refused(http.post("/memory/batch-update", json=wrong), 422, "VALIDATION_ERROR")
    assert http.get(f"/memory/{ids[0]}").json()["source"] is None


# -- removing ----------------------------------------------------------------------------------


def forget(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.request("DELETE", "/memory/forget", json=body)


def test_forget_by_id_and_by_filter(house: House) -> None:
    http = house.raw("forget")
    one = added(http, "Of the mail, tagged a and b.", source="mail", tags=["a", "b"])["id"]
    two = added(http, "Of the mail, tagged a alone.", source="mail", tags=["a"])["id"]
    three = added(http, "Of a meeting, no tags at all.", event_type="meeting")["id"]
    assert forget(http, filters={"tags": ["a", "b"]}, dry_run=True).json() == [one]
    assert sorted(forget(http, filters={"source": "mail"}, dry_run=True).json()) == [one, two]
    assert forget(http, filters={"event_type": "meeting"}).json() == [three]
    refused(http.get(f"/memory/{three}"), 404, "NOT_FOUND")
    assert forget(http, memory_ids=[one, 999]).json() == [one]
    assert forget(http, memory_ids=[one]).json() == []
    assert forget(http, filters={"before": "2999-01-01"}).json() == [two]
    assert http.get("/memory/export").json()["memories"] == []
    for body in ({}, {"filters": {}}, {"filters": {"source": None}}, {"filters": {"x": 1}},
                 {"memory_ids": [1], "filters": {"tier": "hot"}}, {"filters": {"tier": "warmer"}},
                 {"memory_ids": []}, {"memory_ids": [True]}):  # fmt: skip
        refused(forget(http, **body), 422, "VALIDATION_ERROR")


def test_forget_never_reaches_another_end_user_and_personal_data_asks_for_a_reason(
    house: House,
) -> None:
    mine, theirs = house.raw("forget-a"), house.raw("forget-b")
    kept = added(theirs, "A memory of somebody else.", source="mail")
    own = added(mine, "The number of the passport.", source="mail", tags=["pii"])["id"]
    refused(forget(mine, memory_ids=[own]), 422, "VALIDATION_ERROR")
    refused(forget(mine, filters={"source": "mail"}), 422, "VALIDATION_ERROR")
    assert forget(mine, filters={"source": "mail"}, reason="asked for").json() == [own]
    assert forget(mine, memory_ids=[kept["id"]]).json() == []
    assert theirs.get(f"/memory/{kept['id']}").status_code == 200


def test_every_route_is_told_apart_and_says_how_it_is_exercised() -> None:
    table = Table(ROUTES)
    for one in ROUTES:
        path = "/".join("x" if part.startswith("{") else part for part in one.path.split("/"))
        assert table.match(one.method, path.encode())[0] is one
        assert one.exercised, one
