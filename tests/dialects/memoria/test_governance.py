"""Governance as a user asks for it: cooldowns, force, and what is answered."""

from __future__ import annotations

import httpx
import pytest

GOVERNED = {"quarantined": 0, "cleaned_stale": 0, "orphan_graph_cleaned": 0}


def post(
    client: httpx.Client, path: str, body: object = None, status: int = 200
) -> dict[str, object]:
    answer = client.post(path, json={} if body is None else body)
    assert answer.status_code == status, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_a_run_is_skipped_until_its_cooldown_is_over_or_it_is_forced(user: httpx.Client) -> None:
    post(user, "/v1/memories", {"content": "one thing"}, 201)
    assert post(user, "/v1/governance") == GOVERNED
    skipped = post(user, "/v1/governance")
    assert skipped["skipped"] is True
    left = skipped["cooldown_remaining_s"]
    assert isinstance(left, int)
    assert 0 < left <= 3_600
    assert post(user, "/v1/governance", {"force": True}) == GOVERNED
    assert post(user, "/v1/governance", {"force": "yes"}, 422)


def test_what_nobody_vouches_for_is_quarantined(user: httpx.Client) -> None:
    old = {"content": "heard long ago", "trust_tier": "T4", "observed_at": "2020-01-01T00:00:00Z"}
    post(user, "/v1/memories", old, 201)
    post(user, "/v1/memories", {"content": "known well"}, 201)
    assert post(user, "/v1/governance")["quarantined"] == 1
    items = user.get("/v1/memories").json()["items"]
    assert [one["content"] for one in items] == ["known well"]
    (before,) = user.get("/v1/snapshots").json()["snapshots"]
    post(user, f"/v1/snapshots/{before['name']}/rollback")
    assert len(user.get("/v1/memories").json()["items"]) == 2


def test_consolidation_says_what_it_found(user: httpx.Client) -> None:
    post(user, "/v1/memories", {"content": "one thing"}, 201)
    found = post(user, "/v1/consolidate")
    assert found == {
        "status": "success", "conflicts_detected": 0, "orphaned_scenes": 0, "promoted": 0,
        "demoted": 0, "warnings": found["warnings"], "decision_count": 0,
    }  # fmt: skip
    assert post(user, "/v1/consolidate")["skipped"] is True


def test_reflection_shows_clusters_without_a_model(user: httpx.Client) -> None:
    assert post(user, "/v1/reflect", {"mode": "auto"}) == {"candidates": [], "scenes_created": 0}
    for number in range(3):
        body = {"content": f"step {number} of the move", "session_id": "s"}
        post(user, "/v1/memories", body, 201)
    found = post(user, "/v1/reflect", {"mode": "candidates"})
    (cluster,) = found["candidates"]  # type: ignore[misc]
    assert cluster["importance"] == 0.5
    texts = {one["content"] for one in cluster["memories"]}
    assert texts == {f"step {number} of the move" for number in range(3)}
    refused = post(user, "/v1/reflect", {"mode": "internal"}, 503)
    assert "LLM not configured" in str(refused["detail"])
    post(user, "/v1/reflect", {"mode": "deep"}, 422)


@pytest.mark.parametrize("path", ["/v1/governance", "/v1/consolidate", "/v1/reflect"])
def test_a_user_who_never_wrote_has_nothing_to_govern(user: httpx.Client, path: str) -> None:
    assert post(user, path, {"force": True})
