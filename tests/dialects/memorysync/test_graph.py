"""Relations, disagreements and numbers of an end user, by the published client."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import memorysync
import pytest

from palimp.clock import Clock

from .speaking import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("graph"), Clock())
    yield made
    made.close()


def chain(house: House, user: str, count: int, of: str | None = None, **more: object) -> list[int]:
    """Write memories, each related to the one before; return their numbers."""
    profile = house.profile(user)
    texts = [f"Link {number} of {of or user}" for number in range(count)]
    found = [profile.get(profile.remember(text, **more).id) for text in texts]
    for older, newer in pairwise(found):
        profile.relations.add(newer.id, older.id, type="extends", weight=0.75)
    handles = [one.handle for one in found]
    assert None not in handles
    return [one for one in handles if one is not None]


def test_the_newest_and_what_relates_them(house: House) -> None:
    one, two, three = chain(house, "newest", 3)
    client = house.client("newest")
    found = client.graph()
    assert [node["id"] for node in found["nodes"]] == [three, two, one]
    assert found["nodes"][0]["label"] == "Link 2 of newest"
    edges = {(edge["from_memory_id"], edge["to_memory_id"]) for edge in found["edges"]}
    assert edges == {(two, one), (three, two)}
    assert {edge["relationship_type"] for edge in found["edges"]} == {"extends"}
    assert {edge["confidence"] for edge in found["edges"]} == {0.75}
    # An edge to what is not shown is not shown either.
    assert client.graph(limit=1)["edges"] == []
    assert house.client("nobody").graph()["nodes"] == []


def test_what_is_around_one(house: House) -> None:
    handles = chain(house, "around", 5)
    client = house.client("around")
    near = client.graph(memory_id=handles[0], depth=1)
    assert {node["id"] for node in near["nodes"]} == set(handles[:2])
    far = client.graph(memory_id=handles[2], depth=9)
    assert {node["id"] for node in far["nodes"]} == set(handles)
    assert far["total_edges"] == 4
    assert len(client.graph(memory_id=handles[0], depth=3, limit=2)["nodes"]) == 2
    with pytest.raises(memorysync.NotFoundError):
        house.client("newest").graph(memory_id=handles[0] + 1_000)


def test_another_project_is_not_in_it(house: House) -> None:
    project = house.control().create_project("Graphs")["id"]
    mine = chain(house, "scoped", 1, "mine", project=project)
    chain(house, "scoped", 2, "Mallory", project="proj_" + "0" * 16, tags=["secret"])
    none = chain(house, "scoped", 1, "our `big-service`", tags=["open"])
    client = house.client("scoped", project=project)
    assert {node["id"] for node in client.graph()["nodes"]} == {*mine, *none}
    assert client.knowledge_stats()["total_memories"] == 2
    report = client.intelligence()
    assert report["themes"] == [{"name": "open", "count": 1}]
    assert [one["name"] for one in report["entities"]] == ["big-service"]
    assert house.client("scoped").knowledge_stats()["total_memories"] == 4
    narrowed = house.client("scoped").intelligence(scope="project", project_id=project)
    assert narrowed["memories_analyzed"] == 2
    with pytest.raises(memorysync.NotFoundError):
        house.client("scoped").intelligence(scope="project", project_id="proj_" + "0" * 16)
    with pytest.raises(memorysync.ValidationError):
        house.client("scoped").intelligence(scope="project")


def test_numbers_of_what_is_known(house: House) -> None:
    chain(house, "numbers", 3, tags=["boats", "locks"])
    client = house.client("numbers")
    stats = client.knowledge_stats()
    assert (stats["total_memories"], stats["by_type"]) == (3, {"fact": 3})
    assert stats["oldest"].endswith("+00:00")
    report = client.intelligence(limit=2)
    assert report["memories_analyzed"] == 2
    assert {one["name"]: one["count"] for one in report["themes"]} == {"boats": 2, "locks": 2}
    assert report["dual_horizon"]["short_term"]["memories"] == 2
    assert house.client("nobody").knowledge_stats()["total_memories"] == 0
    assert house.client("nobody").intelligence()["memories_analyzed"] == 0


def test_clusters_by_what_they_are_about_and_by_relations(house: House) -> None:
    profile = house.profile("clusters")
    for text in ("The pilot is Ann.", "The pilot is Ben."):
        profile.remember(text, extracted_key="ferry/pilot")
    linked = chain(house, "clusters", 3)
    first, second = house.client("clusters").clusters()["clusters"]
    assert (first["kind"], first["extracted_key"], first["size"]) == ("key", "ferry/pilot", 2)
    assert {one["text"] for one in first["memories"]} == {"The pilot is Ann.", "The pilot is Ben."}
    assert (second["kind"], sorted(second["memory_ids"])) == ("relations", linked)
    assert len(house.client("clusters").clusters(limit=1)["clusters"]) == 1
    assert house.client("nobody").clusters() == {"clusters": [], "total": 0}


# -- what disagrees ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("decisions"), Clock(), embed_provider="bundled")
    yield made
    made.close()


def disagreement(house: House, user: str) -> tuple[int, int]:
    """Write two memories that cannot both be true, and wait until that was found."""
    profile = house.profile(user)
    done = profile.ingest(
        [{"text": "The user likes coffee"}, {"text": "The user does not like coffee"}],
        wait="related",
    )
    older, newer = (profile.get(one.id).handle for one in done)
    assert older is not None
    assert newer is not None
    return older, newer


def test_two_that_disagree_until_one_wins(embedding: House) -> None:
    older, newer = disagreement(embedding, "judge")
    client = embedding.client("judge")
    (found,) = client.decisions()["decisions"]
    assert {one["id"] for one in found["memories"]} == {older, newer}
    done = client.resolve_decision(decision_id=found["decision_id"], winning_memory_id=older)
    assert done["status"] == "resolved"
    assert done["superseded_memory_ids"] == [newer]
    assert client.decisions()["decisions"] == []
    assert {node["id"] for node in client.graph()["nodes"]} == {older}
    with pytest.raises(memorysync.NotFoundError):
        client.resolve_decision(decision_id=found["decision_id"], resolution="dismiss")


def test_both_may_stand(embedding: House) -> None:
    older, newer = disagreement(embedding, "mild")
    client = embedding.client("mild")
    with pytest.raises(memorysync.ValidationError):
        client.resolve_decision(note="no side")
    (found,) = client.decisions()["decisions"]
    with pytest.raises(memorysync.ValidationError):
        client.resolve_decision(decision_id=found["decision_id"])
    done = client.resolve_decision(decision_id=found["decision_id"], resolution="keep_both")
    assert done["status"] == "dismissed"
    assert {node["id"] for node in client.graph()["nodes"]} == {older, newer}


def test_a_winner_says_which_decision_is_meant(embedding: House) -> None:
    older, newer = disagreement(embedding, "named")
    done = embedding.client("named").resolve_decision(winning_memory_id=newer)
    assert done["superseded_memory_ids"] == [older]
