"""Keeps a node's lease: asks for it, renews it, notices its loss, and says until when it holds."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from ..clock import Clock, format_ms
from ..errors import Kept, Unavailable
from ..ids import jitter
from ..observe import Metrics, logger
from .placement import Peer, Placement
from .records import FORMAT, NodeRecord

__all__ = ["Following", "KeptLeases", "LeaseGoneError", "LeaseStore"]

_LOG = logger("lease")
# The holder's clock may be a little faster than that of the lease store.
_SAFE_SHARE = 0.8
_RENEWALS_PER_TTL = 3
_LOOK_SECONDS = 0.2
_RETRY_SECONDS_MAX = 1.0
# A store that counts whole seconds, and clears what ended a moment later.
_LEAVE_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
_FIRST_READ_SECONDS = 2.0


class LeaseGoneError(Exception):
    """The lease store has no such lease any more."""


class LeaseStore(Protocol):
    """Where leases are kept. Every method raises `Unavailable` (reason `lease`) without an answer.

    After that nobody knows whether it was done; each may be repeated.
    """

    def enter(self, record: NodeRecord, *, first: bool) -> str | NodeRecord:
        """Return a new lease with the node's record on it, or the record of who has its id.

        What the same process left is replaced, at its `first` time also what its folder did: the
        process that ran there is dead.
        """

    def renew(self, lease: str) -> bool:
        """Give the lease its full time again; False where it is gone."""

    def rewrite(self, lease: str, record: NodeRecord) -> None:
        """Replace the node's record; `LeaseGoneError` where the lease is gone."""

    def claim(self, lease: str, name: str) -> Peer | None:
        """Attach a database to the lease: None where it is on it now, else whose it is.

        `LeaseGoneError` where the lease is gone.
        """

    def release(self, lease: str, names: Sequence[str]) -> None:
        """Detach those of the databases that are on the lease."""

    def leave(self, lease: str) -> None:
        """End the lease and all that is on it."""


class Following(Placement, Protocol):
    """A placement that has to be told to follow the changes."""

    def start(self) -> None:
        """Begin, in a thread."""

    def wait(self, seconds: float) -> bool:
        """Wait until it was read once; whether it was."""


class KeptLeases:
    """A lease in a lease store, renewed by a thread; `Leases`. Thread-safe.

    It holds from when a renewal was sent, not from when it was answered, and 20 % shorter than the
    store keeps it, by a clock that counts suspend. An answer to a lease lost meanwhile counts for
    nothing. One that is lost is asked for again until it is given.
    """

    def __init__(
        self,
        store: LeaseStore,
        placement: Following,
        *,
        node: str,
        ttl: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.node = node
        # Never found with the deadline of another: a lost one has none, and numbers only rise. Who
        # reads both reads the deadline first.
        self.grant = 0
        self.deadline = -math.inf
        self._store = store
        self._placement = placement
        self._ttl = ttl
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._number = 0
        self._lease = ""
        self._record: NodeRecord | None = None
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._failures = 0
        self._told = ""

    # -- the node ----------------------------------------------------------------------------------

    def start(self, peer: Peer) -> None:
        """Be alive as `peer`; see `Leases.start`.

        An id that a process on other folders has is waited for, for as long as a lease can last:
        it may be gone already.
        """
        self._record = NodeRecord(FORMAT, self._clock.now_ms(), peer)
        end = self._clock.monotonic() + self._ttl + _LEAVE_SECONDS
        while (other := self._enter(first=True)) is not None:
            if self._clock.monotonic() > end:
                raise _taken(other)
            self._clock.sleep(_LOOK_SECONDS)
        self._thread = threading.Thread(target=self._run, name="palimp-lease", daemon=True)
        self._thread.start()
        self._placement.start()
        self._placement.wait(_FIRST_READ_SECONDS)

    def claim(self, name: str) -> Peer | None:
        """Attach a database; see `Leases.claim`."""
        with self._lock:
            number, lease = self.grant, self._lease
            lasts = number > 0 and self._clock.boottime() < self.deadline
        if not lasts:
            self._wake.set()
            raise _no_lease(name)
        try:
            holder = self._store.claim(lease, name)
        except LeaseGoneError:
            self._lose(number)
            raise _no_lease(name) from None
        if holder is None:
            self._metrics.add("databases_claimed")
        return holder

    def release(self, names: Iterable[str]) -> None:
        """Detach databases; see `Leases.release`."""
        lease, given = self._lease, list(names)
        if not lease or not given:
            return
        try:
            self._store.release(lease, given)
        except Unavailable as error:
            _LOG.warning("%d databases are not let go of before the lease: %s", len(given), error)

    def drain(self) -> None:
        """Tell the others that this node is going; `Unavailable` without an answer."""
        assert self._record is not None
        with self._lock:
            draining = replace(self._record.peer, draining=True)
            self._record = replace(self._record, peer=draining)
            number, lease, record = self.grant, self._lease, self._record
        if number == 0:
            # With the next lease.
            return
        try:
            self._store.rewrite(lease, record)
        except LeaseGoneError:
            self._lose(number)

    def close(self) -> None:
        """Give the lease back, with everything on it, and end the threads."""
        if os.getpid() != self._process:
            # The lease is the parent's.
            return
        with self._lock:
            self._closed = True
            lease, self._lease = self._lease, ""
            self.grant, self.deadline = 0, -math.inf
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        if lease:
            with suppress(Unavailable):
                self._store.leave(lease)
        self._placement.close()

    # -- who has what ------------------------------------------------------------------------------

    def holder(self, name: str) -> Peer | None:
        """Return who has a database; see `Placement.holder`."""
        return self._placement.holder(name)

    def ask(self, name: str) -> Peer | None:
        """Return who has it now; see `Placement.ask`."""
        return self._placement.ask(name)

    def peers(self) -> tuple[Peer, ...]:
        """Return the nodes that are alive; see `Placement.peers`."""
        return self._placement.peers()

    def held(self) -> int:
        """Return how many databases are at some node; see `Placement.held`."""
        return self._placement.held()

    # -- the lease ---------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = self._ttl / _RENEWALS_PER_TTL
        while self._goes_on(pause):
            # Whatever it was, also a defect: without this thread there would be no lease any more.
            kept = Kept()
            with kept:
                self._keep()
            pause = self._ttl / _RENEWALS_PER_TTL
            if kept.error is not None:
                self._metrics.add("lease_requests_failed")
                self._tell(str(kept.error), kept.error)
            elif self.grant > 0:
                self._failures = 0
                continue
            self._failures += 1
            longest = min(_RETRY_SECONDS_MAX, pause)
            pause = min(longest, 0.05 * 2 ** min(self._failures, 8)) * (0.5 + jitter())

    def _goes_on(self, pause: float) -> bool:
        self._wake.wait(pause)
        self._wake.clear()
        return not self._closed

    def _keep(self) -> None:
        with self._lock:
            number, lease = self.grant, self._lease
        if number == 0:
            other = self._enter(first=False)
            if other is not None:
                self._tell(f"this node stays without a lease: {_taken(other)}", None)
            return
        sent = self._clock.boottime()
        if self._store.renew(lease):
            self._renewed(number, sent)
        else:
            self._lose(number)

    def _enter(self, *, first: bool) -> NodeRecord | None:
        """Ask for a lease; return the record of who has the id of this node, if somebody has."""
        assert self._record is not None
        record, sent = self._record, self._clock.boottime()
        found = self._store.enter(record, first=first)
        if isinstance(found, NodeRecord):
            return found
        with self._lock:
            if not self._closed:
                self._number += 1
                self._lease = found
                self.deadline = sent + _SAFE_SHARE * self._ttl
                self.grant = self._number
                changed = self._record is not record
        if self._closed:
            self._store.leave(found)
            return None
        self._metrics.add("leases_granted")
        self._tell("", None)
        if changed:
            # Told to drain meanwhile.
            self._store.rewrite(found, self._record)
        return None

    def _renewed(self, number: int, sent: float) -> None:
        with self._lock:
            if self.grant == number:
                self.deadline = max(self.deadline, sent + _SAFE_SHARE * self._ttl)
        self._tell("", None)

    def _lose(self, number: int) -> None:
        with self._lock:
            if self.grant != number:
                return
            self.grant, self.deadline = 0, -math.inf
        self._metrics.add("leases_lost")
        _LOG.warning(
            "node %s lost its lease, and with it every database it had; it asks for a new one",
            self.node,
        )
        self._wake.set()

    def _tell(self, trouble: str, error: Exception | None) -> None:
        """Log a trouble once, and that it ended."""
        if trouble == self._told:
            return
        if trouble:
            known = error is None or isinstance(error, Unavailable)
            _LOG.error("%s", trouble, exc_info=None if known else error)
        else:
            _LOG.info("node %s has its lease again, or still", self.node)
        self._told = trouble


def _no_lease(name: str) -> Unavailable:
    return Unavailable(
        f"{name} cannot be claimed: this node has no lease just now; repeat it",
        reason="lease",
        retry_after=_RETRY_SECONDS_MAX,
    )


def _taken(other: NodeRecord) -> Unavailable:
    peer = other.peer
    return Unavailable(
        f"node {peer.node} is another process's id: {peer.process or 'unknown'}, at "
        f"{peer.address or 'no address'}, on {peer.home or 'unknown folders'}, since "
        f"{format_ms(other.since)}; end that one, or give this node an id of its own with "
        "PALIMP_NODE_ID and a data folder that is not a copy",
        reason="lease",
        node=peer.node,
        address=peer.address,
    )
