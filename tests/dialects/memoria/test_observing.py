"""Conversations over HTTP: with a model that reads them, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ...model_server import ModelServer, broken
from .conftest import Spoken
from .test_memories import listed, refused

SECRET = "password: " + "hunter2hunter2"


def observe(http: httpx.Client, *said: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": one} for one in said]
    answer = http.post("/v1/observe", json={"messages": messages, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_without_a_model_every_message_is_kept(http: httpx.Client) -> None:
    messages = [
        {"role": "user", "content": "I live in Lisbon"},
        {"role": "system", "content": "Be brief"},
        {"role": "assistant", "content": "Noted: Lisbon"},
        {"role": "user", "content": "  "},
        {"role": "user", "content": SECRET},
    ]
    body = {"messages": messages, "session_id": "s", "subject_id": "p", "source_event_ids": ["e"]}
    answer = http.post("/v1/observe", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert "LLM" in found["warning"]
    assert [(one["content"], one["memory_type"]) for one in found["memories"]] == [
        ("I live in Lisbon", "semantic"), ("Noted: Lisbon", "semantic"),
    ]  # fmt: skip
    later, first = listed(http, session_id="s", subject_id="p")
    assert (first["trust_tier"], first["initial_confidence"]) == ("T1", 0.7)
    assert first["observed_at"] < later["observed_at"]
    for body in ({}, {"messages": "x"}, {"messages": [{"role": "user"}]}, {"messages": [1]}):
        refused(http.post("/v1/observe", json=body), 422, "Validation error: ")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def read(speaks: Any, server: ModelServer) -> httpx.Client:
    """A user of a node that has a language model."""
    spoken: Spoken = speaks(
        extract_provider="openai", extract_base_url=server.url, extract_model="m"
    )
    return spoken.master("ann")


def test_with_a_model_what_it_finds_is_kept(read: httpx.Client, server: ModelServer) -> None:
    plain = {"category": "identity", "type": "fact", "confidence": 0.8, "turn": 1}
    rule = {**plain, "category": "preference", "type": "instruction"}
    server.say(
        {"memories": [{**plain, "text": "Ann lives in Lisbon"}, {**rule, "text": "Be brief"}]}
    )
    found = observe(read, "I live in Lisbon. Be brief.", session_id="s")
    assert "warning" not in found
    assert [(one["content"], one["memory_type"]) for one in found["memories"]] == [
        ("Ann lives in Lisbon", "semantic"), ("Be brief", "procedural"),
    ]  # fmt: skip
    (one,) = listed(read, memory_type="semantic")
    assert (one["trust_tier"], one["initial_confidence"], one["session_id"]) == ("T3", 0.8, "s")
    server.standing = broken(500)
    raw = observe(read, "I moved to Porto")
    assert [one["content"] for one in raw["memories"]] == ["I moved to Porto"]
    assert "LLM" in raw["warning"]


def test_a_pipeline_says_what_became_of_each(http: httpx.Client) -> None:
    given = [
        {"content": "plain"},
        {"content": "mail ann@example.com", "memory_type": "profile", "trust_tier": "T1"},
        {"content": SECRET},
        {"content": "x", "memory_type": "wish"},
    ]
    answer = http.post("/v1/pipeline/run", json={"candidates": given, "sandbox_query": "q"})
    assert answer.status_code == 200
    done = answer.json()
    assert done.pop("errors") == ["Invalid memory type: wish"]
    assert done == {"memories_stored": 2, "memories_rejected": 2, "memories_redacted": 1}
    found = {one["content"]: (one["trust_tier"], one["initial_confidence"]) for one in listed(http)}
    assert found == {"plain": ("T3", 0.75), "mail [email]": ("T1", 0.95)}
    refused(http.post("/v1/pipeline/run", json={}), 422, "candidates")
