"""Databases move to where they should be, once nodes neither come nor go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from palimp.clock import ManualClock
from palimp.engine import Engine
from palimp.lease import Peer, preferred
from palimp.node.rebalancing import Rebalancer
from palimp.store import VolatileStore

from ..engine.engines import Engines, P, put, words
from ..engine.leasers import LeaseStore, ManualLeaser

NAMES = [f"p{number}" for number in range(40)]


def peer(node: str, *, draining: bool = False) -> Peer:
    return Peer(node, f"http://{node}", "0.1.0", 1, node, node, draining)


class Alive:
    """The leases of node a, and the nodes it has heard of."""

    node = "a"

    def __init__(self) -> None:
        self.alive: tuple[Peer, ...] = (peer("a"),)

    def peers(self) -> tuple[Peer, ...]:
        return self.alive


class House:
    def __init__(self, engines: Engines) -> None:
        self.clock = ManualClock()
        self.store = VolatileStore()
        self.leases = LeaseStore(self.clock)
        self.leaser = ManualLeaser(self.leases, "a")
        self.leaser.renew()
        self.engine: Engine = engines(
            self.store, "a", clock=self.clock, leaser=self.leaser, hot_cap=64
        )
        self.alive = Alive()
        for name in NAMES:
            put(self.engine, name, P._replace(profile=name))

    def rebalancer(self, seconds: float = 30.0) -> Rebalancer:
        return Rebalancer(self.alive, self.engine, self.clock, seconds)  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.leaser.renew()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engines = Engines(tmp_path)
    yield House(engines)
    engines.close_all()


def wanted(alive: tuple[Peer, ...], node: str) -> set[str]:
    names = (f"ns--{name}" for name in NAMES)
    return {name for name in names if (found := preferred(alive, name)) and found.node == node}


def test_nothing_moves_before_the_nodes_have_been_the_same_for_a_while(house: House) -> None:
    mover = house.rebalancer()
    assert mover.once() == []
    house.alive.alive = (peer("a"), peer("b"))
    house.wait(7)
    assert mover.once() == []
    for _ in range(4):
        house.wait(7)
        assert mover.once() == []
    # Somebody comes: from the beginning.
    house.alive.alive = (peer("a"), peer("b"), peer("c"))
    for _ in range(5):
        house.wait(7)
        if mover.once():
            pytest.fail("too early")
    house.wait(7)
    assert mover.once()


def test_what_should_be_elsewhere_goes_there_a_few_at_a_time_and_nothing_is_lost(
    house: House,
) -> None:
    house.alive.alive = alive = (peer("a"), peer("b"), peer("c"))
    mover = house.rebalancer(0.001)
    assert mover.once() == []
    moved: set[str] = set()
    house.wait(1)
    while given := mover.once():
        assert len(given) <= 32
        moved |= set(given)
        house.wait(1)
    assert moved == wanted(alive, "b") | wanted(alive, "c")
    assert set(house.leases.owners) == wanted(alive, "a")
    assert moved
    for name in NAMES:
        assert words(house.engine, P._replace(profile=name)) == [name]


def test_a_node_that_is_going_is_given_nothing(house: House) -> None:
    house.alive.alive = (peer("a"), peer("b", draining=True))
    mover = house.rebalancer(0.001)
    mover.once()
    house.wait(1)
    assert mover.once() == []
    assert len(house.leases.owners) == len(NAMES)
