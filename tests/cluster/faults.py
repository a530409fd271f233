"""What is done to a cluster while clients work: each fault begins, lasts, and is undone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .harness import Cluster
from .nodes import Node


class Stage(NamedTuple):
    """Where a fault happens, and how long is long: `past_lease` is longer than any lease lasts."""

    cluster: Cluster
    rng: random.Random
    past_lease: float
    outage: float

    def someone(self) -> Node:
        return self.rng.choice(self.cluster.nodes)

    def way(self) -> str:
        return self.rng.choice(("there", "back"))


Fault = Callable[[Stage], None]


def kill(stage: Stage) -> None:
    """The process of a node ends without a word, and is started when others have taken over."""
    node = stage.someone()
    node.kill()
    time.sleep(stage.past_lease)
    node.start()


def kill_and_start(stage: Stage) -> None:
    """The same, started at once: its old lease still holds."""
    node = stage.someone()
    node.kill()
    node.start()


def lose_disk(stage: Stage) -> None:
    """A node comes back with an empty folder."""
    node = stage.someone()
    node.lose_disk()
    time.sleep(stage.past_lease)
    node.start()


def stop(stage: Stage) -> None:
    """A node stands still past its lease, and goes on as if nothing had been."""
    node = stage.someone()
    node.stop()
    time.sleep(stage.past_lease)
    node.go_on()


def blink(stage: Stage) -> None:
    """A node stands still for about as long as its lease lasts: just before, or just after."""
    node = stage.someone()
    node.stop()
    time.sleep(stage.cluster.ttl * (0.7 + stage.rng.random() * 0.6))
    node.go_on()


def suspend(stage: Stage) -> None:
    """As `stop`, on a machine whose clock of durations stood still as well."""
    node = stage.someone()
    node.suspend()
    time.sleep(stage.past_lease)
    node.wake()


def drain(stage: Stage) -> None:
    """A node is told to end, hands over, and comes back."""
    node = stage.someone()
    status = node.term()
    assert status == 0, f"{node.name} ended with {status}:\n{node.tail()}"
    time.sleep(0.5)
    node.start()


def jump(stage: Stage) -> None:
    """A wall clock is set an hour ahead or back, and later right again."""
    node, seconds = stage.someone(), stage.rng.choice((-3600, 3600))
    node.jump(seconds)
    time.sleep(2)
    node.jump(-seconds)


def _cut(stage: Stage, kind: str, way: str, seconds: float, *, reset: bool = False) -> None:
    node = stage.someone()
    kinds = [name for name in node.links if name.rstrip("0123456789") == kind]
    for name in kinds:
        node.cut(name, way)
    time.sleep(seconds)
    for name in kinds:
        node.heal(name, reset=reset)


def cut_etcd(stage: Stage) -> None:
    """A node reaches everything but etcd."""
    _cut(stage, "etcd", "both", stage.past_lease)


def cut_etcd_one_way(stage: Stage) -> None:
    """A node's requests reach etcd and no answer comes back, or the other way around."""
    _cut(stage, "etcd", stage.way(), stage.past_lease)


def cut_store(stage: Stage) -> None:
    """A node reaches everything but the store; what it sent meanwhile arrives late, or never."""
    _cut(stage, "store", "both", stage.past_lease, reset=stage.rng.random() < 0.5)


def cut_store_one_way(stage: Stage) -> None:
    """Puts land and their answers are lost, or the other way around."""
    _cut(stage, "store", stage.way(), stage.past_lease)


def cut_clients(stage: Stage) -> None:
    """Nobody reaches a node, which is well otherwise."""
    _cut(stage, "clients", "both", 2)


def cut_peers(stage: Stage) -> None:
    """What is forwarded to a node does not arrive."""
    _cut(stage, "peers", "both", 2)


def cut_peers_one_way(stage: Stage) -> None:
    """What is forwarded to a node is done there, and nobody hears of it."""
    _cut(stage, "peers", "back", 2)


def cut_catalog(stage: Stage) -> None:
    """A node reaches everything but PostgreSQL."""
    _cut(stage, "catalog", "both", stage.past_lease)


def slow_down(stage: Stage) -> None:
    """What a node and etcd, or the store, say to each other takes half a second each way."""
    name = f"{stage.someone().name}-{stage.rng.choice(('store', 'etcd0'))}"
    link = stage.cluster.network.links.get(name)
    if link is not None:
        link.slow(0.5)
        time.sleep(stage.past_lease)
        link.slow(0)


def isolate(stage: Stage) -> None:
    """A node reaches nothing but its clients."""
    node = stage.someone()
    kinds = [kind for kind in node.links if kind != "clients"]
    for kind in kinds:
        node.cut(kind)
    time.sleep(stage.past_lease)
    for kind in kinds:
        node.heal(kind)


def kill_gateway(stage: Stage) -> None:
    """The gateway is killed and started again; who was connected to it repeats."""
    gateway = stage.cluster.gateway
    assert gateway is not None
    gateway.kill()
    time.sleep(1)
    gateway.start()


def restart_etcd(stage: Stage) -> None:
    """Etcd is killed and comes back with its data: every lease gets its full time again."""
    etcd = stage.cluster.etcd
    assert etcd is not None
    noted = stage.cluster.recorder.disturb("etcd", "")
    number = etcd.leader()
    etcd.kill(number)
    time.sleep(1)
    etcd.restart(number)
    noted.end = noted.begin + 5


def lose_etcd(stage: Stage) -> None:
    """Etcd is away for longer than any lease lasts."""
    etcd = stage.cluster.etcd
    assert etcd is not None
    noted = stage.cluster.recorder.disturb("etcd", "")
    number = etcd.leader()
    etcd.kill(number)
    time.sleep(stage.past_lease)
    etcd.restart(number)
    noted.end = noted.begin + stage.past_lease + 5


def store_down(stage: Stage) -> None:
    """The store refuses everybody."""
    noted = stage.cluster.recorder.disturb("down", "")
    stage.cluster.store.down = True
    time.sleep(stage.outage)
    stage.cluster.store.down = False
    noted.end = noted.begin + stage.outage


PROCESSES: tuple[Fault, ...] = (kill, stop, drain, suspend, kill_and_start, blink, lose_disk, jump)
LINKS: tuple[Fault, ...] = (
    *(cut_etcd, cut_store, cut_peers_one_way, cut_etcd_one_way, cut_clients),
    *(cut_store_one_way, cut_peers, isolate, slow_down),
)
# Of a cluster that has one.
GATEWAY: tuple[Fault, ...] = (kill_gateway,)
ENGINES: tuple[Fault, ...] = (restart_etcd, store_down, lose_etcd, kill, cut_catalog)
OF_ETCD = (cut_etcd, cut_etcd_one_way, restart_etcd, lose_etcd)


def carry_out(
    cluster: Cluster,
    faults: Sequence[Fault],
    seed: int,
    seconds: float,
    *,
    outage: float = 5.0,
    rest: float = 1.0,
) -> list[str]:
    """Do one after the other, shuffled by the seed, until the time is over; return which."""
    rng = random.Random(seed)
    stage = Stage(cluster, rng, cluster.ttl * 1.7 + 1, outage)
    end = time.monotonic() + seconds
    done: list[str] = []
    while time.monotonic() < end:
        # Each comes once before any comes again.
        for fault in rng.sample(faults, len(faults)):
            if time.monotonic() >= end:
                break
            time.sleep(rest * rng.random() * 2)
            fault(stage)
            done.append(fault.__name__)
    return done
