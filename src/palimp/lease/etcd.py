"""Leases in etcd: one lease a node, with its record and a key for every database attached to it.

    /palimp/{cluster}/nodes/{node}      the node's record
    /palimp/{cluster}/owners/{name}     which node has the database

All of a node's keys go with its lease, so that nobody has to clear up after one that died. A
restart of etcd gives every lease its full time again: a database is free later then, never earlier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ..clock import Clock
from ..errors import Unavailable
from ..observe import Metrics
from .etcd_gateway import EtcdGateway, Pair, text64
from .etcd_placement import EtcdFollower, EtcdPlacement, Keys
from .keeping import KeptLeases, LeaseGoneError
from .placement import Peer
from .records import FORMAT, NodeRecord, OwnerRecord, read, replaces, unknown_peer

__all__ = ["EtcdLeases", "EtcdPlacement"]

_TRIES = 3
# etcd takes 128 operations in one transaction.
_RELEASED_TOGETHER = 100
# Written again so often, so that the revision from which a watch goes on is seldom compacted.
_REWRITE_SECONDS = 60.0


class EtcdLeases(KeptLeases):
    """A node's lease in etcd, and the databases attached to it; `Leases`. Thread-safe."""

    def __init__(
        self,
        endpoints: str,
        cluster: str,
        node: str,
        ttl: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        gateway, keys = EtcdGateway(endpoints, clock), Keys(cluster)
        followed = EtcdFollower(gateway, keys)
        store = _EtcdStore(gateway, keys, followed, node, ttl, clock)
        super().__init__(store, followed, node=node, ttl=ttl, clock=clock, metrics=metrics)


class _EtcdStore:
    """`LeaseStore` on etcd; a lease is its number in decimal."""

    def __init__(
        self,
        gateway: EtcdGateway,
        keys: Keys,
        followed: EtcdFollower,
        node: str,
        ttl: float,
        clock: Clock,
    ) -> None:
        self._gateway = gateway
        self._keys = keys
        self._followed = followed
        self._node = node
        # etcd counts whole seconds; one that lasts longer than we count on is safe.
        self._seconds = math.ceil(ttl)
        self._clock = clock
        self._owner_value = _value(OwnerRecord(FORMAT, node))
        self._record: NodeRecord | None = None
        self._written = -math.inf

    def enter(self, record: NodeRecord, *, first: bool) -> str | NodeRecord:
        lease = str(self._gateway.grant(self._seconds))
        key = self._keys.node(self._node)
        compare = _absent(key)
        for _ in range(_TRIES):
            put = _put(key, _value(record), lease)
            done = self._gateway.transact([compare], [put], [_get(key)])
            if done.succeeded:
                self._wrote(record)
                return lease
            found = done.found
            compare = _absent(key)
            if found is None:
                continue
            other = read(found.value, NodeRecord)
            if found.lease == 0:
                # Nobody keeps it: a leftover of somebody's hands.
                compare = _unchanged(key, found)
            elif other is not None and replaces(record, other, first=first):
                self._gateway.revoke(found.lease)
            else:
                self._gateway.revoke(int(lease))
                return other or NodeRecord(FORMAT, 0, unknown_peer(self._node))
        raise self._gateway.unavailable(f"the record of node {self._node} changes all the time")

    def renew(self, lease: str) -> bool:
        if not self._gateway.renew(int(lease)):
            return False
        record = self._record
        if record is not None and self._clock.monotonic() - self._written > _REWRITE_SECONDS:
            try:
                with suppress(Unavailable):
                    self.rewrite(lease, record)
            except LeaseGoneError:
                return False
        return True

    def rewrite(self, lease: str, record: NodeRecord) -> None:
        key = self._keys.node(self._node)
        on_lease = _on_lease(key, lease)
        put = _put(key, _value(record), lease)
        if not self._gateway.transact([on_lease], [put], []).succeeded:
            raise LeaseGoneError
        self._wrote(record)

    def claim(self, lease: str, name: str) -> Peer | None:
        key = self._keys.owner(name)
        compare = _absent(key)
        known = 0
        for _ in range(_TRIES):
            put = _put(key, self._owner_value, lease)
            done = self._gateway.transact([compare], [put], [_get(key)])
            if done.succeeded:
                self._followed.known.note(name, self._node, done.header.revision)
                return None
            found = done.found
            if found is None:
                # It was given up in between.
                compare = _absent(key)
                continue
            owner = read(found.value, OwnerRecord)
            if owner is None:
                raise self._gateway.unavailable(
                    f"the key {self._keys.owners}{name} holds nothing that this release can read; "
                    "a newer release, or somebody's hands, wrote it"
                )
            if owner.node != self._node:
                self._followed.known.note(name, owner.node, done.header.revision)
                return self._followed.peer(owner.node)
            # Of an earlier lease of ours, which nobody keeps any more, or of this one: written anew
            # too, so that a release of before, which lands late, leaves it alone.
            if found.lease == int(lease) and known not in (0, found.mod_revision):
                # Another thread did just that.
                return None
            compare, known = _unchanged(key, found), found.mod_revision
        raise self._gateway.unavailable(f"{name} changes hands all the time")

    def release(self, lease: str, names: Sequence[str]) -> None:
        # What is claimed again from here on is of a later revision.
        now = self._gateway.range({"key": self._keys.node(self._node)}).header.revision
        for start in range(0, len(names), _RELEASED_TOGETHER):
            keys = [self._keys.owner(name) for name in names[start : start + _RELEASED_TOGETHER]]
            dropped = [
                {
                    "request_txn": {
                        "compare": [_on_lease(key, lease), _until(key, now)],
                        "success": [{"request_delete_range": {"key": key}}],
                    }
                }
                for key in keys
            ]
            self._gateway.transact([], dropped, [])

    def leave(self, lease: str) -> None:
        self._gateway.revoke(int(lease))

    def _wrote(self, record: NodeRecord) -> None:
        self._record, self._written = record, self._clock.monotonic()


def _value(record: NodeRecord | OwnerRecord) -> str:
    return text64(msgspec.json.encode(record).decode())


def _put(key: str, value: str, lease: str) -> dict[str, Any]:
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def _get(key: str) -> dict[str, Any]:
    return {"request_range": {"key": key}}


def _absent(key: str) -> dict[str, Any]:
    return {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def _unchanged(key: str, found: Pair) -> dict[str, Any]:
    revision = str(found.mod_revision)
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def _until(key: str, revision: int) -> dict[str, Any]:
    later = str(revision + 1)
    return {"key": key, "target": "MOD", "result": "LESS", "mod_revision": later}


def _on_lease(key: str, lease: str) -> dict[str, Any]:
    return {"key": key, "target": "LEASE", "result": "EQUAL", "lease": lease}
