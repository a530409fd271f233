"""The lease of a node that is alone: always granted, everything it claims is its own."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .placement import Peer

__all__ = ["SingleLeases"]


class SingleLeases:
    """Grants everything to the one node there is; `Leases`. Thread-safe."""

    grant = 1
    deadline = math.inf

    def __init__(self, node: str) -> None:
        self.node = node
        self._peer: Peer | None = None
        self._claimed: set[str] = set()

    def start(self, peer: Peer) -> None:
        """Be alive as `peer`."""
        self._peer = peer

    def claim(self, name: str) -> Peer | None:
        """Attach a database; it is always this node's then."""
        self._claimed.add(name)
        return None

    def release(self, names: Iterable[str]) -> None:
        """Detach databases."""
        self._claimed.difference_update(names)

    def drain(self) -> None:
        """There is nobody to tell."""

    def holder(self, name: str) -> Peer | None:
        """Return this node, where it claimed the database."""
        return self._peer if name in self._claimed else None

    def ask(self, name: str) -> Peer | None:
        """Return this node, where it claimed the database."""
        return self.holder(name)

    def peers(self) -> tuple[Peer, ...]:
        """Return this node, once it is alive."""
        return () if self._peer is None else (self._peer,)

    def held(self) -> int:
        """Return how many databases it claimed."""
        return len(self._claimed)

    def close(self) -> None:
        """Forget what was claimed."""
        self._claimed.clear()
        self._peer = None
