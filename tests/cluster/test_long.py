"""The long form: three nodes in network namespaces, an etcd of three members, half an hour.

LONG_SECONDS (1800) is how long, LONG_SEED (1) replays its faults. `make soak` runs it.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from ..services import need_etcd
from .checker import check
from .faults import ENGINES, GATEWAY, LINKS, PROCESSES, carry_out
from .harness import cluster
from .namespaces import missing
from .stores import ROUGH
from .test_cluster import summary

SECONDS = float(os.environ.get("LONG_SECONDS", "1800"))
SEED = int(os.environ.get("LONG_SEED", "1"))
# Of the store, which everybody needs: as long as an operator takes to notice.
OUTAGE_SECONDS = 60.0
PROFILES = 24


@pytest.mark.timeout(SECONDS * 2 + 600)
def test_half_an_hour_of_faults(tmp_path: Path) -> None:
    if os.environ.get("LONG") != "1":
        pytest.skip("takes half an hour: LONG=1")
    why = missing()
    if why is not None:
        pytest.skip(why)
    need_etcd()
    faults = (*PROCESSES, *LINKS, *ENGINES, *GATEWAY)
    with cluster(
        tmp_path, 3, leases="etcd", seed=SEED, ttl=3.0, members=3, apart=True, gateway=True
    ) as made:
        clients = made.clients(6, PROFILES, SEED, pause=0.06)
        made.rough(ROUGH)
        done = carry_out(made, faults, SEED, SECONDS, outage=OUTAGE_SECONDS)
        made.heal()
        for client in clients:
            client.finish()
        run = made.settle()
    print(summary(run), Counter(done))
    assert set(done) == {fault.__name__ for fault in faults} or SECONDS < 600
    assert check(run) == [], f"seed {SEED}, see {tmp_path}"
