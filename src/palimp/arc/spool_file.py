"""The file of the spool: its tables, how it is opened, and what it says when its disk fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw

from ..errors import Internal, Unavailable

__all__ = ["RETRY_SECONDS", "open_spool", "spool_faults"]

# After what time a full spool, or disk, may be another.
RETRY_SECONDS = 5.0
_BUSY_RETRY_SECONDS = 1.0
_SCHEMA_VERSION = 1
_WAL_BYTES_MAX = 16 << 20
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
_SCHEMA = """
CREATE TABLE orgs (org TEXT PRIMARY KEY, last_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  org TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'parked')),
  at_us INTEGER NOT NULL,
  dedup_key TEXT NOT NULL,
  payload BLOB NOT NULL,
  spooled_ms INTEGER NOT NULL,
  -- Since when it has been in doubt, or parked, and why.
  since_ms INTEGER,
  error TEXT
);
CREATE INDEX rows_by_state ON rows (org, state, id);
CREATE UNIQUE INDEX rows_by_time ON rows (org, at_us);
CREATE INDEX rows_by_key ON rows (org, dedup_key, at_us) WHERE dedup_key <> '';
-- Keys that Arc has, but may not show yet.
CREATE TABLE recent (
  org TEXT NOT NULL, dedup_key TEXT NOT NULL, at_us INTEGER NOT NULL, sent_ms INTEGER NOT NULL,
  PRIMARY KEY (org, dedup_key, at_us)
) WITHOUT ROWID;
CREATE INDEX recent_by_time ON recent (sent_ms);
CREATE TABLE imported (
  org TEXT NOT NULL, source TEXT NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY (org, source)
) WITHOUT ROWID;
CREATE UNIQUE INDEX imported_by_time ON imported (org, at_us);
"""


def open_spool(path: Path, now_ms: int) -> apsw.Connection:
    """Open the spool's file, or make it; `Internal` where a newer release made it."""
    with ExitStack() as undo:
        db = apsw.Connection(str(path), flags=_FLAGS)
        undo.callback(db.close)
        # Nobody else may drain what is ours: the lock is kept until the file is closed.
        db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}").fetchall()
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").get
        if version == 0:
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif version != _SCHEMA_VERSION:
            raise Internal(
                f"{path} is a spool of version {version}, and this release knows "
                f"{_SCHEMA_VERSION}; run the release that made it until it is drained"
            )
        # Whoever sent these is gone; Arc may still be at it.
        db.execute("UPDATE rows SET since_ms = ? WHERE state = 'sending'", (now_ms,))
        db.execute("COMMIT")
        # From here on it is the caller's.
        undo.pop_all()
    return db


@contextmanager
def spool_faults(path: Path) -> Iterator[None]:
    """Raise our error for each of SQLite's, or of the file system."""
    name = "the spool of events for Arc"
    try:
        yield
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, OSError) as error:
        full = isinstance(error, apsw.FullError)
        what = "the disk is full" if full else f"the disk refused a read or write ({error})"
        raise Unavailable(
            f"{name}: {what}; nothing of this was accepted, all earlier events are intact. "
            f"Look after the disk of {path.name}, then repeat it",
            retry_after=RETRY_SECONDS,
            reason="disk",
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Unavailable(
            f"{name} is in use by another process ({error}); repeat it when that has ended",
            retry_after=_BUSY_RETRY_SECONDS,
            reason="locked",
        ) from error
    except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise Unavailable(
            f"{name} cannot be written ({error}); check the permissions of its folder",
            reason="permissions",
        ) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise Internal(
            f"{name} is damaged ({error}): keep {path.name} and its -wal, and restore it "
            "from a copy"
        ) from error
