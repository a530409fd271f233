"""Ranking, feedback, keys of duplicates and bounds of JSON, through every transport."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import Policy, SetProfilePolicy, to_request
from palimp.api.limits import (
    CONTENT_BYTES_MAX,
    DOCUMENT_DEPTH_MAX,
    JSON_DEPTH_MAX,
    KV_VALUE_BYTES_MAX,
    METADATA_BYTES_MAX,
)
from palimp.errors import Conflict, Invalid, NotFound


def set_policy(do: Any, profile: Any, policy: Any) -> None:
    request = SetProfilePolicy(policy=to_request(Policy, policy, "policy"))
    do(profile.client.call("policy.set_profile", profile.target, request))


def texts(found: Any) -> list[str]:
    return [memory.text for memory in found]


# -- ranking -------------------------------------------------------------------------------------------


def test_weights_and_tiers_of_a_recall(do: Any, alice: Any) -> None:
    do(alice.remember("Ferry to Pico", importance=0.2))
    do(alice.remember("Ferry to Faial", importance=0.9))
    found = do(alice.recall("ferry", weights={"importance": 2, "keyword": 1}, explain=True))
    assert texts(found) == ["Ferry to Faial", "Ferry to Pico"]
    assert {one.name for one in found[0].explain.features} == {"importance", "keyword"}
    named = do(alice.recall("ferry", weights="memorysync", explain=True))
    assert "cluster" in {one.name for one in named[0].explain.features}
    with pytest.raises(Invalid, match="no factor 'loudness'"):
        do(alice.recall("ferry", weights={"loudness": 1}))
    low = do(alice.recall("ferry", depth="low", k=2))
    assert (len(low), low.widened) == (2, False)
    assert do(alice.recall("ferry", depth="low", k=3)).widened
    assert texts(do(alice.recall("ferry", tier="cold"))) == []
    assert len(do.all(alice.list(tier="hot"))) == 2


def test_the_policy_says_what_is_weighed_and_what_cools(do: Any, client: Any, alice: Any) -> None:
    policy = {
        "ranking": {"weights": {"importance": 1}},
        "lifecycle": {"warm_days": 30, "cold_days": 180},
    }
    set_policy(do, alice, policy)
    seat = do(alice.remember("Ferry to Pico", importance=0.2))
    do(alice.remember("Ferry to Faial", importance=0.9))
    assert texts(do(alice.recall("ferry"))) == ["Ferry to Faial", "Ferry to Pico"]
    assert do(alice.get(seat)).access_count == 0
    assert do(client.maintain()).cooled == 0
    # Once by the recall, and once by the get.
    assert do(alice.get(seat)).access_count == 2


def test_feedback(do: Any, alice: Any) -> None:
    good, bad = do(alice.remember("Ferry at nine")), do(alice.remember("Ferry at ten"))
    done = do(alice.feedback(bad, "wrong", request_id="f1"))
    assert (done.id, done.signal, done.counts) == (bad.id, "wrong", {"wrong": 1})
    # Sent again it counts once.
    assert do(alice.feedback(bad, "wrong", request_id="f1")) == done
    with pytest.raises(Conflict, match="f1"):
        do(alice.feedback(bad, "useful", request_id="f1"))
    do(alice.feedback(good.id, "useful", "When does the ferry leave?"))
    found = do(alice.recall("when does the ferry leave?", explain=True))
    assert texts(found) == ["Ferry at nine", "Ferry at ten"]
    raw = [{one.name: one.raw for one in hit.explain.features}["feedback"] for hit in found]
    assert raw == [pytest.approx(0.6), pytest.approx(0.2)]
    with pytest.raises(NotFound, match="no memory mem_0"):
        do(alice.feedback("mem_0", "useful"))
    with pytest.raises(Invalid, match="useful"):
        do(alice.feedback(good, "great"))


# -- one of many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dedup_key": "k"},
        {"dedup_key": "k", "dedup_window": 3600},
        {"extracted_key": "company.cto"},
    ],
    ids=["content", "key", "window", "extracted"],
)
def test_twenty_identical_writes_at_once_give_one_row(
    world: Any, tmp_path: Path, fields: dict[str, Any]
) -> None:
    client = world.open(tmp_path / "memory", embed_provider="none")
    with client:
        alice = client.profile("alice")
        with ThreadPoolExecutor(20) as pool:
            done = list(pool.map(lambda _: alice.remember("Alice is the CTO", **fields), range(20)))
        assert sorted(one.status for one in done) == ["created"] + ["duplicate"] * 19
        assert len({one.id for one in done}) == 1
        assert texts(alice.list()) == ["Alice is the CTO"]


def test_twenty_spellings_of_a_value_at_once_give_one_row(world: Any, tmp_path: Path) -> None:
    client = world.open(tmp_path / "memory", embed_provider="none")
    with client:
        alice = client.profile("alice")

        def write(number: int) -> Any:
            text = "Alice is the CTO" + " " * number + "."
            return alice.remember(text, extracted_key="company.cto")

        with ThreadPoolExecutor(20) as pool:
            done = list(pool.map(write, range(20)))
        assert sorted(one.status for one in done) == ["created"] + ["duplicate"] * 19
        assert len(list(alice.list(include_superseded=True))) == 1


# -- bounds of JSON ------------------------------------------------------------------------------------


def _sized(size: int, character: str = "x") -> dict[str, str]:
    """Return an object that has exactly so many bytes as compact JSON in UTF-8."""
    left = size - len('{"a":""}')
    width = len(character.encode())
    value = character * (left // width) + "x" * (left % width)
    found = {"a": value}
    assert len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()) == size
    return found


def _deep(depth: int) -> Any:
    """Return an object with so many objects and lists within each other, itself among them."""
    value: Any = []
    for level in range(depth - 2):
        value = {"a": value} if level % 2 else [value]
    return {"a": value}


def _ways(alice: Any) -> dict[str, tuple[Any, int, int]]:
    """Every way in for JSON: what writes it, its most bytes, its greatest depth."""
    session = alice.session("s")
    memory: Any = lambda field: lambda value: alice.remember("x", **{field: value})  # noqa: E731
    return {
        "metadata": (memory("metadata"), METADATA_BYTES_MAX, JSON_DEPTH_MAX),
        "content": (memory("content"), CONTENT_BYTES_MAX, JSON_DEPTH_MAX),
        "batch": (
            lambda value: alice.ingest([{"text": "a"}, {"text": "b", "metadata": value}]),
            METADATA_BYTES_MAX,
            JSON_DEPTH_MAX,
        ),
        "turn": (lambda value: session.append("user", value), CONTENT_BYTES_MAX, JSON_DEPTH_MAX),
        "vector": (
            lambda value: alice.vectors("v").upsert("a", [1.0], metadata=value),
            METADATA_BYTES_MAX,
            JSON_DEPTH_MAX,
        ),
        "document": (
            lambda value: alice.documents("d").insert({"_id": "a", "v": value}),
            0,
            DOCUMENT_DEPTH_MAX - 1,
        ),
        "extract": (
            lambda value: alice.extract([{"role": "user", "content": value}], method="rules"),
            0,
            JSON_DEPTH_MAX,
        ),
    }


WAYS = ("metadata", "content", "batch", "turn", "vector", "document", "extract")


@pytest.mark.parametrize("character", ["x", "é", "木", "\N{SEEDLING}"])
@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("document", "extract")])
def test_bytes_are_counted_and_one_too_many_is_refused(
    do: Any, alice: Any, way: str, character: str
) -> None:
    write, most, _ = _ways(alice)[way]
    with pytest.raises(Invalid, match=f"{most + 1:,} bytes as JSON, at most {most:,}") as refused:
        do(write(_sized(most + 1, character)))
    assert refused.value.code == "payload_too_large"
    assert refused.value.details["limit"] == most
    assert refused.value.details["size"] == most + 1
    assert do.all(alice.list()) == []
    do(write(_sized(most, character)))


@pytest.mark.parametrize("way", WAYS)
def test_depth_is_bounded(do: Any, alice: Any, way: str) -> None:
    write, _, most = _ways(alice)[way]
    with pytest.raises(Invalid, match=rf"nested more than {DOCUMENT_DEPTH_MAX} levels deep"):
        do(write(_deep(most + 1)))
    for depth in (500, 100_000):
        with pytest.raises(Invalid, match=r"levels deep|as JSON|recursion"):
            do(write(_deep(depth)))
    assert do.all(alice.list()) == []
    do(write(_deep(most)))


def test_a_value_of_a_key_is_bounded(do: Any, alice: Any) -> None:
    with pytest.raises(Invalid) as refused:
        do(alice.kv.put("k", b"x" * (KV_VALUE_BYTES_MAX + 1)))
    assert refused.value.code == "payload_too_large"
    assert isinstance(refused.value, palimp.Invalid)
