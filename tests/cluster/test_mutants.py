"""Runs in which the product has a defect: the checker has to find it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ..services import need_etcd
from .checker import check
from .faults import Stage, cut_etcd, isolate, stop
from .harness import Cluster, Leases, cluster

SEED = 5
# What shows that two nodes had a database at one time.
_TWO_OWNERS = {"set aside without a cause", "stale", "incomplete"}


class Attack(NamedTuple):
    """What is done to nodes that have a defect, and which rules have to be broken by it."""

    size: int
    leases: Leases
    faults: Callable[[Cluster], None]
    breaks: set[str]
    # In CI there is time for the quickest only.
    long: bool = True


def lose_answers(made: Cluster) -> None:
    """What clients asked is done, and they do not hear of it."""
    node = made.nodes[0]
    for _ in range(2):
        node.cut("clients", "back")
        time.sleep(1)
        node.heal("clients", reset=True)
        time.sleep(1)


def repeat(*faults: Callable[[Stage], None], times: int = 2) -> Callable[[Cluster], None]:
    def run(made: Cluster) -> None:
        stage = Stage(made, random.Random(SEED), made.ttl * 1.7 + 1, 5)
        for _ in range(times):
            for fault in faults:
                fault(stage)
                time.sleep(1)

    return run


def wait(_: Cluster) -> None:
    time.sleep(3)


def suspend_without_etcd(made: Cluster) -> None:
    """A machine wakes up, and reaches its clients before it reaches etcd."""
    for node in made.nodes * 2:
        node.cut("etcd0")
        node.suspend()
        time.sleep(made.ttl * 1.8)
        node.wake()
        time.sleep(made.ttl)
        node.heal("etcd0")
        time.sleep(1)


ATTACKS: dict[str, Attack] = {
    "forget requests": Attack(1, "single", lose_answers, {"doubled"}, long=False),
    "forget floors": Attack(2, "etcd", wait, {"below its min_txid"}, long=False),
    "ignore claims": Attack(2, "etcd", repeat(stop), _TWO_OWNERS),
    "ignore deadlines": Attack(2, "etcd", repeat(cut_etcd, times=3), _TWO_OWNERS),
    "count without suspend": Attack(2, "etcd", suspend_without_etcd, _TWO_OWNERS),
    "ignore epochs": Attack(2, "etcd", repeat(isolate, times=3), {"not linked"}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_defect_is_found(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    if attack.long and os.environ.get("LONG") != "1":
        pytest.skip("takes longer than there is in CI: LONG=1")
    if attack.leases == "etcd":
        need_etcd()
    begun = time.monotonic()
    with cluster(
        tmp_path, attack.size, leases=attack.leases, seed=SEED, ttl=2.0, mutant=name
    ) as made:
        clients = made.clients(4, 2, SEED, pause=0.01)
        time.sleep(1)
        attack.faults(made)
        for client in clients:
            client.finish()
        run = made.settle()
    rules = {violation.rule for violation in check(run)}
    print(f"{name}: {sorted(rules)} after {time.monotonic() - begun:.0f} s")
    assert rules & attack.breaks, rules
