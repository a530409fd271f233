"""Clusters of real processes under faults: what clients were told is what is there in the end.

A run of CLUSTER_SECONDS (28) each; CLUSTER_SEED replays one, as far as threads and processes can be
made to repeat themselves. What failed is in the run's folder: `run.json` for the checker, `a/log`
and so on of the nodes.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from ..services import need_etcd
from .checker import check
from .faults import ENGINES, GATEWAY, LINKS, OF_ETCD, PROCESSES, Fault, carry_out
from .harness import Cluster, Leases, cluster
from .history import WRITES, Run
from .stores import CALM, ROUGH, Chances

SECONDS = float(os.environ.get("CLUSTER_SECONDS", "28"))
SEED = int(os.environ.get("CLUSTER_SEED", "20"))


class Schedule(NamedTuple):
    """A cluster, and what is done to it."""

    size: int
    leases: Leases
    faults: tuple[Fault, ...]
    store: Chances = CALM
    gateway: bool = False


SCHEDULES = {
    "processes": Schedule(3, "etcd", PROCESSES, ROUGH),
    "links": Schedule(2, "etcd", (*GATEWAY, *LINKS), gateway=True),
    "engines": Schedule(2, "etcd", ENGINES, ROUGH),
    "sql": Schedule(2, "sql", tuple(f for f in (*PROCESSES, *LINKS) if f not in OF_ETCD)),
}
IN_CI = ("processes", "links", "engines")


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_was_acknowledged_is_there(name: str, tmp_path: Path) -> None:
    schedule = SCHEDULES[name]
    if name not in IN_CI and os.environ.get("LONG") != "1":
        pytest.skip("there is no time for it in CI: LONG=1")
    if schedule.leases == "etcd":
        need_etcd()
    with cluster(
        tmp_path,
        schedule.size,
        leases=schedule.leases,
        seed=SEED,
        ttl=2.0,
        gateway=schedule.gateway,
    ) as made:
        run, done = under_faults(made, schedule, SEED, SECONDS)
    print(name, summary(run), Counter(done))
    assert made.recorder.acknowledged() > 100
    assert check(run) == [], f"seed {SEED}, see {tmp_path}"


def under_faults(
    made: Cluster, schedule: Schedule, seed: int, seconds: float
) -> tuple[Run, list[str]]:
    """Let clients work while faults are carried out; return what came of it, and the faults."""
    clients = made.clients(5, 6, seed)
    made.rough(schedule.store)
    done = carry_out(made, schedule.faults, seed, seconds)
    made.heal()
    for client in clients:
        client.finish()
    return made.settle(), done


def summary(run: Run) -> dict[str, int]:
    """Return how much of what was seen: a run in which nothing happens proves nothing."""
    kinds = ("write" if call.what in WRITES else "read" for call in run.calls)
    found = Counter(f"{kind} {call.outcome}" for kind, call in zip(kinds, run.calls, strict=True))
    found["repeated"] = sum(len(call.attempts) > 1 for call in run.calls)
    found["recovered branches"] = sum(len(state.branches) - 1 for state in run.final.values())
    return dict(found)
