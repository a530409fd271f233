"""Points of a branch: checkpoints, earlier states, and returning to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from palimp.clock import Clock, ManualClock
from palimp.engine import Engine
from palimp.errors import Conflict, Internal, Invalid, NotFound, Unavailable
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore
from palimp.store.faulty import FaultyStore

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
    select,
    stored,
    until,
    using,
    words,
    words_at,
)

DAY = 86_400.0


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def a(engines: Engines, store: VolatileStore, clock: ManualClock) -> Engine:
    return engines(store, clock=clock)


def segments(store: ObjectStore, key: tuple[str, str]) -> set[str]:
    return {one for one in objects(store, key) if one.endswith(".ltx")}


# Checkpoints


def test_a_checkpoint_of_what_was_never_written(a: Engine) -> None:
    with pytest.raises(NotFound) as caught:
        a.checkpoint(P, "here")
    assert caught.value.code == "database_not_found"
    assert "'p' in namespace 'ns' was never written" in caught.value.message


def test_a_checkpoint_names_everything_acknowledged(a: Engine, store: VolatileStore) -> None:
    put(a, "one")
    put(a, "two")
    assert a.checkpoint(P, "here").txid == 2
    assert stored(store, key_of(a)).txid == 2
    put(a, "three")
    assert words_at(a, "here") == ["one", "two"]
    assert [(one.name, one.txid) for one in a.checkpoints(P)] == [("here", 2)]


def test_the_same_name_again_for_the_same_txid_and_for_another(a: Engine) -> None:
    put(a, "one")
    first = a.checkpoint(P, "here")
    assert a.checkpoint(P, "here") == first
    put(a, "two")
    with pytest.raises(Conflict, match="'here' names txid 1 already"):
        a.checkpoint(P, "here")
    assert [(one.name, one.txid) for one in a.checkpoints(P)] == [("here", 1)]
    a.drop_checkpoint(P, "here")
    assert a.checkpoint(P, "here").txid == 2
    with pytest.raises(NotFound):
        a.drop_checkpoint(P, "there")


# Reading the past


def test_a_time_is_the_last_boundary_at_or_before_it(a: Engine, clock: ManualClock) -> None:
    times = []
    for word in ("one", "two", "three"):
        put(a, word, durable=True)
        times.append(clock.now_ms())
        clock.advance(10)
    assert words_at(a, Point.time(times[1])) == ["one", "two"]
    assert words_at(a, Point.time(times[2] - 1)) == ["one", "two"]
    assert words_at(a, Point.time(clock.now_ms())) == ["one", "two", "three"]
    with pytest.raises(Invalid, match="before the first boundary that is kept: txid 1"):
        words_at(a, Point.time(times[0] - 1))
    # What is acknowledged now counts now.
    put(a, "four")
    assert words_at(a, Point.time(clock.now_ms())) == ["one", "two", "three", "four"]


def test_a_txid_between_boundaries_names_those_on_both_sides(a: Engine) -> None:
    put(a, "one", durable=True)
    put(a, "two")
    put(a, "three")
    put(a, "four", durable=True)
    with pytest.raises(Invalid, match="txid 2 is no boundary; the nearest are 1 and 4") as caught:
        words_at(a, 2)
    assert (caught.value.details["below"], caught.value.details["above"]) == (1, 4)
    with pytest.raises(Invalid, match="ahead of the branch"):
        words_at(a, 5)


def test_the_past_stays_while_writes_go_on(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=0.01)
    fill(a, 3)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            put(a, f"x{number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with a.past(P, Point.txid(2)) as held:
            for _ in range(20):
                assert held.read(select).value == ["w0", "w1"]
                assert words_at(a, 1) == ["w0"]
    finally:
        stop.set()
        writer.join()
    assert (words(a) or [])[:4] == ["w0", "w1", "w2", "x0"]


def test_readers_of_one_point_share_one_state(a: Engine) -> None:
    fill(a, 3)
    with a.past(P, Point.txid(2)) as first, a.past(P, Point.txid(2)) as second:
        assert first is second
    with a.past(P, Point.txid(2)) as third:
        assert third is first
    assert a._parts.metrics.snapshot()["past_states_restored"] == 1
    threads = [threading.Thread(target=lambda: words_at(a, 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert a._parts.metrics.snapshot()["past_states_restored"] == 2


def test_over_its_budget_the_longest_unread_states_go(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, past_budget=40_000)
    fill(a, 6)
    cache = engines.root / "a" / "cache"
    with a.past(P, Point.txid(1)) as held:
        for txid in (2, 3, 4, 5):
            assert words_at(a, txid) == [f"w{n}" for n in range(txid)]
        # What is being read stays, whatever its age.
        assert held.read(select).value == ["w0"]
        assert sum(path.stat().st_size for path in cache.rglob("*.db")) <= 40_000
    assert words_at(a, 2) == ["w0", "w1"]
    engines.close(a)
    assert list(cache.rglob("*.db")) == []


def test_many_readers_of_more_states_than_the_budget_holds(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, past_budget=1)
    fill(a, 4)
    failures: list[BaseException] = []

    def read(turn: int) -> None:
        try:
            for step in range(12):
                txid = (turn + step) % 4 + 1
                assert words_at(a, txid) == [f"w{n}" for n in range(txid)]
                a.export(P, Point.txid(txid))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=read, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list((engines.root / "a" / "cache").rglob("*.db")) == []


def test_a_missing_object_of_the_past_is_named(a: Engine, store: VolatileStore) -> None:
    fill(a, 3)
    ref = stored(store, key_of(a)).segments[0]
    store.delete(ref.key)
    with pytest.raises(Internal) as caught:
        words_at(a, 3)
    assert ref.key in caught.value.message
    assert "txids 2 to 2" in caught.value.message
    assert words_at(a, 1) == ["w0"]
    assert words(a) == ["w0", "w1", "w2"]


def test_what_was_collected_since_a_reader_looked_is_no_damage(
    engines: Engines, store: VolatileStore
) -> None:
    """A reader on another node holds a manifest from before; it looks again instead."""
    clock = ManualClock()
    a = engines(store, clock=clock, fine_ms=0, snapshots_ms=0)
    b = engines(store, "b")
    txids = fill(a, 20)
    a.checkpoint(P, "here")
    assert [one.txid for one in b.boundaries(P)] == txids
    put(a, "more", durable=True)
    assert a.maintain(P).objects_deleted
    assert words_at(b, "here") == [f"w{n}" for n in range(20)]
    with pytest.raises(Invalid, match="txid 3 is no boundary; the nearest are 1 and 20"):
        words_at(b, 3)


def test_a_cold_reader_whose_objects_were_collected_looks_again(
    engines: Engines, store: VolatileStore
) -> None:
    a, b = engines(store, fine_ms=0, snapshots_ms=0), engines(store, "b")
    fill(a, 20)
    found = b._lookup.find(P)
    assert found is not None
    put(a, "more", durable=True)
    a.maintain(P)
    with b._residents.use((found.db_id, found.branch_id), P) as branch:
        branch.copy.offer(found.manifest)
        assert branch.open()
        assert branch.read(select).value == [*(f"w{n}" for n in range(20)), "more"]


# Retention


def test_old_points_go_with_retention_and_checkpoints_stay(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, fine_ms=3_600_000, snapshots_ms=0)
    fill(a, 5)
    a.checkpoint(P, "kept")
    fill(a, 5)
    clock.advance(2 * 3600)
    young = [put(a, "young", durable=True), put(a, "younger", durable=True)]
    # The chain of the head stays as it is until it is folded.
    a.maintain(P)
    a.maintain(P)
    found = [one.txid for one in a.boundaries(P)]
    assert {5, *young} <= set(found)
    assert not {2, 3, 4} & set(found)
    assert words_at(a, "kept") == [f"w{n}" for n in range(5)]
    assert words_at(a, young[0]) == (words(a) or [])[:-1]
    with pytest.raises(Invalid, match="txid 3 is no boundary; the nearest are 1 and 5"):
        words_at(a, 3)
    with pytest.raises(Invalid):
        a.rewind(P, Point.txid(3))
    with pytest.raises(Invalid):
        a.fork(P, "other", Point.txid(3))
    assert a.verify(P).findings == ()


def test_without_retention_only_the_head_and_checkpoints_stay(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, fine_ms=0, snapshots_ms=0)
    fill(a, 12)
    a.checkpoint(P, "kept")
    fill(a, 3)
    a.maintain(P)
    a.maintain(P)
    # The way to a checkpoint may begin at a snapshot before it.
    assert [one.txid for one in a.boundaries(P)] == [1, 12, 15]
    a.drop_checkpoint(P, "kept")
    fill(a, 9)
    a.maintain(P)
    a.maintain(P)
    assert [one.txid for one in a.boundaries(P)] == [24]
    with pytest.raises(Invalid, match=r"12 is out of retention: the first .* kept is 24"):
        words_at(a, 12)
    # And nothing else is left in the store.
    key = key_of(a)
    assert objects(store, key) == {ref.key for ref in stored(store, key).chain()}
    assert a.verify(P).unnamed == 0


def test_of_each_day_the_last_snapshot_stays(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, fine_ms=0, snapshots_ms=int(10 * DAY * 1000))
    ends = []
    for _ in range(3):
        fill(a, 12)
        a.maintain(P)
        ends.append(put(a, "later", durable=True) - 1)
        clock.advance(DAY)
    a.maintain(P)
    found = [one.txid for one in a.boundaries(P)]
    # On the last day the one of the very end took the place of the one before it.
    ends[-1] += 1
    assert set(ends) <= set(found)
    assert not {ends[-1] - 1, ends[0] - 1} & set(found)
    clock.advance(20 * DAY)
    fill(a, 12)
    a.maintain(P)
    assert not set(ends) & {one.txid for one in a.boundaries(P)}


def test_a_long_history_is_condensed_and_every_point_of_it_can_be_read(
    a: Engine, store: VolatileStore
) -> None:
    key = None
    txids = fill(a, 70)
    key = key_of(a)
    a._ship(key)
    with using(a) as branch:
        branch.in_lane(lambda: None, "waiting")
    manifest = stored(store, key)
    assert len(manifest.segments) <= 64
    assert manifest.history
    txids += fill(a, 70)
    a.maintain(P)
    assert len(stored(store, key).chain()) == 1
    assert [one.txid for one in a.boundaries(P)] == txids
    for txid in (1, 2, 35, 69, 70, 71, 139, 140):
        expected = [*(f"w{n}" for n in range(70)), *(f"w{n}" for n in range(70))][:txid]
        assert words_at(a, txid) == expected
    assert a.verify(P).findings == ()


# Rewind


@pytest.mark.parametrize(
    "point",
    [
        lambda _: Point.txid(2),
        lambda _: Point.checkpoint("here"),
        lambda at: Point.time(at + 1),
    ],
    ids=["txid", "checkpoint", "time"],
)
def test_a_rewind_brings_back_what_was(
    a: Engine, store: VolatileStore, clock: ManualClock, point: Callable[[int], Point]
) -> None:
    fill(a, 2)
    at = a.checkpoint(P, "here").at
    clock.advance(10)
    put(a, "w2")
    done = a.rewind(P, point(at))
    assert (done.before, done.to, done.txid) == (3, 2, 4)
    assert words(a) == ["w0", "w1"]
    assert stored(store, key_of(a)).txid == 4
    assert [one.txid for one in a.boundaries(P)] == [1, 2, 3, 4]
    assert words_at(a, 3) == ["w0", "w1", "w2"]
    assert put(a, "next", durable=True) == 5
    assert words(a) == ["w0", "w1", "next"]
    assert a.verify(P).findings == ()


def test_undoing_a_rewind_and_rewinding_twice(
    engines: Engines, a: Engine, store: VolatileStore
) -> None:
    fill(a, 3)
    first = a.rewind(P, Point.txid(1))
    undone = a.rewind(P, Point.txid(first.before))
    assert words(a) == ["w0", "w1", "w2"]
    twice = [a.rewind(P, Point.txid(2)), a.rewind(P, Point.txid(1))]
    assert words(a) == ["w0"]
    assert [first.txid, undone.txid, *(one.txid for one in twice)] == [4, 5, 6, 7]
    assert [words_at(a, txid) for txid in (4, 5, 6)] == [
        ["w0"],
        ["w0", "w1", "w2"],
        ["w0", "w1"],
    ]
    assert words(engines(store, "elsewhere")) == ["w0"]


def test_a_rewind_to_the_present_changes_nothing(a: Engine, store: VolatileStore) -> None:
    fill(a, 2)
    version = stored(store, key_of(a)).version
    done = a.rewind(P, Point.txid(2))
    assert (done.before, done.to, done.txid) == (2, 2, 2)
    assert stored(store, key_of(a)).version == version
    assert put(a, "next") == 3


def test_a_rewind_that_is_repeated_is_done_once(a: Engine) -> None:
    fill(a, 3)
    first = a.rewind(P, Point.txid(1), repeat("r"))
    put(a, "since", durable=True)
    assert a.rewind(P, Point.txid(1), repeat("r")) == first
    assert words(a) == ["w0", "since"]
    # Also one that found nothing to do: it must not undo what came after it.
    here = a.sync(P).txid
    nothing = a.rewind(P, Point.txid(here), repeat("n"))
    assert (nothing.before, nothing.to, nothing.txid) == (here, here, here + 1)
    put(a, "later")
    assert a.rewind(P, Point.txid(here), repeat("n")) == nothing
    assert words(a) == ["w0", "since", "later"]


def test_requests_answered_before_a_rewind_stay_answered(a: Engine) -> None:
    put(a, "one", durable=True)
    txid = put(a, "two", request="r")
    a.rewind(P, Point.txid(1))
    assert put(a, "two", request="r") == txid
    assert words(a) == ["one"]


def test_attachments_go_with_a_rewind(a: Engine) -> None:
    fill(a, 2)
    with using(a) as branch:
        before = branch.attachment(list, list)
        a.rewind(P, Point.txid(1))
        assert branch.attachment(list, list) is not before


def test_a_rewind_to_what_is_not_there(a: Engine) -> None:
    with pytest.raises(NotFound):
        a.rewind(P, Point.txid(1))
    fill(a, 2)
    with pytest.raises(NotFound, match="no checkpoint 'none'"):
        a.rewind(P, Point.checkpoint("none"))
    with pytest.raises(Invalid, match="ahead"):
        a.rewind(P, Point.txid(9))
    assert words(a) == ["w0", "w1"]
    assert put(a, "next") == 3


def test_a_rewind_over_more_and_fewer_pages(a: Engine) -> None:
    put(a, "small", durable=True)
    put(a, "x" * 200_000, durable=True)
    a.rewind(P, Point.txid(1))
    assert words(a) == ["small"]
    a.rewind(P, Point.txid(2))
    assert words(a) == ["small", "x" * 200_000]
    assert a.verify(P).findings == ()


def test_reads_and_writes_go_on_around_rewinds(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=0.01)
    fill(a, 2)
    stop = threading.Event()
    failures: list[BaseException] = []

    def loop(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failures.append(error)
            raise

    def check_read() -> None:
        found = words(a)
        assert found is not None
        assert found[:2] == ["w0", "w1"]

    threads = [
        threading.Thread(target=loop, args=(work,))
        for work in (check_read, check_read, lambda: put(a, "x"))
    ]
    for thread in threads:
        thread.start()
    try:
        done = [a.rewind(P, Point.txid(2)) for _ in range(15)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert [one.txid for one in done] == sorted({one.txid for one in done})
    a.sync(P)
    assert words(engines(store, "elsewhere")) == words(a)
    assert a.verify(P).findings == ()


def test_a_rewind_whose_local_half_fails_leaves_no_file_behind_the_store(
    engines: Engines, a: Engine, store: VolatileStore
) -> None:
    fill(a, 3)
    with using(a) as branch:
        switch = branch.local.switch

        def refuses(path: Path | None) -> None:
            branch.local.switch = switch  # type: ignore[method-assign]
            raise Unavailable("somebody reads for too long", reason="busy")

        branch.local.switch = refuses  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match="too long"):
            a.rewind(P, Point.txid(1), repeat("r"))
    assert stored(store, key_of(a)).txid == 4
    assert words(a) == ["w0"]
    assert put(a, "next", durable=True) > 4
    assert a.rewind(P, Point.txid(1), repeat("r")).txid == 4
    assert words(a) == ["w0", "next"]
    assert recovered(a) == {}
    assert a.verify(P).findings == ()


def test_a_rewind_of_which_the_answer_is_lost_has_happened_once(
    engines: Engines, store: VolatileStore
) -> None:
    switch = Switch()
    a = engines(FaultyStore(store, switch, Clock()), clock=Clock(), ship_interval=3600)
    fill(a, 3)
    switch.operations, switch.down = ("create", "replace"), True
    thread = threading.Thread(target=lambda: a.rewind(P, Point.txid(1)))
    thread.start()
    until(lambda: switch.refused)
    switch.down = False
    thread.join()
    assert words(a) == ["w0"]
    assert stored(store, key_of(a)).txid == 4


def test_writes_are_refused_only_while_a_rewind_takes_its_turn(a: Engine) -> None:
    fill(a, 2)
    with using(a) as branch, branch.local.writers_place():
        branch.write(insert("inside"))
    a.rewind(P, Point.txid(2))
    assert words(a) == ["w0", "w1"]
