"""Owners tell the nodes that read their branches what they ship, before those look in the store.

A node that reads a branch of another asks that one, again and again while it reads, to be told. The
owner tells it each manifest that landed, with the segment, over the link that requests are sent on
by. Everything in here may be lost, late or doubled: who was not told looks in the store.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from ..api.wire import Call
from ..clock import Clock
from ..decoding import from_msgpack
from ..engine import Engine
from ..engine.claims import database_name
from ..engine.protocol import Manifest
from ..engine.protocol.records import encode
from ..errors import Invalid, NotFound
from ..ids import random_id
from ..lease import Peer
from ..observe import Metrics, logger
from .cluster import Cluster
from .forwarding import Lost

__all__ = ["FOLLOW_PATH", "PUSH_PATH", "Follow", "Pushing", "Told"]

_LOG = logger("node")
FOLLOW_PATH, PUSH_PATH = "/cluster/follow", "/cluster/push"
_TYPE = "application/msgpack"
_THREADS = 2
_SEND_SECONDS = 5.0
# How often to ask to be told, within these; what was asked for holds for so many times as long.
_ASK_SECONDS_MIN, _ASK_SECONDS_MAX = 0.25, 2.0
_HOLD_TIMES = 3
_ASKS_KEPT = 8
_FOLLOWED_SECONDS_MAX = 60.0
# Of one node: above these the oldest goes without its segments, or altogether.
_WAITING_BYTES = 8 << 20
_WAITING_BRANCHES = 1_024
# Larger ones are read from the store.
_SEGMENT_BYTES = 4 << 20

Key = tuple[str, str]


class Follow(msgspec.Struct, frozen=True):
    """What a node asks to be told: of the branches, by their ids, for so many seconds.

    `ask` means to who asked when that was.
    """

    ask: str
    seconds: float
    branches: tuple[Key, ...]


class Told(msgspec.Struct, frozen=True):
    """The manifest of a branch, as in the store, and segments that it names.

    It was written after the node that is told had sent `ask`; empty where that is not known.
    """

    branch: Key
    ask: str
    manifest: bytes
    segments: tuple[bytes, ...]


class _Follower:
    """A node that is told of a branch."""

    __slots__ = ("ask", "ask_before", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.ask = ""
        # What it had asked when the shipment before the next one was linked.
        self.ask_before = ""


class _Letter:
    """What a node is still to be told of a branch."""

    __slots__ = ("ask", "manifest", "segments")

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.ask = ""
        self.segments: list[bytes] = []

    @property
    def size(self) -> int:
        return sum(map(len, self.segments))

    def told(self, key: Key) -> Told:
        """Return it as it is sent."""
        # The manifest may have been folded since.
        named = {ref.sha256 for ref in self.manifest.segments}
        segments = [one for one in self.segments if hashlib.sha256(one).hexdigest() in named]
        return Told(key, self.ask, encode(self.manifest), tuple(segments))


class _Mail:
    """What one node is still to be told, the longest waiting first, bounded."""

    def __init__(self) -> None:
        self.letters: OrderedDict[Key, _Letter] = OrderedDict()
        self.size = 0
        self.sending = False

    def add(self, key: Key, manifest: Manifest, segment: bytes | None, ask: str) -> int:
        """Add a shipment; return how many others were dropped for it, or lost their segments."""
        letter = self.letters.setdefault(key, _Letter(manifest))
        letter.manifest, letter.ask = manifest, ask
        if segment is not None:
            letter.segments.append(segment)
            self.size += len(segment)
        dropped = 0
        while len(self.letters) > _WAITING_BRANCHES:
            self.size -= self.letters.popitem(last=False)[1].size
            dropped += 1
        for old in self.letters.values():
            if self.size <= _WAITING_BYTES:
                break
            dropped += len(old.segments)
            self.size -= old.size
            old.segments.clear()
        return dropped

    def take(self) -> list[tuple[Key, _Letter]]:
        """Take everything out."""
        letters = list(self.letters.items())
        self.letters.clear()
        self.size = 0
        return letters


class Pushing:
    """Tells others what this node ships, and asks others to tell what is read here. Thread-safe.

    Shipping never waits for it. With `plain` segments go along; without, only manifests do: their
    content is encrypted in the store, and is to be nowhere else as it is.
    """

    def __init__(
        self,
        cluster: Cluster,
        engine: Engine,
        clock: Clock,
        metrics: Metrics,
        *,
        staleness: float,
        plain: bool,
    ) -> None:
        self._cluster = cluster
        self._following = engine.following
        self._clock = clock
        self._metrics = metrics
        self._plain = plain
        self._seconds = min(max(staleness / 2, _ASK_SECONDS_MIN), _ASK_SECONDS_MAX)
        self._changed = threading.Condition()
        self._followers: defaultdict[Key, dict[str, _Follower]] = defaultdict(dict)
        self._mail: defaultdict[str, _Mail] = defaultdict(_Mail)
        # When this node asked (monotonic).
        self._asks: OrderedDict[str, float] = OrderedDict()
        self._closed = False
        works = [self._look_around, *[self._send_mail] * _THREADS]
        self._threads = [
            threading.Thread(target=work, name="palimp-pushing", daemon=True) for work in works
        ]
        self._following.shipments.listener = self.shipped
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Tell nobody any more, and stop."""
        self._following.shipments.listener = None
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_SEND_SECONDS)

    def receive(self, node: str, path: str, body: bytes) -> None:
        """Take what another node sent; `Invalid` or `NotFound` for what cannot be read here."""
        try:
            if path == FOLLOW_PATH:
                self.follow(node, from_msgpack(body, Follow))
            elif path == PUSH_PATH:
                self.told(from_msgpack(body, list[Told]))
            else:
                raise NotFound(f"nodes of this release do not send {path[:200]!r} to each other")
        except msgspec.DecodeError as error:
            raise Invalid(f"what node {node} sends to {path} is not understood: {error}") from error

    # -- of what is shipped here ------------------------------------------------------------------

    def follow(self, node: str, asked: Follow) -> None:
        """Tell a node of branches from now on, for a while; of those that are not here nothing."""
        now = self._clock.monotonic()
        with self._changed:
            for key in asked.branches:
                follower = self._followers[key].setdefault(node, _Follower())
                follower.until = now + min(asked.seconds, _FOLLOWED_SECONDS_MAX)
                follower.ask = asked.ask

    def shipped(self, key: Key, manifest: Manifest, data: bytes) -> None:
        """Note what was shipped for those who follow it; in the branch's lane."""
        if key not in self._followers:
            return
        # A snapshot is for who has nothing, and is read from the store.
        is_segment = bool(manifest.segments) and manifest.segments[-1].max == manifest.txid
        goes_along = self._plain and is_segment and len(data) <= _SEGMENT_BYTES
        now = self._clock.monotonic()
        with self._changed:
            for node, follower in self._followers[key].items():
                if follower.until < now:
                    continue
                # What was asked since may have been asked after this was written.
                ask, follower.ask_before = follower.ask_before, follower.ask
                mail = self._mail[node]
                dropped = mail.add(key, manifest, data if goes_along else None, ask)
                if dropped:
                    self._metrics.add("pushes_failed", dropped, reason="dropped")
            self._changed.notify_all()

    def _send_mail(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                node = self._next()
                if self._closed or node is None:
                    return
                mail = self._mail[node]
                mail.sending = True
                letters = mail.take()
            try:
                self._tell(node, letters)
            finally:
                with self._changed:
                    mail.sending = False
                    self._changed.notify_all()

    def _next(self) -> str | None:
        """Return a node that has mail and is not just being sent some; others have their turn."""
        for node, mail in self._mail.items():
            if mail.letters and not mail.sending:
                return node
        return None

    def _tell(self, node: str, letters: Iterable[tuple[Key, _Letter]]) -> None:
        told = [letter.told(key) for key, letter in letters]
        peer = self._cluster.peer(node)
        if peer is not None and self._send(peer, PUSH_PATH, msgspec.msgpack.encode(told)):
            self._metrics.add("pushes_sent", len(told))
            return
        self._metrics.add("pushes_failed", len(told), reason="unreachable")
        with self._changed:
            # Until it asks again.
            for followers in self._followers.values():
                followers.pop(node, None)

    # -- of what is read here ---------------------------------------------------------------------

    def told(self, given: Iterable[Told]) -> None:
        """Take what other nodes tell of their branches."""
        for one in given:
            looked_at = self._asks.get(one.ask)
            refused = self._following.take(one.branch, one.manifest, one.segments, looked_at)
            self._metrics.add("pushes_received")
            if refused is not None:
                self._metrics.add("pushes_refused", reason=refused)

    def _look_around(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, self._seconds):
                    return
            self._forget()
            self._following.apply_waiting()
            self.ask_others()

    def ask_others(self) -> None:
        """Ask the owners of what is read here to tell of it."""
        leases = self._cluster.leases
        wanted: defaultdict[str, list[Key]] = defaultdict(list)
        peers: dict[str, Peer] = {}
        for key, address in self._following.followed(_HOLD_TIMES * self._seconds):
            holder = leases.holder(database_name(address))
            if holder is not None and holder.node != leases.node:
                peers[holder.node] = holder
                wanted[holder.node].append(key)
        for node, branches in wanted.items():
            ask = random_id("ask")
            self._asks[ask] = self._clock.monotonic()
            while len(self._asks) > _ASKS_KEPT * len(wanted):
                self._asks.popitem(last=False)
            asked = Follow(ask, _HOLD_TIMES * self._seconds, tuple(branches))
            self._send(peers[node], FOLLOW_PATH, msgspec.msgpack.encode(asked))

    # -- inside -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Forget who has not asked for long."""
        now = self._clock.monotonic()
        with self._changed:
            for key, followers in list(self._followers.items()):
                for node in [name for name, one in followers.items() if one.until < now]:
                    del followers[node]
                if not followers:
                    del self._followers[key]
            for node, mail in list(self._mail.items()):
                if not mail.letters and not mail.sending:
                    del self._mail[node]

    def _send(self, peer: Peer, path: str, body: bytes) -> bool:
        call = Call("POST", path, {"content-type": _TYPE}, body)
        signed = self._cluster.peering.sign(
            call, peer.node, operation=path.rpartition("/")[2], seconds=_SEND_SECONDS
        )
        answer = self._cluster.lines.send(
            peer.address, signed, _SEND_SECONDS, lambda: not self._closed
        )
        if not isinstance(answer, Lost) and answer.status == HTTPStatus.NO_CONTENT:
            return True
        said = answer.said if isinstance(answer, Lost) else f"status {answer.status}"
        _LOG.info("node %s at %s did not take %s: %s", peer.node, peer.address, path, said)
        return False
