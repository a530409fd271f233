"""The projects of memories, tiers by hand, and what is known by handles: for every client."""

from __future__ import annotations

from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound


def test_the_memories_of_a_project_are_given_to_none(do: Any, alice: Any) -> None:
    ids = [do(alice.remember(f"Note {n}", project="site")).id for n in range(3)]
    other = do(alice.remember("Note of another", project="shop")).id
    do(alice.lifecycle.archive(ids[0]))
    do(alice.lifecycle.delete(ids[1]))
    do(alice.lifecycle.hold(ids[2]))
    done = do(alice.lifecycle.reassign("site"))
    assert (done.count, done.more) == (3, False)
    assert do(alice.get(ids[0])).project is None
    assert do(alice.get(other)).project == "shop"
    [deleted] = do.all(alice.list(state="soft_deleted"))
    assert (deleted.id, deleted.project) == (ids[1], None)
    assert do(alice.lifecycle.reassign("site")).count == 0
    [event] = [one for one in do.all(alice.lifecycle.events(ids[2])) if one.event == "annotated"]
    assert event.changes == {"project": ("site", None)}
    assert do(alice.lifecycle.reassign("shop", to="mill")).count == 1
    assert do(alice.stats(project="mill")).all.count == 1
    assert do(alice.stats(project="shop")).by_state == {}
    with pytest.raises(Invalid, match="are in project 'mill' already"):
        do(alice.lifecycle.reassign("mill", to="mill"))


def test_a_key_means_the_memory_that_was_there_first(do: Any, alice: Any) -> None:
    given = {"extracted_key": "person:al/role"}
    here = do(alice.remember("Al is the CTO", **given)).id
    moved = do(alice.remember("Al is the CEO", project="site", **given)).id
    do(alice.lifecycle.reassign("site"))
    assert do(alice.remember("Al is the CTO", **given)).id == here
    # Where there is none it goes on to mean its own.
    tea = {"extracted_key": "person:al/tea"}
    kept = do(alice.remember("Al drinks oolong", project="site", **tea)).id
    do(alice.lifecycle.reassign("site"))
    again = do(alice.remember("al drinks  oolong.", **tea))
    assert (again.id, again.status) == (kept, "duplicate")
    assert do(alice.get(moved)).superseded_by is None


def test_a_tier_by_hand(do: Any, alice: Any) -> None:
    identity = do(alice.remember("The chart is from 1991")).id
    done = do(alice.lifecycle.tier(identity, "cold"))
    assert (done.changed, done.memory.memory_tier) == (True, "cold")
    assert do(alice.lifecycle.tier(identity, "cold")).changed is False
    assert [one.id for one in do.all(alice.list(tier="cold"))] == [identity]
    assert do(alice.lifecycle.tier(identity, "hot")).memory.memory_tier is None
    do(alice.lifecycle.archive(identity))
    with pytest.raises(Conflict, match="is archived, and only active ones have a tier"):
        do(alice.lifecycle.tier(identity, "warm"))
    with pytest.raises(NotFound):
        do(alice.lifecycle.tier("0" * 32, "warm"))


def test_purged_memories_are_named_by_their_handles(do: Any, alice: Any) -> None:
    written = do(alice.remember("Gone soon"))
    handle = do(alice.get(written.id)).handle
    do(alice.lifecycle.delete(written.id))
    found = do(alice.find([handle, 999], deleted=True))
    assert [one.id for one in found.memories] == [written.id]
    assert found.purged == {}
