"""Relations and entities through every transport."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from palimp import EntityInput, MemoryInput, RelationInput
from palimp.api.relations import ListEntities, ListRelations, MemoryEntities, NewRelation
from palimp.errors import Error, Invalid, NotFound

NOWHERE = "mem_" + "0" * 32


def _entities(do: Any, profile: Any, *of: Any, **fields: Any) -> list[tuple[str, str, int]]:
    found = do.all(profile.relations.entities(*of, **fields))
    return [(one.name, one.type, one.memories) for one in found]


def _relations(do: Any, profile: Any, *of: Any, **fields: Any) -> list[tuple[str, str, str]]:
    found = do.all(profile.relations.list(*of, **fields))
    return sorted((one.source, one.target, one.type) for one in found)


def test_they_come_with_a_memory_and_are_read(do: Any, alice: Any) -> None:
    cause = do(alice.remember("The disk was full", entities=["db-1"]))
    effect = do(
        alice.remember(
            "The deploy failed",
            relations=[{"to": cause.id, "type": "causal", "weight": 0.5}],
            entities=["DB-1", {"name": "Анна", "type": "person"}, EntityInput(name="日本")],
        )
    )
    (edge,) = do.all(alice.relations.list())
    assert (edge.source, edge.target, edge.type) == (effect.id, cause.id, "causal")
    assert (edge.weight, edge.origin) == (0.5, "given")
    wanted = [("db-1", "concept", 2), ("Анна", "person", 1), ("日本", "concept", 1)]
    assert _entities(do, alice) == _entities(do, alice, effect) == wanted
    assert _entities(do, alice, cause.id) == wanted[:1]
    assert _entities(do, alice, type="person") == wanted[1:2]
    assert _entities(do, alice, name="АННА") == wanted[1:2]
    assert [hit.text for hit in do(alice.recall("why did the deploy fail?", k=2))] == [
        "The deploy failed",
        "The disk was full",
    ]


def test_inputs_may_be_structs(do: Any, alice: Any) -> None:
    one = do(alice.remember("one"))
    given = MemoryInput(
        text="two",
        relations=(RelationInput(to=one.id, type="temporal"),),
        entities=(EntityInput(name="x"),),
    )
    (two,) = do(alice.ingest([given])).results
    assert _relations(do, alice) == [(two.id, one.id, "temporal")]
    done = do(alice.relations.add_many([NewRelation(source=one.id, target=two.id)]))
    assert (done.added, done.updated) == (1, 0)
    named = MemoryEntities(id=one.id, entities=(EntityInput(name="X"), EntityInput(name="y")))
    linked = do(alice.relations.link_many([named, {"id": two.id, "entities": ["y"]}]))
    assert (linked.created, linked.reused, linked.links) == (1, 2, 3)


def test_adding_and_removing_can_be_repeated(do: Any, alice: Any) -> None:
    one, two = do(alice.remember("one")), do(alice.remember("two"))
    first = do(alice.relations.add(one, two, weight=0.25, origin="model"))
    assert (first.added, first.updated) == (1, 0)
    again = do(alice.relations.add(one, two, weight=0.75))
    assert (again.added, again.updated) == (0, 1)
    assert again.txid > first.txid
    (edge,) = do.all(alice.relations.list(two))
    assert (edge.weight, edge.origin) == (0.75, "given")
    do(alice.relations.add(one, two, type="causal"))
    assert _relations(do, alice, one, type="causal") == [(one.id, two.id, "causal")]
    assert do(alice.relations.remove(two, one)).removed == 0
    assert do(alice.relations.remove(one, two, type="causal")).removed == 1
    assert do(alice.relations.remove(one, two)).removed == 1
    assert do(alice.relations.remove(one, two)).removed == 0
    # A repeat with the same request id is given the first one's answer.
    done = [do(alice.relations.add(one, two, request_id="r-1")) for _ in range(2)]
    assert [(each.added, each.txid) for each in done] == [(1, done[0].txid)] * 2
    named = [do(alice.relations.link(one, "Anna", request_id="r-2")) for _ in range(2)]
    assert [(each.created, each.txid) for each in named] == [(1, named[0].txid)] * 2


def test_what_is_linked_with_nothing_is_listed(do: Any, alice: Any) -> None:
    done = do(alice.ingest([{"text": f"memory {n}"} for n in range(5)]))
    ids = [one.id for one in done.results]
    page = do(alice.relations.unlinked(limit=2))
    assert (page.count, [one.id for one in page]) == (5, ids[:2])
    page = do(alice.relations.unlinked(limit=3, cursor=page.next_cursor))
    assert ([one.id for one in page], page.next_cursor) == (ids[2:], None)
    do(alice.relations.link(ids[0], "x", origin="model"))
    do(alice.lifecycle.archive(ids[1]))
    do(alice.supersede(ids[2], "newer"))
    page = do(alice.relations.unlinked())
    assert (page.count, [one.text for one in page]) == (3, ["memory 3", "memory 4", "newer"])


def test_pages_show_each_once(do: Any, alice: Any) -> None:
    ids = [one.id for one in do(alice.ingest([{"text": f"m{n}"} for n in range(12)])).results]
    links = [{"id": one, "entities": [f"name {n}"]} for n, one in enumerate(ids)]
    do(alice.relations.link_many(links))
    pairs = [(one, other) for one in ids[:3] for other in ids[3:]]
    do(alice.relations.add_many([{"source": a, "target": b} for a, b in pairs]))
    for operation, kind, count in (
        ("relations.list", ListRelations, 27),
        ("entities.list", ListEntities, 12),
    ):
        seen: list[Any] = []
        cursor: str | None = None
        while not seen or cursor is not None:
            request = kind(limit=5, cursor=cursor)
            page = do(alice.client.call(operation, alice.target, request))
            assert len(page) <= 5
            seen += page
            cursor = page.next_cursor
        assert len(seen) == len(set(seen)) == count


def test_it_is_all_part_of_the_history(do: Any, alice: Any) -> None:
    one = do(alice.remember("one", entities=["Anna"]))
    do(alice.checkpoint("before"))
    two = do(alice.remember("two", relations=[{"to": one.id}], entities=["Anna", "Bob"]))
    side = do(alice.fork("side"))
    past = alice.at("before")
    assert _entities(do, past) == [("Anna", "concept", 1)]
    assert _relations(do, past) == []
    assert do(past.relations.unlinked()).count == 0
    do(alice.forget(two))
    assert _entities(do, alice) == [("Anna", "concept", 1)]
    assert _relations(do, alice) == []
    assert _entities(do, side) == [("Anna", "concept", 2), ("Bob", "concept", 1)]
    assert _relations(do, side) == [(two.id, one.id, "association")]


def test_what_is_held_of_somebody_says_it(do: Any, alice: Any, tmp_path: Path) -> None:
    one = do(alice.remember("one"))
    do(alice.remember("two", relations=[{"to": one.id}], entities=["Bob"]))
    do(alice.export_subject(tmp_path / "held"))
    lines = (tmp_path / "held" / "memories.jsonl").read_text("utf-8").splitlines()
    records = {record["text"]: record for record in map(json.loads, lines)}
    assert records["two"]["relations"] == [
        {"to": one.id, "type": "association", "weight": 1.0, "origin": "given"}
    ]
    assert records["two"]["entities"] == [
        {"name": "Bob", "type": "concept", "origin": "given", "weight": 1.0}
    ]
    assert "relations" not in records["one"]


def test_a_batch_is_written_whole_or_not_at_all(do: Any, alice: Any) -> None:
    one = do(alice.remember("one"))
    with pytest.raises(Invalid, match=f"relations: no memory '{NOWHERE}'"):
        do(
            alice.ingest(
                [
                    {"text": "two", "entities": ["Anna"]},
                    {"text": "three", "relations": [{"to": NOWHERE}]},
                ]
            )
        )
    links = [{"id": one.id, "entities": ["Anna"]}, {"id": NOWHERE, "entities": ["Bob"]}]
    with pytest.raises(NotFound, match=NOWHERE):
        do(alice.relations.link_many(links))
    targets = (do(alice.remember("four")).id, NOWHERE)
    edges = [{"source": one.id, "target": target} for target in targets]
    with pytest.raises(NotFound, match=NOWHERE):
        do(alice.relations.add_many(edges))
    assert sorted(memory.text for memory in do.all(alice.list())) == ["four", "one"]
    assert (_entities(do, alice), _relations(do, alice)) == ([], [])


BAD: dict[str, tuple[Any, type[Error], str]] = {
    "itself": (lambda p, m: p.relations.add(m, m), Invalid, "related to itself"),
    "no memory": (lambda p, m: p.relations.add(m, NOWHERE), NotFound, "no memory"),
    "none to remove": (lambda p, m: p.relations.remove(m, NOWHERE), NotFound, "no memory"),
    "none to link": (lambda p, m: p.relations.link(NOWHERE, "x"), NotFound, "no memory"),
    "a type": (lambda p, m: p.relations.add(m, NOWHERE, type="No"), Invalid, "is no type"),
    "a weight": (lambda p, m: p.relations.add(m, NOWHERE, weight=2), Invalid, r"weight is 2\.0"),
    "an origin": (lambda p, m: p.relations.add(m, NOWHERE, origin="x"), Invalid, "origin"),
    "no edges": (lambda p, m: p.relations.add_many([]), Invalid, "relations has 0 entries"),
    "no text": (lambda p, m: p.relations.add_many("ab"), Invalid, "takes a list of relations"),
    "no links": (lambda p, m: p.relations.link_many([]), Invalid, "links has 0 entries"),
    "too many": (
        lambda p, m: p.relations.add_many([{"source": m.id, "target": "m"}] * 1_001),
        Invalid,
        "relations has 1,001 entries",
    ),
    "too many names": (
        lambda p, m: p.relations.link(m, *(f"n{n}" for n in range(65))),
        Invalid,
        "entities has 65 entries",
    ),
    "a huge name": (lambda p, m: p.relations.link(m, "n" * 600), Invalid, "has 600 bytes"),
    "an empty name": (lambda p, m: p.relations.link(m, " "), Invalid, "is empty"),
    "a field": (
        lambda p, m: p.relations.link(m, {"name": "x", "kind": "y"}),
        Invalid,
        "unknown field 'kind'",
    ),
    "a number": (lambda p, m: p.relations.link(m, 7), Invalid, "must be an object"),
    "a cursor": (lambda p, m: p.relations.unlinked(cursor="x"), Invalid, "cursor 'x'"),
    "a limit": (lambda p, m: p.relations.unlinked(limit=0), Invalid, "limit is 0"),
}


def test_what_cannot_be_is_refused_by_name(do: Any, alice: Any) -> None:
    memory = do(alice.remember("one"))
    for call, error, words in BAD.values():
        with pytest.raises(error, match=words):
            do(call(alice, memory))
    assert (_entities(do, alice), _relations(do, alice)) == ([], [])


def test_of_an_empty_profile_there_is_nothing(do: Any, alice: Any) -> None:
    assert (_entities(do, alice), _relations(do, alice)) == ([], [])
    assert do(alice.relations.unlinked()).count == 0
    for call in (
        lambda: do.all(alice.relations.list("mem_1")),
        lambda: do.all(alice.relations.entities("mem_1")),
        lambda: do(alice.relations.add("mem_1", "mem_2")),
        lambda: do(alice.relations.remove("mem_1", "mem_2")),
        lambda: do(alice.relations.link("mem_1", "x")),
    ):
        with pytest.raises(NotFound, match="no memory 'mem_1'; profile 'alice' is empty"):
            call()
    assert do.all(alice.client.profiles()) == []


def test_names_are_looked_at_by_the_policy(do: Any, client: Any, alice: Any) -> None:
    do(client.set_policy("default", {"redaction": {"personal": "redact"}}))
    one = do(alice.remember("one"))
    for call in (
        lambda: alice.remember("two", entities=["bob@example.com"]),
        lambda: alice.relations.link(one, "bob@example.com"),
    ):
        with pytest.raises(Invalid, match=r"email \(1\) in entities"):
            do(call())
    assert _entities(do, alice) == []


def test_names_are_sealed_with_the_rest(do: Any, tmp_path: Path) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    client = do.open(tmp_path / "memory", embed_provider="none", master_key=key)
    profile = client.profile("ann")
    do(profile.remember("hello", entities=["Wombat Farm"]))
    do(client.set_policy("default", {"encryption": {"fields": True}}))
    assert do(profile.seal_fields()).remaining == 0
    do(profile.remember("there", entities=["wombat farm", "Quokka"]))
    assert _entities(do, profile) == [("Wombat Farm", "concept", 2), ("Quokka", "concept", 1)]
    assert [hit.text for hit in do(profile.recall("the quokka?"))] == ["there"]
    do(profile.sync())
    do(client.close())
    for path in (tmp_path / "memory" / "hot").rglob("*.db*"):
        # What was plain before it was sealed stands in the log, as in the history.
        assert b"Quokka" not in path.read_bytes(), path
    assert any((tmp_path / "memory" / "hot").rglob("*.db"))


def test_what_is_said_about_an_edge_is_kept_and_replaced(do: Any, alice: Any) -> None:
    one, two = do(alice.remember("one")), do(alice.remember("two"))
    said = {"说": "Анна", "n": [1, 2.5, None], "deep": {"er": True}}
    do(alice.relations.add(one, two, type="causal", metadata=said))
    three = do(
        alice.remember("three", relations=[{"to": one.id, "metadata": {"page": 7}}, {"to": two.id}])
    )

    def kept() -> dict[tuple[str, str], Any]:
        edges = do.all(alice.relations.list())
        assert not any(edge.decryption_failed for edge in edges)
        return {(edge.source, edge.target): edge.metadata for edge in edges}

    before = {(one.id, two.id): said, (three.id, one.id): {"page": 7}, (three.id, two.id): None}
    assert kept() == before
    do(alice.relations.add(one, two, type="causal", metadata={"n": 0}, origin="rule"))
    assert kept() == before, "a rule replaces nothing that was given"
    do(alice.relations.add(one, two, type="causal", metadata={}))
    do(alice.relations.add(three, one))
    assert kept() == {(one.id, two.id): {}, (three.id, one.id): None, (three.id, two.id): None}
    do(alice.relations.remove(one, two))
    do(alice.relations.add(one, two, type="causal"))
    assert kept()[one.id, two.id] is None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"long": "x" * 65_536}, r"metadata has 65,547 bytes as JSON, at most 65,536"),
        ({"n": float("nan")}, "NaN|nan|JSON"),
        (["a"], "metadata"),
    ],
)
def test_what_cannot_be_said_about_an_edge_is_refused(
    do: Any, alice: Any, metadata: Any, words: str
) -> None:
    one, two = do(alice.remember("one")), do(alice.remember("two"))
    with pytest.raises(Invalid, match=words):
        do(alice.relations.add(one, two, metadata=metadata))
    with pytest.raises(Invalid, match=words):
        do(alice.remember("three", relations=[{"to": one.id, "metadata": metadata}]))
    assert _relations(do, alice) == []


def test_a_merge_brings_what_is_said_about_an_edge(do: Any, alice: Any) -> None:
    one, two = do(alice.remember("one")), do(alice.remember("two"))
    do(alice.relations.add(one, two, metadata={"page": 1}))
    trial = do(alice.fork("trial"))
    assert do(trial.diff(alice)).updated == ()
    do(trial.relations.add(one, two, metadata={"page": 2}))
    three = do(trial.remember("three", relations=[{"to": one.id, "metadata": {"page": 3}}]))
    found = do(trial.diff(alice))
    assert ([one.id for one in found.added], len(found.updated)) == ([three.id], 1)

    def said() -> dict[str, Any]:
        return {edge.source: edge.metadata for edge in do.all(alice.relations.list())}

    do(alice.merge(trial))
    assert said() == {one.id: {"page": 2}, three.id: {"page": 3}}
    do(trial.relations.add(one, two))
    do(alice.merge(trial, on_conflict="theirs"))
    assert said() == {one.id: None, three.id: {"page": 3}}
