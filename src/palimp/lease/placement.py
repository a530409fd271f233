"""What a node says of itself, who has which database, and where one that nobody has should go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import msgspec

__all__ = ["Leases", "Peer", "Placement", "preferred"]


class Peer(msgspec.Struct, frozen=True):
    """A node that is alive: its id, the URL at which others reach it, and its release.

    `process` tells two processes apart that were given one id, `home` the folders they run on. One
    that is `draining` hands over what it has, and is given nothing new.
    """

    node: str
    address: str
    release: str
    api: int
    process: str
    home: str
    draining: bool = False


class Placement(Protocol):
    """Who has which database. Thread-safe.

    A database is named `{namespace}--{profile}`: all its branches are at one node.
    """

    def holder(self, name: str) -> Peer | None:
        """Return who has a database, as last heard: without a request, and maybe out of date."""

    def ask(self, name: str) -> Peer | None:
        """Return who has it now. `Unavailable` (reason `lease`) where the lease store is down."""

    def peers(self) -> tuple[Peer, ...]:
        """Return the nodes that are alive, as last heard, by id."""

    def held(self) -> int:
        """Return how many databases are known to be at some node."""

    def close(self) -> None:
        """Let go of connections and threads."""


class Leases(Placement, Protocol):
    """A node's lease, and the databases attached to it. Thread-safe.

    `grant` is the number of the lease, 0 while there is none: every lease that follows a lost one
    has a higher number, and what was claimed under another number is not this node's any more.
    Claims of `grant` hold until `deadline`, in seconds of `Clock.boottime`.
    """

    node: str

    @property
    def grant(self) -> int:
        """The number of the lease, 0 while there is none."""

    @property
    def deadline(self) -> float:
        """Until when the lease holds for sure."""

    def start(self, peer: Peer) -> None:
        """Be alive from now on, as `peer`, and keep the lease.

        `Unavailable` where the lease store is down, or where the id of the node is another's.
        """

    def claim(self, name: str) -> Peer | None:
        """Attach a database to this node's lease: None where it is this node's now, else whose.

        `Unavailable` (reason `lease`) where there is no lease, or no answer.
        """

    def release(self, names: Iterable[str]) -> None:
        """Detach databases; where there is no answer they go with the lease."""

    def drain(self) -> None:
        """Tell the others that this node is going."""


def preferred(peers: Iterable[Peer], name: str) -> Peer | None:
    """Return where a database should be that nobody has; None where there is no node.

    Every node and gateway says the same of the same peers, databases spread evenly, and only those
    of a node move when it comes or goes (highest random weight: Thaler and Ravishankar, 1998).
    """
    staying = [peer for peer in peers if not peer.draining]
    return max(staying, key=lambda peer: _weight(peer.node, name), default=None)


def _weight(node: str, name: str) -> bytes:
    return hashlib.blake2b(f"{node}\0{name}".encode(), digest_size=8).digest()
