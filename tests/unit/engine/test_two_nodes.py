"""Two nodes on one store without leases: one writes at a time, the other knows it, nothing is lost."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

import pytest

from palimp.clock import Clock, ManualClock
from palimp.engine import Address
from palimp.errors import Unavailable
from palimp.store import ObjectStore, VolatileStore
from palimp.store.directory import DirectoryStore
from palimp.store.faulty import Chance, FaultyStore

from .engines import Engines, P, fill, key_of, put, recovered, stored, using, words


@pytest.fixture(params=["volatile", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "objects")
    return VolatileStore(weak_versions=True)


def refused(engine, word: str = "no", **options) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        put(engine, word, **options)
    return caught.value


def test_the_second_writer_takes_over_and_the_first_is_told_by_whom(
    engines: Engines, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    a = engines(store, "a", clock=clock)
    b = engines(store, "b")
    put(a, "one", durable=True)
    with caplog.at_level(logging.WARNING, "palimp"):
        put(b, "two", durable=True)
        error = refused(a, durable=True)
    assert error.details["reason"] == "fenced"
    assert error.details["node"] == "b"
    assert error.details["epoch"] == stored(store, key_of(b)).epoch == 2
    assert error.details["in_doubt"] is True
    assert "node b" in error.message
    assert "taken over from node a by this node b" in caplog.text
    assert "this node a is fenced; epoch 2 belongs to node b" in caplog.text
    # The write that was in doubt is on a branch of its own, and both nodes read the same present.
    assert words(a) == words(b) == ["one", "two"]
    assert recovered(a) == {"recovered-a-1": ["one", "no"]}


def test_what_was_taken_is_left_for_a_minute_and_then_taken_back(
    engines: Engines, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    a, b = engines(store, "a", clock=clock), engines(store, "b")
    put(a, "one", durable=True)
    put(b, "two", durable=True)
    refused(a, durable=True)
    clock.advance(59)
    error = refused(a)
    assert error.details["reason"] == "fenced"
    assert error.details.get("in_doubt") is not True
    assert error.retry_after == pytest.approx(1.0)
    assert stored(store, key_of(b)).epoch == 2
    clock.advance(2)
    txid = put(a, "three", durable=True)
    assert words(a) == ["one", "two", "three"]
    manifest = stored(store, key_of(a))
    assert (manifest.epoch, manifest.txid) == (3, txid)
    assert manifest.owner is not None
    assert manifest.owner.node == "a"
    assert "taken over from node b by this node a" in caplog.text


def test_commits_that_were_not_shipped_become_a_branch_with_the_common_parent(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    common = put(a, "one", durable=True)
    lost = [put(a, "two"), put(a, "three")]
    taken = put(b, "other", durable=True)
    assert taken > max(lost)
    with using(a) as branch, pytest.raises(Unavailable, match="node b"):
        branch.sync()
    assert words(a) == ["one", "other"]
    assert recovered(b) == {"recovered-a-1": ["one", "two", "three"]}
    (info,) = [one for one in b.branches(P) if one.recovered]
    assert (info.parent, info.parent_txid, info.txid) == ("main", common, max(lost))
    # It is a branch as any other: it can be written and forked.
    there = Address(*P[:2], info.name)
    assert put(b, "four", there, durable=True) == max(lost) + 1
    assert words(b, there) == ["one", "two", "three", "four"]
    b.fork(there, "copy")
    assert words(b, Address(*P[:2], "copy")) == ["one", "two", "three", "four"]


def test_what_was_restored_here_is_a_proven_parent_too(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    put(a, "one", durable=True)
    common = put(a, "two", durable=True)
    # b restores the head; what it writes on top is never shipped.
    put(b, "mine")
    c = engines(store, "c")
    put(c, "three", durable=True)
    with using(b) as branch, pytest.raises(Unavailable):
        branch.sync()
    (info,) = [one for one in c.branches(P) if one.recovered]
    assert (info.name, info.parent_txid) == ("recovered-b-2", common)
    assert recovered(c) == {"recovered-b-2": ["one", "two", "mine"]}


def test_without_a_proof_a_recovered_branch_has_no_parent(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    put(a, "one")
    # The name is in the store, the content is not: b begins.
    put(b, "other", durable=True)
    with using(a) as branch, pytest.raises(Unavailable):
        branch.sync()
    (info,) = [one for one in b.branches(P) if one.recovered]
    assert (info.parent, info.parent_txid) == (None, None)
    assert recovered(b) == {info.name: ["one"]}
    assert words(a) == ["other"]


def test_nothing_to_recover_makes_no_branch(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a", clock=clock), engines(store, "b")
    fill(a, 3)
    put(b, "other", durable=True)
    with pytest.raises(Unavailable):
        a.checkpoint(P, "here")
    assert words(a) == ["w0", "w1", "w2", "other"]
    assert [info.name for info in a.branches(P)] == ["main"]


def test_turns_of_two_nodes_leave_one_line_and_txids_only_rise(
    engines: Engines, store: ObjectStore
) -> None:
    clocks = ManualClock(), ManualClock()
    nodes = [engines(store, name, clock=clock) for name, clock in zip("ab", clocks, strict=True)]
    txids, expected = [], []
    for turn in range(6):
        node = nodes[turn % 2]
        if turn >= 2:
            # It took itself for the owner until now.
            assert refused(node, f"lost{turn}", durable=True).details["reason"] == "fenced"
        for clock in clocks:
            clock.advance(61)
        txids.append(put(node, f"t{turn}", durable=True))
        expected.append(f"t{turn}")
        assert words(node) == expected
    assert txids == sorted(set(txids))
    assert [one.txid for one in nodes[1].boundaries(P)] == txids
    assert nodes[1].verify(P).findings == ()
    assert recovered(nodes[1]) == {
        f"recovered-{'ab'[turn % 2]}-{turn - 1}": [*expected[: turn - 1], f"lost{turn}"]
        for turn in range(2, 6)
    }


def test_a_reader_sees_what_the_writer_shipped_after_its_staleness(
    engines: Engines, store: ObjectStore
) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock, staleness=5.0)
    put(a, "one", durable=True)
    assert words(b) == ["one"]
    put(a, "two", durable=True)
    assert words(b) == ["one"]
    clock.advance(6)
    assert words(b) == ["one", "two"]
    # Reading took nothing from the writer.
    assert stored(store, key_of(a)).epoch == 1
    put(a, "three", durable=True)


def test_maintaining_leaves_the_branch_of_another_node_alone(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    fill(a, 20)
    b.maintain(P)
    assert stored(store, key_of(a)).epoch == 1
    put(a, "still mine", durable=True)


def test_a_waiter_is_not_told_that_a_lost_write_is_durable(
    engines: Engines, store: ObjectStore
) -> None:
    """The new owner's txids are higher than the lost ones, which are not below them therefore."""
    clock = ManualClock()
    a, b = engines(store, "a", clock=clock, fenced_pause=0.0), engines(store, "b")
    put(a, "one", durable=True)
    lost = put(a, "two")
    put(b, "other", durable=True)
    with using(a) as branch, pytest.raises(Unavailable):
        branch.sync()
    clock.advance(10)
    put(a, "three", durable=True)
    with using(a) as branch:
        with pytest.raises(Unavailable) as caught:
            branch.wait_shipped(lost)
        branch.wait_shipped(1)
    assert caught.value.details["in_doubt"] is True
    assert recovered(a) == {"recovered-a-1": ["one", "two"]}


def test_of_two_copied_folders_the_first_to_open_wins(engines: Engines, store: ObjectStore) -> None:
    a = engines(store, "a")
    put(a, "one", durable=True)
    put(a, "two")
    engines.copy("a", "first")
    engines.copy("a", "second")
    first = engines(store, "first", node="a")
    assert words(first) == ["one", "two"]
    put(first, "three", durable=True)
    second = engines(store, "second", node="a")
    assert words(second) == ["one", "two", "three"]
    # Where the first shipped its "two" alone, the second sees that it has nothing else.
    assert recovered(second) in ({}, {"recovered-a-1": ["one", "two"]})
    assert put(first, "four", durable=True)


def test_the_second_copy_may_find_out_only_when_it_writes(
    engines: Engines, store: ObjectStore
) -> None:
    a = engines(store, "a")
    put(a, "one", durable=True)
    # Neither copy has what the store has not: it would ship that by itself, and be the owner.
    put(a, "two", durable=True)
    engines.copy("a", "first")
    engines.copy("a", "second")
    first, second = (engines(store, name, node="a") for name in ("first", "second"))
    assert words(second) == ["one", "two"]
    assert words(first) == ["one", "two"]
    put(first, "three", durable=True)
    put(second, "four", durable=True)
    assert words(second) == ["one", "two", "three", "four"]
    assert recovered(second) == {}
    assert second.verify(P).findings == ()


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_was_acknowledged_by_either_of_two_that_contend_is_somewhere(
    engines: Engines, store: ObjectStore, seed: int
) -> None:
    chance = Chance(random.Random(seed), errors=0.02, lost=0.02, late=0.01, seconds_max=0.02)
    faulty = FaultyStore(store, chance, Clock())
    nodes = {
        name: engines(
            faulty, name, clock=Clock(), ship_interval=0.01, fenced_pause=0.02, staleness=0.01
        )
        for name in "ab"
    }
    local: dict[str, int] = {}
    durable: dict[str, int] = {}
    defects: list[BaseException] = []

    def work(name: str, thread: int) -> None:
        for step in range(60):
            word = f"{name}{thread}-{step}"
            try:
                if step % 2:
                    durable[word] = put(nodes[name], word, durable=True)
                else:
                    local[word] = put(nodes[name], word)
            except Unavailable as error:
                if "txid" in error.details:
                    local[word] = error.details["txid"]
                # Fenced for a moment: leave it to the other one.
                Clock().sleep(0.01)
            except BaseException as error:
                defects.append(error)
                raise

    threads = [threading.Thread(target=work, args=(name, n)) for name in "ab" for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert defects == []
    for engine in nodes.values():
        engines.close(engine)
    # What a node could not ship at its end is in its folder, and found when it comes back.
    for name in "ab":
        again = engines(store, name)
        words(again)
        again.sync(P)
        engines.close(again)
    last = engines(store, "last")
    present = words(last)
    assert present is not None
    branches = recovered(last)
    everywhere = {word for found in branches.values() for word in found or ()} | set(present)
    assert set(durable) <= set(present)
    assert set(local) <= everywhere
    assert len(present) == len(set(present))
    # No number was given to two writes that both hold.
    held = {word: txid for word, txid in {**local, **durable}.items() if word in set(present)}
    by_txid: dict[int, set[str]] = {}
    for word, txid in held.items():
        by_txid.setdefault(txid, set()).add(word[0])
    assert all(len(nodes) == 1 for nodes in by_txid.values())
    assert stored(store, key_of(last)).epoch > 2
    assert last.verify(P).findings == ()
