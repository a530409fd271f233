"""Memories that belong together through every transport, their summaries, and what they score."""

from __future__ import annotations

from typing import Any

import pytest

from palimp.errors import Invalid, NotFound, Unconfigured

ROLES = ("Alice is the CEO since 2019", "Alice is the CTO since 2021", "Alice left Acme in 2024")


def _keyed(do: Any, alice: Any, *texts: str, **fields: Any) -> list[str]:
    key = "person:alice/role"
    return [do(alice.remember(text, extracted_key=key, **fields)).id for text in texts]


def test_clusters_by_key_keep_to_their_project(do: Any, alice: Any) -> None:
    red = _keyed(do, alice, *ROLES, project="red")
    _keyed(do, alice, ROLES[0], project="blue")
    do(alice.remember("Has no key"))
    (cluster,) = do.all(alice.relations.clusters())
    assert (cluster.memories, cluster.size) == (tuple(red), 3)
    assert (cluster.key, cluster.project, cluster.summary) == ("person:alice/role", "red", None)
    assert cluster.id == do(alice.get(red[0])).handle
    assert do.all(alice.relations.clusters(project="blue")) == []
    (small,) = do.all(alice.relations.clusters(project="blue", min_size=1))
    assert small.size == 1
    assert do.all(alice.relations.clusters(min_size=4)) == []


def test_clusters_by_relations(do: Any, alice: Any) -> None:
    ids = [do(alice.remember(f"Tea number {number}")).id for number in range(6)]
    for source, target in ((0, 1), (2, 1), (4, 3)):
        do(alice.relations.add(ids[source], ids[target], type="similar"))
    found = do.all(alice.relations.clusters(by="relations"))
    assert [one.memories for one in found] == [tuple(ids[3:5]), tuple(ids[:3])]
    do(alice.lifecycle.archive(ids[1]))
    assert [one.memories for one in do.all(alice.relations.clusters(by="relations"))] == [
        tuple(ids[3:5])
    ]


def test_a_cluster_is_summed_up_and_the_next_summary_replaces_the_first(
    do: Any, alice: Any
) -> None:
    ids = _keyed(do, alice, *ROLES[:2], project="red")
    (cluster,) = do.all(alice.relations.clusters())
    done = do(alice.relations.summarize(cluster=cluster))
    assert (done.method, done.status, done.memories) == ("extractive", "created", tuple(ids))
    memory = done.memory
    assert (memory.kind, memory.project, memory.derived_from) == ("summary", "red", tuple(ids))
    for word in ("Alice", "CEO", "CTO", "2019", "2021"):
        assert word in memory.text
    edges = {(one.target, one.type) for one in do.all(alice.relations.list(memory))}
    assert edges == {(identity, "summary_of") for identity in ids}
    (cluster,) = do.all(alice.relations.clusters())
    assert (cluster.summary, cluster.size) == (memory.id, 2)
    assert do(alice.relations.summarize(cluster=cluster)).status == "duplicate"
    _keyed(do, alice, ROLES[2], project="red")
    again = do(alice.relations.summarize(cluster=cluster))
    assert again.superseded == (memory.id,)
    assert "2024" in again.memory.text
    # Neither a summary nor its relations make a cluster.
    assert do.all(alice.relations.clusters(by="relations")) == []
    assert len(do.all(alice.relations.clusters())) == 1


def test_what_cannot_be_summed_up(do: Any, alice: Any) -> None:
    one = do(alice.remember("Tea is red", project="red")).id
    other = do(alice.remember("Tea is blue", project="blue")).id
    for asked, error, said in (
        ({"memories": [one, other]}, Invalid, "several projects, 'blue' and 'red'"),
        ({"memories": [one, one]}, Invalid, "ids has 1 memories; give 2 to 1,000"),
        ({}, Invalid, "give the ids of memories, or the id of a cluster"),
        ({"memories": [one, other], "cluster": 1}, Invalid, "or the id of a cluster"),
        ({"cluster": 1}, NotFound, "no cluster 1 by key"),
        ({"cluster": 1, "by": "relations"}, NotFound, "no cluster 1 by relations"),
        ({"memories": [one, "mem_" + "0" * 32]}, (NotFound, Invalid), "mem_0000"),
        ({"memories": [one, other], "method": "model"}, Unconfigured, "PALIMP_EXTRACT_API_KEY"),
    ):
        with pytest.raises(error, match=said):
            do(alice.relations.summarize(**asked))


def test_scores_count_what_supports_and_contradicts(do: Any, client: Any, alice: Any) -> None:
    ids = [do(alice.remember(f"Tea number {number}")).id for number in range(4)]
    for source, target, type_ in (
        (1, 0, "supports"),
        (2, 0, "supports"),
        (0, 3, "supports"),
        (3, 0, "contradiction"),
        (0, 3, "contradiction"),
        (2, 1, "similar"),
    ):
        do(alice.relations.add(ids[source], ids[target], type=type_))
    unknown = "mem_" + ids[0][4:][::-1]
    found = do(alice.scores([ids[3], unknown, *ids[:3], ids[3]]))
    assert [one.id for one in found] == [ids[3], *ids[:3]]
    told = {one.id: (one.evidence, one.contradictions, one.consistency) for one in found}
    assert told == {
        ids[0]: (2, 1, 0.8),
        ids[1]: (0, 0, 1.0),
        ids[2]: (0, 0, 1.0),
        ids[3]: (1, 1, 0.8),
    }
    assert {one.decay for one in found} == {1.0}
    assert all(0 <= one.importance <= 100 for one in found)
    do(alice.lifecycle.archive(ids[1]))
    assert do(alice.scores([ids[0]]))[0].evidence == 1
    (hit, *_) = do(alice.recall("number 0", scores=True))
    assert hit.scores == do(alice.scores([hit]))[0]
    assert do(alice.recall("number 0"))[0].scores is None
    assert list(do(client.profile("nobody").scores(ids))) == []
