"""Failover: from the kill of a database's node to the first write that another node accepts.

Real processes, a real etcd and moto as the object store, on one machine; leases last 10 s, as they
do by default. A lease runs out at the earliest when its last renewal is that old, so that a kill
costs between two thirds of it and all of it, and what etcd and the takeover need.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness import Row
from machine import ROOT

_RUNS = 20
_TTL_SECONDS = 10.0
_SECONDS_MAX = 15.0
_WHAT = f"kill to first accepted write, leases of {_TTL_SECONDS:g} s"
_MEMORIES = 100
_GIVE_UP_SECONDS = 60.0


def measure(*, quick: bool) -> list[Row]:
    """Kill the node that has a database, again and again; a minute and more, so not when quick."""
    if quick or shutil.which("etcd") is None:
        note = "takes minutes" if quick else "etcd is missing"
        return [Row(_WHAT, None, "s", budget=_SECONDS_MAX, note=note)]
    sys.path.insert(0, str(ROOT))
    from tests.cluster.harness import cluster

    with (
        tempfile.TemporaryDirectory(prefix="palimp-failover-") as folder,
        cluster(Path(folder), 2, leases="etcd", seed=1, ttl=_TTL_SECONDS) as made,
    ):
        found = [_failover(made, number) for number in range(_RUNS)]
    return [
        Row(
            _WHAT,
            max(found),
            "s",
            budget=_SECONDS_MAX,
            note=f"the worst of {len(found)}; median {statistics.median(found):.1f} s",
            detail={"all_s": sorted(found), "median_s": statistics.median(found)},
        )
    ]


def _failover(made, number: int) -> float:  # type: ignore[no-untyped-def]
    """Return the seconds between the kill of a node and a write that the other one accepts."""
    from tests.cluster.clients import send

    profile = f"failover-{number}"
    path = f"/v1/memory/default/{profile}/memories"
    door = made.nodes[0].links["clients"]
    body = {"memories": [{"text": f"memory {one}"} for one in range(_MEMORIES)]}
    written = send(door, "POST", path, body, {"palimp-durability": "durable"}, 30)
    assert written.status == 201, written
    manifest = send(door, "GET", f"/v1/db/default--{profile}/manifest").body["manifest"]
    owner = made.node(manifest["owner"]["node"])
    other = next(node for node in made.nodes if node is not owner)
    # At any moment between two renewals.
    time.sleep(_TTL_SECONDS / 3 * (number % 7) / 7)
    owner.kill()
    begun = time.monotonic()
    headers = {"palimp-request-id": f"failover-{number}"}
    while True:
        write = {"memories": [{"text": f"after {number}"}]}
        answer = send(other.links["clients"], "POST", path, write, headers, 30)
        seconds = time.monotonic() - begun
        if answer.status == 201:
            break
        assert seconds < _GIVE_UP_SECONDS, answer
        time.sleep(0.05)
    owner.start()
    return seconds
