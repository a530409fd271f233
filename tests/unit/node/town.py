"""Several nodes in one process that share a store, each on a port; their leases are kept here."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import palimp
from palimp.errors import Unavailable
from palimp.http import create_app
from palimp.http.app import App
from palimp.ids import parse_database_name
from palimp.lease import Peer
from palimp.node import Node, load_settings
from palimp.node.serving import Served
from palimp.store import open_store

__all__ = ["KEY", "House", "Ledger", "Town"]

KEY = "a key of this cluster"


class Ledger:
    """The lease store: who is alive and who has what."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.peers: dict[str, Peer] = {}
        self.owners: dict[str, str] = {}
        self.down = False
        self.asked = 0

    def end(self, node: str) -> None:
        """Let a node's lease run out."""
        with self.lock:
            self.peers.pop(node, None)
            for name in [one for one, owner in self.owners.items() if owner == node]:
                del self.owners[name]

    def holder(self, name: str) -> Peer | None:
        owner = self.owners.get(name)
        return None if owner is None else self.peers[owner]


class Shared:
    """`Leases` of one node in a ledger; `stale` is what it believes of owners before it asks."""

    def __init__(self, ledger: Ledger, node: str) -> None:
        self.node = node
        self.ledger = ledger
        self.grant = 0
        self.deadline = math.inf
        self.stale: dict[str, str] = {}
        self.closed = False

    def start(self, peer: Peer) -> None:
        self.grant = 1
        self.ledger.peers[self.node] = peer

    def lose(self) -> None:
        """Be without a lease from now on."""
        self.grant = 0
        self.ledger.end(self.node)

    def claim(self, name: str) -> Peer | None:
        self._check()
        with self.ledger.lock:
            owner = self.ledger.owners.setdefault(name, self.node)
            return None if owner == self.node else self.ledger.peers[owner]

    def release(self, names: Iterable[str]) -> None:
        with self.ledger.lock:
            for name in names:
                if self.ledger.owners.get(name) == self.node:
                    del self.ledger.owners[name]

    def drain(self) -> None:
        mine = self.ledger.peers[self.node]
        self.ledger.peers[self.node] = msgspec.structs.replace(mine, draining=True)

    def holder(self, name: str) -> Peer | None:
        believed = self.stale.get(name)
        return self.ledger.holder(name) if believed is None else self.ledger.peers[believed]

    def ask(self, name: str) -> Peer | None:
        self._check()
        self.ledger.asked += 1
        self.stale.pop(name, None)
        return self.ledger.holder(name)

    def peers(self) -> tuple[Peer, ...]:
        return tuple(sorted(self.ledger.peers.values(), key=lambda one: one.node))

    def held(self) -> int:
        return len(self.ledger.owners)

    def close(self) -> None:
        self.closed = True
        self.ledger.end(self.node)

    def _check(self) -> None:
        if self.ledger.down:
            raise Unavailable("the ledger is shut", reason="lease")


class House:
    """A node on a port."""

    def __init__(self, town: Town, name: str, settings: dict[str, Any]) -> None:
        given = {
            "data_dir": town.path / name,
            "node_id": name,
            "embed_provider": "none",
            "cluster_key": KEY,
            "control_rate": 1_000,
            **settings,
        }
        self.leases = Shared(town.ledger, name)
        store = open_store((town.path / "store").as_uri())
        self.node = Node(load_settings(given), store=store, serving=True, leases=self.leases)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.app: App = create_app(self.node)
        self._served = Served(self.app, [self._listener], read_seconds=10)
        self.node.join(self.url)
        self._client = palimp.connect(self.url, retries=0)

    @property
    def name(self) -> str:
        return self.leases.node

    def profile(self, name: str) -> palimp.Profile:
        """Return a profile as a client of this node has it, who repeats nothing."""
        namespace, profile = parse_database_name(name)
        return self._client.profile(profile, namespace=namespace)

    def counted(self, metric: str, **labels: str) -> float:
        """Return what a counter of the node says, all series with these labels together."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            value
            for key, value in self.node.context.metrics.snapshot().items()
            if key.partition("{")[0] == metric and all(one in key for one in wanted)
        )

    def vanish(self) -> None:
        """Stop to answer, as a node that is killed; the ledger knows nothing of it."""
        self._served.stop(0.1)
        self._listener.close()

    def close(self) -> None:
        self._client.close()
        self._served.stop(5)
        self._listener.close()
        self.node.close()


class Town:
    """The nodes `a`, `b`, ..."""

    def __init__(self, path: Path, count: int = 2, **settings: Any) -> None:
        self.path = path
        self.ledger = Ledger()
        self._settings = settings
        self.houses: list[House] = []
        for number in range(count):
            self.build("abcdefgh"[number])

    def build(self, name: str, **settings: Any) -> House:
        """Add a node."""
        house = House(self, name, {**self._settings, **settings})
        self.houses.append(house)
        return house

    def give(self, name: str, house: House) -> None:
        """Let a database be at a node."""
        assert house.leases.claim(name) is None

    def close(self) -> None:
        for house in self.houses:
            house.close()
