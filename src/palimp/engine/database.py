"""One open database: a writer's place, a reader's place, and the txid between them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import apsw

from ..errors import Internal
from .faults import sqlite_faults

__all__ = ["Committed", "Database"]

T = TypeVar("T")
A = TypeVar("A")

# While another process (a backup tool, sqlite3) holds a lock: wait that long, then say so.
_BUSY_TIMEOUT_MS = 5_000
_STATE_TABLE = "__palimp_engine"
_WRITER_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX
_READER_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX


class Committed(NamedTuple, Generic[T]):
    """A value with the txid it was written by or read at."""

    value: T
    txid: int


class Database:
    """Serialises writes, lets reads go on beside them, and counts commits.

    A `write` that returned survives the process and a power cut (`synchronous=FULL`). A read sees
    one committed state and says which. Thread-safe: one writer and one reader at a time.
    `lineage` changes whenever the content stops being a continuation of what was there before, so
    that caches over it know when to start again.
    """

    def __init__(
        self, path: Path, name: str, check: Callable[[apsw.Connection, str], None]
    ) -> None:
        self.name = name
        self._path = path
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._attached: dict[type[Any], Any] = {}
        self._attach_lock = threading.Lock()
        self._reader: apsw.Connection | None = None
        with sqlite_faults(name):
            self._writer = _connect(path, _WRITER_FLAGS)
            _pragma(self._writer, "synchronous", "FULL", 2)
            _pragma(self._writer, "secure_delete", "ON", 1)
            self.lineage = str(self._state("lineage"))
            check(self._writer, name)

    def write(self, operation: Callable[[apsw.Connection], T]) -> Committed[T]:
        """Run `operation` in one transaction and commit it; all or nothing.

        Takes a txid only if something changed. Whatever `operation` raises rolls everything back
        and is raised again.
        """
        with self._write_lock, sqlite_faults(self.name):
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = connection.total_changes()
                value = operation(connection)
                if not connection.in_transaction:
                    # RAISE(ROLLBACK) or a ROLLBACK of its own: nothing of it is there to commit,
                    # and what followed here would commit by itself.
                    raise Internal(f"{self.name}: an operation ended its own transaction")
                changed = connection.total_changes() != before
                txid = self._next_txid() if changed else int(self._state("txid"))
                connection.execute("COMMIT")
            except BaseException:
                # An interrupt or a full disk may have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return Committed(value, txid)

    def read(self, query: Callable[[apsw.Connection], T]) -> Committed[T]:
        """Run `query` on a read-only connection, inside one consistent snapshot."""
        with self._read_lock, sqlite_faults(self.name):
            if self._reader is None:
                self._reader = _connect(self._path, _READER_FLAGS)
            connection = self._reader
            connection.execute("BEGIN")
            try:
                row = connection.execute(f"SELECT value FROM {_STATE_TABLE} WHERE key = 'txid'").get
                return Committed(query(connection), int(row))
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def attachment(self, kind: type[A], make: Callable[[], A]) -> A:
        """Return the one object of `kind` that lives and dies with this handle (caches)."""
        with self._attach_lock:
            found = self._attached.get(kind)
            if found is None:
                found = self._attached[kind] = make()
            return found

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it; what was committed stays."""
        with self._write_lock, self._read_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            with sqlite_faults(self.name):
                self._writer.close()

    def _next_txid(self) -> int:
        return int(
            self._writer.execute(
                f"UPDATE {_STATE_TABLE} SET value = value + 1 WHERE key = 'txid' RETURNING value"
            ).get
        )

    def _state(self, key: str) -> Any:
        return self._writer.execute(f"SELECT value FROM {_STATE_TABLE} WHERE key = ?", (key,)).get


def create_file(path: Path, lineage: str, prepare: Callable[[apsw.Connection], None]) -> None:
    """Make a new database file at `path` with the tables of `prepare`, at txid 0.

    The caller makes it visible afterwards (by a rename), so a crash in here leaves no database.
    """
    connection = apsw.Connection(
        str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    )
    try:
        _pragma(connection, "journal_mode", "WAL", "wal")
        with connection:
            connection.execute(
                f"CREATE TABLE {_STATE_TABLE} (key TEXT PRIMARY KEY, value) WITHOUT ROWID"
            )
            connection.execute(f"INSERT INTO {_STATE_TABLE} VALUES ('txid', 0)")
            connection.execute(f"INSERT INTO {_STATE_TABLE} VALUES ('lineage', ?)", (lineage,))
            prepare(connection)
    finally:
        connection.close()


def _connect(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    # Without it this build of SQLite compiles a statement anew whenever bound values change, also
    # those inside FTS5: ingest took 1.4 times as long, an event in a session twice.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    return connection


def _pragma(connection: apsw.Connection, name: str, value: str, expected: object) -> None:
    # A pragma that did not take is silent in SQLite; durability rests on these, so read them back.
    connection.execute(f"PRAGMA {name} = {value}").fetchall()
    actual = connection.execute(f"PRAGMA {name}").get
    assert actual == expected, f"PRAGMA {name} is {actual!r}, not {expected!r}"
