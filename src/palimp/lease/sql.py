"""Leases in a database of SQL: a row for each node, that it renews, and one for each claim.

What ends is decided by the database's clock. A claim names the lease it is on, and is worth nothing
once that has ended: one UPDATE a node renews them all, and nobody has to clear up in a hurry.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, func, literal, select, update
from sqlalchemy import delete as delete_from

from ..clock import Clock
from ..ids import random_id
from ..observe import Metrics
from .keeping import KeptLeases, LeaseGoneError
from .placement import Peer
from .records import FORMAT, NodeRecord, read, replaces, unknown_peer
from .sql_placement import Rows, SqlFollower, SqlPlacement, peer_of
from .sql_tables import NOBODY, NODES, OWNERS

__all__ = ["SqlLeases", "SqlPlacement"]

_TRIES = 3
_RELEASED_TOGETHER = 500


class SqlLeases(KeptLeases):
    """A node's lease in a database, and what is attached to it; `Leases`. Thread-safe.

    Works on PostgreSQL, and on a file of SQLite for processes of one machine. The tables are those
    of the catalog's migrations, which were carried out before.
    """

    def __init__(
        self, engine: Engine, cluster: str, node: str, ttl: float, clock: Clock, metrics: Metrics
    ) -> None:
        rows = Rows(engine, cluster, clock)
        followed = SqlFollower(rows, clock)
        store = _SqlStore(rows, followed, node, ttl)
        super().__init__(store, followed, node=node, ttl=ttl, clock=clock, metrics=metrics)


class _SqlStore:
    """`LeaseStore` on the two tables."""

    def __init__(self, rows: Rows, followed: SqlFollower, node: str, ttl: float) -> None:
        self._rows = rows
        self._followed = followed
        self._node = node
        self._ttl_ms = round(ttl * 1000)
        self._mine = rows.nodes & (NODES.c.node == node)

    def enter(self, record: NodeRecord, *, first: bool) -> str | NodeRecord:
        lease = random_id("ls")
        values = {"lease": lease, "record": _text(record), "ttl_ms": self._ttl_ms}
        key = {"cluster": self._rows.cluster, "node": self._node}
        with self._rows.database.transaction() as connection:
            # Somebody else may come first; then there is a row to look at.
            new = self._rows.insert(NODES).values(**key, **values, expires_at=self._end())
            if connection.scalar(new.returning(NODES.c.lease)) is not None:
                return lease
            query = select(NODES.c.record).where(self._mine).with_for_update()
            text = connection.scalar(query)
            lasts = connection.scalar(select(self._rows.lasts()).where(self._mine))
            if text is not None and lasts:
                other = read(text, NodeRecord)
                if other is None:
                    return NodeRecord(FORMAT, 0, unknown_peer(self._node))
                if not replaces(record, other, first=first):
                    return other
            taken = update(NODES).where(self._mine).values(**values, expires_at=self._end())
            if connection.execute(taken).rowcount:
                return lease
        raise self._rows.database.unavailable(f"lost the record of node {self._node} meanwhile")

    def renew(self, lease: str) -> bool:
        with self._rows.database.transaction() as connection:
            own = update(NODES).where(self._mine, NODES.c.lease == lease, self._rows.lasts())
            done = connection.execute(own.values(expires_at=self._end()))
        return done.rowcount == 1

    def rewrite(self, lease: str, record: NodeRecord) -> None:
        with self._rows.database.transaction() as connection:
            own = update(NODES).where(self._mine, NODES.c.lease == lease, self._rows.lasts())
            if not connection.execute(own.values(record=_text(record))).rowcount:
                raise LeaseGoneError

    def claim(self, lease: str, name: str) -> Peer | None:
        moment = self._followed.known.moment
        for _ in range(_TRIES):
            with self._rows.database.transaction() as connection:
                if self._claim_new(connection, lease, name):
                    found: str | Peer | None = lease
                else:
                    found = self._claim_old(connection, lease, name)
            if isinstance(found, Peer):
                return found
            if found is not None:
                self._followed.known.note(name, lease, moment + 1)
                return None
        raise self._rows.database.unavailable(f"says that {name} changes hands all the time")

    def _claim_new(self, connection: Connection, lease: str, name: str) -> bool:
        """Make the row, if there is none."""
        values = (
            literal(self._rows.cluster),
            literal(name),
            NODES.c.lease,
            self._rows.change(),
            self._rows.database.now(),
        )
        own = select(*values).where(self._mine, NODES.c.lease == lease, self._rows.lasts())
        columns = [column.name for column in OWNERS.columns]
        made = self._rows.insert(OWNERS).from_select(columns, own).returning(OWNERS.c.lease)
        return connection.scalar(made) is not None

    def _claim_old(self, connection: Connection, lease: str, name: str) -> str | Peer | None:
        """Take the row over if its lease has ended: return ours then, else whose it is.

        None where the row has gone. Each statement sees what was written before it began, and locks
        what the next one decides by: a claim that waited for another sees it.
        """
        own = select(self._rows.lasts()).where(self._mine, NODES.c.lease == lease)
        if not connection.scalar(own):
            raise LeaseGoneError
        row = self._rows.owners & (OWNERS.c.name == name)
        holds = connection.scalar(select(OWNERS.c.lease).where(row).with_for_update())
        if holds is None:
            return None
        # Its own is written anew too: a release of before, which lands late, leaves it alone.
        if holds not in (NOBODY, lease):
            there = self._rows.nodes & (NODES.c.lease == holds)
            # A renewal under way is waited for: it may be in time.
            query = select(NODES.c.node, NODES.c.record).where(there).with_for_update()
            holder = connection.execute(query).one_or_none()
            if holder and connection.scalar(select(self._rows.lasts()).where(there)):
                return peer_of(holder.node, holder.record)
        changed = {"changed": self._rows.change(), "changed_at": self._rows.database.now()}
        connection.execute(update(OWNERS).where(row).values(lease=lease, **changed))
        return lease

    def release(self, lease: str, names: Sequence[str]) -> None:
        with self._rows.database.transaction() as connection:
            known = select(func.max(OWNERS.c.changed)).where(
                self._rows.owners, OWNERS.c.lease == lease
            )
            # What is claimed again from here on is of a later change.
            last = connection.scalar(known)
        for start in range(0, len(names), _RELEASED_TOGETHER):
            part = names[start : start + _RELEASED_TOGETHER]
            with self._rows.database.transaction() as connection:
                own = update(OWNERS).where(
                    self._rows.owners,
                    OWNERS.c.lease == lease,
                    OWNERS.c.changed <= last,
                    OWNERS.c.name.in_(part),
                )
                now = self._rows.database.now()
                change = {"changed": self._rows.change(), "changed_at": now}
                connection.execute(own.values(lease=NOBODY, **change))

    def leave(self, lease: str) -> None:
        with self._rows.database.transaction() as connection:
            connection.execute(delete_from(NODES).where(self._mine, NODES.c.lease == lease))

    def _end(self) -> ColumnElement[int]:
        return self._rows.database.now() + self._ttl_ms


def _text(record: NodeRecord) -> str:
    return msgspec.json.encode(record).decode()
