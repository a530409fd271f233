"""What is made of several memories, by the published client: prompts, answers, summaries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import memorysync
import pytest
from memorysync.types import BulkAddItem

import palimp
from palimp.clock import Clock

from ...model_server import ModelServer, broken
from .speaking import House

TEA = "Bob drinks green tea every morning."
BOAT = "The boat of Alice is moored at lock seven."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("summaries"), Clock())
    yield made
    made.close()


def handle(house: House, user: str, text: str, **more: object) -> int:
    """Write a memory in our own words and return its number."""
    profile = house.profile(user)
    found = profile.get(profile.remember(text, **more).id).handle
    assert found is not None
    return found


# -- compose -------------------------------------------------------------------------------------


def test_a_prompt_is_filled_where_it_says(house: House) -> None:
    client = house.client("compose")
    handle(house, "compose", TEA)
    done = client.compose("Known of green tea:\n{memories}\nNow answer.")
    assert done.memories_used == 1
    assert not done.truncated
    assert done.composed_prompt.startswith("Known of green tea:\n")
    assert done.composed_prompt.endswith("\nNow answer.")
    assert f"> {TEA}" in done.composed_prompt
    assert done.token_count == -(-len(done.composed_prompt.encode()) // 4)
    # Without a place for them they follow.
    assert client.compose("green tea?").composed_prompt.endswith(f"> {TEA}")


def test_a_budget_splits_no_memory(house: House) -> None:
    client = house.client("budget")
    for number in range(8):
        handle(house, "budget", f"Green tea of kind {number} grows on hill {number}. " + "x" * 400)
    whole = client.compose("green tea hill {memories}", recall_k=8, max_tokens=10_000)
    assert (whole.memories_used, whole.truncated) == (8, False)
    some = client.compose("green tea hill {memories}", recall_k=8, max_tokens=400)
    assert 0 < some.memories_used < 8
    assert some.truncated
    assert some.token_count <= 400
    assert some.composed_prompt.count("x" * 400) == some.memories_used
    none = client.compose("green tea hill {memories}", max_tokens=20)
    assert (none.memories_used, none.truncated) == (0, True)
    with pytest.raises(memorysync.ValidationError):
        client.compose("  ")


# -- summaries -----------------------------------------------------------------------------------


def test_a_summary_is_a_memory_of_its_own(house: House) -> None:
    client = house.client("summed")
    ids = [handle(house, "summed", one) for one in (TEA, BOAT, "Bob moors at lock nine, too.")]
    found = client.summarize(ids, lossless=True)
    assert type(found) is memorysync.Memory
    assert found.is_summary
    assert found.id not in ids
    assert all(word in found.text for word in ("Bob", "Alice"))
    edges = client.graph(memory_id=found.id, depth=1)["edges"]
    assert {(one["source"], one["target"]) for one in edges} == {(found.id, one) for one in ids}
    # The same again is the same.
    again = client.summarize(ids, lossless=True)
    assert type(again) is memorysync.Memory
    assert again.id == found.id


def test_what_cannot_be_summed_up(house: House) -> None:
    client = house.client("single")
    only = handle(house, "single", TEA)
    done = client.summarize([only])
    assert type(done) is memorysync.AddSkippedResponse
    assert done.reason == "nothing_to_summarize"
    with pytest.raises(memorysync.NotFoundError):
        client.summarize([only, only + 1_000])


# -- answers -------------------------------------------------------------------------------------


def test_a_question_is_routed_by_its_words(house: House) -> None:
    client = house.client("routed")
    tea = handle(house, "routed", TEA)
    handle(house, "routed", BOAT)
    found = client.search_routed("who drinks green tea", k=1, include_reasoning=True)
    assert (found["route"], found["answer_mode"], found["refused"]) == (
        "factual",
        "extractive",
        False,
    )
    assert found["answer"] == f"{TEA} [1]"
    assert found["citations"] == [tea]
    assert "one thing" in found["reasoning"]
    assert client.search_routed("compare tea and boat")["route"] == "analytical"
    assert client.search_routed("tea", route="analytical")["query_intent"] == "hybrid"
    assert client.search_routed("green tea", k=1).get("reasoning") is None
    with pytest.raises(memorysync.ValidationError):
        client.search_routed("tea", route="magic")


def test_of_what_nothing_is_known_no_answer_is_made(house: House) -> None:
    found = house.client("nobody").search_routed("who drinks tea")
    assert (found["refused"], found["answer"], found["memories"]) == (True, None, [])
    assert found["reason"] == "no_relevant_memories"


def test_an_answer_cites_what_it_stands_on(house: House) -> None:
    client = house.client("cited")
    tea, boat = handle(house, "cited", TEA), handle(house, "cited", BOAT)
    found = client.synthesize(memory_ids=[boat, tea])
    assert found["answer"] == f"{BOAT} [1]\n{TEA} [2]"
    assert [one["memory_id"] for one in found["citations"]] == [boat, tea]
    assert found["citations"][1]["marker"] == "[2]"
    asked = client.synthesize(query="green tea", max_memories=1)
    assert (asked["mode"], asked["memory_ids"]) == ("extractive", [tea])
    for wrong in ({}, {"memory_ids": []}, {"memory_ids": [0]}, {"query": " "}):
        with pytest.raises(memorysync.ValidationError):
            client.synthesize(**wrong)  # type: ignore[arg-type]
    with pytest.raises(memorysync.NotFoundError):
        house.client("cited too").synthesize(memory_ids=[tea])


def test_a_model_answers_from_what_is_found_and_is_not_missed(tmp_path: Path) -> None:
    with ModelServer() as server:
        house = House(
            tmp_path,
            Clock(),
            assistant_provider="openai",
            assistant_base_url=server.url,
            assistant_model="m",
            assistant_timeout=5,
        )
        try:
            client = house.client("asked")
            tea = handle(house, "asked", TEA)
            server.say({"answer": "Bob does.", "citations": [1]})
            found = client.search_routed("who drinks green tea")
            assert (found["answer"], found["answer_mode"]) == ("Bob does.", "model")
            assert found["citations"] == [tea]
            server.say({"answer": "Green tea.", "citations": [1]})
            made = client.synthesize(query="green tea")
            assert [one["memory_id"] for one in made["citations"]] == [tea]
            # What is known is said all the same.
            server.standing = broken(500)
            quoted = client.synthesize(query="green tea")
            assert (quoted["mode"], quoted["answer"]) == ("extractive", f"{TEA} [1]")
            assert quoted["note"]
        finally:
            house.close()


# -- vectors -------------------------------------------------------------------------------------


def test_refresh_names_the_model_and_embeds_what_lacks_it(tmp_path: Path) -> None:
    before = House(tmp_path, Clock())
    before.profile("fresh").remember(TEA)
    before.close()
    house = House(tmp_path, Clock(), embed_provider="bundled")
    try:
        found = house.client("fresh").refresh()
        assert found["status"] == "accepted"
        assert found["queued"] in (0, 1)
        assert found["model"] == house.profile("fresh").embed_status().model
    finally:
        house.close()


def test_refresh_of_nobody_is_accepted(house: House) -> None:
    answer = house.raw("fresh").post("/memory/refresh")
    assert answer.status_code == 202
    assert answer.json()["queued"] == 0


# -- what is said of one thing again and again ----------------------------------------------------


def _summaries(house: House, user: str) -> list[palimp.Memory]:
    return [one for one in house.profile(user).list() if one.kind == "summary"]


def test_the_third_that_is_said_of_one_thing_makes_a_summary(house: House) -> None:
    client = house.client("roles")
    for role in ("CTO", "CEO"):
        client.add(f"Alice is the {role}")
    assert _summaries(house, "roles") == []
    client.add("Alice is the CFO")
    (first,) = _summaries(house, "roles")
    assert "CFO" in first.text
    assert len(first.derived_from) == 3
    client.bulk_add([BulkAddItem(one) for one in ("Alice is the COO", "Bob is the CTO")])
    (second,) = _summaries(house, "roles")
    assert "COO" in second.text
    assert len(second.derived_from) == 4
    # What was said before is hidden by what holds, and stands in the summary.
    live = {one.text for one in house.profile("roles").list() if one.kind != "summary"}
    assert live == {"Alice is the COO", "Bob is the CTO"}


def test_a_write_goes_through_where_no_summary_can_be_made(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimp.operations.clusters.SUMMARY_BYTES_MAX", 10)
    client = house.client("long")
    for role in ("CTO", "CEO", "CFO"):
        assert client.add(f"Carol is the {role}").id
    assert _summaries(house, "long") == []
