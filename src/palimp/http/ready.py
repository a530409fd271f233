"""What watches a node is told: whether it takes requests, and what is wrong."""

from __future__ import annotations

import msgspec

from ..api import API_VERSION
from ..lease import Leases
from ..node import Node
from .api import Api

__all__ = ["LeaseState", "Ready", "ready"]

_LOCAL_STORES = ("file", "mem")


class LeaseState(msgspec.Struct, kw_only=True):
    """A node's lease: its number, 0 while there is none, and for how long it holds for sure."""

    grant: int
    seconds_left: float


class Ready(msgspec.Struct, kw_only=True):
    """Whether requests are taken. `warnings` are sentences for whoever runs the node.

    `lease` is None, and there are no `peers`, where no other node writes to the store. `peers` are
    the nodes that are alive, as last heard.
    """

    status: str
    release: str
    api: int
    node: str
    durability: str
    object_store: str
    in_flight: int
    waiting: int
    warnings: tuple[str, ...]
    leases: str
    lease: LeaseState | None
    peers: tuple[str, ...]


def ready(node: Node, api: Api) -> Ready:
    """Return what the node is doing."""
    about, cluster = node.context.about, node.cluster
    lease = None if cluster is None else _lease(node, cluster.leases)
    if node.closed:
        status = "closed"
    elif api.draining or (cluster is not None and cluster.leaving):
        status = "draining"
    else:
        status = "ready" if lease is None or lease.seconds_left > 0 else "no lease"
    return Ready(
        status=status,
        release=about.release,
        api=API_VERSION,
        node=about.node,
        durability=about.durability,
        object_store=about.object_store,
        in_flight=api.in_flight,
        waiting=api.waiting,
        warnings=_warnings(node),
        leases=about.leases,
        lease=lease,
        peers=() if cluster is None else tuple(one.node for one in cluster.peers()),
    )


def _lease(node: Node, leases: Leases) -> LeaseState:
    grant, left = leases.grant, leases.deadline - node.context.clock.boottime()
    return LeaseState(grant=grant, seconds_left=round(max(0.0, left), 3) if grant else 0.0)


def _warnings(node: Node) -> tuple[str, ...]:
    about, found = node.context.about, []
    store = about.object_store
    if about.durability == "durable" and store.partition("://")[0] in _LOCAL_STORES:
        found.append(
            f"durable writes go to {store}, which is on this machine and lost with it; "
            "set PALIMP_OBJECT_STORE to a store elsewhere"
        )
    pressure = node.context.engine.pressure
    if pressure is not None:
        found.append(f"writes are refused: {pressure}")
    return tuple(found)
