"""The nodes that a gateway knows, and which of them is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import msgspec

from ..clock import Clock
from ..errors import Unavailable
from ..lease import Peer, Placement, preferred

__all__ = ["Peers", "View"]

# A node that was not reached is asked by one request in so long.
_DOWN_SECONDS = 1.0
# How long an answer of the lease store stands for whoever watches the gateway.
_PROBE_SECONDS = 1.0
_PROBE = "palimp--gateway"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the nodes. `heard_seconds`: since the lease store answered last, if ever."""

    nodes: int
    draining: int
    databases: int
    heard_seconds: float | None
    problem: str | None


class Peers:
    """Chooses nodes by what a placement has heard; used from one event loop."""

    def __init__(self, placement: Placement, clock: Clock) -> None:
        self._placement = placement
        self._clock = clock
        self._turn = 0
        # By address: until when it is left out.
        self._down: dict[str, float] = {}
        self._heard: float | None = None
        self._probed = -_PROBE_SECONDS
        self._problem: str | None = None

    def choose(self, database: str | None, tried: Collection[str]) -> Peer | None:
        """Return the node to ask, of those that were not; None where there is no other.

        It is the one that has the database, else the one that should; for none the next in turn.
        """
        peers = [peer for peer in self._placement.peers() if peer.node not in tried]
        now = self._clock.monotonic()
        up = [peer for peer in peers if self._down.get(peer.address, now) <= now] or peers
        if not up:
            return None
        if database is not None:
            holder = self._placement.holder(database)
            found = next((one for one in up if holder and one.node == holder.node), None)
            found = found or preferred(up, database)
            if found is not None:
                return found
        staying = [peer for peer in up if not peer.draining] or up
        self._turn += 1
        return staying[self._turn % len(staying)]

    async def ask(self, database: str | None, tried: Collection[str]) -> Peer | None:
        """Return the node to ask next, after asking the lease store who has the database now."""
        if database is not None:
            try:
                holder = await asyncio.to_thread(self._placement.ask, database)
                self._answered()
                if holder is not None and holder.node not in tried:
                    return holder
            except Unavailable as error:
                self._problem = str(error)
        return self.choose(database, tried)

    def unreached(self, peer: Peer) -> None:
        """Leave out for a while a node that could not be connected to."""
        now = self._clock.monotonic()
        self._down = {address: until for address, until in self._down.items() if until > now}
        self._down[peer.address] = now + _DOWN_SECONDS

    def is_there(self, peer: Peer) -> bool:
        """Whether a node is alive still, as last heard."""
        return any(one.node == peer.node for one in self._placement.peers())

    def addresses(self) -> list[str]:
        """Return where all nodes are."""
        return [peer.address for peer in self._placement.peers()]

    async def look(self) -> View:
        """Return what is known, after asking the lease store whether it is there."""
        now = self._clock.monotonic()
        if now - self._probed >= _PROBE_SECONDS:
            self._probed = now
            try:
                await asyncio.to_thread(self._placement.ask, _PROBE)
                self._answered()
            except Unavailable as error:
                self._problem = str(error)
        return self.view()

    def view(self) -> View:
        """Return what is known."""
        peers = self._placement.peers()
        heard = None if self._heard is None else round(self._clock.monotonic() - self._heard, 3)
        return View(
            nodes=len(peers),
            draining=sum(peer.draining for peer in peers),
            databases=self._placement.held(),
            heard_seconds=heard,
            problem=self._problem,
        )

    def _answered(self) -> None:
        self._heard, self._problem = self._clock.monotonic(), None
