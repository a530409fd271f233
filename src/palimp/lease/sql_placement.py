"""Who has which database, by the rows of leases in a database of SQL, read every second."""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects import postgresql, sqlite

from ..clock import Clock
from ..ids import jitter
from ..observe import logger
from .following import Follower
from .placement import Peer
from .records import NodeRecord, read, unknown_peer
from .sql_engine import LeaseDatabase
from .sql_tables import NODES, OWNERS

__all__ = ["Rows", "SqlFollower", "SqlPlacement", "peer_of"]

_LOG = logger("lease")
_POLL_SECONDS = 1.0
_PAGE = 10_000
# Rows nobody needs stay so long that everyone has seen them; who has not polled for half of that
# reads all again.
_KEPT_MS = 600_000
_MISSED_SECONDS = 300.0
_SWEEP_SECONDS = 300.0
_SWEPT_TOGETHER = 10_000


class Rows:
    """Statements on the rows of one cluster."""

    def __init__(self, engine: Engine, cluster: str, clock: Clock) -> None:
        self.database = LeaseDatabase(engine, clock)
        self.cluster = cluster
        self.nodes = NODES.c.cluster == cluster
        self.owners = OWNERS.c.cluster == cluster
        self._insert: Any = (sqlite if self.database.sqlite else postgresql).insert

    def insert(self, table: Any) -> Any:
        """Return an insert that does nothing where the row is there."""
        return self._insert(table).on_conflict_do_nothing()

    def lasts(self) -> ColumnElement[bool]:
        """Return whether the lease of a node's row lasts."""
        now = self.database.now()
        lasts = NODES.c.expires_at > now
        if self.database.sqlite:
            # That clock begins at zero with the machine: from before that there is none left.
            lasts &= NODES.c.expires_at - NODES.c.ttl_ms <= now
        return lasts

    def change(self) -> ColumnElement[int]:
        """Return the number of a change: on PostgreSQL, of its transaction."""
        if self.database.sqlite:
            highest = select(func.max(OWNERS.c.changed)).where(self.owners).scalar_subquery()
            return func.coalesce(highest, 0) + 1
        return func.txid_current()

    def horizon(self, connection: Connection) -> int:
        """Return the number below which every change is to be seen, from the next statement on."""
        if self.database.sqlite:
            highest = select(func.coalesce(func.max(OWNERS.c.changed), 0)).where(self.owners)
            return int(connection.scalar(highest) or 0) + 1
        # Those of transactions under way are read again the next time.
        query = select(func.txid_snapshot_xmin(func.txid_current_snapshot()))
        return int(connection.scalar(query) or 0)


class SqlFollower(Follower):
    """Follows the changes of one cluster's rows, by reading those that are new every second.

    The token of a holder is its lease: what is on one that has ended is nobody's.
    """

    def __init__(self, rows: Rows, clock: Clock) -> None:
        super().__init__()
        self._rows = rows
        self._clock = clock
        self._from = 0
        self._read_at = 0.0
        # Not all nodes at the same time.
        self._sweep_at = clock.monotonic() + _SWEEP_SECONDS * jitter()
        self._warned = False

    def ask(self, name: str) -> Peer | None:
        """Return who has it now."""
        moment = self.known.moment
        on = (NODES.c.lease == OWNERS.c.lease) & self._rows.nodes
        query = select(NODES.c.lease, NODES.c.node, NODES.c.record).join(OWNERS, on)
        with self._rows.database.transaction() as connection:
            named = query.where(self._rows.owners, OWNERS.c.name == name, self._rows.lasts())
            row = connection.execute(named).one_or_none()
        lease = None if row is None else row.lease
        self.known.note(name, lease, moment + 1)
        return None if row is None else peer_of(row.node, row.record)

    def follow(self) -> float:
        """Read what changed, or everything where that cannot be told."""
        now = self._clock.monotonic()
        if now - self._read_at > _MISSED_SECONDS:
            self._from = 0
        with self._rows.database.transaction() as connection:
            horizon = self._rows.horizon(connection)
        whole = not 0 < self._from <= horizon
        holders = self._all_holders() if whole else self._changed_holders()
        peers = self._peers()
        # Read after the claims: one on a lease that is not there is on one that has ended.
        there = {name: lease if lease in peers else None for name, lease in holders.items()}
        moment = self.known.moment + 1
        if whole:
            held = {name: lease for name, lease in there.items() if lease is not None}
            self.known.replace(peers, held, moment)
        else:
            self.known.keep_only(peers)
            self.known.apply({}, there, moment)
        self._from, self._read_at = horizon, now
        self.has_read()
        if now > self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._sweep()
        return _POLL_SECONDS

    def close(self) -> None:
        """End the thread, and close the connections."""
        super().close()
        self._rows.database.close()

    def _changed_holders(self) -> dict[str, str]:
        query = select(OWNERS.c.name, OWNERS.c.lease)
        changed = query.where(self._rows.owners, OWNERS.c.changed >= self._from)
        with self._rows.database.transaction() as connection:
            return {name: sys.intern(lease) for name, lease in connection.execute(changed)}

    def _all_holders(self) -> dict[str, str]:
        query = select(OWNERS.c.name, OWNERS.c.lease).where(self._rows.owners)
        query = query.order_by(OWNERS.c.name).limit(_PAGE)
        holders: dict[str, str] = {}
        last, more = "", True
        while more and not self.closed:
            with self._rows.database.transaction() as connection:
                page = connection.execute(query.where(OWNERS.c.name > last)).all()
            holders.update((name, sys.intern(lease)) for name, lease in page)
            more = len(page) == _PAGE
            last = page[-1].name if page else last
        return holders

    def _peers(self) -> dict[str, Peer]:
        with self._rows.database.transaction() as connection:
            query = select(NODES.c.lease, NODES.c.node, NODES.c.record)
            rows = connection.execute(query.where(self._rows.nodes, self._rows.lasts())).all()
        peers = {}
        for lease, node, text in rows:
            record = read(text, NodeRecord)
            if record is not None:
                peers[sys.intern(lease)] = record.peer
            elif not self._warned:
                self._warned = True
                _LOG.warning(
                    "%s has a record of node %s that this release cannot read; it is passed over",
                    self._rows.database.name,
                    node,
                )
        return peers

    def _sweep(self) -> None:
        """Remove rows on leases that have ended, once everyone has seen that."""
        with self._rows.database.transaction() as connection:
            long_ago = self._rows.database.now() - _KEPT_MS
            ended = delete_from(NODES).where(self._rows.nodes, NODES.c.expires_at < long_ago)
            connection.execute(ended)
            leases = select(NODES.c.lease).where(self._rows.nodes)
            # The last change stays: by it the next is numbered.
            last = select(func.max(OWNERS.c.changed)).where(self._rows.owners).scalar_subquery()
            unneeded = (
                select(OWNERS.c.name)
                .where(
                    self._rows.owners,
                    OWNERS.c.changed_at < long_ago,
                    OWNERS.c.changed < last,
                    OWNERS.c.lease.not_in(leases),
                )
                .limit(_SWEPT_TOGETHER)
                .with_for_update(skip_locked=True)
            )
            connection.execute(
                delete_from(OWNERS).where(self._rows.owners, OWNERS.c.name.in_(unneeded))
            )


class SqlPlacement(SqlFollower):
    """Who has which database, for who has no lease; `Placement`."""

    def __init__(self, engine: Engine, cluster: str, clock: Clock) -> None:
        super().__init__(Rows(engine, cluster, clock), clock)
        self.start()


def peer_of(node: str, text: str) -> Peer:
    """Return the node that a record is of; one that cannot be read has no address."""
    record = read(text, NodeRecord)
    return unknown_peer(node) if record is None else record.peer
