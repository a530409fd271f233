"""Makes and migrates the tables, once, however many processes start at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from ..clock import Clock
from ..errors import Unavailable
from .tables import VERSION_TABLE

__all__ = ["REVISIONS", "migrate"]

# Every migration, oldest first. Alembic takes 0.2 s to import, which only who migrates pays.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = int.from_bytes(b"palimp", "big")
# A lock of MySQL is the server's, not the database's.
_MYSQL_NAME = "CONCAT('palimp ', :key, MD5(DATABASE()))"
_LOCKS = {
    "postgresql": "SELECT pg_try_advisory_xact_lock(:key)",
    "mysql": f"SELECT GET_LOCK({_MYSQL_NAME}, 0)",
}
_NO_DATABASE = 1049
_MYSQL_RELEASE = f"SELECT RELEASE_LOCK({_MYSQL_NAME})"
_LOCK_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def migrate(engine: Engine, name: str, clock: Clock) -> None:
    """Bring the tables to what this release knows; all of it or nothing.

    On MySQL, which commits with every table it makes, what was begun is gone on with. Raises
    `Unavailable` with reason `format` where a newer release has been there.
    """
    with _connected(engine) as connection:
        if _revision(connection, name) == REVISIONS[-1]:
            return
    # On SQLite every transaction begins with the lock.
    with engine.begin() as connection, _alone(connection, name, clock):
        # Somebody else may have done it while this one waited.
        if _revision(connection, name) != REVISIONS[-1]:
            _upgrade(connection)


def _connected(engine: Engine) -> Connection:
    """Return a connection; on MySQL the database is made where there is none."""
    try:
        return engine.connect()
    except OperationalError as error:
        name = engine.url.database
        missing = error.orig is not None and error.orig.args[:1] == (_NO_DATABASE,)
        if engine.dialect.name != "mysql" or not missing or not name:
            raise
    # `set` would leave it as it is.
    url = engine.url._replace(database=None)
    server = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with server.begin() as connection:
        quoted = server.dialect.identifier_preparer.quote_identifier(name)
        connection.exec_driver_sql(f"CREATE DATABASE IF NOT EXISTS {quoted}")
    return engine.connect()


def _revision(connection: Connection, name: str) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    if found is not None and found not in REVISIONS:
        raise Unavailable(
            f"catalog {name} has schema {found}, this release knows up to {REVISIONS[-1]}; run "
            "the release that migrated it, or a newer one",
            reason="format",
        )
    return found


@contextmanager
def _alone(connection: Connection, name: str, clock: Clock) -> Iterator[None]:
    """Be the only one, until the transaction ends; on MySQL, which ends it often, in the block."""
    lock = _LOCKS.get(connection.dialect.name)
    end = clock.monotonic() + _LOCK_SECONDS
    while lock is not None and not connection.scalar(text(lock), {"key": _LOCK}):
        if clock.monotonic() > end:
            raise Unavailable(
                f"catalog {name} has been migrated by another process for {_LOCK_SECONDS:g} s; "
                "see what it waits for, then start again",
                reason="catalog",
                retry_after=_LOCK_SECONDS,
            )
        clock.sleep(_LOOK_SECONDS)
    try:
        yield
    except BaseException:
        # A lock of a session would go on in the pool.
        connection.invalidate()
        raise
    if connection.dialect.name == "mysql":
        connection.scalar(text(_MYSQL_RELEASE), {"key": _LOCK})


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, "head")
