"""What watches a node that speaks Memoria."""

from __future__ import annotations

import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from .conftest import Spoken
from .test_memories import stored


def test_probes_ask_for_no_key(spoken: Spoken) -> None:
    with httpx.Client(base_url=spoken.url) as nobody:
        answer = nobody.get("/health")
        assert (answer.status_code, answer.text) == (200, "ok")
        assert answer.headers["content-type"].startswith("text/plain")
        found = nobody.get("/health/instance").json()
        assert (found["status"], found["db"]) == ("ok", True)
        assert re.search(r"-\d+\Z", found["instance_id"])


def test_an_instance_that_stops_is_not_ready(speaks: Any) -> None:
    spoken: Spoken = speaks()
    with httpx.Client(base_url=spoken.url) as nobody:
        spoken.app.api.drain()
        assert nobody.get("/health/instance").status_code == 503
        assert nobody.get("/health").text == "ok"


def test_how_a_users_memories_are(http: httpx.Client) -> None:
    assert http.get("/v1/health/storage").json()["total"] == 0
    one = stored(http, "abc", trust_tier="T4")
    stored(http, "abcde", memory_type="working")
    http.delete(f"/v1/memories/{one['memory_id']}")
    stored(http, "defgh", trust_tier="T3")
    assert http.get("/v1/health/storage").json() == {
        "total": 3, "active": 2, "inactive": 1, "avg_content_size": 5.0,
    }  # fmt: skip
    analysis = http.get("/v1/health/analyze").json()
    assert analysis["semantic"]["total"] == 1
    assert analysis["semantic"]["avg_confidence"] == 0.65
    assert set(analysis) == {"semantic", "working"}
    capacity = http.get("/v1/health/capacity").json()
    assert (capacity["user_active_memories"], capacity["recommendation"]) == (2, "ok")
    hygiene = http.get("/v1/health/hygiene").json()
    assert (hygiene["inactive_memories"], hygiene["stale_working_memories"]) == (1, 0)


def test_figures(spoken: Spoken, http: httpx.Client) -> None:
    stored(http, "counted")
    http.get("/v1/memories", headers={"authorization": "Bearer wrong"})
    with httpx.Client(base_url=spoken.url) as nobody:
        answer = nobody.get("/metrics")
    assert answer.status_code == 200
    families = {one.name: one for one in text_string_to_metric_families(answer.text)}
    requests = {
        (one.labels["method"], one.labels["route"], one.labels["status"]): one.value
        for one in families["memoria_http_requests"].samples
    }
    assert requests["POST", "/v1/memories", "2xx"] >= 1
    assert requests["GET", "/v1/memories", "4xx"] >= 1
    assert families["memoria_auth_failures"].samples[0].value >= 1
    assert families["memoria_users_total"].samples[0].value >= 1
    assert "memoria_http_request_duration_seconds" in families
    assert not [route for _, route, _ in requests if route.startswith("/health")]
