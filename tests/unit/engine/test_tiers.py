"""Hot, warm, cold: what is open and what is here, and that nothing goes that is nowhere else."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import Clock, ManualClock
from palimp.engine import Engine
from palimp.engine import branch as branch_module
from palimp.engine import pressure as pressure_module
from palimp.engine import residents as residents_module
from palimp.engine.branch import Branch
from palimp.errors import Internal, Unavailable
from palimp.store import VolatileStore
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
    select,
    stored,
    until,
    using,
    words,
)


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def resident(engine: Engine, name: str = "p") -> Branch | None:
    """Return a branch as it is, without using it."""
    for branch in engine._residents.all():
        if branch.address.profile == name and branch.address.branch == "main":
            return branch
    return None


def tier(engine: Engine, name: str = "p") -> str:
    branch = resident(engine, name)
    if branch is None:
        return "cold"
    return "hot" if branch.local.opened else "warm"


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def settled(engine: Engine) -> None:
    """Wait until no lane has anything to do."""
    until(
        lambda: all(not one.queue.running and not one.queue.jobs for one in engine._residents.all())
    )


def tick(engine: Engine) -> None:
    engine._tick()
    settled(engine)


def test_an_unused_branch_is_closed_then_removed_and_comes_back_as_it_was(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, hot_idle=60, warm_idle=3600)
    fill(a, 3)
    put(a, "unshipped")
    clock.advance(59)
    tick(a)
    assert tier(a) == "hot"
    clock.advance(2)
    tick(a)
    assert tier(a) == "warm"
    branch = resident(a)
    assert branch is not None
    assert stored(store, branch.key).txid == 4
    assert words(a) == ["w0", "w1", "w2", "unshipped"]
    assert tier(a) == "hot"
    # It is owned as before: the next commit has the next number.
    assert put(a, "more", durable=True) == 5
    clock.advance(3601)
    tick(a)
    assert tier(a) == "cold"
    assert files(engines.root / "a" / "hot") == []
    assert words(a) == ["w0", "w1", "w2", "unshipped", "more"]
    assert put(a, "again", durable=True) == 6
    assert recovered(a) == {}


def test_a_long_history_is_folded_on_the_way_out(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock)
    txids = fill(a, 20)
    key = key_of(a)
    clock.advance(3601)
    tick(a)
    assert tier(a) == "cold"
    manifest = stored(store, key)
    assert manifest.snapshot is not None
    assert (manifest.snapshot.max, manifest.segments) == (20, ())
    assert manifest.limit == 20
    assert [one.txid for one in a.boundaries(P)] == txids


def test_attachments_stay_while_a_handle_is_closed_and_go_with_the_file(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock)
    put(a, "one")
    with using(a) as branch:
        first = branch.attachment(list, list)
    clock.advance(61)
    tick(a)
    assert tier(a) == "warm"
    with using(a) as branch:
        assert branch.attachment(list, list) is first
    clock.advance(3601)
    tick(a)
    with using(a) as branch:
        assert branch.attachment(list, list) is not first


def test_what_is_in_use_stays(engines: Engines, store: VolatileStore, clock: ManualClock) -> None:
    a = engines(store, clock=clock)
    put(a, "one")
    with using(a) as branch:
        clock.advance(3601)
        tick(a)
        assert tier(a) == "hot"
        assert branch.read(lambda c: c.execute("SELECT count(*) FROM words").get).value == 1
    tick(a)
    assert tier(a) == "cold"


def test_commits_the_store_lacks_stay_here_while_it_is_away(
    engines: Engines, store: VolatileStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residents_module, "_COOL_SECONDS", 0.1)
    switch = Switch()
    a = engines(FaultyStore(store, switch, Clock()), clock=clock, patience=0.5)
    put(a, "one", durable=True)
    put(a, "two")
    branch = resident(a)
    assert branch is not None
    switch.down = True
    clock.advance(3601)
    a._residents.cool(branch.key, lambda _: None)
    assert tier(a) != "cold"
    a._tick()
    assert tier(a) != "cold"
    switch.down = False
    settled(a)
    clock.advance(3601)
    tick(a)
    assert tier(a) == "cold"
    assert words(a) == ["one", "two"]


def test_commits_of_a_killed_process_stay_here_while_the_store_is_away(
    engines: Engines, store: VolatileStore
) -> None:
    """They are not owned yet, so nothing counts as unshipped; and still they are nowhere else."""
    a = engines(store)
    put(a, "one", durable=True)
    put(a, "two")
    engines.copy("a", "killed")
    switch = Switch()
    switch.operations = ("create", "replace")
    faulty = FaultyStore(store, switch, Clock())
    again = engines(faulty, "killed", node="a", clock=Clock(), ship_interval=3600, patience=0.5)
    assert words(again) == ["one", "two"]
    switch.down = True
    branch = resident(again)
    assert branch is not None
    assert not again._residents.cool(branch.key, again._look_after)
    assert again._residents.get(branch.key) is branch
    assert words(again) == ["one", "two"]
    switch.down = False
    # Not at once where its lane is still shipping what was left.
    until(lambda: again._residents.cool(branch.key, again._look_after))
    assert words(engines(store, "elsewhere")) == ["one", "two"]


def test_a_file_nobody_could_compare_with_the_store_stays(
    engines: Engines, store: VolatileStore
) -> None:
    """Fenced while the store cannot be read: whether all of it is there is not known."""
    switch = Switch()
    switch.operations = ("get",)
    faulty = FaultyStore(store, switch, Clock())
    a = engines(faulty, clock=Clock(), ship_interval=3600, patience=0.5)
    b = engines(store, "b")
    put(a, "one", durable=True)
    put(a, "lost")
    put(b, "two", durable=True)
    branch = resident(a)
    assert branch is not None
    original = branch._lose

    def lose(manifest: object) -> None:
        switch.down = True
        original(manifest)  # type: ignore[arg-type]

    branch._lose = lose  # type: ignore[method-assign, assignment]
    with using(a) as used, pytest.raises(Unavailable):
        used.sync()
    assert not a._residents.cool(branch.key, a._look_after)
    switch.down = False
    branch._fence = None
    assert words(a) == ["one", "two"]
    assert recovered(a) == {"recovered-a-1": ["one", "lost"]}


def test_a_stray_keeps_its_folder_until_it_is_a_branch(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a, b = engines(store, clock=clock), engines(store, "b")
    put(a, "one", durable=True)
    put(a, "lost")
    put(b, "two", durable=True)
    engines.copy("a", "killed")
    switch = Switch()
    switch.operations, switch.down = ("create",), True
    broken = FaultyStore(store, switch, Clock())
    again = engines(broken, "killed", node="a", clock=Clock(), patience=0.5, ship_interval=3600)
    assert words(again) == ["one", "two"]
    branch = resident(again)
    assert branch is not None
    assert not again._residents.cool(branch.key, again._look_after)
    assert words(again) == ["one", "two"]
    switch.down = False
    until(lambda: again._residents.cool(branch.key, again._look_after))
    assert files(engines.root / "killed" / "hot") == []
    assert recovered(again) == {"recovered-a-1": ["one", "lost"]}


def test_one_branch_that_cannot_go_does_not_keep_the_others(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock)
    for name in ("p", "q", "r"):
        put(a, name, P._replace(profile=name), durable=True)
    stubborn = resident(a)
    assert stubborn is not None

    def fails() -> bool:
        raise Internal("on purpose")

    stubborn.close = fails  # type: ignore[method-assign]
    clock.advance(3601)
    tick(a)
    assert [tier(a, name) for name in ("p", "q", "r")] == ["hot", "cold", "cold"]
    assert words(a) == ["p"]


def test_no_more_handles_than_the_cap_stay_open(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, hot_cap=3)
    names = [f"p{n}" for n in range(8)]
    for name in names:
        put(a, name, P._replace(profile=name), durable=True)
    assert [tier(a, name) for name in names] == ["warm"] * 5 + ["hot"] * 3
    for name in names:
        assert words(a, P._replace(profile=name)) == [name]
    assert sum(tier(a, name) == "hot" for name in names) == 3


def test_over_the_cap_nobody_waits_for_a_store_that_is_away(
    engines: Engines, store: VolatileStore
) -> None:
    switch = Switch()
    a = engines(FaultyStore(store, switch, Clock()), clock=Clock(), ship_interval=0.01, hot_cap=2)
    names = [f"p{n}" for n in range(5)]
    for name in names:
        put(a, "one", P._replace(profile=name), durable=True)
    switch.down = True
    for name in names:
        put(a, "two", P._replace(profile=name))
    # With 30 s of patience a write that waited would be noticed.
    assert [words(a, P._replace(profile=name)) for name in names] == [["one", "two"]] * 5
    switch.down = False
    for name in names:
        a.sync(P._replace(profile=name))
    a._tick()
    until(lambda: sum(tier(a, name) == "hot" for name in names) <= 2)


def test_over_its_disk_budget_the_longest_unused_go(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, disk_budget=100_000)
    for name in ("p", "q", "r"):
        put(a, "x" * 50_000, P._replace(profile=name), durable=True)
        clock.advance(61)
        tick(a)
    assert tier(a, "p") == "cold"
    assert tier(a, "r") != "cold"
    left = [one.files.size() for one in a._residents.all()]
    assert sum(left) <= 100_000
    for name in ("p", "q", "r"):
        assert words(a, P._replace(profile=name)) == ["x" * 50_000]


def test_one_closed_meanwhile_counts_as_small_as_it_became(
    engines: Engines, store: VolatileStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = engines(store, clock=clock)
    for name in ("q", "r"):
        put(a, "x" * 50_000, P._replace(profile=name), durable=True)
    residents = a._residents
    q, r = residents.all()
    assert q.park()
    cool = residents.cool

    def cool_while_another_closes(*args: Any) -> bool:
        assert r.local.opened is False or r.park()
        return cool(*args)

    monkeypatch.setattr(residents, "cool", cool_while_another_closes)
    # With its log the second is over the budget alone, without it both are hardly.
    residents.shrink_to(100_000, a._look_after)
    assert [tier(a, name) for name in ("q", "r")] == ["cold", "warm"]


def test_below_the_disk_reserve_writes_are_refused_and_reads_go_on(
    engines: Engines,
    store: VolatileStore,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = engines(store, clock=clock, disk_reserve=1000)
    for name in ("p", "q"):
        put(a, name, P._replace(profile=name))
    free = 10
    monkeypatch.setattr(pressure_module, "free_bytes", lambda _: free)
    with using(a) as branch:
        tick(a)
        # What nobody uses went, shipped before.
        assert (tier(a, "p"), tier(a, "q")) == ("hot", "cold")
        with pytest.raises(Unavailable) as caught:
            branch.write(insert("no"))
        assert caught.value.details["reason"] == "disk"
        assert "10 bytes free" in caught.value.message
        assert branch.read(lambda c: c.execute("SELECT word FROM words").get).value == "p"
    assert words(a, P._replace(profile="q")) == ["q"]
    # Later ones go too, though writes are refused already.
    tick(a)
    assert (tier(a, "p"), tier(a, "q")) == ("cold", "cold")
    assert words(a) == ["p"]
    free = 1 << 30
    tick(a)
    assert put(a, "yes", durable=True)


def test_a_use_that_meets_the_cooling_waits_for_it(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock)
    put(a, "one", durable=True)
    branch = resident(a)
    assert branch is not None
    inside, go_on = threading.Event(), threading.Event()

    def slowly(_: Branch) -> None:
        inside.set()
        assert go_on.wait(10)

    cooling = threading.Thread(target=lambda: a._residents.cool(branch.key, slowly))
    cooling.start()
    assert inside.wait(10)
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(words(a)))
    reader.start()
    go_on.set()
    cooling.join()
    reader.join()
    assert found == [["one"]]
    assert resident(a) is not branch


def test_cooling_that_takes_too_long_goes_on_without_harm(
    engines: Engines, store: VolatileStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residents_module, "_COOL_SECONDS", 0.02)
    a = engines(store, clock=clock)
    put(a, "one", durable=True)
    branch = resident(a)
    assert branch is not None
    go_on = threading.Event()
    assert not a._residents.cool(branch.key, lambda _: go_on.wait(10) and None)
    # It is used again while the lane is still at it.
    txid = put(a, "two")
    go_on.set()
    settled(a)
    assert put(a, "three", durable=True) == txid + 1
    assert words(engines(store, "elsewhere")) == ["one", "two", "three"]
    assert stored(store, branch.key).epoch <= 2


def test_upkeep_is_due_after_an_hour_of_owning(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock, hot_idle=1e9, warm_idle=1e9)
    fill(a, 20)
    tick(a)
    assert len(stored(store, key_of(a)).segments) == 19
    clock.advance(3601)
    tick(a)
    assert stored(store, key_of(a)).segments == ()
    assert a._parts.metrics.snapshot().get("branches_cooled") is None


def test_the_keeper_moves_branches_by_itself(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=0.01, hot_idle=0.1, warm_idle=0.3)
    put(a, "one")
    until(lambda: tier(a) == "cold")
    assert files(engines.root / "a" / "hot") == []
    assert words(a) == ["one"]


def test_handles_are_closed_for_good(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    """As many descriptors are open after a round through the tiers as before."""
    a = engines(store, clock=clock)
    counts = []
    for turn in range(4):
        put(a, f"t{turn}", durable=True)
        clock.advance(3601)
        tick(a)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[1:] == counts[1:2] * 3


def test_a_stuck_lane_is_not_waited_for(
    engines: Engines, store: VolatileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch_module, "_BROKEN_SECONDS", 0.02)
    switch = Switch()
    a = engines(FaultyStore(store, switch, Clock()), clock=Clock(), ship_interval=0.01)
    put(a, "one", durable=True)
    switch.down = True
    put(a, "two")
    branch = resident(a)
    assert branch is not None
    until(lambda: branch.is_stuck)
    waiting = len(branch.queue.jobs)
    assert not a._residents.cool(branch.key, a._look_after)
    assert len(branch.queue.jobs) == waiting
    switch.down = False


@pytest.mark.parametrize("unshipped", [False, True])
def test_what_another_node_deleted_goes_unless_it_was_never_shipped(
    engines: Engines, store: VolatileStore, clock: ManualClock, unshipped: bool
) -> None:
    a, b = engines(store, clock=clock), engines(store, "b")
    there = P._replace(branch="other")
    put(a, "one", durable=True)
    a.fork(P, "other")
    put(a, "there", there, durable=True)
    if unshipped:
        put(a, "acknowledged", there)
    key = key_of(a, there)
    b.delete_branch(there)
    clock.advance(3601)
    # The first tick finds out that it is fenced, the second what became of it.
    for _ in range(2):
        tick(a)
    left = files(engines.root / "a" / "hot")
    assert (a._residents.get(key) is None) is not unshipped
    assert any(name.endswith("main.db") for name in left) is unshipped


def test_a_burner_that_is_in_use_when_it_ends_goes_later(
    engines: Engines, store: VolatileStore, clock: ManualClock
) -> None:
    a = engines(store, clock=clock)
    there = P._replace(branch="other")
    put(a, "one", durable=True)
    a.fork(P, "other", ttl_ms=1000)
    put(a, "there", there, durable=True)
    key = key_of(a, there)
    with using(a, there) as branch:
        clock.advance(1)
        assert a.maintain(P).branches_expired == 1
        assert objects(store, key) == set()
        assert branch.read(select).value == ["one", "there"]
    clock.advance(3601)
    for _ in range(2):
        tick(a)
    assert files(engines.root / "a" / "hot") == []
    assert words(a) == ["one"]
