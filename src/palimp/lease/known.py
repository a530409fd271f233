"""What was last heard of the nodes and of who has which database; asks nobody."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from operator import attrgetter

from .placement import Peer

__all__ = ["Known"]


class Known:
    """Nodes by their token, and for each database the token of its holder. Thread-safe.

    A token is what the lease store tells holders apart by. `moment` is up to when changes are
    known, in whatever number the store counts them with. Reading takes no lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._peers: dict[str, Peer] = {}
        self._sorted: tuple[Peer, ...] = ()
        self._holders: dict[str, str] = {}
        self.moment = 0

    def holder(self, name: str) -> Peer | None:
        """Return who has a database."""
        token = self._holders.get(name)
        return None if token is None else self._peers.get(token)

    def peer(self, token: str) -> Peer | None:
        """Return a node."""
        return self._peers.get(token)

    def peers(self) -> tuple[Peer, ...]:
        """Return all nodes, by id."""
        return self._sorted

    def held(self) -> int:
        """Return how many databases somebody has."""
        return len(self._holders)

    def replace(self, peers: dict[str, Peer], holders: dict[str, str], moment: int) -> None:
        """Know this, and nothing else."""
        with self._lock:
            self._set_peers(peers)
            self._holders = holders
            self.moment = moment

    def apply(
        self, peers: Mapping[str, Peer | None], holders: Mapping[str, str | None], moment: int
    ) -> None:
        """Know these changes as well: None is gone."""
        with self._lock:
            if peers:
                merged = {**self._peers, **peers}
                self._set_peers({token: peer for token, peer in merged.items() if peer is not None})
            for name, token in holders.items():
                self._put(name, token)
            self.moment = moment

    def keep_only(self, peers: dict[str, Peer]) -> None:
        """Know these nodes and no others; what the others had is nobody's."""
        with self._lock:
            gone = self._peers.keys() - peers.keys()
            if peers != self._peers:
                self._set_peers(peers)
            if gone:
                self._holders = {n: t for n, t in self._holders.items() if t in peers}

    def note(self, name: str, token: str | None, moment: int) -> None:
        """Know what somebody was told of one database, unless later changes are known already."""
        with self._lock:
            if moment > self.moment:
                self._put(name, token)

    def _put(self, name: str, token: str | None) -> None:
        if token is None:
            self._holders.pop(name, None)
        else:
            self._holders[name] = token

    def _set_peers(self, peers: dict[str, Peer]) -> None:
        self._peers = peers
        self._sorted = tuple(sorted(peers.values(), key=attrgetter("node")))
