"""Collections of vectors over every client."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp
from palimp.api import ListVectors, SearchVectors, UpsertVectors, VectorInput
from palimp.api.limits import BATCH_ITEMS_MAX, K_MAX


def found(do: Any, collection: Any, vector: Any, **more: Any) -> list[str]:
    return [hit.id for hit in do(collection.search(vector, **more))]


def test_write_search_read_and_remove(do: Any, alice: Any) -> None:
    docs = alice.vectors("docs")
    done = do(docs.upsert("east", [2, 0], metadata={"lang": "en"}))
    assert isinstance(done, palimp.Upserted)
    assert (done.upserted, done.metric, done.dimensions, done.txid) == (1, "cosine", 2, 1)
    do(docs.upsert("north", np.array([0.0, 1.0])))
    hits = do(docs.search([1, 0]))
    assert isinstance(hits, palimp.VectorSearch)
    assert (hits.txid, len(hits)) == (2, 2)
    assert hits[0] == palimp.VectorHit(id="east", distance=0.0, metadata={"lang": "en"})
    assert hits[1] == palimp.VectorHit(id="north", distance=1.0, metadata=None)
    assert found(do, docs, [1, 0], k=1) == ["east"]
    stored = do(docs.get("east"))
    assert isinstance(stored, palimp.StoredVector)
    assert (stored.embedding, stored.metadata, stored.txid) == ((1.0, 0.0), {"lang": "en"}, 2)
    assert (do(docs.count()), do.all(docs.ids())) == (2, ["east", "north"])
    # The whole of what the id held goes.
    do(docs.upsert("east", [0, -1]))
    assert do(docs.get("east")).metadata is None
    assert (do(docs.count()), found(do, docs, [0, -1])) == (2, ["east", "north"])
    assert do(docs.delete("east")) is True
    assert do(docs.delete("east")) is False
    with pytest.raises(palimp.NotFound, match="no vector 'east' in collection 'docs'"):
        do(docs.get("east"))
    assert do.all(docs.ids()) == ["north"]


def test_batches_are_atomic(do: Any, client: Any, alice: Any) -> None:
    docs = alice.vectors("docs")
    items: list[Any] = [{"id": f"v{n}", "embedding": [n, 1]} for n in range(5)]
    items.append(VectorInput(id="v0", embedding=(9.0, 1.0), metadata={}))
    done = do(docs.upsert_all(iter(items)))
    assert (done.upserted, do(docs.count()), do(docs.get("v0")).metadata) == (6, 5, {})
    for bad, message in (
        ({"id": "x", "embedding": [1, 2, 3]}, "has 3 dimensions, the first has 2"),
        ({"id": "x", "embedding": [float("nan"), 1]}, "nan"),
        ({"id": "x", "embedding": []}, "0 dimensions"),
        ({"id": "", "embedding": [1, 1]}, "id is empty"),
        ({"id": "x", "embedding": [0, 0]}, "all zeros"),
        ({"id": "x", "embedding": [1, 1], "metadata": {"a": "x" * 65_536}}, "metadata has"),
        ({"id": "x"}, "embedding"),
        ({"id": "x", "embedding": [1, 1], "tag": 1}, "unknown field 'tag'"),
    ):
        with pytest.raises(palimp.Invalid, match=message) as caught:
            do(docs.upsert_all([{"id": "fine", "embedding": [1, 1]}, bad]))
        assert caught.value.details["index"] == 1
    assert "fine" not in do.all(docs.ids())
    many = [VectorInput(id="x", embedding=(1.0,))] * (BATCH_ITEMS_MAX + 1)
    for batch in ([], many):
        with pytest.raises(palimp.Invalid, match="give 1 to 1,000"):
            do(docs.upsert_all(batch))
    with pytest.raises(palimp.Invalid, match="takes a list of vectors"):
        do(docs.upsert_all({"id": "x"}))
    for request in (
        UpsertVectors(collection="docs"),
        UpsertVectors(collection="docs", id="x"),
        UpsertVectors(collection="docs", id="x", embedding=(1.0,), items=()),
        UpsertVectors(collection="docs", metadata={}, items=()),
    ):
        with pytest.raises(palimp.Invalid, match="items"):
            do(client.call("vectors.upsert", alice.target, request))


def test_what_a_collection_is_stays(do: Any, alice: Any) -> None:
    docs = alice.vectors("docs")
    do(docs.upsert("a", [1, 0, 0]))
    with pytest.raises(palimp.Invalid, match="has 2 dimensions, collection 'docs' has 3"):
        do(docs.upsert("b", [1, 0]))
    with pytest.raises(palimp.Invalid, match="vector has 2 dimensions, collection 'docs' has 3"):
        do(docs.search([1, 0]))
    with pytest.raises(palimp.Invalid, match="compares by cosine, not by l2"):
        do(docs.upsert("b", [1, 0, 0], metric="l2"))
    with pytest.raises(palimp.Invalid, match="cosine"):
        do(alice.vectors("other").upsert("b", [1], metric="manhattan"))
    do(docs.upsert("b", [0, 1, 0], metric="cosine"))
    do(alice.vectors("places").upsert("b", [1, 1], metric="l2"))
    listed = do(alice.vector_collections())
    assert [(one.name, one.metric, one.dimensions, one.count) for one in listed] == [
        ("docs", "cosine", 3, 2),
        ("places", "l2", 2, 1),
    ]
    assert listed[0] == do(docs.info())
    # Dropped, it can become another.
    assert do(docs.drop()) is True
    assert do(docs.drop()) is False
    assert do(docs.upsert("a", [1], metric="dot")).dimensions == 1
    assert do(alice.vectors("places").count()) == 1


def test_what_is_not_there(do: Any, client: Any, alice: Any) -> None:
    docs = alice.vectors("docs")

    def nothing() -> None:
        assert list(do(docs.search([1, 2]))) == []
        assert (do(docs.count()), do.all(docs.ids())) == (0, [])
        assert (do(docs.delete("x")), do(docs.drop())) == (False, False)
        info = do(docs.info())
        assert (info.name, info.metric, info.dimensions) == ("docs", None, None)
        with pytest.raises(palimp.NotFound):
            do(docs.get("x"))

    nothing()
    assert list(do(alice.vector_collections())) == []
    assert do.all(client.profiles()) == []
    do(alice.remember("x"))
    nothing()
    do(alice.vectors("other").upsert("x", [1]))
    nothing()


def test_metrics(do: Any, alice: Any) -> None:
    vectors = {"near": [1, 1], "long": [4, 4], "zero": [0, 0], "back": [-1, -1]}
    expected = {
        "l2": [("near", 0.0), ("zero", 2**0.5), ("back", 8**0.5), ("long", 18**0.5)],
        "dot": [("long", -8.0), ("near", -2.0), ("zero", 0.0), ("back", 2.0)],
    }
    for metric, order in expected.items():
        collection = alice.vectors(metric)
        batch = [{"id": name, "embedding": vector} for name, vector in vectors.items()]
        do(collection.upsert_all(batch, metric=metric))
        hits = do(collection.search([1, 1]))
        assert [hit.id for hit in hits] == [name for name, _ in order]
        assert [hit.distance for hit in hits] == pytest.approx([far for _, far in order])
        assert do(collection.get("long")).embedding == (4.0, 4.0)
        with pytest.raises(palimp.Invalid, match="at most 1e"):
            do(collection.upsert("huge", [1e200, 0]))
    do(alice.vectors("cosine").upsert_all([{"id": "huge", "embedding": [1e200, 1e200]}]))
    assert do(alice.vectors("cosine").search([1e-200, 1e-200]))[0].distance < 1e-6
    with pytest.raises(palimp.Invalid, match="all zeros"):
        do(alice.vectors("cosine").search([0, 0]))


def test_filters(do: Any, client: Any, alice: Any) -> None:
    docs = alice.vectors("docs")
    known: dict[str, Any] = {
        "one": {"n": 1, "s": "a'\"b"},
        "true": {"n": True},
        "float": {"n": 1.0, "list": [1]},
        "null": {"n": None},
        "none": None,
    }
    for name, metadata in known.items():
        do(docs.upsert(name, [1, 0], metadata=metadata))
    assert found(do, docs, [1, 0]) == list(known)
    assert found(do, docs, [1, 0], filter={"n": 1}) == ["one", "float"]
    assert found(do, docs, [1, 0], filter={"n": 1, "s": "a'\"b"}) == ["one"]
    assert found(do, docs, [1, 0], filter={"n": True}) == ["true"]
    assert found(do, docs, [1, 0], filter={"n": "1"}) == []
    assert found(do, docs, [1, 0], filter={"n": None}) == ["null", "none"]
    assert found(do, docs, [1, 0], filter={}) == list(known)
    for value, kind in (([1], "list"), ({}, "dict")):
        with pytest.raises(palimp.Invalid, match=f"filter has {kind} for 'n'"):
            do(docs.search([1, 0], filter={"n": value}))
    for k in (0, K_MAX + 1):
        with pytest.raises(palimp.Invalid, match="k is"):
            do(docs.search([1, 0], k=k))


@pytest.mark.parametrize("name", ["", "A", "a b", "a--b", 'x"; DROP TABLE y', "a" * 65, "-a", "é"])
def test_names_of_collections(do: Any, client: Any, alice: Any, name: str) -> None:
    for call in (
        lambda: alice.vectors(name).upsert("x", [1]),
        lambda: alice.vectors(name).search([1]),
        lambda: alice.vectors(name).get("x"),
        lambda: alice.vectors(name).delete("x"),
        lambda: alice.vectors(name).count(),
        lambda: alice.vectors(name).drop(),
        lambda: client.call("vectors.list", alice.target, ListVectors(collection=name)),
    ):
        with pytest.raises(palimp.Invalid):
            do(call())


@pytest.mark.parametrize("identity", ["search", "items", "a/b", "..", "é ' \"", "\U0001f600"])
def test_any_short_text_is_an_id(do: Any, alice: Any, identity: str) -> None:
    docs = alice.vectors("items")
    do(docs.upsert(identity, [1, 2]))
    assert do(docs.get(identity)).id == identity
    assert found(do, docs, [1, 2]) == do.all(docs.ids()) == [identity]
    assert do(docs.delete(identity)) is True


def test_pages_of_ids(do: Any, client: Any, alice: Any) -> None:
    do(alice.vectors("d").upsert_all([{"id": f"v{n}", "embedding": [1]} for n in range(5)]))
    pages, cursor = [], None
    while True:
        request = ListVectors(collection="d", limit=2, cursor=cursor)
        page = do(client.call("vectors.list", alice.target, request))
        pages.append(list(page))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert pages == [["v0", "v1"], ["v2", "v3"], ["v4"]]


def test_a_repeat_of_a_write_gets_the_first_answer(do: Any, alice: Any) -> None:
    docs = alice.vectors("docs")
    first = do(docs.upsert("a", [1, 0], request_id="one"))
    do(docs.upsert("a", [0, 1]))
    assert do(docs.upsert("a", [1, 0], request_id="one")) == first
    assert do(docs.get("a")).embedding == (0.0, 1.0)
    assert do(docs.drop(request_id="two")) is True
    do(docs.upsert("a", [1], durability="durable"))
    assert do(docs.drop(request_id="two")) is True
    assert do(docs.count()) == 1


def test_vectors_share_branches_and_history_with_memories(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    docs = alice.vectors("docs")
    do(alice.remember("before there were vectors"))
    do(alice.checkpoint("empty"))
    do(docs.upsert("a", [1, 0]))
    do(alice.checkpoint("one"))
    trial = do(alice.fork("trial"))
    do(docs.upsert("b", [1, 0]))
    assert found(do, trial.vectors("docs"), [1, 0]) == ["a"]
    do(trial.vectors("docs").drop())
    past = alice.at("one")
    assert found(do, past.vectors("docs"), [1, 0]) == ["a"]
    assert len(do(past.vector_collections())) == 1
    assert not hasattr(past.vectors("docs"), "upsert")
    assert found(do, alice.at("empty").vectors("docs"), [1, 0]) == []
    undo = do(alice.rewind("empty")).undo
    assert do(docs.count()) == 0
    do(docs.upsert("c", [1, 0, 0], metric="l2"))
    assert do(docs.info()).dimensions == 3
    do(alice.rewind(undo))
    assert found(do, docs, [1, 0]) == ["a", "b"]
    do(alice.export(tmp_path / "alice.db"))
    bob = client.profile("bob")
    do(bob.import_(tmp_path / "alice.db"))
    assert found(do, bob.vectors("docs"), [1, 0]) == ["a", "b"]
    assert do(alice.verify()).findings == ()


def test_a_search_by_hand_is_refused_as_a_whole(do: Any, client: Any, alice: Any) -> None:
    request = SearchVectors(collection="docs", vector=())
    with pytest.raises(palimp.Invalid, match="vector has 0 dimensions"):
        do(client.call("vectors.search", alice.target, request))
