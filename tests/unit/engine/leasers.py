"""Leases of several nodes in this process, by a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from palimp.clock import Clock
from palimp.errors import Unavailable


class Node(NamedTuple):
    node: str
    address: str


class LeaseStore:
    """Which node has what; it answers or is `down`."""

    def __init__(self, clock: Clock, ttl: float = 10.0) -> None:
        self.clock = clock
        self.ttl = ttl
        self.down = False
        self.owners: dict[str, str] = {}
        self.expires: dict[str, float] = {}

    def expire(self) -> None:
        now = self.clock.boottime()
        gone = {node for node, at in self.expires.items() if at <= now}
        self.owners = {name: node for name, node in self.owners.items() if node not in gone}


class ManualLeaser:
    """A lease that is renewed by hand; `before_answer` runs while a claim is under way."""

    def __init__(self, store: LeaseStore, node: str) -> None:
        self.node = node
        self.grant = 0
        self.deadline = 0.0
        self.claims = 0
        self.before_answer: Callable[[], object] = lambda: None
        self.on_release: Callable[[], object] = lambda: None
        self._store = store

    def renew(self) -> None:
        store, now = self._store, self._store.clock.boottime()
        store.expire()
        if not self.grant or store.expires.get(self.node, 0) <= now:
            # What it had under the lease that ended is nobody's.
            store.owners = {n: who for n, who in store.owners.items() if who != self.node}
            self.grant += 1
        store.expires[self.node] = now + store.ttl
        self.deadline = now + 0.8 * store.ttl

    def claim(self, name: str) -> Node | None:
        store = self._store
        self.claims += 1
        if store.down:
            raise Unavailable("the lease store is down", reason="lease")
        store.expire()
        holder = store.owners.setdefault(name, self.node)
        self.before_answer()
        return None if holder == self.node else Node(holder, f"http://{holder}")

    def release(self, names: Iterable[str]) -> None:
        self.on_release()
        for name in names:
            if self._store.owners.get(name) == self.node:
                del self._store.owners[name]
