"""Two nodes with leases: who has the lease writes, the other is told where, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from palimp.clock import ManualClock
from palimp.engine import Address, Engine
from palimp.engine.claims import Claims
from palimp.errors import Unavailable
from palimp.store import CountingStore, VolatileStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore

from .engines import (
    Engines,
    P,
    Switch,
    insert,
    key_of,
    put,
    recovered,
    repeat,
    stored,
    until,
    using,
    words,
)
from .leasers import LeaseStore, ManualLeaser

NAME = "ns--p"


class Chosen:
    """What chooses the faults of a store; it may be changed for another."""

    def __init__(self, choose: Callable[[str, str], Fault]) -> None:
        self.choose = choose

    def __call__(self, operation: str, key: str) -> Fault:
        return self.choose(operation, key)


class Gate:
    """Where a request of the store waits until it is let through; those after it pass."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.passed = False

    def stand(self) -> None:
        self.passed = True
        self.reached.set()
        assert self.opened.wait(20)


class Two:
    """Two nodes on one store, each with a lease of the same lease store."""

    def __init__(self, engines: Engines, clock: ManualClock) -> None:
        self.clock = clock
        self.switch = Switch()
        self.faults = Chosen(self.switch)
        self.store = CountingStore(FaultyStore(VolatileStore(), self.faults, clock), clock)
        self.leases = LeaseStore(clock)
        self.of_a, self.of_b = (ManualLeaser(self.leases, name) for name in "ab")
        self.of_a.renew()
        self.of_b.renew()
        self.engines = engines
        self.a = engines(self.store, "a", clock=clock, leaser=self.of_a)
        self.b = engines(self.store, "b", clock=clock, leaser=self.of_b)

    def renew(self, seconds: float) -> None:
        """Let time pass for a, whose lease ends, while b keeps its own."""
        end = self.clock.boottime() + seconds
        while self.clock.boottime() < end:
            self.clock.advance(min(2.0, end - self.clock.boottime()))
            self.of_b.renew()


@pytest.fixture
def two(engines: Engines, clock: ManualClock) -> Two:
    return Two(engines, clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def engines(tmp_path: Path):
    made = Engines(tmp_path)
    yield made
    made.close_all()


def refused(engine: Engine, word: str = "no", **options) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        put(engine, word, **options)
    return caught.value


def test_who_has_the_lease_writes_and_the_other_is_told_where(two: Two) -> None:
    put(two.a, "one", durable=True)
    error = refused(two.b)
    assert (error.details["reason"], error.details["node"]) == ("owned", "a")
    assert error.details["address"] == "http://a"
    assert "ns--p is at node a (http://a)" in error.message
    assert not error.details.get("in_doubt")
    assert stored(two.store, key_of(two.a)).epoch == 1
    put(two.a, "two")
    assert words(two.a) == ["one", "two"]


def test_what_is_released_is_shipped_and_goes_on_elsewhere_without_a_gap(two: Two) -> None:
    first = put(two.a, "one")
    assert two.a.handover is not None
    assert two.a.handover.release([NAME], 5) == [NAME]
    second = put(two.b, "two", durable=True)
    assert words(two.b) == ["one", "two"]
    assert second == first + 1
    assert refused(two.a).details["node"] == "b"
    assert recovered(two.b) == {}
    manifest = stored(two.store, key_of(two.b))
    assert (manifest.epoch, manifest.owner and manifest.owner.node) == (2, "b")


def test_a_lease_that_ended_stops_writes_before_anything_is_written(two: Two) -> None:
    put(two.a, "one")
    two.clock.advance(8.0)
    error = refused(two.a)
    assert error.details["reason"] == "lease"
    assert not error.details.get("in_doubt")
    # Reads go on.
    assert words(two.a) == ["one"]
    two.of_a.renew()
    put(two.a, "two", durable=True)
    assert words(two.a) == ["one", "two"]
    # It never ended for the lease store: the same grant, the same epoch.
    assert stored(two.store, key_of(two.a)).epoch == 1


def test_after_a_lost_lease_what_was_not_shipped_goes_on_where_nobody_came_between(
    two: Two,
) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "two")
    two.clock.advance(20)
    two.of_a.renew()
    assert two.of_a.grant == 2
    put(two.a, "three", durable=True)
    assert words(two.a) == ["one", "two", "three"]
    assert stored(two.store, key_of(two.a)).epoch == 2
    assert recovered(two.a) == {}


def test_after_a_takeover_what_was_not_shipped_is_a_recovered_branch(two: Two) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "lost?")
    two.renew(20)
    put(two.b, "two", durable=True)
    assert words(two.b) == ["one", "two"]
    two.of_a.renew()
    assert refused(two.a).details["node"] == "b"
    assert words(two.a) == ["one", "two"]
    assert recovered(two.b) == {"recovered-a-1": ["one", "lost?"]}
    # Handed back, it goes on from there.
    assert two.b.handover is not None
    assert two.b.handover.release([NAME], 5) == [NAME]
    put(two.a, "three", durable=True)
    assert words(two.a) == ["one", "two", "three"]


def test_a_lease_that_ends_during_the_commit_leaves_it_in_doubt_and_a_repeat_tells(
    two: Two,
) -> None:
    put(two.a, "one")

    def slow(connection: apsw.Connection) -> str:
        two.clock.advance(9)
        return insert("two")(connection)

    with using(two.a) as branch:
        with pytest.raises(Unavailable) as caught:
            branch.write(slow, repeat=repeat("r1"))
        assert caught.value.details["reason"] == "lease"
        assert caught.value.details["in_doubt"] is True
        txid = caught.value.details["txid"]
        two.of_a.renew()
        again = branch.write(insert("two"), repeat=repeat("r1"))
    assert again.txid == txid
    assert words(two.a) == ["one", "two"]


def test_a_durable_write_that_landed_is_no_matter_of_leases(two: Two) -> None:
    put(two.a, "one")

    def slow(connection: apsw.Connection) -> str:
        two.clock.advance(9)
        return insert("two")(connection)

    with using(two.a) as branch:
        txid = branch.write(slow, durable=True).txid
    assert stored(two.store, key_of(two.a)).txid == txid


def test_a_read_that_claimed_is_current_and_asks_the_store_once(two: Two) -> None:
    put(two.a, "one", durable=True)
    assert words(two.b) == ["one"]
    put(two.a, "two", durable=True)
    # As it was a moment ago: nothing was claimed.
    assert words(two.b) == ["one"]
    assert two.a.handover is not None
    two.a.handover.release([NAME], 5)
    two.b.hold(P)
    two.clock.advance(1)
    assert words(two.b) == ["one", "two"]
    before = two.store.requests
    for _ in range(3):
        two.clock.advance(2)
        two.of_b.renew()
        two.b.hold(P)
        assert words(two.b) == ["one", "two"]
    assert two.store.requests == before


def test_a_node_whose_lease_ended_notices_by_its_reads_that_it_was_taken(two: Two) -> None:
    put(two.a, "one", durable=True)
    two.renew(20)
    put(two.b, "two", durable=True)
    assert words(two.a) == ["one", "two"]
    with pytest.raises(Unavailable) as caught:
        two.a.hold(P)
    assert caught.value.details["reason"] == "lease"


def test_while_it_is_handed_over_nobody_begins_to_write(two: Two) -> None:
    put(two.a, "one")
    seen: list[str] = []
    two.of_a.on_release = lambda: seen.append(refused(two.a).details["reason"])
    assert two.a.handover is not None
    two.a.handover.release([NAME], 5)
    assert seen == ["moving"]
    put(two.a, "two")
    assert words(two.a) == ["one", "two"]


def test_a_claim_that_was_under_way_while_something_was_detached_is_not_believed(
    two: Two,
) -> None:
    claims = Claims(two.of_a, two.clock)
    claims.hold("ns--other")

    def detach() -> None:
        two.of_a.before_answer = lambda: None
        with claims.moving(["ns--other"]):
            pass

    two.of_a.before_answer = detach
    with pytest.raises(Unavailable) as caught:
        claims.hold(NAME)
    assert caught.value.details["reason"] == "moving"
    assert claims.names() == []
    claims.hold(NAME)
    assert claims.names() == [NAME]


def test_nobody_begins_to_write_while_it_is_still_being_shipped(two: Two) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "two")
    seen: list[str] = []

    def during(operation: str, key: str) -> Fault:
        if operation == "create" and not seen:
            seen.append(refused(two.a).details["reason"])
        return NO_FAULT

    two.faults.choose = during
    assert two.a.handover is not None
    assert two.a.handover.release([NAME], 5) == [NAME]
    assert seen == ["moving"]
    put(two.b, "three", durable=True)
    assert words(two.b) == ["one", "two", "three"]


def test_a_lease_that_ended_while_a_claim_was_under_way_gives_nothing(two: Two) -> None:
    two.of_a.before_answer = lambda: two.clock.advance(9)
    error = refused(two.a)
    assert error.details["reason"] == "lease"
    assert not error.details.get("in_doubt")


def killed_while_another_reads(two: Two) -> tuple[Engine, ManualLeaser]:
    """Return node a, started again with a write that was never shipped; b has the claim."""
    put(two.a, "one", durable=True)
    put(two.a, "two")
    two.engines.copy("a", "again")
    two.renew(20)
    two.b.hold(P)
    again = ManualLeaser(two.leases, "a")
    again.renew()
    started = two.engines(two.store, "again", node="a", clock=two.clock, leaser=again)
    return started, again


def test_what_was_left_while_another_only_reads_waits_and_is_recovered_once_it_writes(
    two: Two,
) -> None:
    started, again = killed_while_another_reads(two)

    def ship() -> None:
        started._ship(key_of(two.b))
        for queue in (started._left_lane, *(one.queue for one in started._residents.all())):
            started._parts.lanes.submit(queue, lambda: None).wait(5, "shipping what was left")

    ship()
    assert recovered(two.b) == {}
    two.of_b.renew()
    put(two.b, "three", durable=True)
    two.clock.advance(1)
    again.renew()
    ship()
    assert recovered(two.b) == {"recovered-a-1": ["one", "two"]}
    assert words(two.b) == ["one", "three"]


def test_what_was_handed_over_is_not_taken_for_left_open(two: Two) -> None:
    put(two.a, "one")
    hot = two.engines.root / "a" / "hot"
    assert list(hot.glob(".open-*"))
    assert two.a.handover is not None
    with using(two.a) as branch:
        branch.read(lambda _: None)
        two.a.handover.release([NAME], 5)
        assert not list(hot.glob(".open-*"))


def test_closing_takes_nothing_from_who_has_the_lease(two: Two) -> None:
    started, _ = killed_while_another_reads(two)
    assert words(started) == ["one", "two"]
    two.engines.close(started)
    assert stored(two.store, key_of(two.b)).epoch == 1


def test_a_checkpoint_is_a_write_too(two: Two) -> None:
    put(two.a, "one", durable=True)
    with pytest.raises(Unavailable) as caught:
        two.b.checkpoint(P, "mine")
    assert caught.value.details["reason"] == "owned"
    two.clock.advance(9)
    with pytest.raises(Unavailable) as caught:
        two.a.checkpoint(P, "mine")
    assert caught.value.details["reason"] == "lease"
    assert stored(two.store, key_of(two.a)).epoch == 1


def test_what_was_found_on_the_way_before_the_claim_is_no_look(two: Two) -> None:
    put(two.a, "one", durable=True)
    old = stored(two.store, key_of(two.a))
    put(two.a, "two", durable=True)
    assert two.a.handover is not None
    two.a.handover.release([NAME], 5)
    two.b.hold(P)
    two.clock.advance(1)
    with two.b._residents.use((old_key := key_of(two.a)), P) as branch:
        assert old_key == branch.key
        branch.copy.offer(old)
        branch.open()
    assert words(two.b) == ["one", "two"]


def test_a_lost_lease_takes_its_claims_with_it(two: Two) -> None:
    claims = Claims(two.of_a, two.clock)
    grant = claims.hold(NAME)
    assert claims.lasts(NAME, grant)
    two.clock.advance(20)
    assert not claims.lasts(NAME, grant)
    assert claims.since(NAME) is None
    two.of_a.renew()
    assert not claims.lasts(NAME, grant)
    assert claims.names() == []
    asked = two.of_a.claims
    claims.hold(NAME)
    assert two.of_a.claims == asked + 1


def test_what_the_store_does_not_take_is_not_handed_over(two: Two) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "two")
    two.switch.down = True
    assert two.a.handover is not None
    assert two.a.handover.release([NAME], 0.2) == []
    two.switch.down = False
    assert two.leases.owners == {NAME: "a"}
    put(two.a, "three", durable=True)
    assert words(two.a) == ["one", "two", "three"]
    assert refused(two.b).details["node"] == "a"


def test_what_rests_is_given_up(two: Two) -> None:
    put(two.a, "one")
    handover = two.a.handover
    assert handover is not None
    two.clock.advance(5)
    handover.tick()
    assert two.leases.owners == {NAME: "a"}
    two.clock.advance(70)
    two.of_a.renew()
    put(two.a, "two")
    assert two.leases.owners == {NAME: "a"}
    for _ in range(10):
        two.clock.advance(7)
        two.of_a.renew()
    handover.tick()
    assert two.leases.owners == {}
    two.of_b.renew()
    put(two.b, "three", durable=True)
    assert words(two.b) == ["one", "two", "three"]


def test_what_a_killed_node_left_goes_on_only_with_the_lease(two: Two) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "two")
    two.engines.copy("a", "again")
    two.renew(20)
    again = ManualLeaser(two.leases, "a")
    started = two.engines(two.store, "again", node="a", clock=two.clock, leaser=again)
    started._ship(key_of(two.a))
    job = started._parts.lanes.submit(started._left_lane, lambda: None)
    job.wait(5, "shipping what was left")
    # Without a lease nothing was owned.
    assert stored(two.store, key_of(two.b)).epoch == 1
    again.renew()
    started._ship(key_of(two.b))
    until(lambda: stored(two.store, key_of(two.b)).txid == 2)
    assert two.leases.owners == {NAME: "a"}
    assert words(started) == ["one", "two"]


def test_what_a_killed_node_left_is_recovered_where_another_took_over(two: Two) -> None:
    put(two.a, "one", durable=True)
    put(two.a, "two")
    two.engines.copy("a", "again")
    two.renew(20)
    put(two.b, "three", durable=True)
    again = ManualLeaser(two.leases, "a")
    again.renew()
    started = two.engines(two.store, "again", node="a", clock=two.clock, leaser=again)
    started._ship(key_of(two.b))
    until(lambda: recovered(two.b))
    assert recovered(two.b) == {"recovered-a-1": ["one", "two"]}
    assert words(two.b) == ["one", "three"]


def test_what_is_being_owned_while_it_is_handed_over_is_shipped_too(two: Two) -> None:
    """The first write of a profile owns it, which takes a while; it is answered all the same."""
    other = Address("ns", "q")
    put(two.a, "before", other)
    owning, shipping = Gate(), Gate()

    def choose(operation: str, key: str) -> Fault:
        if operation == "create" and key.endswith("manifest.json") and not owning.passed:
            owning.stand()
        elif operation == "create" and key.endswith(".ltx"):
            shipping.stand()
        return NO_FAULT

    two.faults.choose = choose
    with ThreadPoolExecutor(2) as pool:
        write = pool.submit(put, two.a, "one")
        owning.reached.wait(10)
        assert two.a.handover is not None
        release = pool.submit(two.a.handover.release, [NAME, "ns--q"], 20)
        shipping.reached.wait(1)
        owning.opened.set()
        write.result(10)
        shipping.opened.set()
        assert sorted(release.result(20)) == [NAME, "ns--q"]
    # Nothing of a is asked: what was answered there is in the store.
    assert words(two.b) == ["one"]
