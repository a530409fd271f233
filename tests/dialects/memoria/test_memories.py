"""Memories over HTTP: stored, read, corrected, removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from palimp.api import Policy, SetNamespacePolicy, Target
from palimp.api.policy import GetNamespacePolicy
from palimp.operations import OWNER

from .conftest import Spoken


def stored(http: httpx.Client, content: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/memories", json={"content": content, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = http.get("/v1/memories", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"detail"}
    assert said in body["detail"]


def test_a_memory_comes_back_as_it_was_stored(http: httpx.Client, name: str) -> None:
    given = {
        "memory_type": "procedural",
        "session_id": "s1",
        "subject_id": " project x ",
        "trust_tier": "T3",
        "initial_confidence": 0.5,
        "observed_at": "2024-05-01T10:00:00.25+02:00",
        "extra_metadata": {"step": 2, "of": {"a": [1]}},
        "source": "ignored",
    }
    made = stored(http, "Run the tests first", **given)
    assert made == {
        "memory_id": made["memory_id"],
        "user_id": name,
        "subject_id": "project x",
        "memory_type": "procedural",
        "content": "Run the tests first",
        "trust_tier": "T3",
        "initial_confidence": 0.5,
        "is_active": True,
        "session_id": "s1",
        "observed_at": "2024-05-01T08:00:00.250000Z",
        "created_at": None,
        "retrieval_score": None,
        "extra_metadata": {"step": 2, "of": {"a": [1]}},
    }
    got = http.get(f"/v1/memories/{made['memory_id']}").json()
    assert got.pop("created_at").endswith("Z")
    assert got == {key: value for key, value in made.items() if key != "created_at"}


@pytest.mark.parametrize(
    ("kind", "tier", "confidence"),
    [("semantic", "T1", 0.95), ("profile", "T2", 0.85), ("working", "T3", 0.65),
     ("tool_result", "T4", 0.4), ("episodic", "T1", 0.95)],
)  # fmt: skip
def test_every_type_and_tier(http: httpx.Client, kind: str, tier: str, confidence: float) -> None:
    made = stored(http, "same words", memory_type=kind, trust_tier=tier)
    assert (made["memory_type"], made["initial_confidence"]) == (kind, confidence)
    (found,) = listed(http, memory_type=kind, trust_tier=tier)
    assert found["memory_id"] == made["memory_id"]
    assert listed(http, memory_type="procedural") == []
    assert listed(http, memory_type="nonsense") == []


def test_what_is_the_same_is_the_one_that_stays(http: httpx.Client) -> None:
    first = stored(http, "likes tea", extra_metadata={"a": 1})
    again = stored(http, "  likes tea \n", session_id="other")
    assert again["memory_id"] == first["memory_id"]
    assert again["extra_metadata"] == {"a": 1}
    other = stored(http, "likes tea", extra_metadata={"b": 2})
    assert (other["memory_id"], other["extra_metadata"]) == (first["memory_id"], {"b": 2})
    cleared = stored(http, "likes tea", extra_metadata={})
    assert "extra_metadata" not in cleared
    assert len(listed(http)) == 1
    # Another subject, another type: another memory. Working memory and batches never look.
    stored(http, "likes tea", subject_id="x")
    stored(http, "likes tea", memory_type="profile")
    for _ in range(2):
        stored(http, "likes tea", memory_type="working")
    batch = [{"content": "likes tea"}] * 2
    assert http.post("/v1/memories/batch", json={"memories": batch}).status_code == 201
    assert len(listed(http)) == 7


def test_what_was_removed_and_comes_again_is_of_its_own_session(http: httpx.Client) -> None:
    first = stored(http, "likes tea", session_id="s1")
    assert http.delete(f"/v1/memories/{first['memory_id']}").status_code == 204
    again = stored(http, "likes tea", session_id="s2")
    assert again["session_id"] == "s2"
    assert [one["session_id"] for one in listed(http)] == ["s2"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "content"),
        ({"content": " "}, 422, "Validation error: "),
        ({"content": 7}, 422, "Validation error: "),
        ({"content": "é" * 16_385}, 422, "Validation error: "),
        ({"content": "x", "memory_type": "wish"}, 422, "Invalid memory type: wish"),
        ({"content": "x", "trust_tier": "T5"}, 422, "Invalid trust tier: T5"),
        ({"content": "x", "observed_at": "yesterday"}, 422, "Validation error: "),
        ({"content": "x", "subject_id": "é" * 65}, 422, "Validation error: "),
        ({"content": "x", "initial_confidence": "high"}, 422, "Validation error: "),
        ({"content": "x", "extra_metadata": 5}, 422, "Validation error: "),
        ({"content": "x", "extra_metadata": [1]}, 422, "Validation error: "),
        ({"content": "x", "branch": "nowhere"}, 404, "Branch not found: nowhere"),
        ({"content": "password=" + "hunter2hunter2"}, 403, "Blocked: Memory blocked"),
        ({"content": "key AKIA" + "ABCDEFGHIJKLMNOP"}, 403, "(aws_key)"),
        (["content"], 422, "Validation error: "),
    ],
)
def test_what_cannot_be_stored(http: httpx.Client, body: Any, status: int, said: str) -> None:
    refused(http.post("/v1/memories", json=body), status, said)
    assert listed(http) == []


def test_the_largest_content(http: httpx.Client) -> None:
    assert stored(http, "x" * 32_768)["content"] == "x" * 32_768


def test_what_is_personal_is_redacted_in_the_answer_too(http: httpx.Client) -> None:
    made = stored(http, "mail to ann@example.com or 555-123-4567")
    assert made["content"] == "mail to [email] or [phone]"
    assert listed(http)[0]["content"] == made["content"]
    batch = [{"content": "bob@example.com"}, {"content": "plain"}]
    answer = http.post("/v1/memories/batch", json={"memories": batch})
    assert [one["content"] for one in answer.json()] == ["[email]", "plain"]


def test_bodies_that_are_none(http: httpx.Client) -> None:
    kind = {"content-type": "application/json"}
    refused(http.post("/v1/memories", content=b"{x", headers=kind), 400, "JSON")
    refused(http.post("/v1/memories", content=b"{}"), 415, "application/json")
    refused(
        http.post("/v1/memories", content=b"{}", headers={"content-type": "text/plain"}),
        415,
        "json",
    )
    large = b'{"content": "' + b"x" * (2 << 20) + b'"}'
    refused(http.post("/v1/memories", content=large, headers=kind), 413, "2,097,")
    refused(http.get("/v1/nothing"), 404, "/v1/nothing")
    wrong = http.put("/v1/memories", json={})
    refused(wrong, 405, "GET, POST")
    assert wrong.headers["allow"] == "GET, POST"
    # What a page of another origin can make a browser send.
    tune = "/v1/retrieval-params/tune"
    refused(http.post(tune, headers={"origin": "https://example.com"}), 415, "json")
    assert http.post(tune).status_code == 200
    refused(http.get("/v1/memories?limit=many"), 422, "limit")


def test_a_batch_is_whole_or_not_at_all(http: httpx.Client) -> None:
    many = [{"content": f"number {n}"} for n in range(100)]
    answer = http.post("/v1/memories/batch", json={"memories": many, "subject_id": "all"})
    assert answer.status_code == 201
    assert [one["content"] for one in answer.json()] == [one["content"] for one in many]
    assert {one["subject_id"] for one in answer.json()} == {"all"}
    assert http.post("/v1/memories/batch", json={"memories": []}).json() == []
    for items, status, said in (
        ([*many, {"content": "one more"}], 422, "100"),
        (
            [{"content": "fine"}, {"content": "x", "memory_type": "wish"}],
            422,
            "Invalid memory type",
        ),
        ([{"content": "fine"}, {"content": "secret: " + "abcdefgh1"}], 403, "Blocked: "),
        ([{"content": "fine", "branch": "other"}], 422, "branch"),
        ("fine", 422, "memories"),
    ):
        refused(http.post("/v1/memories/batch", json={"memories": items}), status, said)
    assert len(listed(http, limit=500)) == 100


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
def test_paging_visits_every_row_once(http: httpx.Client, limit: int) -> None:
    made = [stored(http, f"row {n}", memory_type="working")["memory_id"] for n in range(6)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/memories", params=params).json()
        assert page["items"] or not seen
        seen += [one["memory_id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert len(listed(http, cursor="garbage")) == 6
    assert len(listed(http, limit=0)) == 1
    refused(http.get("/v1/memories?trust_tier=T9"), 422, "Invalid trust tier: T9")


def test_a_query_has_all_that_is_asked_for(http: httpx.Client) -> None:
    one = stored(http, "one", extra_metadata={"step": 2, "tool": "git"}, session_id="s")
    stored(http, "two", extra_metadata={"step": "2"}, subject_id="p")

    def found(**asked: Any) -> list[str]:
        answer = http.post("/v1/memories/query", json=asked)
        assert answer.status_code == 200, answer.text
        return [each["content"] for each in answer.json()["items"]]

    assert found(extra_metadata_filter={"step": 2.0}) == ["one"]
    assert found(extra_metadata_filter={"step": "2"}) == ["two"]
    assert found(extra_metadata_filter={"step": 2, "tool": "svn"}) == []
    assert found(session_id="s") == ["one"]
    assert found(subject_id="p") == ["two"]
    assert found(memory_types=["semantic"], trust_tier="T1") == ["two", "one"]
    assert found(branch="main") == ["two", "one"]
    page = http.post("/v1/memories/query", json={"branch": "main", "limit": 1}).json()
    rest = {"branch": "main", "limit": 1, "cursor": page["next_cursor"]}
    last = http.post("/v1/memories/query", json=rest).json()
    assert (last["items"][0]["memory_id"], last["next_cursor"]) == (one["memory_id"], None)
    for body, said in (
        ({}, "selector"),
        ({"limit": 5}, "selector"),
        ({"branch": "main", "limit": 501}, "limit"),
        ({"session_id": " "}, "blank"),
        ({"session": "s"}, "unknown field `session`"),
        ({"branch": "main", "cursor": "no cursor"}, "cursor"),
        ({"extra_metadata_filter": {"a": {"b": 1}}}, "scalars"),
        ({"extra_metadata_filter": {"1a": 1}}, "1a"),
        ({"extra_metadata_filter": {f"k{n}": n for n in range(17)}}, "16"),
    ):
        refused(http.post("/v1/memories/query", json=body), 422, said)


def test_a_correction_is_a_new_version(http: httpx.Client) -> None:
    old = stored(http, "Met Bob on Monday", session_id="s", initial_confidence=0.3, subject_id="p",
                 extra_metadata={"a": 1})  # fmt: skip
    path = f"/v1/memories/{old['memory_id']}"
    answer = http.put(f"{path}/correct", json={"new_content": "Met Bob on Friday", "reason": "r"})
    assert answer.status_code == 200
    new = answer.json()
    assert new["memory_id"] != old["memory_id"]
    kept = ("content", "trust_tier", "initial_confidence", "session_id", "subject_id")
    assert [new[key] for key in kept] == ["Met Bob on Friday", "T2", 0.3, "s", "p"]
    assert "extra_metadata" not in new
    assert new["created_at"] is not None
    assert http.get(path).json() is None
    assert [one["memory_id"] for one in listed(http)] == [new["memory_id"]]
    for one in (old, new):
        found = http.get(f"/v1/memories/{one['memory_id']}/history").json()
        assert (found["memory_id"], found["total"]) == (one["memory_id"], 2)
        assert [
            (each["content"], each["is_active"], each["superseded_by"])
            for each in found["versions"]
        ] == [
            ("Met Bob on Monday", False, new["memory_id"]),
            ("Met Bob on Friday", True, None),
        ]
    refused(http.put(f"{path}/correct", json={"new_content": "x"}), 404, "Memory not found: ")
    refused(http.put(f"{path}/correct", json={"new_content": " "}), 422, "Validation error: ")
    refused(http.get("/v1/memories/mem_0/history"), 404, "Memory not found: mem_0")


def test_a_correction_by_query(http: httpx.Client) -> None:
    stored(http, "The cat is called Tom", session_id="s1")
    path = "/v1/memories/correct"
    answer = http.post(path, json={"query": "cat called", "new_content": "The cat is Jerry"})
    assert (answer.status_code, answer.json()["content"]) == (200, "The cat is Jerry")
    nothing = {"query": "zeppelin", "new_content": "x"}
    refused(http.post(path, json=nothing), 404, "No matching memory found")
    scoped = {**nothing, "session_scope": "only"}
    refused(http.post(path, json=scoped), 422, "session_id")
    other = {"query": "cat", "new_content": "x", "session_id": "s2", "session_scope": "only"}
    refused(http.post(path, json=other), 404, "No matching memory found")


def test_what_is_deleted_is_gone_and_can_be_had_back(http: httpx.Client) -> None:
    one, other = stored(http, "first of two"), stored(http, "second of two")
    path = f"/v1/memories/{one['memory_id']}"
    answer = http.delete(path, params={"reason": "over"})
    assert (answer.status_code, answer.content) == (204, b"")
    refused(http.delete(path), 404, f"Memory not found: {one['memory_id']}")
    assert [each["memory_id"] for each in listed(http)] == [other["memory_id"]]
    asked = {"query": "first of two"}
    found = http.post("/v1/memories/retrieve", json=asked).json()
    assert one["memory_id"] not in [each["memory_id"] for each in found]
    snapshots = http.get("/v1/snapshots").json()["snapshots"]
    assert [each["name"][:11] for each in snapshots] == ["pre_delete_"]
    back = http.post(f"/v1/snapshots/{snapshots[0]['name']}/rollback", json={})
    assert back.status_code == 200, back.text
    assert len(listed(http)) == 2


def test_purges(http: httpx.Client) -> None:
    def purge(**body: Any) -> httpx.Response:
        return http.post("/v1/memories/purge", json=body)

    ids = [stored(http, f"note {n}", memory_type="working", session_id="s")["memory_id"]
           for n in (1, 2, 3)]  # fmt: skip
    kept = stored(http, "A Python note, on purpose", session_id="s")
    for body, status, said in (
        ({"memory_ids": [ids[0], "mem_unknown"]}, 404, "Memory not found: mem_unknown"),
        ({"topic": "py"}, 422, "3 characters"),
        ({"topic": "python", "session_id": "s"}, 422, "Validation error: "),
        ({"memory_types": ["working"]}, 422, "session_id"),
        ({"session_id": "s", "memory_types": ["wish"]}, 422, "Invalid memory type: wish"),
        ({"memory_ids": "x"}, 422, "memory_ids"),
        ({"memory_ids": [f"mem_{n}" for n in range(1_001)]}, 422, "1,000"),
    ):
        refused(purge(**body), status, said)
    assert purge().json() == {"purged": 0}
    assert len(listed(http)) == 4
    done = purge(memory_ids=[ids[0], ids[0]]).json()
    assert done["purged"] == 1
    assert done["snapshot_name"].startswith("pre_purge_")
    assert purge(session_id="s", memory_types=["working"]).json()["purged"] == 2
    assert purge(topic="PYTHON").json()["purged"] == 1
    assert purge(topic="python").json() == {"purged": 0}
    assert http.get(f"/v1/memories/{kept['memory_id']}").json() is None
    assert listed(http) == []


def test_writes_on_a_branch_leave_main_alone(http: httpx.Client) -> None:
    main = stored(http, "on main")
    assert http.post("/v1/branches", json={"name": "try"}).is_success
    assert http.post("/v1/branches/try/checkout", json={}).is_success
    there = stored(http, "on the branch")
    assert len(listed(http)) == 2
    assert [one["memory_id"] for one in listed(http, branch="main")] == [main["memory_id"]]
    path = f"/v1/memories/{main['memory_id']}"
    assert http.put(f"{path}/correct", json={"new_content": "else"}).status_code == 200
    assert http.get(path).json() is None
    assert http.get(path, params={"branch": "main"}).json()["content"] == "on main"
    refused(http.get(path, params={"branch": "none"}), 404, "Branch not found: none")
    # A branch that is gone is main.
    assert http.delete("/v1/branches/try").is_success
    assert [one["memory_id"] for one in listed(http)] == [main["memory_id"]]
    assert http.get(f"/v1/memories/{there['memory_id']}").json() is None


def test_the_rules_of_the_namespace_are_set_once(speaks: Any) -> None:
    spoken: Spoken = speaks()
    target, get = Target("memoria"), GetNamespacePolicy()
    own = Policy()
    change = SetNamespacePolicy(policy=own)
    spoken.node.call("policy.set_namespace", target, change, principal=OWNER)
    made = stored(spoken.master("ann"), "mail ann@example.com")
    assert made["content"] == "mail ann@example.com"
    kept = spoken.node.call("policy.get_namespace", target, get, principal=OWNER)
    assert not kept.policy  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["episodic", "tool_result", "working", "profile", "procedural"])
def test_every_type_can_be_corrected(http: httpx.Client, kind: str) -> None:
    old = stored(http, "first words", memory_type=kind, session_id="s")
    path = f"/v1/memories/{old['memory_id']}/correct"
    new = http.put(path, json={"new_content": "other words"}).json()
    assert (new["memory_type"], new["session_id"]) == (kind, "s")
    assert [one["content"] for one in listed(http)] == ["other words"]


def test_a_correction_to_what_is_there_already(http: httpx.Client) -> None:
    one, other = stored(http, "tea"), stored(http, "coffee")
    path = f"/v1/memories/{one['memory_id']}/correct"
    same = http.put(path, json={"new_content": "tea"})
    assert (same.status_code, same.json()["memory_id"]) == (200, one["memory_id"])
    merged = http.put(path, json={"new_content": "coffee"})
    assert (merged.status_code, merged.json()["memory_id"]) == (200, other["memory_id"])
    assert [each["content"] for each in listed(http)] == ["coffee"]


def test_many_at_once(spoken: Spoken, name: str) -> None:
    """Of one content one memory, of one memory one correction."""

    def together(work: Any) -> list[httpx.Response]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, range(8)))

    http = spoken.master(name)
    made = together(lambda _: http.post("/v1/memories", json={"content": "the same"}))
    assert {one.status_code for one in made} == {201}
    (identity,) = {one.json()["memory_id"] for one in made}
    path = f"/v1/memories/{identity}/correct"
    done = together(lambda n: http.put(path, json={"new_content": f"new {n}"}))
    assert {one.status_code for one in done} <= {200, 404, 409}
    assert sum(one.status_code == 200 for one in done) == len(listed(http)) == 1
