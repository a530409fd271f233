"""Requests that other nodes of the cluster sent on: who they are from, and threads of their own.

They wait for nobody else's node, so that two nodes which send to each other never wait for ever,
however few threads each has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import Denied, Error, Unavailable
from ..node import Node
from ..version import __version__
from .workers import Workers

if TYPE_CHECKING:
    from ..node.peering import Said

__all__ = ["HEADER_PEER", "Incoming"]

# Spelt out: what reads and checks it is imported only where there is a cluster.
HEADER_PEER = "palimp-peer"


class Incoming:
    """What other nodes send to this one; used from one event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.workers = Workers(node.settings.write_queue_depth)

    def said(self, method: str, path: bytes, query: bytes, headers: Mapping[str, str]) -> Said:
        """Return what the sender says; `Denied` where it is no node of this cluster."""
        cluster = self._node.cluster
        if cluster is None:
            raise Denied(
                f"node {self._node.context.engine.node} is in no cluster, and was shown a "
                f"`{HEADER_PEER}` header; leave it out, or set PALIMP_LEASES as on the other nodes",
                reason="cluster_key",
            )
        whole = (path + b"?" + query if query else path).decode("latin-1")
        return cluster.peering.verify(method, whole, headers)

    def check_body(self, said: Said, body: bytes) -> None:
        """Raise `Denied` where a body is not the one that was signed."""
        assert self._node.cluster is not None
        self._node.cluster.peering.check_body(said, body)

    def of_another_release(self, said: Said, error: Error) -> Error:
        """Return why a request was not understood that its sender understood.

        Between nodes of one release that is what is wrong with the request.
        """
        if said.release == __version__:
            return error
        node = self._node.context.engine.node
        return Unavailable(
            f"node {node} runs release {__version__}, which has no operation {said.operation}, or "
            f"not as release {said.release} of node {said.sender} asks for it ({error}); upgrade "
            f"{node}",
            reason="release",
            node=node,
        )
