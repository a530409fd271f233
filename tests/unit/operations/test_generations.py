"""Vectors of several models: which rows are embedded, when, and what recall makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import numpy as np
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.models.bundled import NAME as BUNDLED
from palimp.models.bundled import BundledEmbedder
from palimp.node import Node, load_settings
from palimp.operations import vectors as vectors_module
from palimp.operations.vectors import fill
from palimp.profile.generations import register
from palimp.profile.indexing import MEMORIES

from ...embedders import Words

ALICE = Address("default", "alice")
AWAY = palimp.Unavailable("the model is away")


class House:
    """A folder whose embedder can be changed; rows are embedded when a test says so."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.node: Any = None

    def move_in(self, embedder: Any) -> palimp.Profile:
        self.close()
        self.node = Node(load_settings({"data_dir": self._folder}, {}), embedder=embedder)
        self.node.context = msgspec.structs.replace(self.node.context, wake=lambda address: None)
        self.client = palimp.Client(Embedded(self.node))
        return self.client.profile("alice")

    def close(self) -> None:
        if self.node is not None:
            self.client.close()

    def read(self, statement: str, *values: Any) -> list[Any]:
        with self.node.context.engine.use(ALICE, create=False) as branch:
            return branch.read(lambda c: c.execute(statement, values).fetchall()).value

    def change(self, operation: Any) -> Any:
        with self.node.context.engine.use(ALICE, create=False) as branch:
            return branch.write(operation).value

    def fill(self, **options: Any) -> Any:
        with self.node.context.engine.use(ALICE, create=False) as branch:
            return fill(self.node.context, branch, **options)

    def models(self, corpus: str = "memories") -> dict[str, int]:
        """Return by model how many rows have a vector of it."""
        rows = self.read(
            f"""SELECT m.name, count(*) FROM __palimp_{corpus}_vectors v
            JOIN __palimp_models m ON m.model = v.slot & 255 GROUP BY m.name"""
        )
        return dict(rows)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "m")
    yield house
    house.close()


W1 = Words("w1", ["cat", "dog", "boat"])
ANIMALS = ["a cat", "a dog", "a boat"]


def two_generations(house: House) -> tuple[palimp.Profile, Words]:
    """Three rows of an older model, two of the one in use."""
    house.move_in(W1).ingest([{"text": text} for text in ANIMALS])
    house.fill()
    second = Words("w2", ["dog", "cat", "boat", "sea"], W1)
    alice = house.move_in(second)
    alice.ingest([{"text": "the sea"}, {"text": "another cat"}])
    house.fill()
    return alice, second


# -- changing the model ----------------------------------------------------------------------------


def test_new_rows_get_the_new_model_and_old_ones_stay_as_they_are(house: House) -> None:
    alice, second = two_generations(house)
    assert house.models() == {"w1": 3, "w2": 2}
    assert second.asked == ["the sea", "another cat"]
    house.client.maintain()
    assert house.models() == {"w1": 3, "w2": 2}
    found = alice.recall("cat", k=5, explain=True)
    assert {hit.text for hit in found if "vector" in hit.channels} >= {"a cat", "another cat"}
    assert found.dropped == ()
    # Of both models it is asked by that model's question.
    assert second.queries == W1.queries[-1:] == ["cat"]


def test_embedding_anew_replaces_the_older_vectors_and_repeats_do_nothing(house: House) -> None:
    alice, second = two_generations(house)
    status = alice.embed_status()
    assert [(one.model, one.memories, one.current) for one in status.generations] == [
        ("w2", 2, True),
        ("w1", 3, False),
    ]
    assert (status.pending_memories, status.remaining) == (0, 3)
    first = alice.reembed(limit=1)
    assert (first.embedded, first.dropped, first.remaining) == (1, 1, 2)
    assert house.models() == {"w1": 2, "w2": 3}
    rest = alice.reembed()
    assert (rest.embedded, rest.dropped, rest.remaining) == (2, 2, 0)
    again = alice.reembed()
    assert (again.embedded, again.dropped, again.remaining) == (0, 0, 0)
    assert again.txid == rest.txid
    assert sorted(second.asked) == sorted([*ANIMALS, "the sea", "another cat"])
    assert house.models() == {"w2": 5}
    assert house.read("SELECT name FROM __palimp_models") == [("w2",)]
    assert house.read("SELECT count(*) FROM __palimp_memories_codes") == [(5,)]
    assert [one.model for one in alice.embed_status().generations] == ["w2"]


def test_back_to_the_first_model(house: House) -> None:
    two_generations(house)
    alice = house.move_in(W1)
    done = alice.reembed()
    assert (done.embedded, done.dropped, done.remaining) == (2, 2, 0)
    assert house.models() == {"w1": 5}
    # And on to a third, which is given the number of the second.
    third = Words("w3", ["sea", "cat"])
    alice = house.move_in(third)
    assert alice.reembed().embedded == 5
    assert alice.recall("cat", k=2)[0].text.endswith("cat")
    assert house.models() == {"w3": 5}


def test_rows_without_a_vector_are_embedded_beside_older_ones(house: House) -> None:
    alice, _ = two_generations(house)
    alice.session("s").append("user", "a cat")
    status = alice.embed_status()
    assert (status.pending_memories, status.pending_turns, status.remaining) == (0, 1, 4)
    assert house.fill().stored == 1
    assert (house.models(), house.models("turns")) == ({"w1": 3, "w2": 2}, {"w2": 1})


def test_a_rewind_to_before_the_change_finds_by_the_older_vectors(house: House) -> None:
    first = house.move_in(W1)
    first.ingest([{"text": text} for text in ANIMALS])
    house.fill()
    first.checkpoint("before")
    second = Words("w2", ["cat", "dog"], W1)
    alice = house.move_in(second)
    alice.reembed()
    assert house.models() == {"w2": 3}
    then = alice.at("before")
    assert [one.model for one in then.embed_status().generations] == ["w1"]
    hit = then.recall("dog", k=1)[0]
    assert (hit.text, hit.channels) == ("a dog", ("keyword", "vector"))
    alice.rewind("before")
    assert house.models() == {"w1": 3}
    assert alice.recall("dog", k=1)[0].channels == ("keyword", "vector")
    assert house.fill().stored == 0
    alice.remember("a dog at sea")
    assert house.fill().stored == 1
    assert house.models() == {"w1": 3, "w2": 1}
    fork = alice.fork("trial")
    assert fork.reembed().embedded == 3
    assert house.models() == {"w1": 3, "w2": 1}
    assert alice.reembed().embedded == 3
    assert house.models() == {"w2": 4}


def test_stopped_anywhere_it_goes_on(house: House) -> None:
    alice = house.move_in(Words("w1", ["m"]))
    alice.ingest([{"text": f"m {n}"} for n in range(100)])
    stored = []
    while not stored or stored[-1]:
        # Ends after one slice.
        stored.append(house.fill(pause=lambda seconds: False).stored)
    assert sum(stored) == 100
    assert stored[0] == vectors_module._SLICE_ROWS
    assert house.models() == {"w1": 100}


# -- recall over several generations ---------------------------------------------------------------


def test_a_row_of_two_generations_counts_by_the_newer(house: House) -> None:
    alice, second = two_generations(house)
    # As the first release left it: a vector of each.
    ((handle,),) = house.read("SELECT handle FROM __palimp_memories WHERE text = 'a cat'")
    number = house.read("SELECT model FROM __palimp_models WHERE name = 'w2'")[0][0]

    def both(connection: apsw.Connection) -> None:
        from palimp.profile import vectors

        sea = np.array([[0, 0, 0, 1]], np.float32)
        vectors._put(connection, MEMORIES, number, [handle], sea)

    house.change(both)
    assert house.models() == {"w1": 3, "w2": 3}
    found = alice.recall("cat", k=9, explain=True)
    raw = {hit.text: {f.name: f.raw for f in hit.explain.features} for hit in found}
    assert raw["a cat"]["vector"] == 0.0
    assert raw["another cat"]["vector"] == pytest.approx(1.0)
    done = alice.reembed()
    assert (done.embedded, done.dropped) == (2, 3)
    assert house.models() == {"w2": 5}
    assert second.asked == ["the sea", "another cat", "a dog", "a boat"]


def test_what_no_model_here_can_be_asked_for_is_found_by_words_and_counted(house: House) -> None:
    two_generations(house)
    alone = Words("w2", ["dog", "cat", "boat", "sea"])
    alice = house.move_in(alone)
    found = alice.recall("cat", k=9, explain=True)
    assert {hit.text: hit.channels for hit in found}["a cat"] == ("keyword",)
    (dropped,) = found.dropped
    assert dropped.count == 3
    assert "w1" in dropped.reason
    assert "palimp embed reembed" in dropped.reason
    alice.reembed()
    assert alice.recall("cat", k=9, explain=True).dropped == ()


def test_vectors_of_the_bundled_model_can_be_asked_always(house: House) -> None:
    alice = house.move_in(BundledEmbedder())
    alice.ingest([{"text": "The ferry leaves for Pico at nine"}, {"text": "She likes green tea"}])
    house.fill()
    away = Words("w2", ["cat"])
    alice = house.move_in(away)
    hit = alice.recall("when does the boat depart?", k=1)[0]
    assert hit.text.startswith("The ferry")
    assert hit.channels == ("vector",)
    # Also while nothing is known of the embedder in use.
    away.unnamed = AWAY
    assert alice.recall("when does the boat depart?", k=1)[0].text.startswith("The ferry")
    assert house.models() == {BUNDLED: 2}


class Lifted(Words):
    """All its texts are near to each other: cosines between 0.9 and 1."""

    def embed(self, texts: Sequence[str], **how: Any) -> Any:
        rows = super().embed(texts, **how) / 3
        lifted = np.hstack([rows, np.sqrt(1 - (rows**2).sum(1, keepdims=True))])
        return lifted.astype(np.float32)

    @property
    def dimensions(self) -> int:
        return len(self.words) + 1


@pytest.mark.parametrize("newer_is_lifted", [True, False])
def test_cosines_of_two_models_are_never_held_against_each_other(
    house: House, newer_is_lifted: bool
) -> None:
    words = [f"w{n}" for n in range(50)]
    one, other = Words("plain", words), Lifted("lifted", words)
    older, newer = (one, other) if newer_is_lifted else (other, one)
    # The question is about w3, which neither its words nor anything else finds.
    for embedder in (older, newer):
        embedder.words[3] = "question"
    house.move_in(older).ingest([{"text": f"w{n} old"} for n in range(40) if n != 3])
    marked = house.client.profile("alice").remember("question old", wait="embedded")
    house.client.profile("alice").ingest([{"text": "nothing"}])
    house.fill()
    newer.others = (older,)
    alice = house.move_in(newer)
    alice.ingest([{"text": f"w{n} new"} for n in range(40) if n != 3], wait="embedded")
    found = alice.recall("question", k=5, explain=True)
    assert found[0].id == marked.id
    values = {hit.id: {f.name: f.value for f in hit.explain.features} for hit in found}
    assert all(values[marked.id]["vector"] > values[hit.id]["vector"] for hit in found[1:])


def test_one_generation_alone_is_scored_by_its_cosines(house: House) -> None:
    alice = house.move_in(W1)
    alice.ingest([{"text": text} for text in ANIMALS])
    alice.remember("given", embedding=[0.6, 0.8])
    found = alice.recall("cat", embedding=[0.0, 1.0], k=9, explain=True)
    vector = {
        hit.text: next(f for f in hit.explain.features if f.name == "vector") for hit in found
    }
    assert (vector["a cat"].raw, vector["a cat"].value) == (1.0, 1.0)
    assert vector["given"].value == vector["given"].raw == pytest.approx(0.8)


# -- an embedder that fails ------------------------------------------------------------------------


def nan(rows: Any) -> Any:
    rows[0, 0] = np.nan
    return rows


SPOILT = {
    "not a number": (nan, "none of"),
    "infinite": (lambda rows: rows * np.inf, "none of"),
    "one row too few": (lambda rows: rows[:-1], "shape"),
    "one dimension too many": (lambda rows: np.hstack([rows, rows[:, :1]]), "shape"),
    "flat": (lambda rows: rows.ravel(), "shape"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_no_vector_is_never_stored(house: House, kind: str) -> None:
    embedder = Words("w1", ["cat", "dog"])
    alice = house.move_in(embedder)
    alice.remember("a cat")
    embedder.spoil, said = SPOILT[kind]
    filled = house.fill()
    assert filled.stored == 0
    assert said in str(filled.failure)
    done = alice.remember("a dog", wait="embedded")
    assert (done.status, done.embedded) == ("created", False)
    assert said in done.note
    found = alice.recall("cat", explain=True)
    assert [hit.channels for hit in found] == [("keyword",)]
    assert house.models() == {}
    status = alice.embed_status()
    assert (status.answers, status.pending_memories) == (False, 2)
    assert said in status.failure
    embedder.spoil = lambda rows: rows
    assert house.fill().stored == 2
    assert alice.embed_status().answers is True


def test_the_same_name_with_other_dimensions_is_an_outage(house: House) -> None:
    house.move_in(W1).remember("a cat")
    house.fill()
    alice = house.move_in(Words("w1", ["cat", "dog"]))
    done = alice.remember("a dog", wait="embedded")
    assert done.embedded is False
    assert "2 dimensions" in done.note
    assert alice.recall("dog", k=1)[0].text == "a dog"
    assert house.models() == {"w1": 1}


def test_an_embedder_without_a_name_stops_nothing(house: House) -> None:
    embedder = Words("w1", ["cat"])
    embedder.unnamed = AWAY
    alice = house.move_in(embedder)
    done = alice.remember("a cat", wait="embedded")
    assert (done.status, done.embedded) == ("created", False)
    assert done.note == "not embedded yet: the model is away"
    assert alice.recall("cat")[0].channels == ("keyword",)
    assert house.client.maintain().embedded == 0
    status = alice.embed_status()
    assert (status.model, status.answers, status.failure) == (None, False, "the model is away")
    assert status.failed_at is not None
    with pytest.raises(palimp.Unavailable, match="the model is away"):
        alice.reembed()
    embedder.unnamed = None
    assert house.client.maintain().embedded == 1


def test_an_outage_in_the_middle_keeps_what_was_done(house: House) -> None:
    embedder = Words("w1", ["m"])
    alice = house.move_in(embedder)
    alice.ingest([{"text": f"m {n}"} for n in range(40)])

    def once(texts: Sequence[str]) -> None:
        if embedder.asked:
            raise AWAY

    embedder.before = once
    with pytest.raises(palimp.Unavailable, match="the model is away"):
        alice.reembed()
    assert house.models() == {"w1": vectors_module._SLICE_ROWS}
    embedder.before = lambda texts: None
    assert alice.reembed().remaining == 0
    assert len(embedder.asked) == len(set(embedder.asked)) == 40


def test_a_policy_that_denies_leaves_the_write_and_says_so(house: House) -> None:
    embedder = Words("w1", ["cat"], local=False)
    alice = house.move_in(embedder)
    house.client.set_policy("default", {"ai_egress": {"embed": "self_hosted_only"}})
    done = alice.remember("a cat", wait="embedded")
    assert (done.status, done.embedded) == ("created", False)
    assert "ai_egress.embed" in done.note
    with pytest.raises(palimp.Denied, match=r"ai_egress\.embed"):
        alice.reembed()
    assert "ai_egress.embed" in alice.embed_status().failure
    assert alice.recall("cat")[0].channels == ("keyword",)
    assert (embedder.asked, embedder.queries) == ([], [])


def test_what_leaves_for_a_model_is_counted(house: House) -> None:
    alice = house.move_in(Words("w1", ["cat"], local=False))
    house.client.set_policy("default", {"audit": {"enabled": True}})
    alice.remember("a cat", wait="embedded")
    alice.recall("cat")
    assert house.node.context.metrics.snapshot()['model_calls{purpose="embed"}'] == 2
    house.node.context.audit.flush(10)
    events = [e for e in house.client.audit("default") if e.action == "egress.embed"]
    assert [(e.model, e.counts["texts"]) for e in events] == [("w1", 1)] * 2


# -- waiting ---------------------------------------------------------------------------------------


def test_who_waits_waits_for_no_backlog(house: House) -> None:
    embedder = Words("w1", ["cat"])
    alice = house.move_in(embedder)
    alice.ingest([{"text": f"m {n}"} for n in range(500)])
    assert alice.remember("a cat", wait="embedded").embedded is True
    assert embedder.asked == ["a cat"]
    assert alice.embed_status().pending_memories == 500


def test_who_waits_is_told_where_others_take_too_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "WAIT_SECONDS_MAX", 0)
    alice = house.move_in(Words("w1", ["cat"]))
    done = alice.remember("a cat", wait="embedded")
    assert done.embedded is False
    assert "longer than 0 s" in done.note


# -- rows that change meanwhile --------------------------------------------------------------------


def event(text: str, at: int) -> dict[str, Any]:
    return {"text": text, "type": "event", "session": "s", "observed_at": at, "dedup_key": text}


def test_a_row_that_loses_its_vector_during_a_batch_is_not_stepped_over(house: House) -> None:
    embedder = Words("w1", ["e"])
    alice = house.move_in(embedder)
    alice.ingest([event(f"e {n}", 10 * n) for n in range(1, 6)])
    house.fill()
    alice.ingest([event("e first", 5)])
    # Two rows are being embedded; meanwhile the fourth gets another predecessor.

    def append(texts: Sequence[str]) -> None:
        embedder.before = lambda texts: None
        alice.ingest([event("e late", 35)])

    embedder.before = append
    while house.fill().stored:
        pass
    assert house.models() == {"w1": 7}
    assert alice.embed_status().pending_memories == 0


def test_what_is_forgotten_during_a_batch_gets_no_vector(house: House) -> None:
    embedder = Words("w1", ["cat"])
    alice = house.move_in(embedder)
    ids = [alice.remember(f"cat {n}").id for n in range(5)]

    def forget(texts: Sequence[str]) -> None:
        embedder.before = lambda texts: None
        alice.forget(ids[2])

    embedder.before = forget
    house.fill()
    assert house.models() == {"w1": 4}
    assert house.fill().stored == 0


def test_a_rewind_during_a_batch_stores_nothing_of_before(house: House) -> None:
    embedder = Words("w1", ["cat"])
    alice = house.move_in(embedder)
    alice.remember("cat one")
    alice.checkpoint("one")
    alice.remember("cat two")

    def rewind(texts: Sequence[str]) -> None:
        embedder.before = lambda texts: None
        alice.rewind("one")

    embedder.before = rewind
    # It begins again with what the branch holds then.
    assert house.fill().stored == 1
    assert embedder.asked == ["cat one", "cat two", "cat one"]
    assert house.models() == {"w1": 1}
    assert [hit.channels for hit in alice.recall("cat", k=9)] == [("keyword", "vector")]


def test_forgetting_an_early_row_makes_nobody_look_at_all_later_ones(house: House) -> None:
    alice = house.move_in(Words("w1", ["m"]))
    ids = [one.id for one in alice.ingest([{"text": f"m {n}"} for n in range(60)])]
    house.fill()
    alice.remember("one more")
    house.fill()
    marks = house.read("SELECT upto FROM __palimp_embedded WHERE corpus = 'memories'")
    assert marks == [(61,)]
    alice.forget(ids[3])
    assert house.read("SELECT upto FROM __palimp_embedded WHERE corpus = 'memories'") == marks


def test_rows_that_are_never_embedded_are_stepped_over_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_module, "_SCANNED_MAX", 10)
    alice = house.move_in(Words("w1", ["m"]))
    alice.remember("m")
    alice.ingest([{"text": f"task {n}", "type": "task"} for n in range(30)])
    for _ in range(3):
        house.fill()
    assert house.read("SELECT upto FROM __palimp_embedded WHERE corpus = 'memories'") == [(31,)]


def test_a_mark_of_the_first_release_counts(house: House) -> None:
    house.move_in(W1).ingest([{"text": text} for text in ANIMALS])
    house.fill()
    # It had one of each model only.
    house.change(lambda c: c.execute("UPDATE __palimp_embedded SET model = 1, upto = 2").fetchall())
    second = Words("w2", ["cat"], W1)
    alice = house.move_in(second)
    alice.remember("another cat")
    assert house.fill().stored == 1
    assert second.asked == ["another cat"]
    assert alice.reembed().embedded == 3
    assert house.read("SELECT DISTINCT model FROM __palimp_embedded ORDER BY model") == [(0,), (2,)]
    assert alice.embed_status().pending_memories == 0


# -- numbers of models, slices ---------------------------------------------------------------------


def test_numbers_of_models_are_used_again_and_end() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE __palimp_models (model INTEGER PRIMARY KEY, name UNIQUE, dimensions)"
    )
    for n in range(1, 256):
        assert register(connection, f"m{n}", 2) == (n, 2)
    assert register(connection, "m7", 2) == (7, 2)
    with pytest.raises(palimp.Conflict, match="255 models"):
        register(connection, "one more", 2)
    connection.execute("DELETE FROM __palimp_models WHERE model = 9")
    assert register(connection, "one more", 3) == (9, 3)


def test_slices_are_bounded_and_hold_every_row() -> None:
    def lengths(*chars: int) -> list[tuple[int, int]]:
        rows = [vectors_module.Missing(n, "x" * count, None) for n, count in enumerate(chars)]
        return list(vectors_module._slices(rows))

    most = vectors_module._SLICE_CHARS
    assert lengths(1) == [(0, 1)]
    assert lengths(*[1] * 40) == [(0, 16), (16, 32), (32, 40)]
    assert lengths(most * 9, 1, most * 9) == [(0, 1), (1, 2), (2, 3)]
    assert lengths(most - 1, 1, 1) == [(0, 2), (2, 3)]


def test_a_given_vector_is_no_generation(house: House) -> None:
    alice = house.move_in(W1)
    alice.remember("a cat", embedding=[1.0, 0.0])
    assert alice.embed_status().generations == ()
    assert house.fill().stored == 1
    second = Words("w2", ["cat"], W1)
    alice = house.move_in(second)
    alice.reembed()
    assert house.models() == {"given": 1, "w2": 1}
    assert alice.recall(embedding=[1.0, 0.0])[0].text == "a cat"
