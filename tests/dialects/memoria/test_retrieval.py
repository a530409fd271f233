"""Searching over HTTP, and what feedback does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .test_memories import refused, stored

PATHS = ("/v1/memories/retrieve", "/v1/memories/search")


def ask(http: httpx.Client, query: str, path: str = PATHS[0], **more: Any) -> Any:
    answer = http.post(path, json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def contents(found: list[dict[str, Any]]) -> set[str]:
    return {one["content"] for one in found}


@pytest.mark.parametrize("path", PATHS)
def test_what_was_written_is_found_at_once(http: httpx.Client, path: str) -> None:
    made = stored(http, "test memory sdk_e2e_1a2b3c4d")
    stored(http, "test memory sdk_e2e_99999999")
    found = ask(http, "sdk_e2e_1a2b3c4d", path)
    assert found[0]["memory_id"] == made["memory_id"]
    assert 0 < found[0]["retrieval_score"] <= 1


def test_how_much_is_found(http: httpx.Client) -> None:
    for number in range(12):
        stored(http, f"apple number {number}", memory_type="working")
    assert [len(ask(http, "apple", path)) for path in PATHS] == [5, 10]
    assert len(ask(http, "apple", top_k=3)) == 3
    assert len(ask(http, "apple", top_k=0)) == 1
    assert len(ask(http, "apple", top_k=5_000)) == 12
    assert ask(http, " ") == []


def test_filters(http: httpx.Client) -> None:
    stored(http, "pear of s1", session_id="s1")
    stored(http, "pear of s2", session_id="s2", memory_type="working")
    stored(http, "pear of nobody", subject_id="p")
    only = ask(http, "pear", session_id="s1", session_scope="only")
    assert contents(only) == {"pear of s1", "pear of nobody"}
    assert len(ask(http, "pear", session_id="s1", session_scope="prefer")) == 3
    assert len(ask(http, "pear", session_id="s1")) == 3
    assert contents(ask(http, "pear", memory_types=["working"])) == {"pear of s2"}
    assert contents(ask(http, "pear", subject_id="p")) == {"pear of nobody"}
    for body, said in (
        ({"session_scope": "only"}, "session_id"),
        ({"session_id": "s", "session_scope": "all"}, "session_scope"),
        ({"memory_types": ["wish"]}, "Invalid memory type: wish"),
        ({"explain": 5}, "explain"),
        ({"top_k": "many"}, "top_k"),
    ):
        refused(http.post(PATHS[0], json={"query": "pear", **body}), 422, said)
    refused(http.post(PATHS[0], json={}), 422, "query")


def test_an_explanation(http: httpx.Client) -> None:
    made = stored(http, "quince in the garden")
    for level, shown in ((True, "basic"), ("basic", "basic"), ("analyze", "analyze")):
        found = ask(http, "quince", explain=level)
        assert [one["memory_id"] for one in found["results"]] == [made["memory_id"]]
        explained = found["explain"]
        assert (explained["level"], explained["path"]) == (shown, "fulltext")
        assert (explained["fulltext_hit"], explained["vector_attempted"]) == (True, False)
        assert (explained["result_count"], "candidate_scores" in explained) == (1, shown != "basic")
    (scores,) = explained["candidate_scores"]
    assert (scores["memory_id"], scores["rank"]) == (made["memory_id"], 1)
    assert scores["final_score"] == round(found["results"][0]["retrieval_score"], 4)
    for level in (False, "none", "loud"):
        assert isinstance(ask(http, "quince", explain=level), list)


def test_fulltext(http: httpx.Client) -> None:
    made = stored(http, "plum_tree of plums", session_id="s", extra_metadata={"n": 1})
    stored(http, "plums elsewhere")
    path = "/v1/memories/fulltext-search"
    assert len(ask(http, "plums", path)) == 2
    (found,) = ask(http, "plums", path, session_id="s", extra_metadata_filter={"n": 1})
    assert found["memory_id"] == made["memory_id"]
    assert found["retrieval_score"] > 0
    assert len(ask(http, "plums", path, limit=1)) == 1
    assert ask(http, "zeppelin", path) == []
    for body, said in (
        ({"query": "?!"}, "letter"),
        ({"query": "x" * 4_097}, "4,096"),
        ({"query": "x", "limit": 101}, "limit"),
        ({"query": "x", "top_k": 3}, "unknown field `top_k`"),
        ({}, "query"),
    ):
        refused(http.post(path, json=body), 422, said)


def test_feedback_is_counted(http: httpx.Client) -> None:
    one, other = stored(http, "fig one"), stored(http, "fig two", trust_tier="T3")
    path = f"/v1/memories/{one['memory_id']}/feedback"
    for signal in ("useful", "useful", "wrong"):
        answer = http.post(path, json={"signal": signal, "context": "c"})
        assert answer.status_code == 201
        said = answer.json()
        assert (said["memory_id"], said["signal"]) == (one["memory_id"], signal)
        assert len(said["feedback_id"]) == 32
    http.post(f"/v1/memories/{other['memory_id']}/feedback", json={"signal": "outdated"})
    counts = {"total": 4, "useful": 2, "irrelevant": 0, "outdated": 1, "wrong": 1}
    assert http.get("/v1/feedback/stats").json() == counts
    rows = http.get("/v1/feedback/by-tier").json()["breakdown"]
    assert sorted((row["tier"], row["signal"], row["count"]) for row in rows) == [
        ("T1", "useful", 2), ("T1", "wrong", 1), ("T3", "outdated", 1),
    ]  # fmt: skip
    refused(http.post(path, json={"signal": "nice"}), 422, "signal")
    missing = http.post("/v1/memories/mem_0/feedback", json={"signal": "useful"})
    refused(missing, 404, "Memory not found: mem_0")


def test_feedback_moves_a_memory_by_its_weight(http: httpx.Client) -> None:
    one, other = stored(http, "loquat tree one"), stored(http, "loquat tree two")

    def scores() -> dict[str, float]:
        return {each["memory_id"]: each["retrieval_score"] for each in ask(http, "loquat tree")}

    before = scores()
    for _ in range(3):
        path = f"/v1/memories/{one['memory_id']}/feedback"
        assert http.post(path, json={"signal": "useful"}).status_code == 201
    path = f"/v1/memories/{other['memory_id']}/feedback"
    assert http.post(path, json={"signal": "wrong"}).status_code == 201
    for weight, up, down in ((0.1, 1.3, 0.95), (0.2, 1.6, 0.9), (0.5, 2.0, 0.75)):
        http.put("/v1/retrieval-params", json={"feedback_weight": weight})
        after = scores()
        assert list(after) == [one["memory_id"], other["memory_id"]]
        assert after[one["memory_id"]] / before[one["memory_id"]] == pytest.approx(up, rel=1e-3)
        assert after[other["memory_id"]] / before[other["memory_id"]] == pytest.approx(
            down, rel=1e-3
        )


def test_params_stay_within_their_bounds(http: httpx.Client, name: str) -> None:
    path = "/v1/retrieval-params"
    fixed = {"feedback_weight": 0.1, "temporal_decay_hours": 168.0, "confidence_weight": 0.1}
    assert http.get(path).json() == {"user_id": name, **fixed}
    answer = http.put(path, json={"feedback_weight": 7, "temporal_decay_hours": 0})
    assert answer.status_code == 200
    assert answer.json() == {**answer.json(), "feedback_weight": 0.5, "temporal_decay_hours": 1.0}
    assert http.get(path).json() == answer.json()
    refused(http.put(path, json={"confidence_weight": "big"}), 422, "confidence_weight")


@pytest.mark.parametrize(
    ("signals", "expected"),
    [(["useful"] * 8 + ["wrong"] * 2, 0.11), (["irrelevant"] * 6 + ["useful"] * 4, 0.09),
     (["outdated"] * 10, 0.1)],
)  # fmt: skip
def test_tuning(http: httpx.Client, signals: list[str], expected: float) -> None:
    path = "/v1/retrieval-params/tune"
    made = stored(http, "medlar")
    for number, signal in enumerate(signals):
        few = http.post(path, json={}).json()
        assert (few["tuned"], number < 10) == (False, True)
        assert few["current_params"]["feedback_weight"] == 0.1
        http.post(f"/v1/memories/{made['memory_id']}/feedback", json={"signal": signal})
    tuned = http.post(path, json={}).json()
    assert (tuned["tuned"], tuned["old_params"]["feedback_weight"]) == (True, 0.1)
    assert tuned["new_params"]["feedback_weight"] == expected
    assert http.get("/v1/retrieval-params").json() == tuned["new_params"]
