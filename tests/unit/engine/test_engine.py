"""Branches of a profile, what collects after them, whole databases, and all of it at once."""

from __future__ import annotations

import random
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from palimp.clock import Clock, ManualClock
from palimp.engine import Engine
from palimp.errors import Conflict, Internal, Invalid, NotFound, Unavailable
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore
from palimp.store.faulty import Chance, FaultyStore

from .engines import (
    Engines,
    P,
    Switch,
    fill,
    insert,
    key_of,
    objects,
    put,
    recovered,
    repeat,
    stored,
    using,
    words,
    words_at,
)

OTHER = P._replace(branch="other")


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def a(engines: Engines, store: VolatileStore, clock: ManualClock) -> Engine:
    return engines(store, clock=clock)


def keys(store: ObjectStore) -> set[str]:
    return {entry.key for entry in store.list("", None, 10_000).entries}


# Forks


def test_a_fork_begins_with_everything_acknowledged_and_goes_its_own_way(
    a: Engine, store: VolatileStore
) -> None:
    put(a, "one", durable=True)
    put(a, "two")
    before = keys(store)
    made = a.fork(P, "other")
    assert made.txid == 2
    # No data was copied: a head, a manifest, and the shipment of what was not shipped yet.
    assert len(keys(store) - before) == 3
    assert words(a, OTHER) == ["one", "two"]
    assert put(a, "there", OTHER, durable=True) == 3
    assert put(a, "here", durable=True) == 3
    assert words(a) == ["one", "two", "here"]
    assert words(a, OTHER) == ["one", "two", "there"]
    (main, other) = a.branches(P)
    assert (main.name, main.parent, main.txid, main.checkpoints) == ("main", None, 3, 0)
    assert (other.name, other.parent, other.parent_txid, other.txid) == ("other", "main", 2, 3)
    assert (other.branch_id, other.ttl_at, other.recovered) == (made.branch_id, None, False)


def test_a_fork_from_every_kind_of_point(a: Engine, clock: ManualClock) -> None:
    fill(a, 2)
    a.checkpoint(P, "here")
    at = clock.now_ms()
    clock.advance(10)
    put(a, "w2", durable=True)
    for name, point in [
        ("by-name", Point.checkpoint("here")),
        ("by-txid", Point.txid(2)),
        ("by-time", Point.time(at)),
    ]:
        assert a.fork(P, name, point).txid == 2
        assert words(a, P._replace(branch=name)) == ["w0", "w1"]
        # Names of points are the parent's.
        assert a.checkpoints(P._replace(branch=name)) == []


def test_a_fork_from_a_point_in_history_and_of_a_fork(a: Engine, store: VolatileStore) -> None:
    fill(a, 70)
    a.maintain(P)
    assert stored(store, key_of(a)).history
    assert a.fork(P, "other", Point.txid(7)).txid == 7
    assert words(a, OTHER) == [f"w{n}" for n in range(7)]
    put(a, "more", OTHER)
    third = P._replace(branch="third")
    assert a.fork(OTHER, "third").txid == 8
    assert words(a, third) == [*(f"w{n}" for n in range(7)), "more"]
    assert {one.name: one.parent for one in a.branches(P)} == {
        "main": None,
        "other": "main",
        "third": "other",
    }
    assert a.verify(P).findings == ()


def test_a_fork_outlives_what_its_parent_gives_up(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, fine_ms=0, snapshots_ms=0)
    fill(a, 12)
    a.fork(P, "other", Point.txid(5))
    fill(a, 12)
    for _ in range(3):
        a.maintain(P)
    assert [one.txid for one in a.boundaries(P)] == [24]
    assert words(a, OTHER) == [f"w{n}" for n in range(5)]
    assert a.verify(P).findings == ()


def test_names_that_cannot_be_forked(a: Engine) -> None:
    with pytest.raises(NotFound) as missing:
        a.fork(P, "other")
    assert missing.value.code == "database_not_found"
    put(a, "one")
    a.fork(P, "other")
    for name in ("other", "main"):
        with pytest.raises(Conflict) as caught:
            a.fork(P, name)
        assert caught.value.code == "already_exists"
        assert f"branch {name!r} exists already" in caught.value.message
    with pytest.raises(NotFound) as missing:
        a.fork(P._replace(branch="none"), "more")
    assert missing.value.code == "branch_not_found"
    assert [one.name for one in a.branches(P)] == ["main", "other"]


def test_a_repeated_fork_gets_the_first_ones_answer(a: Engine, store: VolatileStore) -> None:
    fill(a, 2)
    first = a.fork(P, "trial", repeat=repeat("r1"))
    put(a, "later", durable=True)
    again = a.fork(P, "trial", repeat=repeat("r1"))
    assert (again.branch_id, again.txid) == (first.branch_id, first.txid)
    with pytest.raises(Conflict, match="'trial' exists"):
        a.fork(P, "trial", repeat=repeat("r2"))
    a.delete_branch(P._replace(branch="trial"))
    # Of a branch that was deleted since, a repeat is a request like any other.
    assert a.fork(P, "trial", repeat=repeat("r1")).branch_id != first.branch_id


def test_of_two_forks_of_one_name_one_is_made(a: Engine) -> None:
    put(a, "one", durable=True)
    outcomes: list[str] = []

    def work() -> None:
        try:
            a.fork(P, "other")
            outcomes.append("made")
        except Conflict:
            outcomes.append("taken")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "taken", "taken", "taken"]
    assert words(a, OTHER) == ["one"]


# Deleting


def test_a_deleted_branch_is_gone_and_its_name_is_free(
    engines: Engines, a: Engine, store: VolatileStore
) -> None:
    fill(a, 2)
    first = a.fork(P, "other")
    put(a, "there", OTHER)
    a.delete_branch(OTHER)
    for action in (lambda: words(a, OTHER), lambda: put(a, "no", OTHER), lambda: a.sync(OTHER)):
        with pytest.raises(NotFound) as caught:
            action()
        assert caught.value.code == "branch_not_found"
    with pytest.raises(NotFound):
        a.delete_branch(OTHER)
    assert not (engines.root / "a" / "hot" / key_of(a)[0] / first.branch_id).exists()
    assert objects(store, (key_of(a)[0], first.branch_id)) == set()
    second = a.fork(P, "other", Point.txid(1))
    assert second.branch_id != first.branch_id
    assert words(a, OTHER) == ["w0"]
    assert words(a) == ["w0", "w1"]


def test_main_and_what_is_not_there_cannot_be_deleted(a: Engine) -> None:
    put(a, "one")
    with pytest.raises(Invalid, match="'main' of profile 'p' cannot be deleted"):
        a.delete_branch(P)
    with pytest.raises(NotFound):
        a.delete_branch(OTHER)
    assert words(a) == ["one"]


def test_a_branch_in_use_is_not_deleted_under_its_user(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, patience=0.05)
    put(a, "one", durable=True)
    a.fork(P, "other")
    with using(a, OTHER) as branch:
        with pytest.raises(Unavailable) as caught:
            a.delete_branch(OTHER)
        assert caught.value.details["reason"] == "busy"
        assert branch.write(insert("still")).txid == 2
    a.delete_branch(OTHER)


def test_what_a_deleted_branch_shares_stays(a: Engine) -> None:
    fill(a, 3)
    a.fork(P, "other")
    put(a, "there", OTHER, durable=True)
    a.fork(OTHER, "third")
    a.delete_branch(OTHER)
    third = P._replace(branch="third")
    assert words(a, third) == ["w0", "w1", "w2", "there"]
    assert a.verify(P).findings == ()
    (info,) = [one for one in a.branches(P) if one.name == "third"]
    assert info.parent not in (None, "main")


def test_another_node_notices_that_a_branch_is_gone(engines: Engines, store: VolatileStore) -> None:
    a, b = engines(store, "a"), engines(store, "b", clock=ManualClock(), staleness=0.0)
    put(a, "one", durable=True)
    a.fork(P, "other")
    put(b, "mine", OTHER, durable=True)
    a.delete_branch(OTHER)
    with pytest.raises(Unavailable):
        put(b, "lost", OTHER, durable=True)
    with pytest.raises(NotFound):
        words(b, OTHER)
    a.fork(P, "other")
    assert words(b, OTHER) == ["one"]
    assert put(b, "again", OTHER, durable=True)


def test_a_damaged_branch_can_be_deleted_and_looked_at(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "one", durable=True)
    a.fork(P, "other")
    put(a, "there", OTHER, durable=True)
    ref = stored(store, key_of(a, OTHER)).segments[-1]
    engines.close(a)
    engines.wipe("a")
    store.delete(ref.key)
    again = engines(store)
    with pytest.raises(Internal):
        words(again, OTHER)
    assert [one.key for one in again.verify(P).findings] == [ref.key]
    assert [one.name for one in again.branches(P)] == ["main", "other"]
    again.delete_branch(OTHER)
    assert again.verify(P).findings == ()


def test_a_burner_ends_with_its_time(
    engines: Engines, a: Engine, store: VolatileStore, clock: ManualClock
) -> None:
    put(a, "one", durable=True)
    made = a.fork(P, "other", ttl_ms=60_000)
    assert made.ttl_at == clock.now_ms() + 60_000
    put(a, "there", OTHER, durable=True)
    assert a.maintain(P).branches_expired == 0
    assert [one.ttl_at for one in a.branches(P)] == [None, made.ttl_at]
    clock.advance(60)
    assert a.maintain(P).branches_expired == 1
    assert [one.name for one in a.branches(P)] == ["main"]
    with pytest.raises(NotFound):
        words(a, OTHER)
    # Nothing of it is left, here or there, and its name is free.
    assert objects(store, (key_of(a)[0], made.branch_id)) == set()
    assert not (engines.root / "a" / "hot" / key_of(a)[0] / made.branch_id).exists()
    a.fork(P, "other")
    assert words(a, OTHER) == ["one"]


# Upkeep


def test_collection_removes_what_nothing_names_and_nothing_else(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, fine_ms=0, snapshots_ms=0)
    fill(a, 30)
    a.fork(P, "other", Point.txid(3))
    a.checkpoint(P, "kept")
    put(a, "last", durable=True)
    key = key_of(a)
    strange = f"v1/db/{key[0]}/{key[1]}/{5:016x}-{6:016x}-{1:08x}-n_orphan.ltx"
    store.create(strange, b"of a crash")
    done = a.maintain(P)
    assert done.folded == 1
    assert done.objects_deleted > 0
    assert strange not in keys(store)
    a.maintain(P)
    found = a.verify(P)
    assert (found.findings, found.unnamed) == ((), 0)
    assert words(a, OTHER) == ["w0", "w1", "w2"]
    assert words_at(a, "kept") == [f"w{n}" for n in range(30)]


def test_with_nothing_to_do_maintaining_changes_nothing(a: Engine, store: VolatileStore) -> None:
    fill(a, 12)
    a.fork(P, "other")
    assert a.maintain(P).folded == 1
    versions = {key: store.get(key).version for key in keys(store)}  # type: ignore[union-attr]
    assert a.maintain(P) == (0, 0, 0, 0)
    assert {key: store.get(key).version for key in keys(store)} == versions  # type: ignore[union-attr]


def test_maintaining_what_was_never_written(a: Engine) -> None:
    with pytest.raises(NotFound):
        a.maintain(P)


# Whole databases


def test_an_export_opens_anywhere_and_comes_back_elsewhere(
    engines: Engines, a: Engine, store: VolatileStore, tmp_path: Path
) -> None:
    fill(a, 3)
    put(a, "unshipped")
    file = a.export(P)
    assert file.txid == 4
    path = tmp_path / "export.db"
    path.write_bytes(file.data)
    with sqlite3.connect(path) as plain:
        assert [w for (w,) in plain.execute("SELECT word FROM words ORDER BY id")] == words(a)
    plain.close()
    copy = P._replace(profile="copy")
    assert a.import_(copy, file.data) == 1
    assert words(a, copy) == ["w0", "w1", "w2", "unshipped"]
    assert stored(store, key_of(a, copy)).txid == 1
    assert put(a, "more", copy, durable=True) == 2
    assert words(engines(store, "elsewhere"), copy) == words(a, copy)
    assert a.export(P, Point.txid(2)).txid == 2
    a.import_(P._replace(profile="old"), a.export(P, Point.txid(2)).data)
    assert words(a, P._replace(profile="old")) == ["w0", "w1"]
    assert a.verify(copy).findings == ()


def test_an_import_into_what_was_written_is_refused(a: Engine) -> None:
    put(a, "one")
    data = a.export(P).data
    with pytest.raises(Conflict) as caught:
        a.import_(P, data)
    assert caught.value.code == "already_exists"
    assert words(a) == ["one"]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "byte"])
def test_a_damaged_file_is_refused_and_leaves_nothing(
    engines: Engines, a: Engine, store: VolatileStore, damage: str
) -> None:
    fill(a, 3)
    whole = a.export(P).data
    data = {
        "empty": b"",
        "text": b"not a database" * 100,
        "cut": whole[:-4096],
        "byte": whole[:100] + b"\xff" * 20 + whole[120:],
    }[damage]
    before = keys(store)
    there = sorted(path.name for path in (engines.root / "a" / "hot").iterdir())
    copy = P._replace(profile="copy")
    with pytest.raises(Invalid):
        a.import_(copy, data)
    assert keys(store) == before
    assert sorted(path.name for path in (engines.root / "a" / "hot").iterdir()) == there
    assert words(a, copy) is None
    a.import_(copy, whole)
    assert words(a, copy) == ["w0", "w1", "w2"]


def test_an_import_that_the_store_refused_can_be_repeated(
    engines: Engines, store: VolatileStore
) -> None:
    switch = Switch()
    faulty = FaultyStore(store, switch, Clock())
    a = engines(faulty, clock=Clock(), ship_interval=3600, patience=0.5)
    put(a, "one", durable=True)
    data = a.export(P).data
    copy = P._replace(profile="copy")
    a._lookup.create(copy)
    switch.operations, switch.down = ("create",), True
    with pytest.raises(Unavailable):
        a.import_(copy, data)
    switch.down = False
    assert words(a, copy) is None
    a.import_(copy, data)
    assert words(a, copy) == ["one"]


# All of it at once


class Storm:
    """Threads over branches of one profile; what they were promised is kept track of."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        self.engine = engine
        self.clock = Clock()
        self.end = self.clock.monotonic() + seconds
        self.branches = [P._replace(branch=f"b{n}") for n in range(8)]
        self.lock = threading.Lock()
        self.durable: dict[str, set[str]] = {one.branch: set() for one in self.branches}
        self.checkpoints: list[tuple[str, str, int]] = []
        self.defects: list[BaseException] = []
        self.rewinding = {self.branches[6].branch, self.branches[7].branch}

    def run(self, threads: int) -> None:
        workers = [threading.Thread(target=self.work, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def work(self, number: int) -> None:
        draw = random.Random(number)
        step = 0
        try:
            while self.clock.monotonic() < self.end:
                step += 1
                try:
                    self.step(draw, f"t{number}s{step}")
                except Unavailable:
                    continue
        except BaseException as error:
            self.defects.append(error)
            raise

    def step(self, draw: random.Random, word: str) -> None:
        engine, address = self.engine, draw.choice(self.branches)
        action = draw.random()
        if action < 0.4:
            put(engine, word, address, durable=True, request=word)
            with self.lock:
                self.durable[address.branch].add(word)
        elif action < 0.7:
            put(engine, word, address)
        elif action < 0.8:
            words(engine, address)
        elif action < 0.88:
            reached = engine.checkpoint(address, f"c{word}")
            with self.lock:
                self.checkpoints.append((address.branch, f"c{word}", reached.txid))
        elif action < 0.93 and address.branch in self.rewinding:
            boundaries = engine.boundaries(address)
            engine.rewind(address, Point.txid(draw.choice(boundaries).txid))
        elif action < 0.96:
            # Its time may be over, and another thread may have removed it, before it is answered.
            with suppress(Conflict):
                engine.fork(address, f"f{word}", ttl_ms=1)
        elif action < 0.98:
            with engine.past(address, Point.txid(draw.choice(engine.boundaries(address)).txid)):
                pass
        else:
            engine.maintain(P)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_threads_and_a_store_that_fails_lose_nothing(
    engines: Engines, store: VolatileStore, seed: int
) -> None:
    setup = engines(store, "setup")
    put(setup, "root", durable=True)
    for number in range(8):
        setup.fork(P, f"b{number}")
    engines.close(setup)
    chance = Chance(random.Random(seed), errors=0.02, lost=0.01, late=0.005, seconds_max=0.01)
    faulty = FaultyStore(store, chance, Clock())
    a = engines(faulty, clock=Clock(), ship_interval=0.02, hot_cap=5, past_budget=200_000)
    storm = Storm(a, 2.0)
    storm.run(16)
    assert storm.defects == []
    contents = {}
    for address in storm.branches:
        for attempt in range(20):
            try:
                contents[address.branch] = words(a, address)
                break
            except Unavailable:
                assert attempt < 19
    engines.close(a)
    engines.wipe("a")
    # From the store alone.
    again = engines(store, "again")
    for address in storm.branches:
        found = words(again, address)
        assert found == contents[address.branch]
        assert found is not None
        assert len(found) == len(set(found))
        if address.branch not in storm.rewinding:
            assert storm.durable[address.branch] <= set(found)
    for branch, name, txid in storm.checkpoints:
        named = {one.name: one.txid for one in again.checkpoints(P._replace(branch=branch))}
        assert named[name] == txid
    assert sum(len(found) for found in storm.durable.values()) > 20
    assert recovered(again) == {}
    assert again.verify(P).findings == ()
