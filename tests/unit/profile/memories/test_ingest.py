"""Ingest: content-addressed and idempotent, superseding in the same transaction, all or nothing."""

from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import ItemResult, MemoryInput
from palimp.clock import ManualClock


def texts(profile: palimp.Profile, **filters: Any) -> list[str]:
    return [memory.text for memory in profile.list(**filters)]


def statuses(results: Any) -> list[str]:
    return [result.status for result in results]


def test_a_new_memory_is_created_and_read_back(profile: palimp.Profile) -> None:
    given: dict[str, Any] = {
        "type": "event",
        "kind": "episodic",
        "content": {"flight": ["LH", 400]},
        "keywords": "airline trip",
        "tags": ["travel", "work", "travel"],
        "metadata": {"score": 0.5, "deep": {"a": [1, None]}},
        "source": "agent-7",
        "session": "s1",
        "agent": "planner",
        "speaker": "Alice",
        "project": "apollo",
        "environment": "prod",
        "importance": 0.25,
        "confidence": 1,
        "trust": "high",
        "observed_at": 1_000,
        "derived_from": ["mem_a", "mem_b"],
        "source_span": (3, 9),
    }
    written = profile.remember("Booked LH 400", **given)
    assert (written.status, written.superseded, written.note) == ("created", (), None)
    memory = profile.get(written)
    expected = {**given, "tags": ("travel", "work"), "derived_from": ("mem_a", "mem_b")}
    assert {name: getattr(memory, name) for name in expected} == expected
    assert memory.id == written.id
    assert memory.text == "Booked LH 400"
    assert (memory.superseded_by, memory.superseded_at, memory.state) == (None, None, "active")


def test_a_memory_is_a_fact_unless_it_says_otherwise(profile: palimp.Profile) -> None:
    assert profile.get(profile.remember("x")).type == "fact"


def test_the_same_again_is_a_duplicate_and_writes_nothing(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    first = profile.remember("Likes tea", topic="drink")
    again = profile.remember("Likes tea", topic="drink", tags=["other"], importance=1)
    assert (again.id, again.status, again.superseded) == (first.id, "duplicate", ())
    assert again.txid == first.txid
    memory = profile.get(first)
    assert (memory.tags, memory.importance) == ((), None)
    assert texts(profile) == ["Likes tea"]


def test_a_newer_fact_supersedes_the_one_on_its_topic(
    timed: palimp.Client, clock: ManualClock
) -> None:
    profile = timed.profile("alice")
    old = profile.remember("Prefers aisle seats", topic="user.seat")
    clock.advance(10)
    new = profile.remember("Prefers window seats", topic="user.seat")
    assert new.superseded == (old.id,)
    assert new.txid == old.txid + 1
    before, after = profile.get(old), profile.get(new)
    assert (before.superseded_by, before.superseded_at) == (new.id, clock.now_ms())
    assert before.text == "Prefers aisle seats"
    assert (after.superseded_by, after.supersedes) == (None, (old.id,))
    assert texts(profile) == ["Prefers window seats"]


def test_a_superseded_memory_that_is_told_again_is_revived(profile: palimp.Profile) -> None:
    first = profile.remember("Lives in Rome", topic="home")
    second = profile.remember("Lives in Oslo", topic="home")
    again = profile.remember("Lives in Rome", topic="home")
    assert (again.id, again.status, again.superseded) == (first.id, "revived", (second.id,))
    assert profile.get(first).superseded_by is None
    assert profile.get(first).superseded_at is None
    assert profile.get(second).superseded_by == first.id
    assert texts(profile) == ["Lives in Rome"]
    assert profile.remember("Lives in Rome", topic="home").status == "duplicate"


@pytest.mark.parametrize("other", ["user.diets", "user", "User.diet", "user.diet.x", "user_diet"])
def test_only_exactly_the_same_topic_is_superseded(profile: palimp.Profile, other: str) -> None:
    profile.remember("Eats no meat", topic="user.diet")
    assert profile.remember("Eats fish", topic=other).superseded == ()
    assert len(texts(profile)) == 2


def test_facts_and_instructions_on_one_topic_are_separate(profile: palimp.Profile) -> None:
    fact = profile.remember("Answers are short", topic="style")
    instruction = profile.remember("Answers are short", topic="style", type="instruction")
    assert (instruction.status, instruction.superseded) == ("created", ())
    assert instruction.id != fact.id
    newer = profile.remember("Answer at length", topic="style", type="instruction")
    assert newer.superseded == (instruction.id,)
    assert profile.get(fact).superseded_by is None


def test_memories_without_a_topic_supersede_nothing(profile: palimp.Profile) -> None:
    for type_ in ("fact", "instruction", "event", "task"):
        for text in ("one", "two"):
            assert profile.remember(text, type=type_).superseded == ()
    assert len(texts(profile)) == 8


def test_events_never_supersede(profile: palimp.Profile) -> None:
    """Two events differ by words or dedup_key alone, and both hold."""
    results = profile.ingest(
        [{"type": "event", "text": "ok", "session": "s", "dedup_key": str(n)} for n in range(3)]
    )
    assert statuses(results) == ["created"] * 3
    assert [result.superseded for result in results] == [(), (), ()]
    assert texts(profile, type="event") == ["ok"] * 3


def test_supersession_does_not_look_at_the_source(profile: palimp.Profile) -> None:
    old = profile.remember("Team A", topic="team", source="one", session="s1", project="p")
    assert profile.remember("Team B", topic="team", source="two").superseded == (old.id,)


def test_profiles_do_not_touch_each_other(mem: palimp.Client) -> None:
    alice, bob = mem.profile("alice"), mem.profile("bob")
    elsewhere = mem.profile("alice", namespace="acme")
    ids = {p.remember("Likes tea", topic="drink").id for p in (alice, bob, elsewhere)}
    assert len(ids) == 1
    bob.remember("Likes coffee", topic="drink")
    bob.forget(bob.remember("Likes milk", topic="drink"))
    assert texts(alice) == texts(elsewhere) == ["Likes tea"]
    assert texts(bob) == []


# Content addressing


def test_the_id_is_the_hash_of_type_topic_and_content(profile: palimp.Profile) -> None:
    base = {"text": "x", "topic": "t", "content": {"a": 1}}
    ids = {
        profile.remember(**{**base, **change}).id
        for change in ({}, {"type": "instruction"}, {"topic": "u"}, {"content": {"a": 2}})
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"text": "another gist"},
        {"keywords": "k"},
        {"tags": ["t"]},
        {"metadata": {"m": 1}},
        {"source": "s"},
        {"session": "s"},
        {"agent": "a"},
        {"kind": "preference"},
        {"importance": 0.1},
        {"observed_at": 5},
        {"embedding": [1.0, 0.0]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_content_does_not_change_the_id(
    profile: palimp.Profile, change: dict[str, Any]
) -> None:
    base = {"text": "x", "content": {"a": 1}}
    first = profile.remember(**base)
    again = profile.remember(**{**base, **change})
    assert (again.id, again.status) == (first.id, "duplicate")


def test_the_order_of_keys_is_not_content(profile: palimp.Profile) -> None:
    first = profile.remember("x", content={"b": 1, "a": {"d": [1, {"f": 1, "e": 2}], "c": 2}})
    again = profile.remember("x", content={"a": {"c": 2, "d": [1, {"e": 2, "f": 1}]}, "b": 1})
    assert (again.id, again.status) == (first.id, "duplicate")
    swapped = profile.remember("x", content=[{"e": 2, "f": 1}, 1])
    assert swapped.status == "created"
    assert profile.remember("x", content=[1, {"e": 2, "f": 1}]).status == "created"


def test_absent_content_is_the_text(profile: palimp.Profile) -> None:
    first = profile.remember("hello")
    assert profile.get(first).content == {"text": "hello"}
    assert profile.remember("a gist", content={"text": "hello"}).id == first.id
    assert profile.remember("hello", content="hello").id != first.id


@pytest.mark.parametrize("content", [None, False, 0, "", [], {}, [None], {"text": None}], ids=repr)
def test_empty_content_is_content(profile: palimp.Profile, content: Any) -> None:
    written = profile.remember("hello", content=content)
    stored = profile.get(written).content
    assert stored == content
    assert type(stored) is type(content)
    assert written.id != profile.remember("hello").id


def test_a_dedup_key_separates_the_same_words(profile: palimp.Profile) -> None:
    plain = profile.remember("yes", type="event")
    one = profile.remember("yes", type="event", dedup_key="turn 1")
    two = profile.remember("yes", type="event", dedup_key="turn 2")
    assert len({plain.id, one.id, two.id}) == 3
    assert profile.remember("yes", type="event", dedup_key="turn 1").status == "duplicate"


def test_a_dedup_key_cannot_be_confused_with_content(profile: palimp.Profile) -> None:
    one = profile.remember("x", content=["a"], dedup_key="b")
    two = profile.remember("x", content=["a", "b"])
    three = profile.remember("x", topic="b", content=["a"])
    assert len({one.id, two.id, three.id}) == 3


def test_the_same_memory_has_the_same_id_in_every_folder(
    profile: palimp.Profile, timed: palimp.Client
) -> None:
    here = profile.remember("Likes tea", topic="drink")
    assert timed.profile("bob").remember("Likes tea", topic="drink").id == here.id


def test_the_first_source_sticks(profile: palimp.Profile) -> None:
    first = profile.remember("Lives in Rome", topic="home", source="agent-1")
    assert profile.remember("Lives in Rome", topic="home", source="agent-2").status == "duplicate"
    assert profile.get(first).source == "agent-1"
    profile.remember("Lives in Oslo", topic="home", source="agent-2")
    revived = profile.remember("Lives in Rome", topic="home", source="agent-3")
    assert revived.status == "revived"
    assert profile.get(first).source == "agent-1"


# Batches


def test_results_stand_in_the_order_of_the_items(profile: palimp.Profile) -> None:
    known = profile.remember("b")
    items = [{"text": text} for text in "cbad"]
    done = profile.ingest(items)
    assert statuses(done) == ["created", "duplicate", "created", "created"]
    assert done[1].id == known.id
    assert [profile.get(result).text for result in done] == list("cbad")


def test_a_batch_is_one_txid(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    first = profile.remember("a")
    assert profile.ingest([{"text": text} for text in "bcd"]).txid == first.txid + 1


def test_items_of_one_batch_supersede_each_other(profile: palimp.Profile) -> None:
    done = profile.ingest([{"text": text, "topic": "home"} for text in ("Rome", "Oslo", "Bern")])
    rome, oslo, bern = done
    assert [result.superseded for result in done] == [(), (rome.id,), (oslo.id,)]
    assert profile.get(rome).superseded_by == oslo.id
    assert profile.get(oslo).superseded_by == bern.id
    assert texts(profile) == ["Bern"]


def test_a_batch_may_go_there_and_back(profile: palimp.Profile) -> None:
    items = [{"text": text, "topic": "home"} for text in ("Rome", "Oslo", "Rome", "Rome")]
    done = profile.ingest(items)
    assert statuses(done) == ["created", "created", "revived", "duplicate"]
    assert done[2].superseded == (done[1].id,)
    assert texts(profile) == ["Rome"]
    assert len(profile.history(topic="home")) == 2


def test_the_same_item_twice_in_a_batch_is_written_once(profile: palimp.Profile) -> None:
    done = profile.ingest([{"text": "x"}, {"text": "x"}])
    assert statuses(done) == ["created", "duplicate"]
    assert done[0].id == done[1].id
    assert len(texts(profile)) == 1


def test_items_may_be_requests_or_mappings(profile: palimp.Profile) -> None:
    done = profile.ingest(iter([MemoryInput(text="a"), {"text": "b"}]))
    assert len(done) == 2
    assert isinstance(done[0], ItemResult)
    assert sorted(texts(profile)) == ["a", "b"]


@pytest.mark.parametrize(
    "bad",
    [
        {"text": ""},
        {"text": 5},
        {"text": "x", "topik": "t"},
        {"text": "x", "type": "event", "topic": "t"},
        {"text": "x", "content": float("nan")},
        {"topic": "no text"},
        "just text",
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_bad_item_stops_the_batch_and_is_named(
    timed: palimp.Client, bad: Any, place: int
) -> None:
    profile = timed.profile("alice")
    kept = profile.remember("kept", topic="t")
    items: list[Any] = [{"text": f"item {n}", "topic": "t"} for n in range(4)]
    items.insert(place, bad)
    with pytest.raises(palimp.Invalid, match=rf"memories\[{place}\]") as caught:
        profile.ingest(items)
    assert caught.value.details["index"] == place
    assert texts(profile, include_superseded=True) == ["kept"]
    assert profile.remember("kept", topic="t").txid == kept.txid


def test_a_bad_first_batch_makes_no_profile(mem: palimp.Client) -> None:
    with pytest.raises(palimp.Invalid):
        mem.profile("new").ingest([{"text": "fine"}, {"text": ""}])
    assert list(mem.profiles()) == []


def test_a_batch_holds_a_thousand_and_not_one_more(profile: palimp.Profile) -> None:
    items = [{"text": f"item {n}"} for n in range(1_001)]
    with pytest.raises(palimp.Invalid, match="1,001 memories; give 1 to 1,000") as caught:
        profile.ingest(items)
    assert caught.value.code == "payload_too_large"
    assert texts(profile) == []
    done = profile.ingest(items[:1_000])
    assert statuses(done) == ["created"] * 1_000
    assert len(texts(profile)) == 1_000


def test_an_empty_batch_is_refused(profile: palimp.Profile) -> None:
    with pytest.raises(palimp.Invalid, match="0 memories; give 1 to 1,000") as caught:
        profile.ingest([])
    assert caught.value.code == "invalid_request"


def test_the_client_s_source_is_stamped_where_none_is_given(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", source="agent-7") as mem:
        profile = mem.profile("alice")
        done = profile.ingest([{"text": "a"}, {"text": "b", "source": "own"}])
        assert [profile.get(result).source for result in done] == ["agent-7", "own"]


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        old = mem.profile("alice").remember("Rome", topic="home")
        new = mem.profile("alice").remember("Oslo", topic="home")
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        profile = mem.profile("alice")
        assert profile.get(old).superseded_by == new.id
        assert profile.remember("Oslo", topic="home").status == "duplicate"
        assert profile.remember("Bern", topic="home").txid == new.txid + 1
