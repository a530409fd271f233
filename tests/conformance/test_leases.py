"""What every lease store promises: one holder of a database, no surprise before a deadline."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.lease import Leases
from palimp.observe import Metrics

from .catalog_backends import postgres
from .lease_backends import (
    TTL,
    World,
    etcd,
    eventually,
    lease_database,
    outage,
    peer,
    world,
)

__all__ = ["etcd", "lease_database", "postgres", "world"]

NAME = "acme--alice"


def claimed(leases: Leases, name: str) -> bool:
    """Whether a database is this node's now; False also where there is no lease."""
    try:
        return leases.claim(name) is None
    except Unavailable:
        return False


def holds(leases: Leases) -> bool:
    """Whether a node may count on its lease."""
    # In this order: see `KeptLeases`.
    deadline, grant = leases.deadline, leases.grant
    return grant > 0 and Clock().boottime() < deadline


def test_of_claims_that_race_one_wins(world: World) -> None:
    nodes = [world.node(f"n{number}") for number in range(5)]
    for round_ in range(6):
        # New ones, and those that were released.
        name = f"acme--race-{round_ // 3}"
        barrier = threading.Barrier(20)
        found: list[tuple[str, str]] = []

        def race(
            node: Leases, name: str = name, barrier: Any = barrier, found: Any = found
        ) -> None:
            barrier.wait()
            holder = node.claim(name)
            found.append((node.node, node.node if holder is None else holder.node))

        threads = [threading.Thread(target=race, args=(node,)) for node in nodes * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 20
        # Everyone says the same, the winner of itself as well.
        assert len({winner for _, winner in found}) == 1
        assert {node.ask(name).node for node in nodes} == {found[0][1]}  # type: ignore[union-attr]
        for node in nodes:
            node.release([name])


def test_what_is_released_can_be_claimed_by_another(world: World) -> None:
    a, b = world.node("a"), world.node("b")
    assert a.claim(NAME) is None
    assert a.claim(NAME) is None
    assert b.claim(NAME) == peer("a")
    b.release([NAME])
    assert b.claim(NAME) == peer("a")
    a.release([NAME, "acme--never"])
    assert a.ask(NAME) is None
    assert b.claim(NAME) is None
    assert a.claim(NAME) == peer("b")


@pytest.mark.parametrize("name", ["a--b", "a--b2", "a--b--c", "a_b--c_d", "a-b--c.d", "9--9"])
def test_every_name_is_a_database_of_its_own(world: World, name: str) -> None:
    a, b = world.node("a"), world.node("b")
    assert a.claim("a--b1") is None
    assert b.claim(name) is None
    b.release([name])
    assert (a.ask(name), a.ask("a--b1")) == (None, peer("a"))


def test_everyone_hears_who_has_what(world: World) -> None:
    a, b, other = world.node("a"), world.node("b"), world.placement()
    a.claim("acme--1")
    b.claim("acme--2")
    for one in (a, b, other):
        eventually(lambda one=one: one.peers() == (peer("a"), peer("b")))
        eventually(lambda one=one: one.holder("acme--1") == peer("a"))
        eventually(lambda one=one: one.holder("acme--2") == peer("b"))
        assert (one.held(), one.holder("acme--3"), one.ask("acme--3")) == (2, None, None)
    a.release(["acme--1"])
    eventually(lambda: other.holder("acme--1") is None)
    b.claim("acme--1")
    eventually(lambda: other.holder("acme--1") == peer("b"))
    b.close()
    eventually(lambda: other.peers() == (peer("a"),))
    eventually(lambda: (other.held(), other.holder("acme--2")) == (0, None))
    assert a.claim("acme--2") is None


def test_two_clusters_in_one_store_do_not_meet(world: World) -> None:
    a = world.node("a")
    elsewhere = World(world.kind, f"{world.cluster}0", world.place)
    try:
        b = elsewhere.node("a", "p2")
        assert (a.claim(NAME), b.claim(NAME)) == (None, None)
        eventually(lambda: (a.held(), b.held()) == (1, 1))
        a.release([NAME])
        eventually(lambda: a.held() == 0)
        assert b.claim(NAME) is None
        assert [one.peers()[0].process for one in (a, b)] == ["p1", "p2"]
    finally:
        elsewhere.close()


def test_a_release_that_lands_late_leaves_alone_what_was_claimed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = world.node("a"), world.node("b")
    assert a.claim(NAME) is None
    held: list[Callable[[], object]] = []
    with monkeypatch.context() as patched:
        world.hold_back(patched, a, held)
        a.release([NAME])
    assert len(held) == 1
    assert a.claim(NAME) is None
    # What had no answer in time is carried out now.
    held[0]()
    holder = b.claim(NAME)
    assert holder is not None
    assert holder.node == "a"
    a.release([NAME])
    assert b.claim(NAME) is None


def test_drain_is_seen_by_the_others(world: World) -> None:
    a, b = world.node("a"), world.node("b")
    eventually(lambda: len(b.peers()) == 2)
    a.claim(NAME)
    a.drain()
    eventually(lambda: [one.draining for one in b.peers()] == [True, False])
    # It has what it has until it lets go.
    assert b.claim(NAME).node == "a"  # type: ignore[union-attr]


def test_a_lease_is_renewed_for_as_long_as_the_node_lives(world: World) -> None:
    a, b = world.node("a"), world.node("b")
    a.claim(NAME)
    first = a.deadline
    eventually(lambda: Clock().boottime() > first + TTL)
    assert holds(a)
    assert a.grant == 1
    assert b.claim(NAME) == peer("a")


def test_a_stopped_node_loses_what_it_has_after_its_deadline_never_before(world: World) -> None:
    child, b = world.child("a"), world.node("b")
    assert child.ask("claim", NAME) == "mine"
    before = child.ask("state")
    assert before == {"grant": 1, "holds": True}
    child.stop()
    taken = eventually(lambda: Clock().boottime() if claimed(b, NAME) else None)
    # Sent before, so that it is answered at once; what it told until then comes first.
    child.send("state")
    child.go_on()
    after = child.answer()
    assert max(deadline for number, deadline in child.deadlines if number == 1) < taken
    assert not after["holds"] or after["grant"] > 1
    eventually(lambda: child.ask("state")["grant"] > 1)
    assert child.ask("claim", NAME) == "b"
    assert b.claim(NAME) is None


def test_a_killed_node_loses_what_it_has(world: World) -> None:
    child, b = world.child("a"), world.node("b")
    assert child.ask("claim", NAME) == "mine"
    eventually(lambda: len(b.peers()) == 2)
    child.kill()
    assert b.claim(NAME).node == "a"  # type: ignore[union-attr]
    eventually(lambda: claimed(b, NAME))
    eventually(lambda: b.peers() == (peer("b"),))


def test_an_id_that_another_node_has_is_refused(world: World) -> None:
    a = world.node("a")
    twice = world.leases("a")
    with pytest.raises(Unavailable) as caught:
        twice.start(peer("a", "p2", home="a copy of the folder"))
    for part in ("node a is", "p1", "http://a:8080", "home of a", "PALIMP_NODE_ID"):
        assert part in str(caught.value)
    assert caught.value.details["reason"] == "lease"
    assert (twice.grant, a.grant) == (0, 1)
    assert holds(a)


def test_an_id_is_waited_for_that_is_free_soon(world: World) -> None:
    """A pod that was killed and started on another machine."""
    child, moved = world.child("a"), world.leases("a")
    assert child.ask("claim", NAME) == "mine"
    child.kill()
    moved.start(peer("a", "p2", home="another machine"))
    assert moved.claim(NAME) is None


def test_a_restart_on_the_same_folder_waits_for_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old, other = world.node("a"), world.node("b")
    old.claim(NAME)
    until = old.deadline
    new = world.node("a", "p2")
    assert Clock().boottime() < until + TTL / 2
    assert new.claim(NAME) is None
    eventually(lambda: [one.process for one in other.peers()] == ["p2", "p1"])
    assert other.claim(NAME).process == "p2"  # type: ignore[union-attr]
    # Two processes that run as one node: the older does not take it back.
    eventually(lambda: old.grant == 0)
    eventually(lambda: "stays without a lease: node a is another process's id" in caplog.text)
    assert not claimed(old, NAME)
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
    new.close()
    eventually(lambda: old.grant == 2)
    assert old.claim(NAME) is None


def test_a_lease_that_vanishes_is_noticed_and_asked_for_again(world: World) -> None:
    metrics = Metrics()
    a: Any = world.node("a", metrics=metrics)
    b = world.node("b")
    a.claim(NAME)
    # As somebody's hands would do it, or a restored backup.
    a._store.leave(a._lease)
    assert b.claim(NAME) is None
    assert not claimed(a, NAME)
    eventually(lambda: a.grant == 2)
    assert a.claim(NAME) == peer("b")
    a.drain()
    eventually(lambda: [one.draining for one in b.peers()] == [True, False])
    assert metrics.count("leases_granted") == 2
    assert metrics.count("leases_lost") == 1


def test_ten_thousand_claims_are_released_at_once(world: World) -> None:
    a, other = world.node("a"), world.placement()
    names = [f"acme--p{number}" for number in range(10_000)]
    world.fill(a, names)
    eventually(lambda: other.held() == 10_000)
    assert other.holder("acme--p9999") == peer("a")
    a.release(names[:-1])
    eventually(lambda: other.held() == 1)
    assert [a.ask(names[place]) for place in (0, 5_000, 9_998)] == [None] * 3
    assert a.ask(names[-1]) == peer("a")
    world.fill(a, [f"acme--again-{number}" for number in range(1_000)])
    a.close()
    eventually(lambda: (other.held(), other.peers()) == (0, ()))


def test_without_its_store_nothing_is_claimed_and_nothing_forgotten(
    world: World, request: pytest.FixtureRequest
) -> None:
    metrics = Metrics()
    a, other = world.node("a", metrics=metrics), world.placement()
    a.claim(NAME)
    eventually(lambda: other.holder(NAME) == peer("a"))
    grant = a.grant
    with outage(world, request):
        with pytest.raises(Unavailable) as caught:
            a.claim("acme--bob")
        assert caught.value.details["reason"] == "lease"
        assert caught.value.retry_after
        with pytest.raises(Unavailable, match="nothing is claimed until it does"):
            other.ask(NAME)
        a.release(["acme--never"])
        eventually(lambda: not holds(a))
        # Without a lease nothing is asked.
        with pytest.raises(Unavailable, match="no lease just now"):
            a.claim(NAME)
        assert other.holder(NAME) == peer("a")
    eventually(lambda: holds(a))
    assert metrics.count("lease_requests_failed") > 0
    assert a.claim(NAME) is None
    # etcd gives leases their full time again; a database's clock goes on.
    assert a.grant == grant if world.kind == "etcd" else a.grant >= grant
    eventually(lambda: other.holder(NAME) == peer("a"))


def test_the_time_of_day_decides_nothing(world: World) -> None:
    class Wrong(Clock):
        """Set to another day, again and again."""

        days = 0

        def now_ms(self) -> int:
            self.days -= 1
            return super().now_ms() + self.days * 86_400_000

    a, b = world.node("a", clock=Wrong()), world.node("b")
    a.claim(NAME)
    first = a.deadline
    eventually(lambda: Clock().boottime() > first)
    assert b.claim(NAME) == peer("a")
    # A machine that stands still takes both leases; the time of day would take one.
    assert a.grant == b.grant


def test_a_store_that_is_away_refuses_the_start(
    world: World, request: pytest.FixtureRequest
) -> None:
    a = world.leases("a")
    with outage(world, request), pytest.raises(Unavailable) as caught:
        a.start(peer("a"))
    assert caught.value.details["reason"] == "lease"
    a.start(peer("a"))
    assert a.claim(NAME) is None


def test_a_forked_process_leaves_the_lease_to_its_parent(world: World) -> None:
    a, b = world.node("a"), world.node("b")
    a.claim(NAME)
    a._process = os.getpid() + 1  # type: ignore[attr-defined]  as it is in a child
    a.close()
    a._process = os.getpid()  # type: ignore[attr-defined]
    assert b.claim(NAME) == peer("a")
