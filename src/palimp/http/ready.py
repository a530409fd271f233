"""What watches a node is told: whether it takes requests, and what is wrong."""

from __future__ import annotations

import msgspec

from ..api import API_VERSION
from ..node import Node
from .api import Api

__all__ = ["Ready", "ready"]

_LOCAL_STORES = ("file", "mem")


class Ready(msgspec.Struct, kw_only=True):
    """Whether requests are taken. `warnings` are sentences for whoever runs the node."""

    status: str
    release: str
    api: int
    node: str
    durability: str
    object_store: str
    in_flight: int
    waiting: int
    warnings: tuple[str, ...]


def ready(node: Node, api: Api) -> Ready:
    """Return what the node is doing."""
    about = node.context.about
    refusing = "closed" if node.closed else "draining" if api.draining else None
    return Ready(
        status=refusing or "ready",
        release=about.release,
        api=API_VERSION,
        node=about.node,
        durability=about.durability,
        object_store=about.object_store,
        in_flight=api.in_flight,
        waiting=api.waiting,
        warnings=_warnings(node),
    )


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
