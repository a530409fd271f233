"""Writing memories: defaults, what is refused and how it is said, batches, duplicates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from palimp.http.dialects.memtrace.adding import derived_key

from .conftest import Org, new_org, refused
from .speaking import HOUR, House

ID = "invalid ID format: must be alphanumeric with underscores/hyphens, max 128 chars"
TYPE = "invalid type format: must be alphanumeric with underscores, max 64 chars"
TAG = "invalid tag format: must be alphanumeric with underscores/hyphens/dots, max 64 chars"
OK = {"agent_id": "agent_1", "content": "hello"}


# -- one -----------------------------------------------------------------------------------------


def test_a_memory_with_nothing_but_what_it_needs(org: Org) -> None:
    answer = org.post("memories", OK)
    assert answer.status_code == 201
    said = answer.json()
    assert said.pop("time") == org.get("memories").json()["memories"][0]["time"]
    assert said == {
        "org_id": org.id, "agent_id": "agent_1", "memory_type": "episodic",
        "event_type": "general", "content": "hello",
        "dedup_key": "5e16270a1c8ce4ca1987950c683382d7",
    }  # fmt: skip


def test_everything_comes_back_as_it_was_given(org: Org) -> None:
    full = {
        **OK, "session_id": "s-1", "memory_type": "decision", "event_type": "tool_call",
        "metadata": {"deep": {"er": [1, 2.5, None, True, "ü☃𝄞"]}}, "tags": ["b", "a.c", "d-e_f"],
        "dedup_key": "any: key\\ü", "importance": 0.25, "parent_id": "no id at all, ü",
    }  # fmt: skip
    said = org.add(**{k: v for k, v in full.items() if k not in ("content", "agent_id")})
    (read,) = org.get("memories").json()["memories"]
    for found in (said, read):
        assert {name: found[name] for name in full} == {
            **full, "content": "Booked LH 400"
        }  # fmt: skip


def test_what_is_empty_is_not_there(org: Org) -> None:
    nothing: dict[str, Any] = {
        "session_id": "", "memory_type": "", "event_type": "", "metadata": {}, "tags": [],
        "dedup_key": "", "importance": 0, "parent_id": "", "unknown": {"a": 1},
    }  # fmt: skip
    said = org.add("x", **nothing)
    nulls = org.add("y", **dict.fromkeys(nothing))
    shown = {"time", "org_id", "agent_id", "memory_type", "event_type", "content", "dedup_key"}
    assert set(said) == set(nulls) == shown
    for found in org.get("memories").json()["memories"]:
        assert set(found) == shown
        assert (found["memory_type"], found["event_type"]) == ("episodic", "general")


def test_the_time_is_the_servers(org: Org) -> None:
    said = org.add(time="2001-01-01T00:00:00Z", org_id="org_other")
    assert said["time"].startswith("2026-")
    assert said["org_id"] == org.id


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "agent_id is required"),
        ({"memories": []}, "agent_id is required"),
        ({"agent_id": "", "content": "x"}, "agent_id is required"),
        ({"content": "x", "memory_type": "other"}, "agent_id is required"),
        ({"agent_id": "a b"}, "content is required"),
        ({**OK, "content": ""}, "content is required"),
        ({**OK, "content": " \n\t"}, "content is required"),
        ({**OK, "memory_type": "other", "agent_id": "1"}, "invalid memory_type: other"),
        ({**OK, "memory_type": "Episodic"}, "invalid memory_type: Episodic"),
        ({**OK, "agent_id": "1a", "session_id": "-"}, f"invalid agent_id: {ID}"),
        ({**OK, "agent_id": "a" * 129}, f"invalid agent_id: {ID}"),
        ({**OK, "agent_id": "ä"}, f"invalid agent_id: {ID}"),
        ({**OK, "agent_id": "a\n"}, f"invalid agent_id: {ID}"),
        ({**OK, "session_id": "a.b", "event_type": "a-b"}, f"invalid session_id: {ID}"),
        ({**OK, "event_type": "tool-call", "tags": ["a b"]}, f"invalid event_type: {TYPE}"),
        ({**OK, "event_type": "e" * 65}, f"invalid event_type: {TYPE}"),
        ({**OK, "tags": ["fine", "not fine"]}, f"invalid tag 'not fine': {TAG}"),
        ({**OK, "tags": ["a,b"]}, f"invalid tag 'a,b': {TAG}"),
        ({**OK, "tags": ["t" * 65]}, f"invalid tag '{'t' * 65}': {TAG}"),
        ({**OK, "content": 5}, "invalid request body: content must be text"),
        ({**OK, "agent_id": ["a"]}, "invalid request body: agent_id must be text"),
        ({**OK, "metadata": [1]}, "invalid request body: metadata must be an object"),
        ({**OK, "tags": "a,b"}, "invalid request body: tags must be a list of texts"),
        ({**OK, "tags": [1]}, "invalid request body: tags must be a list of texts"),
        ({**OK, "importance": "high"}, "invalid request body: importance must be a number"),
        ({**OK, "importance": True}, "invalid request body: importance must be a number"),
    ],
)
def test_what_is_wrong_is_said_in_this_order(org: Org, fields: Any, said: str) -> None:
    refused(org.post("memories", fields), 400, said)
    assert org.contents() == []


def test_what_no_line_has(org: Org) -> None:
    """Null characters, numbers of any size, objects of any depth that fits."""
    fields = {"metadata": {"a\0": "\0", "n": 10**30, "d": [[[[[]]]]]}, "parent_id": "p\0"}
    said = org.add("a\0b", dedup_key="k\0", **fields)
    (read,) = org.get("memories").json()["memories"]
    for found in (said, read):
        assert {name: found[name] for name in fields} == fields
        assert (found["content"], found["dedup_key"]) == ("a\0b", "k\0")
    again = org.post("memories", {**OK, "dedup_key": "k\0"})
    refused(again, 409, "duplicate memory")


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"tags": [f"t{number}" for number in range(65)]}, 400, "tags has 65 entries"),
        ({"dedup_key": "k" * 513}, 413, "dedup_key has 513 bytes, at most 512"),
        ({"metadata": {"x": "y" * 70_000}}, 413, "metadata has 70,008 bytes"),
        ({"importance": 10**400}, 400, "invalid request body: importance must be a number"),
    ],
)
def test_what_is_too_much(org: Org, fields: Any, status: int, said: str) -> None:
    answer = org.post("memories", {**OK, **fields})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)
    assert org.contents() == []


def test_the_longest_there_may_be(org: Org) -> None:
    fields = {"session_id": "s" * 128, "event_type": "e" * 64, "tags": ["t" * 64, "."]}
    said = org.add("x", agent="a" * 128, **fields)
    assert {name: said[name] for name in fields} == fields


@pytest.mark.parametrize("importance", [-0.1, 1.1, 1e308])
def test_importance_has_bounds(org: Org, importance: float) -> None:
    answer = org.post("memories", {**OK, "importance": importance})
    assert answer.status_code == 400
    assert "importance" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "invalid request body: "),
        (b"{", "invalid request body: "),
        (b"nope", "invalid request body: "),
        (b"[]", "invalid request body: it must be a JSON object"),
        (b'"text"', "invalid request body: it must be a JSON object"),
        (b"\xff\xfe", "invalid request body: "),
        (b'{"agent_id": "a", "content": "\xff"}', "invalid request body: "),
        (b'{"agent_id": "a", "content": "\\ud800"}', "invalid request body: "),
        (b"[" * 100_000, "invalid request body: "),
        (b"null", "agent_id is required"),
    ],
)
def test_bodies_that_are_none(org: Org, body: bytes, said: str) -> None:
    headers = {"content-type": "application/json"}
    answer = org.raw.post("/api/v1/memories", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    assert set(answer.json()) == {"error"}


def test_content_of_a_mebibyte_is_kept_and_more_is_refused(org: Org) -> None:
    content = "ü" * (1 << 19)
    assert org.add(content)["content"] == content
    assert org.contents() == [content]
    answer = org.post("memories", {**OK, "content": content + "!"})
    assert answer.status_code in (400, 413)
    assert "1,048,576" in answer.json()["error"]


# -- a batch -------------------------------------------------------------------------------------


def batch(org: Org, *items: Any) -> httpx.Response:
    return org.post("memories", {"memories": list(items)})


def test_a_batch_passes_over_duplicates(org: Org) -> None:
    first = org.add("first")
    answer = batch(org, *({"agent_id": "agent_1", "content": c} for c in ("first", "a", "b", "a")))
    assert answer.status_code == 201
    said = answer.json()
    assert ([one["content"] for one in said["memories"]], said["count"]) == (["a", "b"], 2)
    assert sorted(org.contents()) == ["a", "b", "first"]
    assert batch(org, {**OK, "content": first["content"]}).json() == {"memories": [], "count": 0}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{}], "failed to create memory 0: agent_id is required"),
        ([OK, {**OK, "content": ""}], "failed to create memory 1: content is required"),
        ([OK, OK, {**OK, "memory_type": "x"}], "failed to create memory 2: invalid memory_type: x"),
        ([OK, {**OK, "tags": ["a b"]}], f"failed to create memory 1: invalid tag 'a b': {TAG}"),
        ([OK, 7], "failed to create memory 1: it must be an object"),
        (
            [OK, {**OK, "metadata": 7}],
            "failed to create memory 1: invalid request body: metadata must be an object",
        ),
    ],
)
def test_a_batch_with_something_wrong_writes_nothing(org: Org, items: Any, said: str) -> None:
    refused(batch(org, *items), 500, said)
    assert org.contents() == []


def test_what_a_batch_has_too_much_of_is_named_by_its_place(org: Org) -> None:
    answer = batch(org, OK, {**OK, "importance": 7})
    assert answer.status_code == 500
    said = answer.json()["error"]
    assert said.startswith("failed to create memory 1: importance")
    assert "events[" not in said
    assert org.contents() == []


def test_a_batch_has_up_to_a_thousand(org: Org) -> None:
    items = [{"agent_id": "a", "content": f"memory {number}"} for number in range(1_000)]
    assert batch(org, *items).json()["count"] == 1_000
    newest = org.contents(limit=2)
    # All of one moment: in the order they were given.
    assert newest == ["memory 999", "memory 998"]
    answer = batch(org, *items, OK)
    assert answer.status_code == 400
    assert "1,001 entries, at most 1,000" in answer.json()["error"]


# -- duplicates ----------------------------------------------------------------------------------


def test_the_key_of_what_has_none() -> None:
    assert derived_key("agent_1", "general", "hello") == "5e16270a1c8ce4ca1987950c683382d7"
    # Bytes, not characters: the 200th of these is in the middle of one.
    long = "x" + "ü" * 120
    assert derived_key("a", "e", long) == derived_key("a", "e", long + "more")
    assert derived_key("a", "e", "x" * 199) != derived_key("a", "e", "x" * 200)


def test_the_same_again_is_a_duplicate_within_the_window(org: Org) -> None:
    org.add("same")
    for fields in ({}, {"session_id": "s"}, {"memory_type": "decision"}, {"tags": ["t"]}):
        again = org.post("memories", {"agent_id": "agent_1", "content": "same", **fields})
        refused(again, 409, "duplicate memory")
    assert org.contents() == ["same"]
    org.add("same", agent="agent_2")
    org.add("same", event_type="other")
    org.house.clock.sleep(24 * HOUR - 1)
    refused(
        org.post("memories", {"agent_id": "agent_1", "content": "same"}), 409, "duplicate memory"
    )
    org.house.clock.sleep(2)
    org.add("same")
    assert len(org.contents()) == 4


def test_what_differs_after_200_bytes_is_a_duplicate(org: Org) -> None:
    org.add("x" * 200 + "one")
    again = org.post("memories", {"agent_id": "agent_1", "content": "x" * 200 + "two"})
    refused(again, 409, "duplicate memory")
    org.add("x" * 199 + "y")


def test_a_key_of_ones_own(org: Org) -> None:
    key = "it's 100% \\ ü; DROP TABLE events --"
    org.add("first", dedup_key=key)
    again = org.post("memories", {**OK, "agent_id": "agent_2", "dedup_key": key})
    refused(again, 409, "duplicate memory")
    # It stands in the place of the other one.
    org.add("first", dedup_key="another")
    assert [one["dedup_key"] for one in org.get("memories").json()["memories"]] == ["another", key]


def test_one_organisations_duplicate_is_nothing_to_another(org: Org, other: Org) -> None:
    org.add("same")
    other.add("same")


def test_of_many_at_once_one_is_written(org: Org) -> None:
    answers: list[httpx.Response] = []
    clients = [org.house.raw(org.key) for _ in range(8)]

    def send(client: httpx.Client) -> None:
        answers.append(client.post("/api/v1/memories", json=OK))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one.status_code for one in answers) == [201] + [409] * 7
    assert org.contents() == ["hello"]


def test_without_it_everything_is_written(speaks: Callable[..., House]) -> None:
    org = new_org(speaks(memtrace_dedup=False))
    assert "dedup_key" not in org.add("same")
    assert org.add("same", dedup_key="k")["dedup_key"] == "k"
    assert org.add("same", dedup_key="k")["dedup_key"] == "k"
    assert org.contents() == ["same"] * 3


def test_a_window_of_ones_own(speaks: Callable[..., House]) -> None:
    org = new_org(speaks(memtrace_dedup_window_hours=1))
    org.add("same")
    org.house.clock.sleep(HOUR + 1)
    org.add("same")
    assert len(org.contents()) == 2
