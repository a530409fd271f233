"""Makes and migrates the tables, once, however many processes start at the same time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from ..clock import Clock
from ..errors import Unavailable
from .tables import VERSION_TABLE

__all__ = ["REVISIONS", "migrate"]

# Every migration, oldest first. Alembic takes 0.2 s to import, which only who migrates pays.
REVISIONS = ("0001", "0002", "0003", "0004")
_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = int.from_bytes(b"palimp", "big")
_LOCK_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def migrate(engine: Engine, name: str, clock: Clock) -> None:
    """Bring the tables to what this release knows; all of it or nothing.

    Raises `Unavailable` with reason `format` where a newer release has been there.
    """
    with engine.connect() as connection:
        if _revision(connection, name) == REVISIONS[-1]:
            return
    # On SQLite every transaction begins with the lock.
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            _lock(connection, name, clock)
        # Somebody else may have done it while this one waited.
        if _revision(connection, name) != REVISIONS[-1]:
            _upgrade(connection)


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


def _lock(connection: Connection, name: str, clock: Clock) -> None:
    """Be the only one, until the transaction ends."""
    end = clock.monotonic() + _LOCK_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        if clock.monotonic() > end:
            raise Unavailable(
                f"catalog {name} has been migrated by another process for {_LOCK_SECONDS:g} s; "
                "see what it waits for, then start again",
                reason="catalog",
                retry_after=_LOCK_SECONDS,
            )
        clock.sleep(_LOOK_SECONDS)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, "head")
