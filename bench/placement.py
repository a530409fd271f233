"""What it takes to know where databases are: the memory of every node and gateway, and of etcd.

What is weighed is weighed in a process of its own, which this file is when it is run:

    python bench/placement.py known COUNT
    python bench/placement.py read COUNT URL CLUSTER
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import etcd
import httpx
from harness import Row, run
from machine import folder, tree_bytes
from msgspec.json import encode
from processes import resident_bytes

from palimp.clock import Clock
from palimp.lease.etcd_gateway import EtcdGateway, text64
from palimp.lease.etcd_placement import EtcdPlacement, Keys
from palimp.lease.known import Known
from palimp.lease.placement import Peer, preferred
from palimp.lease.records import FORMAT, NodeRecord, OwnerRecord

_MIB = 1 << 20
_MILLION = 1_000_000
_IN_ETCD, _IN_ETCD_QUICK = 200_000, 5_000
_NODES = 4
_CLUSTER = "bench"
# As many as etcd takes in one transaction, less what it needs for itself.
_TOGETHER = 100
_LEASE_SECONDS = 3_600
_READ_SECONDS = 300
_CHOICES = 20_000


def measure(*, quick: bool) -> list[Row]:
    """Weigh what is known of a million databases, then etcd with fewer."""
    rows = [_known(10_000 if quick else _MILLION), _choice()]
    if not etcd.is_there():
        return [*rows, Row("databases in etcd", None, "", note="not measured: etcd is missing")]
    return [*rows, *_in_etcd(_IN_ETCD_QUICK if quick else _IN_ETCD)]


def _known(count: int) -> Row:
    found = json.loads(run((sys.executable, __file__, "known", str(count))))
    each = found["bytes"] / count
    return Row(
        f"placement of {count:,} databases at a node or gateway",
        found["bytes"] / _MIB,
        "MiB",
        note=f"{each:,.0f} bytes each, names of {found['chars']} letters, {_NODES} nodes",
        detail=found,
    )


def _choice() -> Row:
    peers, names = _peers(), list(_names(_CHOICES))
    begun = time.perf_counter()
    chosen = {preferred(peers, name) for name in names}
    took = (time.perf_counter() - begun) / _CHOICES
    assert len(chosen) == _NODES
    return Row(f"choosing among {_NODES} nodes for a database nobody has", took * 1e6, "us")


def _in_etcd(count: int) -> list[Row]:
    with folder(disk=True) as path, etcd.running(path) as server:
        empty = resident_bytes(server.pid)
        begun = time.perf_counter()
        _fill(server.url, count)
        filled = time.perf_counter() - begun
        weight = resident_bytes(server.pid) - empty
        on_disk = tree_bytes(path / "etcd")
        command = (sys.executable, __file__, "read", str(count), server.url, _CLUSTER)
        found = json.loads(run(command))
    million = _MILLION / count
    return [
        Row(
            f"etcd with {count:,} databases, over an empty one",
            weight / _MIB,
            "MiB",
            note=f"{weight / count:,.0f} bytes each, {weight * million / _MIB:,.0f} MiB a million; "
            f"on disk with its log {on_disk / _MIB:,.0f} MiB; claimed {_TOGETHER} at a time in "
            f"{filled:,.1f} s",
            detail={"resident": weight, "on_disk": on_disk, "seconds": filled, "databases": count},
        ),
        Row(
            f"reading {count:,} databases from etcd at the start of a gateway",
            found["seconds"],
            "s",
            note=f"{found['bytes'] / count:,.0f} bytes each in its process",
            detail=found,
        ),
    ]


def _fill(url: str, count: int) -> None:
    """Write the records of nodes, and a key for each database, as nodes do, many at a time."""
    gateway, keys = EtcdGateway(url, Clock()), Keys(_CLUSTER)
    try:
        leases = {peer.node: str(gateway.grant(_LEASE_SECONDS)) for peer in _peers()}
        puts = [
            _put(keys.node(peer.node), NodeRecord(FORMAT, 0, peer), leases[peer.node])
            for peer in _peers()
        ]
        nodes = list(leases)
        for number, name in enumerate(_names(count)):
            node = nodes[number % _NODES]
            puts.append(_put(keys.owner(name), OwnerRecord(FORMAT, node), leases[node]))
            if len(puts) >= _TOGETHER:
                gateway.transact([], puts, [])
                puts = []
        if puts:
            gateway.transact([], puts, [])
    finally:
        gateway.close()


def _put(key: str, record: NodeRecord | OwnerRecord, lease: str) -> dict[str, Any]:
    value = text64(encode(record).decode())
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def _peers() -> list[Peer]:
    return [
        Peer(f"node-{number}", f"http://10.0.0.{number}:8080", "0", 1, "process", "home")
        for number in range(_NODES)
    ]


def _names(count: int) -> Iterator[str]:
    return (f"production--user-{number:010d}" for number in range(count))


# -- processes that are weighed -------------------------------------------------------------------


def _weigh_known(count: int) -> dict[str, Any]:
    """Tell of databases one by one, as a watch does."""
    known, peers = Known(), _peers()
    before = _resident()
    known.apply({peer.node: peer for peer in peers}, {}, 1)
    # What an event is made of is another text than what was made of the next.
    for number, name in enumerate(_names(count)):
        known.apply({}, {name: peers[number % _NODES].node}, number + 2)
    after = _resident()
    assert known.held() == count
    return {"bytes": after - before, "chars": len(next(_names(1)))}


def _weigh_read(count: int, url: str, cluster: str) -> dict[str, Any]:
    """Read all there is from etcd, as a gateway does when it starts."""
    # What every process imports is not the placement's.
    httpx.Client(trust_env=False).close()
    before, begun = _resident(), time.perf_counter()
    placement = EtcdPlacement(url, cluster, Clock())
    try:
        assert placement.wait(_READ_SECONDS)
        took = time.perf_counter() - begun
        assert placement.held() == count
        return {"seconds": took, "bytes": _resident() - before}
    finally:
        placement.close()


def _resident() -> int:
    gc.collect()
    return resident_bytes(os.getpid())


if __name__ == "__main__":
    if sys.argv[1] == "known":
        print(json.dumps(_weigh_known(int(sys.argv[2]))))
    else:
        print(json.dumps(_weigh_read(int(sys.argv[2]), *sys.argv[3:])))
