"""Locks in the catalog's database, by its clock: what that of a node says is no matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, case, cast, func, literal_column, select, update

from .locks import Lock
from .tables import LOCKS

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from .sql_catalog import SqlCatalog

__all__ = ["SqlLocks", "now_of"]

_UNIX_JULIAN_DAY = 2_440_587.5
_DAY_MS = 86_400_000


def now_of(catalog: SqlCatalog) -> ColumnElement[int]:
    """Return the time (ms) by the clock of the catalog's database, as its statements say it."""
    if catalog.dialect == "sqlite":
        days = func.julianday("now") - literal_column(str(_UNIX_JULIAN_DAY))
        return cast(func.round(days * literal_column(str(_DAY_MS))), BigInteger)
    # Not `now()`: in a transaction or a statement that waited, that is when it began.
    if catalog.dialect == "mysql":
        # A session is in UTC: local time has an hour twice a year.
        return cast(literal_column("UNIX_TIMESTAMP(SYSDATE(6)) * 1000"), BigInteger)
    seconds = func.extract("epoch", func.clock_timestamp())
    return cast(seconds * 1000, BigInteger)


class SqlLocks:
    """Keeps locks in a catalog; `locks.LockTable`. Thread-safe, as the catalog is."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog
        self._now = now_of(catalog)

    def acquire(self, name: str, holder: str, seconds: float) -> Lock | None:
        """Return the lock if it is `holder`'s from now on; None where it is another's.

        Who has it keeps its token and has it for longer; who takes it over has a higher one.
        """
        runs = LOCKS.c.expires_at > self._now
        own = LOCKS.c.holder == holder
        # The token first, for what it is decided by changes.
        taken = (
            update(LOCKS)
            .where(LOCKS.c.name == name, own | ~runs)
            .ordered_values(
                (LOCKS.c.token, LOCKS.c.token + case((own & runs, 0), else_=1)),
                (LOCKS.c.holder, holder),
                (LOCKS.c.expires_at, self._end(seconds)),
            )
        )
        query = select(LOCKS.c.token, LOCKS.c.expires_at).where(LOCKS.c.name == name)
        new = {"name": name, "holder": holder, "token": 1, "expires_at": self._end(seconds)}
        with self._catalog.changing() as connection:
            # Of any number that come at once, one finds it free, and one makes it.
            free = connection.execute(taken).rowcount == 1
            if not free and not self._catalog.inserts.new(connection, LOCKS, new):
                return None
            return Lock(name, holder, *connection.execute(query).one())

    def renew(self, lock: Lock, seconds: float) -> bool:
        """Have the lock for longer; False where it had run out, or is another's."""
        changed = update(LOCKS).where(*_of(lock), LOCKS.c.expires_at > self._now)
        with self._catalog.changing() as connection:
            done = connection.execute(changed.values(expires_at=self._end(seconds)))
        return done.rowcount == 1

    def release(self, lock: Lock) -> None:
        """Let it go, if it is still this holder's."""
        with self._catalog.changing() as connection:
            connection.execute(update(LOCKS).where(*_of(lock)).values(expires_at=0))

    def held(self) -> list[Lock]:
        """Return the locks that are held now, by whomever, by name."""
        query = select(LOCKS.c.name, LOCKS.c.holder, LOCKS.c.token, LOCKS.c.expires_at)
        query = query.where(LOCKS.c.expires_at > self._now).order_by(LOCKS.c.name)
        with self._catalog.changing() as connection:
            return [Lock(*row) for row in connection.execute(query)]

    def _end(self, seconds: float) -> ColumnElement[int]:
        return self._now + round(seconds * 1000)


def _of(lock: Lock) -> tuple[Any, ...]:
    named, own = LOCKS.c.name == lock.name, LOCKS.c.holder == lock.holder
    return named, own, LOCKS.c.token == lock.token
