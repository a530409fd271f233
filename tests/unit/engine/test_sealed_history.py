"""A history that is sealed: stored again under a new key, kept and collected without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from palimp.clock import ManualClock
from palimp.engine import Address, Engine
from palimp.engine.protocol import Keep, collect, retain
from palimp.errors import Internal, NotFound, Unavailable, Unconfigured
from palimp.ids import MAIN
from palimp.security.envelope import MasterKey
from palimp.security.keyring import Keys
from palimp.security.rotation import rotate_database, rotate_namespace
from palimp.store import VolatileStore
from palimp.store.sealed import SealedStore

from .engines import Engines, P, fill, key_of, objects, put, stored, using, words, words_at

MASTER = MasterKey(b"m" * 32)
TRIAL = Address("ns", "p", "trial")


class World:
    """Engines on one sealed store, each with keys of its own."""

    def __init__(self, engines: Engines) -> None:
        self.below = VolatileStore(weak_versions=True)
        self.clock = ManualClock()
        self._engines = engines
        self._started = False

    def __call__(self, folder: str = "a", **options: int) -> tuple[Engine, Keys]:
        keys = Keys(self.below, (MASTER,), self.clock)
        keys.start("store", sealed=self._started, may_write=True)
        self._started = True
        store = SealedStore(self.below, keys)
        engine = self._engines(store, folder, clock=self.clock, **options)
        keys.directory = engine.renewing
        return engine, keys

    def segments(self, engine: Engine) -> dict[str, int | None]:
        """Return the segments of the database, and the version each is sealed with."""
        keys = Keys(self.below, (MASTER,), self.clock)
        return keys.versions_of(engine.erasing.objects(key_of(engine)[0]))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engines = Engines(tmp_path)
    yield World(engines)
    engines.close_all()


def sound(engine: Engine, address: Address = P) -> bool:
    return not engine.verify(address).findings


def test_everything_a_branch_stores_is_sealed_and_reads_back(world: World) -> None:
    engine, _ = world()
    txids = fill(engine, 12)
    engine.maintain(P)
    segments = world.segments(engine)
    assert segments
    assert set(segments.values()) == {1}
    assert b"w11" not in b"".join(self_.data for k in segments if (self_ := world.below.get(k)))
    other, _ = world("b")
    assert words(other) == [f"w{n}" for n in range(12)]
    assert words_at(other, txids[3]) == ["w0", "w1", "w2", "w3"]
    assert sound(engine)


def rotate(keys: Keys, engine: Engine) -> None:
    rotate_namespace(keys, "ns")
    assert rotate_database(keys, key_of(engine)[0], renew=True)


def is_old(keys: Keys) -> object:
    return lambda key: keys.versions_of([key])[key] != 2


def test_segments_are_stored_again_in_every_branch_and_no_boundary_is_lost(world: World) -> None:
    engine, keys = world()
    fill(engine, 10)
    engine.checkpoint(P, "ten")
    engine.fork(P, "trial")
    put(engine, "mine", TRIAL, durable=True)
    engine.maintain(P)
    put(engine, "after", durable=True)
    boundaries = {name: engine.boundaries(name) for name in (P, TRIAL)}
    rotate(keys, engine)
    old, total, calls = is_old(keys), 0, 0
    while True:
        done = engine.renewing.renew(P, old, 3)
        total, calls = total + done.stored, calls + 1
        if not done.remaining:
            break
        assert done.stored == 3
    assert calls > 2
    engine.erasing.collect(P, key_of(engine)[0])
    assert set(world.segments(engine).values()) == {2}
    assert {name: engine.boundaries(name) for name in (P, TRIAL)} == boundaries
    assert engine.renewing.renew(P, old, 100) == (0, 0)
    assert sound(engine)
    other, _ = world("b")
    for name, boundary in [(n, one) for n, found in boundaries.items() for one in found]:
        assert words_at(other, boundary.txid, name) == words_at(engine, boundary.txid, name)
    assert words_at(other, "ten") == [f"w{n}" for n in range(10)]
    assert words(other, TRIAL) == [*(f"w{n}" for n in range(10)), "mine"]


def test_what_was_written_without_a_key_is_sealed_too(tmp_path: Path, world: World) -> None:
    plain = Engines(tmp_path / "plain")
    first = plain(world.below, clock=world.clock)
    fill(first, 4)
    plain.close(first)
    engine, keys = world()
    assert words(engine) == ["w0", "w1", "w2", "w3"]
    put(engine, "sealed", durable=True)
    assert set(world.segments(engine).values()) == {None, 1}
    engine.renewing.renew(P, lambda key: keys.versions_of([key])[key] is None, 100)
    engine.erasing.collect(P, key_of(engine)[0])
    assert set(world.segments(engine).values()) == {1}
    assert words(world("b")[0]) == ["w0", "w1", "w2", "w3", "sealed"]


def test_a_lost_owner_stores_nothing_again(world: World) -> None:
    engine, keys = world()
    fill(engine, 3)
    rotate(keys, engine)
    other, _ = world("b")
    put(other, "theirs", durable=True)
    with pytest.raises(Unavailable, match="taken over by node b"):
        engine.renewing.renew(P, is_old(keys), 100)
    assert words(other) == words(world("c")[0]) == ["w0", "w1", "w2", "theirs"]
    assert sound(other)
    assert other.renewing.renew(P, is_old(keys), 100).remaining == 0


def test_a_damaged_segment_is_not_stored_again(world: World) -> None:
    engine, keys = world()
    fill(engine, 3)
    rotate(keys, engine)
    key = damage(world, engine)
    with pytest.raises(Internal, match=key.rpartition("/")[2]):
        engine.renewing.renew(P, is_old(keys), 100)
    assert set(world.segments(engine).values()) >= {1}


def damage(world: World, engine: Engine) -> str:
    key = max(world.segments(engine))
    found = world.below.get(key)
    assert found is not None
    world.below.delete(key)
    world.below.create(key, found.data[:-1] + bytes([found.data[-1] ^ 1]))
    return key


def test_an_altered_object_is_named_with_its_txids(world: World) -> None:
    engine, _ = world()
    txids = fill(engine, 3)
    key = damage(world, engine)
    (finding,) = [one for one in engine.verify(P).findings if one.key == key]
    assert (finding.min_txid, finding.max_txid) == (txids[2], txids[2])
    assert "chunk 0 does not open" in finding.what
    assert "size" not in finding.what
    other, _ = world("b")
    with pytest.raises(Internal, match=rf"txids {txids[2]} to {txids[2]}") as caught:
        words(other)
    assert caught.value.details["key"] == key


def test_two_objects_in_each_others_place_are_found_out(world: World) -> None:
    engine, _ = world()
    fill(engine, 3)
    first, second = sorted(world.segments(engine))[:2]
    data = [world.below.get(key) for key in (second, first)]
    for key, found in zip((first, second), data, strict=True):
        assert found is not None
        world.below.delete(key)
        world.below.create(key, found.data)
    assert {one.key for one in engine.verify(P).findings} == {first, second}


def test_without_its_key_history_is_kept_forked_and_collected(world: World) -> None:
    engine, keys = world()
    put(engine, "first")
    engine.checkpoint(P, "first")
    fill(engine, 12)
    engine.maintain(P)
    db_id = key_of(engine)[0]
    keys.destroy(db_id)
    before = objects(world.below, (db_id, MAIN))
    # Forking copies references, dropping a name and collecting what it kept deletes objects.
    engine.fork(P, "trial")
    assert [one.name for one in engine.branches(P)] == ["main", "trial"]
    engine.delete_branch(TRIAL)
    with using(engine) as branch:
        dropped = branch.change(lambda lane: retain(lane, Keep(0, 0), 1 << 50), "retaining")
        deleted = branch.change(collect, "collecting")
    assert dropped > 8
    assert deleted > 8
    left = {key for key in objects(world.below, (db_id, MAIN)) if key.endswith(".ltx")}
    assert len(left) == 2
    assert left < before
    assert stored(world.below, (db_id, MAIN)).checkpoints.keys() == {"first"}
    # Nothing of it can be read by anybody who has no local file.
    with pytest.raises(Unconfigured, match="retired or destroyed"):
        words(world("b")[0])
    findings = engine.verify(P).findings
    assert findings
    assert all("retired or destroyed" in one.what for one in findings)
    # And nothing is added to it.
    with pytest.raises(NotFound, match="its keys are destroyed"):
        put(engine, "late", durable=True)
    engine.delete_profile(P)
    assert world.below.list(f"v1/db/{db_id}/").entries
    assert not [one for one in world.below.list(f"v1/db/{db_id}/").entries if ".ltx" in one.key]


def test_what_a_killed_process_left_unshipped_finds_its_namespace(
    world: World, tmp_path: Path
) -> None:
    engine, _ = world()
    put(engine, "local only")
    db_id = key_of(engine)[0]
    assert engine.renewing.namespace_of(db_id) == "ns"
    other, _ = world("b")
    # Not in use there: by the names in the store.
    assert other.renewing.namespace_of(db_id) == "ns"
    with pytest.raises(NotFound):
        other.renewing.namespace_of("n_nobody")
    assert other.renewing.database(P, create=False) == db_id
    assert other.renewing.database(Address("ns", "nobody"), create=False) is None
    assert not other.renewing.was_written(db_id)
    engine.sync(P)
    assert other.renewing.was_written(db_id)
