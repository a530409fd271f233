"""Who has which database, by a watch on etcd; and where things are in it."""

from __future__ import annotations

import sys
import threading
from base64 import b64encode

from ..clock import Clock
from ..observe import logger
from .etcd_gateway import CompactedError, EtcdGateway, Watch, WatchAnswer, text64
from .following import Follower
from .placement import Peer
from .records import NodeRecord, OwnerRecord, read, unknown_peer

__all__ = ["EtcdFollower", "EtcdPlacement", "Keys"]

_LOG = logger("lease")
_PAGE = 10_000
_PAGE_SECONDS = 10.0
# A member that is cut off from the others says nothing for ever; asking anew costs one request.
_IDLE_SECONDS = 15.0


class Keys:
    """Where things are in etcd, for one cluster of nodes; as the gateway takes them."""

    def __init__(self, cluster: str) -> None:
        self.all = f"/palimp/{cluster}/"
        self.nodes = f"{self.all}nodes/"
        self.owners = f"{self.all}owners/"
        # The first key after all of these.
        self.end = text64(f"/palimp/{cluster}0")

    def node(self, node: str) -> str:
        """Return the key of a node's record."""
        return text64(self.nodes + node)

    def owner(self, name: str) -> str:
        """Return the key that says who has a database."""
        return text64(self.owners + name)


class EtcdFollower(Follower):
    """Follows one cluster's keys: reads them all, then watches from that revision on."""

    def __init__(self, gateway: EtcdGateway, keys: Keys) -> None:
        super().__init__()
        self._gateway = gateway
        self._keys = keys
        self._whole = False
        self._warned = False
        self._lock = threading.Lock()
        self._watch: Watch | None = None

    def ask(self, name: str) -> Peer | None:
        """Return who has it now; a node without a record has no address."""
        found = self._gateway.range({"key": self._keys.owner(name)})
        pair = found.kvs[0] if found.kvs else None
        owner = None if pair is None else read(pair.value, OwnerRecord)
        node = None if owner is None else owner.node
        self.known.note(name, node, found.header.revision)
        return None if node is None else self.peer(node)

    def peer(self, node: str) -> Peer:
        """Return a node that has something; one without a record has no address."""
        known = self.known.peer(node)
        if known is not None:
            return known
        found = self._gateway.range({"key": self._keys.node(node)})
        record = read(found.kvs[0].value, NodeRecord) if found.kvs else None
        return unknown_peer(node) if record is None else record.peer

    def follow(self) -> float:
        """Read everything, unless that was done; then watch until nothing came for a while."""
        try:
            if not self._whole:
                self._read_all()
                self._whole = True
            self.has_read()
            self._follow_watch()
        except CompactedError:
            _LOG.info("%s has no changes since then; reading all again", self._gateway.name)
            self._whole = False
        return 0.0

    def close(self) -> None:
        """End the thread, and close the connections."""
        with self._lock:
            self._closed.set()
            watch = self._watch
        if watch is not None:
            watch.cancel()
        super().close()
        self._gateway.close()

    def _read_all(self) -> None:
        """Read all keys, as they were at one revision."""
        peers: dict[str, Peer | None] = {}
        holders: dict[str, str | None] = {}
        start, revision, more = text64(self._keys.all), 0, True
        while more and not self.closed:
            page = {"key": start, "range_end": self._keys.end, "limit": _PAGE, "revision": revision}
            found = self._gateway.range(page, _PAGE_SECONDS)
            for pair in found.kvs:
                self._sort(pair.key, pair.value, peers, holders)
            revision, more = revision or found.header.revision, found.more
            if more:
                start = b64encode(found.kvs[-1].key + b"\0").decode()
        there = {node: peer for node, peer in peers.items() if peer is not None}
        held = {name: node for name, node in holders.items() if node is not None}
        self.known.replace(there, held, revision)

    def _follow_watch(self) -> None:
        request = {
            "key": text64(self._keys.all),
            "range_end": self._keys.end,
            "start_revision": str(self.known.moment + 1),
        }
        watch = self._gateway.watch(request, _IDLE_SECONDS)
        with self._lock:
            if self.closed:
                return
            self._watch = watch
        for answer in watch:
            self._apply(answer)

    def _apply(self, answer: WatchAnswer) -> None:
        if answer.compact_revision or 0 < answer.header.revision < self.known.moment:
            # Or it began anew, or was restored: what is waited for will never come.
            raise CompactedError
        if answer.canceled:
            raise self._gateway.unavailable("it ended a watch")
        peers: dict[str, Peer | None] = {}
        holders: dict[str, str | None] = {}
        for event in answer.events:
            gone = event.type == "DELETE"
            self._sort(event.kv.key, None if gone else event.kv.value, peers, holders)
        if answer.events:
            last = answer.events[-1].kv.mod_revision
            self.known.apply(peers, holders, max(last, self.known.moment))

    def _sort(
        self,
        key: bytes,
        value: bytes | None,
        peers: dict[str, Peer | None],
        holders: dict[str, str | None],
    ) -> None:
        """Note what a key says; one that is not ours to read says nothing."""
        path = key.decode(errors="replace")
        if path.startswith(self._keys.nodes):
            node = path.removeprefix(self._keys.nodes)
            record = None if value is None else read(value, NodeRecord)
            peers[node] = None if record is None else record.peer
            known = value is None or record is not None
        elif path.startswith(self._keys.owners):
            name = path.removeprefix(self._keys.owners)
            owner = None if value is None else read(value, OwnerRecord)
            # One text for all databases of a node.
            holders[name] = None if owner is None else sys.intern(owner.node)
            known = value is None or owner is not None
        else:
            known = False
        if not known and not self._warned:
            self._warned = True
            _LOG.warning(
                "%s has what this release does not know, as %s; it is passed over",
                self._gateway.name,
                path,
            )


class EtcdPlacement(EtcdFollower):
    """Who has which database, for who has no lease; `Placement`."""

    def __init__(self, endpoints: str, cluster: str, clock: Clock) -> None:
        super().__init__(EtcdGateway(endpoints, clock), Keys(cluster))
        self.start()
