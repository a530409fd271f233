"""Which databases this node may write just now, where several nodes share a store.

A claim attaches a database to the node's lease; one that is lost takes all its claims with it. What
keeps two writers apart for good is the epoch in the manifest: claims say who should write, when the
others may take over, and since when what is here is known to be current.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from ..clock import Clock
from ..errors import Unavailable
from .lookup import Address

__all__ = ["Claims", "Holder", "Leaser", "database_name"]

_MOVING_SECONDS = 0.2
_LEASE_SECONDS = 1.0


class Holder(Protocol):
    """The node that has a database."""

    @property
    def node(self) -> str:
        """Its id."""

    @property
    def address(self) -> str:
        """The URL at which other nodes reach it."""


class Leaser(Protocol):
    """A node's lease, as `lease.Leases` declares it."""

    @property
    def grant(self) -> int:
        """The number of the lease, 0 while there is none."""

    @property
    def deadline(self) -> float:
        """Until when it holds, in seconds of `Clock.boottime`."""

    def claim(self, name: str) -> Holder | None:
        """Attach a database: None where it is this node's now, else whose it is."""

    def release(self, names: Iterable[str]) -> None:
        """Detach databases."""


class _Claim(NamedTuple):
    grant: int
    # Nobody else wrote from then on (monotonic).
    since: float


class Claims:
    """The databases attached to this node's lease. Thread-safe.

    What `hold` returned is the node's until the lease's deadline, or until `moving`.
    """

    def __init__(self, leaser: Leaser, clock: Clock) -> None:
        self._leaser = leaser
        self._clock = clock
        self._lock = threading.Lock()
        self._claimed: dict[str, _Claim] = {}
        self._moving: set[str] = set()
        # How often something was detached: a claim that was under way meanwhile is not believed.
        self._detached = 0

    def hold(self, name: str) -> int:
        """Attach a database to the lease if it is not; return the lease's number.

        Raises `Unavailable`: reason `owned` where another node has it (`node`, `address`), `moving`
        while it is handed over, `lease` where there is no lease or no answer.
        """
        claim = self._claimed.get(name)
        if claim is not None and self._lasts(claim.grant) and name not in self._moving:
            return claim.grant
        with self._lock:
            detached = self._detached
            self._check_moving(name)
        grant = self._leaser.grant
        if not self._lasts(grant):
            raise _no_lease(name)
        holder = self._leaser.claim(name)
        if holder is not None:
            raise Unavailable(
                f"{name} is at node {holder.node} ({holder.address or 'no address'}); ask there",
                reason="owned",
                node=holder.node,
                address=holder.address,
                retry_after=_MOVING_SECONDS,
            )
        with self._lock:
            self._check_moving(name)
            if self._detached != detached:
                raise _moving(name)
            if not self._lasts(grant):
                raise _no_lease(name)
            self._claimed[name] = _Claim(grant, self._clock.monotonic())
        return grant

    def lasts(self, name: str, grant: int) -> bool:
        """Whether a database that was claimed under a lease's number is this node's still."""
        claim = self._claimed.get(name)
        return claim is not None and claim.grant == grant and self._lasts(grant)

    @property
    def grant(self) -> int:
        """The number of the lease, 0 while there is none."""
        return self._leaser.grant

    def confirm(self, grant: int) -> None:
        """Raise `Unavailable`, in doubt, where the lease of that number did not last until now."""
        if not self._lasts(grant):
            raise Unavailable(
                "this node's lease ended before what it wrote was answered; another node may have "
                "gone on without it. Repeat it with the same request id",
                reason="lease",
                in_doubt=True,
                retry_after=_LEASE_SECONDS,
            )

    def since(self, name: str) -> float | None:
        """Return since when nobody else can have written it (monotonic); None: nobody knows."""
        claim = self._claimed.get(name)
        return claim.since if claim is not None and self._lasts(claim.grant) else None

    def names(self) -> list[str]:
        """Return the databases that are this node's."""
        grant = self._leaser.grant
        with self._lock:
            # What a lost lease took with it.
            gone = [name for name, claim in self._claimed.items() if claim.grant != grant]
            for name in gone:
                del self._claimed[name]
            return [name for name in self._claimed if name not in self._moving]

    @contextmanager
    def moving(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Hand databases over: until the end of the block nobody here begins to write them.

        The block takes those out of the list it is given that cannot be handed over now; the others
        are detached at its end.
        """
        with self._lock:
            given = [name for name in names if name not in self._moving]
            self._moving.update(given)
        leaving = list(given)
        try:
            yield leaving
            with self._lock:
                self._detached += 1
                for name in leaving:
                    self._claimed.pop(name, None)
            if leaving:
                self._leaser.release(leaving)
        finally:
            with self._lock:
                self._moving.difference_update(given)

    def _lasts(self, grant: int) -> bool:
        """Whether the lease of a number holds."""
        # The deadline first: what the number says after it, it said before, or the lease is lost.
        in_time = self._clock.boottime() < self._leaser.deadline
        return in_time and grant > 0 and grant == self._leaser.grant

    def _check_moving(self, name: str) -> None:
        if name in self._moving:
            raise _moving(name)


def database_name(address: Address) -> str:
    """Return the name under which a database is claimed, with all its branches."""
    return f"{address.namespace}--{address.profile}"


def _moving(name: str) -> Unavailable:
    return Unavailable(
        f"{name} is being handed over to another node; repeat it",
        reason="moving",
        retry_after=_MOVING_SECONDS,
    )


def _no_lease(name: str) -> Unavailable:
    return Unavailable(
        f"{name}: this node has no lease just now, so it may not write, nor say what is current; "
        "repeat it, or read with consistency `cached`",
        reason="lease",
        retry_after=_LEASE_SECONDS,
    )
