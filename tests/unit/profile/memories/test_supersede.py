"""Supersede: one memory replaced by a newer one, the old kept in its history."""

import itertools
from typing import Any

import pytest

import palimp
from palimp.clock import ManualClock


def test_the_old_points_to_the_new_and_back(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    old = profile.remember("Prefers aisle seats")
    clock.advance(60)
    new = profile.supersede(old, "Prefers window seats")
    assert (new.status, new.superseded) == ("created", (old.id,))
    assert new.txid == old.txid + 1
    before, after = profile.get(old.id), profile.get(new.id)
    assert (before.superseded_by, before.superseded_at) == (new.id, clock.now_ms())
    assert after.supersedes == (old.id,)
    assert [memory.id for memory in profile.list()] == [new.id]


def test_what_is_not_given_is_taken_over(profile: palimp.Profile) -> None:
    inherited: dict[str, Any] = {
        "type": "instruction",
        "kind": "rule",
        "topic": "style",
        "tags": ["tone", "writing"],
        "project": "apollo",
        "environment": "prod",
        "session": "s1",
        "agent": "writer",
    }
    old = profile.remember(
        "Be brief", **inherited, source="first", importance=0.9, metadata={"a": 1}, keywords="k"
    )
    memory = profile.get(profile.supersede(old, "Be briefer"))
    assert {name: getattr(memory, name) for name in inherited} == {
        **inherited,
        "tags": ("tone", "writing"),
    }
    assert (memory.source, memory.importance, memory.metadata) == (None, None, None)
    assert memory.content == {"text": "Be briefer"}


def test_what_is_given_wins(profile: palimp.Profile) -> None:
    old = profile.remember("x", topic="a", kind="k", tags=["t"], project="p", session="s")
    new = profile.supersede(
        old, "y", type="instruction", topic="b", kind="l", tags=["u"], project="q", session="r"
    )
    memory = profile.get(new)
    assert (memory.type, memory.topic, memory.kind) == ("instruction", "b", "l")
    assert (memory.tags, memory.project, memory.session) == (("u",), "q", "r")
    assert profile.get(old).superseded_by == new.id


def test_a_topic_may_be_given_where_the_type_is_taken_over(profile: palimp.Profile) -> None:
    old = profile.remember("Be brief", type="instruction")
    memory = profile.get(profile.supersede(old, "Be briefer", topic="style"))
    assert (memory.type, memory.topic) == ("instruction", "style")


@pytest.mark.parametrize("type_", ["event", "task"])
def test_a_memory_that_cannot_have_a_topic_leaves_it_behind(
    profile: palimp.Profile, type_: Any
) -> None:
    old = profile.remember("Oslo", topic="home")
    memory = profile.get(profile.supersede(old, "Moved to Rome", type=type_))
    assert (memory.type, memory.topic) == (type_, None)


@pytest.mark.parametrize("type_", ["event", "task", "fact", "instruction"])
def test_every_type_can_be_superseded_by_name(profile: palimp.Profile, type_: Any) -> None:
    old = profile.remember("old words", type=type_, session="s")
    new = profile.supersede(old, "new words")
    assert profile.get(new).type == type_
    assert [memory.text for memory in profile.list()] == ["new words"]


def test_a_topic_given_to_an_event_is_refused(profile: palimp.Profile) -> None:
    old = profile.remember("happened", type="event")
    with pytest.raises(palimp.Invalid, match="only facts and instructions have one"):
        profile.supersede(old, "happened later", topic="t")
    assert profile.get(old).superseded_at is None


def test_a_memory_superseded_before_is_a_conflict_that_names_the_newer(
    profile: palimp.Profile,
) -> None:
    old = profile.remember("one")
    new = profile.supersede(old, "two")
    with pytest.raises(palimp.Conflict, match=new.id) as caught:
        profile.supersede(old, "three")
    assert caught.value.code == "conflict"
    assert caught.value.details["superseded_by"] == new.id
    assert [memory.text for memory in profile.list(include_superseded=True)] == ["two", "one"]


def test_a_conflict_where_the_newer_was_forgotten_says_so(profile: palimp.Profile) -> None:
    old = profile.remember("one")
    profile.forget(profile.supersede(old, "two"))
    with pytest.raises(palimp.Conflict, match="superseded before") as caught:
        profile.supersede(old, "three")
    assert caught.value.details["superseded_by"] is None


def test_the_same_replacement_twice_is_a_duplicate(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    old = profile.remember("one", topic="t")
    first = profile.supersede(old, "two")
    again = profile.supersede(old, "two")
    assert (again.id, again.status, again.superseded) == (first.id, "duplicate", ())
    assert again.txid == first.txid


def test_a_memory_replaced_by_itself_stays(profile: palimp.Profile) -> None:
    old = profile.remember("one", topic="t")
    again = profile.supersede(old, "one")
    assert (again.id, again.status, again.superseded) == (old.id, "duplicate", ())
    assert profile.get(old).superseded_at is None


def test_what_is_not_there_cannot_be_superseded(
    mem: palimp.Client, profile: palimp.Profile
) -> None:
    with pytest.raises(palimp.NotFound, match="mem_nothing"):
        profile.supersede("mem_nothing", "x")
    assert list(mem.profiles()) == []
    gone = profile.remember("gone")
    profile.forget(gone)
    with pytest.raises(palimp.NotFound, match=gone.id):
        profile.supersede(gone, "x")
    assert list(profile.list(include_superseded=True)) == []


def test_an_expired_task_cannot_be_superseded(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    task = profile.remember("call back", type="task", ttl=60)
    clock.advance(60)
    with pytest.raises(palimp.NotFound, match=task.id):
        profile.supersede(task, "call back soon")
    assert list(profile.list(include_superseded=True)) == []


def test_a_chain_is_kept_whole(profile: palimp.Profile) -> None:
    ids = [profile.remember("v0").id]
    for n in range(1, 5):
        ids.append(profile.supersede(ids[-1], f"v{n}").id)
    for old, new in itertools.pairwise(ids):
        assert profile.get(old).superseded_by == new
        assert profile.get(new).supersedes == (old,)
    assert [memory.id for memory in profile.list()] == ids[-1:]


@pytest.mark.parametrize("topic", [None, "home"])
def test_going_back_revives_the_predecessor(profile: palimp.Profile, topic: str | None) -> None:
    fields: dict[str, Any] = {} if topic is None else {"topic": topic}
    rome = profile.remember("Rome", source="first", **fields)
    oslo = profile.supersede(rome, "Oslo")
    back = profile.supersede(oslo, "Rome", source="second")
    assert (back.id, back.status, back.superseded) == (rome.id, "revived", (oslo.id,))
    assert profile.get(rome).superseded_by is None
    assert profile.get(rome).source == "first"
    assert profile.get(oslo).superseded_by == rome.id
    assert [memory.text for memory in profile.list()] == ["Rome"]
    assert [memory.text for memory in profile.history(rome)] == ["Oslo", "Rome"]


def test_another_topic_s_holder_is_superseded_too(profile: palimp.Profile) -> None:
    """What is written on a topic supersedes what held there, besides the memory that was named."""
    old = profile.remember("a", topic="one")
    holder = profile.remember("b", topic="two")
    new = profile.supersede(old, "c", topic="two")
    assert set(new.superseded) == {old.id, holder.id}
    assert set(profile.get(new).supersedes) == {old.id, holder.id}
    assert [memory.id for memory in profile.list()] == [new.id]


def test_a_memory_may_be_replaced_by_one_that_holds_already(profile: palimp.Profile) -> None:
    old, known = profile.remember("likes tea"), profile.remember("likes green tea")
    done = profile.supersede(old, "likes green tea")
    assert (done.id, done.status, done.superseded) == (known.id, "duplicate", (old.id,))
    assert [memory.id for memory in profile.list()] == [known.id]
    assert profile.get(old).superseded_by == known.id


def test_bad_input_changes_nothing(profile: palimp.Profile) -> None:
    old = profile.remember("one", topic="t")
    with pytest.raises(palimp.Invalid, match="text is empty"):
        profile.supersede(old, " ")
    with pytest.raises(palimp.Invalid, match="did you mean 'topic'"):
        profile.supersede(old, "two", topik="t")
    assert [memory.text for memory in profile.list()] == ["one"]


def test_a_superseded_memory_is_no_longer_recalled(profile: palimp.Profile) -> None:
    old = profile.remember("prefers aisle seats")
    profile.supersede(old, "prefers window seats")
    assert [hit.text for hit in profile.recall("aisle seats")] == ["prefers window seats"]
    found = profile.recall("aisle seats", include_superseded=True)
    assert {hit.text for hit in found} == {"prefers aisle seats", "prefers window seats"}
