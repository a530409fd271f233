"""Connections to the database that leases are kept in, whose clock counts, and its errors as ours.

They are not those of the catalog: a renewal does not wait behind its batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    NullPool,
    cast,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ..clock import Clock
from ..errors import Unavailable
from ..ids import jitter

__all__ = ["LeaseDatabase"]

_SECONDS = 2
_SAID_CHARS = 300
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.005
# Who waits for more than a lease's renewal waits for nothing; a cut is noticed in about as long. A
# node that is stopped in a transaction does not keep what it locked.
_POSTGRESQL: dict[str, object] = {
    "connect_timeout": _SECONDS,
    "options": "-c statement_timeout=2000 -c lock_timeout=2000 "
    "-c idle_in_transaction_session_timeout=2000",
    "application_name": "palimp leases",
    "tcp_user_timeout": 2_000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
}


class LeaseDatabase:
    """The database of an engine, by connections of its own. Thread-safe."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        url = engine.url
        host = f"{url.host or url.query.get('host', '')}{f':{url.port}' if url.port else ''}"
        self.name = f"{url.get_backend_name()}://{host}/{url.database}"
        self.sqlite = engine.dialect.name == "sqlite"
        self._clock = clock
        secrets = (url.password, *(v for n, v in url.query.items() if "pass" in n))
        self._secrets = [one for one in secrets if isinstance(one, str) and one]
        if self.sqlite:
            self._engine = create_engine(
                url, poolclass=NullPool, connect_args={"timeout": _LOOK_SECONDS}
            )
            event.listen(self._engine, "connect", _manual_transactions)
            event.listen(self._engine, "begin", self._begin_at_once)
        else:
            wanted = {n: v for n, v in _POSTGRESQL.items() if n not in url.query}
            self._engine = create_engine(
                url, pool_pre_ping=True, pool_timeout=_SECONDS, connect_args=wanted
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; `Unavailable` (reason `lease`) where it failed."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
            for secret in self._secrets:
                said = said.replace(secret, "***")
            raise self.unavailable(f"gives no answer: {said[:_SAID_CHARS]}") from None

    def unavailable(self, said: str) -> Unavailable:
        """Return the error of a lease store that cannot do what is asked of it."""
        return Unavailable(
            f"the lease store {self.name} {said}; nothing is claimed until it does",
            reason="lease",
            retry_after=_RETRY_SECONDS,
        )

    def now(self) -> ColumnElement[int]:
        """Return the time (ms) by the database's clock; in a transaction that has begun.

        That of a file is the one of its machine which nobody can set, and which suspend does not
        stop: all processes on it have the same.
        """
        if self.sqlite:
            return literal(round(self._clock.boottime() * 1000), BigInteger)
        # Not `now()`: in a transaction that waited, that is when it began.
        return cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger)

    def _begin_at_once(self, connection: Connection) -> None:
        """Begin with the lock: who reads first and writes then would be refused.

        SQLite asks for it less and less often: a renewal would not get it from many who claim.
        """
        end = self._clock.monotonic() + _SECONDS
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError:
                if self._clock.monotonic() > end:
                    raise
            self._clock.sleep(_LOOK_SECONDS * (0.5 + jitter()))


def _manual_transactions(connection: Any, _record: object) -> None:
    connection.isolation_level = None
