"""Merging beside other writes, into sealed profiles, with holds, relations, expiry and erasure."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import BranchInfo
from palimp.node import Node, load_settings
from palimp.operations import compare, safety
from palimp.operations.comparing import parted


class House:
    """A node whose clock is moved by hand, its client, and a profile with a branch."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.clock = ManualClock()
        given = {"data_dir": path, "embed_provider": "none", **settings}
        self.node = Node(load_settings(given, {}), clock=self.clock)
        self.mem = palimp.Client(Embedded(self.node))
        self.alice = self.mem.profile("alice")
        self.home = self.alice.remember("Lives in Lyon")
        self.seat = self.alice.remember("Prefers aisle seats", topic="seat")
        self.trial = self.alice.fork("trial")

    def texts(self) -> list[str]:
        return sorted(one.text for one in self.alice.list())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path / "m")
    yield found
    found.mem.close()


def between(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    """Let something else be written between the look at the target and the merge itself."""
    real = safety.before

    def before(*given: Any) -> str:
        name = real(*given)
        write()
        return name

    monkeypatch.setattr(compare.safety, "before", before)


def test_what_is_written_meanwhile_and_clashes_undoes_the_merge(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.trial.remember("Prefers window seats", topic="seat")
    house.trial.remember("Speaks French")
    between(monkeypatch, lambda: house.alice.remember("Prefers any seat", topic="seat"))
    with pytest.raises(palimp.Conflict, match="1 conflict"):
        house.alice.merge("trial")
    assert house.texts() == ["Lives in Lyon", "Prefers any seat"]


def test_what_is_written_meanwhile_and_does_not_clash_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.trial.remember("Speaks French")
    between(monkeypatch, lambda: house.alice.remember("Works at night"))
    house.alice.merge("trial")
    assert "Works at night" in house.texts()
    assert "Speaks French" in house.texts()


def test_a_target_that_moves_meanwhile_is_refused_where_that_was_asked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.trial.remember("Speaks French")
    tried = house.alice.merge("trial", dry_run=True)
    between(monkeypatch, lambda: house.alice.remember("Works at night"))
    with pytest.raises(palimp.Conflict, match="it moved on"):
        house.alice.merge("trial", expect_txid=tried.txid)
    assert "Speaks French" not in house.texts()


def test_vectors_that_come_meanwhile_are_no_move(tmp_path: Path) -> None:
    first = House(tmp_path / "m")
    first.trial.remember("Speaks French")
    first.mem.close()
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "bundled"}, {}))
    with palimp.Client(Embedded(node)) as mem:
        alice = mem.profile("alice")
        tried = alice.merge("trial", dry_run=True)
        assert alice.reembed().embedded
        assert alice.branch("trial").reembed().embedded
        at = {"expect_txid": tried.txid, "expect_source_txid": tried.source_txid}
        done = alice.merge("trial", **at)
        assert len(done.added) == 1
        assert done.txid > tried.txid + 1
        with pytest.raises(palimp.Conflict, match="it moved on"):
            alice.merge("trial", **at)


def test_sealed_rows_are_merged_and_stay_sealed(tmp_path: Path) -> None:
    house = House(tmp_path / "m", master_key=base64.b64encode(b"k" * 32).decode())
    house.mem.set_policy("default", {"encryption": {"fields": True}})
    house.trial.remember("Speaks French", metadata={"level": "B2"}, embedding=[1.0, 0.0])
    house.trial.forget(house.home)
    done = house.alice.merge("trial")
    (added,) = done.added
    assert house.alice.get(added).metadata == {"level": "B2"}
    assert [hit.text for hit in house.alice.recall("speaks French")][:1] == ["Speaks French"]
    house.alice.export(tmp_path / "a.db")
    assert b"Speaks French" not in (tmp_path / "a.db").read_bytes()
    house.mem.close()


def test_a_held_memory_stays_and_is_named(house: House) -> None:
    house.trial.forget(house.home)
    house.alice.lifecycle.hold(house.home)
    done = house.alice.merge("trial")
    assert [one.id for one in done.skipped] == [house.home.id]
    assert "legal hold" in done.skipped[0].reason
    assert done.removed == ()
    assert "Lives in Lyon" in house.texts()


def test_states_come_over_with_their_events(house: House) -> None:
    house.trial.lifecycle.archive(house.home)
    house.trial.lifecycle.delete(house.seat)
    done = house.alice.merge("trial")
    assert set(done.removed) == {house.home.id, house.seat.id}
    assert house.alice.get(house.home).state == "archived"
    assert [one.event for one in house.alice.lifecycle.events(house.home)][-1] == "archived"
    assert house.alice.lifecycle.restore(house.seat).state == "active"
    assert house.alice.lifecycle.restore(house.home).state == "active"


def test_an_archived_addition_arrives_archived(house: House) -> None:
    one = house.trial.remember("Likes tea", topic="drink")
    house.trial.lifecycle.archive(one)
    house.alice.remember("Likes coffee", topic="drink")
    house.alice.merge("trial")
    assert house.alice.get(one).state == "archived"
    assert "Likes coffee" in house.texts()


def test_relations_and_entities_come_along(house: House) -> None:
    french = house.trial.remember(
        "Speaks French",
        entities=[{"name": "French", "type": "concept"}],
        relations=[{"to": house.home.id, "type": "causal"}],
    )
    house.alice.merge("trial")
    (edge,) = house.alice.relations.list(french)
    assert edge.target == house.home.id
    names = [one.name for one in house.alice.relations.entities()]
    assert names == ["French"]
    house.trial.relations.add(house.seat, house.home, type="association")
    diff = house.trial.diff("main")
    assert [one.fields for one in diff.updated] == [("relations",)]
    house.alice.merge("trial")
    assert len(list(house.alice.relations.list(house.seat))) == 1
    assert house.trial.diff("main").counts["updated"] == 0


def test_labels_are_merged_and_clash(house: House) -> None:
    house.trial.annotate(house.home, tags=["home"], trust="T1")
    done = house.alice.merge("trial")
    assert done.updated == ((house.home.id, house.home.id),)
    memory = house.alice.get(house.home)
    assert (memory.tags, memory.trust) == (("home",), "T1")
    assert house.alice.recall("home", k=1)[0].id == house.home.id
    house.trial.annotate(house.seat, trust="T2")
    house.alice.annotate(house.seat, trust="T3")
    with pytest.raises(palimp.Conflict, match="changed"):
        house.alice.merge("trial")


def test_what_expired_is_neither_brought_nor_missed(house: House) -> None:
    house.trial.remember("Buy milk", type="task", ttl=60)
    house.clock.advance(61)
    house.mem.maintain()
    house.alice.merge("trial")
    assert house.texts() == ["Lives in Lyon", "Prefers aisle seats"]


def test_what_was_erased_does_not_come_back(house: House) -> None:
    secret = house.alice.remember("The password is swordfish")
    house.alice.fork("late")
    house.alice.erase(secret, grace=0).wait()
    done = house.alice.merge("late")
    assert done.added == ()
    assert all("swordfish" not in text for text in house.texts())


def test_a_fork_point_stays_readable_when_history_is_given_up(house: House) -> None:
    house.mem.set_policy("default", {"retention": {"pitr_secs": 60, "pitr_snapshot_secs": 60}})
    for number in range(5):
        house.trial.remember(f"fact {number}")
        house.trial.sync()
        house.clock.advance(86_400 * 40)
        house.mem.maintain()
    assert house.trial.diff("main").counts["added"] == 5


def test_only_the_newest_checkpoints_of_merges_stay(house: House) -> None:
    house.alice.checkpoint("mine")
    for number in range(22):
        house.trial.remember(f"fact {number}")
        house.alice.merge("trial")
    names = [one.name for one in house.alice.checkpoints()]
    assert len([one for one in names if one.startswith("pre_merge_")]) == 20
    assert "mine" in names


def info(name: str, parent: str | None = None, txid: int | None = None) -> BranchInfo:
    return BranchInfo(name, f"id-{name}", parent, txid, 99, 0, 0, None, False)


def test_where_branches_parted() -> None:
    tree = [
        info("main"),
        info("a", "main", 10),
        info("b", "main", 20),
        info("aa", "a", 15),
        info("ab", "a", 12),
        info("alone"),
    ]
    assert parted(tree, "a", "main") == (10, ("a", "main"))
    assert parted(tree, "main", "a")[0] == 10
    assert parted(tree, "a", "b")[0] == 10
    assert parted(tree, "aa", "b")[0] == 10
    assert parted(tree, "aa", "ab")[0] == 12
    assert parted(tree, "aa", "a")[0] == 15
    # A branch forked from before its parent's own beginning.
    tree.append(info("old", "aa", 5))
    assert parted(tree, "old", "main")[0] == 5
    with pytest.raises(palimp.Conflict, match="nothing says"):
        parted(tree, "alone", "main")
    with pytest.raises(palimp.NotFound, match="there is main"):
        parted(tree, "gone", "main")
