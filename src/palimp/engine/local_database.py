"""One database on this machine: a writer's place, a reader's place, and the txid between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ..clock import Clock
from ..errors import Error, Kept, Unavailable
from ..ids import random_id
from ..observe import Metrics, logger
from .answers import REQUESTS_TABLE, Repeat, check_request_id
from .faults import sqlite_faults
from .rounds import (
    STATE_TABLE,
    TXID,
    Committed,
    Line,
    Rounds,
    Terms,
    Ticket,
    Waiter,
)

__all__ = ["Committed", "LocalDatabase", "Repeat", "Template", "Terms", "create_file"]

T = TypeVar("T")
A = TypeVar("A")

# While another process (a backup tool, sqlite3) holds a lock: wait that long, then say so.
_BUSY_TIMEOUT_MS = 5_000
_PLACE_SECONDS = 30.0
_WRITER_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX
_READER_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX
_log = logger("engine")


class LocalDatabase:
    """Commits writes in rounds, lets reads go on beside them, and counts what was committed.

    A `write` that returned survives the process and a power cut (`synchronous=FULL`). A read sees
    one committed state and says which. Thread-safe; writes wait in line, first come first served.

    `gate` says before each round what may be handed out, `committed` hears of each round that took
    a txid; both are called in the writer's place. `check` sees every connection that is opened.
    `lineage` changes whenever the content stops being a continuation of what was there before, so
    that caches over it know when to start again. `rounds` and `writes` count what was committed.
    """

    def __init__(
        self,
        name: str,
        *,
        check: Callable[[apsw.Connection, str], None],
        gate: Callable[[], Terms],
        committed: Callable[[int], None],
        clock: Clock,
        queue_depth: int = 256,
        metrics: Metrics | None = None,
    ) -> None:
        self.name = name
        self.lineage = random_id("lin")
        self.rounds = 0
        self.writes = 0
        self._check = check
        self._gate = gate
        self._committed = committed
        self._clock = clock
        self._queue_depth = queue_depth
        self._metrics = metrics or Metrics()
        self._path: Path | None = None
        self._immutable = False
        self._closed = False
        self._writing = Line(name)
        self._reading = Line(name)
        self._in_round = False
        # What came after the first of these txids, up to the second, was derived.
        self._derived = (0, 0)
        self._writer: apsw.Connection | None = None
        self._rounds: Rounds | None = None
        self._reader: apsw.Connection | None = None
        # When the running read began. Who interrupts it holds the guard, so that it hits no other.
        self._read_began: float | None = None
        self._read_guard = threading.Lock()
        self._attached: dict[type[Any], Any] = {}
        self._attach_lock = threading.Lock()

    @property
    def has_file(self) -> bool:
        """Whether there is a file to be opened."""
        return self._path is not None

    @property
    def opened(self) -> bool:
        """Whether a connection is open."""
        return self._writer is not None or self._reader is not None

    @property
    def waiting(self) -> int:
        """How many wait for the writer's place, without those whose turn it is."""
        return self._writing.waiting

    def switch(self, path: Path | None, *, immutable: bool = False) -> None:
        """Let the next use open `path`, under a new lineage; forgets all attachments.

        An `immutable` file is only read, by everybody: SQLite then looks for no log and no locks.
        Takes the writer's place if this thread does not have it, and waits for a running read.
        """
        with self.writers_place(), self._readers_place(_PLACE_SECONDS):
            self._close_connections()
            with self._attach_lock:
                self._path = path
                self._immutable = immutable
                self._attached = {}
                self._derived = (0, 0)
                self.lineage = random_id("lin")

    def write(
        self,
        operation: Callable[[apsw.Connection], T],
        repeat: Repeat | None = None,
        *,
        alone: bool = False,
        derived: bool = False,
    ) -> Committed[T]:
        """Run `operation` in a transaction and commit it; all of it or nothing.

        It may share the transaction, and so the txid, with others, and be run more than once: it
        touches nothing but the connection. One that is `alone` shares it with none; of one that is
        `derived` what it writes follows from what is there (`only_derived`). Takes a txid only if
        something changed. What it raises undoes it alone and is raised again. With `repeat`
        it is done once for that id: a repeat gets the stored answer, or `Conflict` where that is of
        another request or not kept any more (ids are kept for 24 h, the last 10,000; answers up to
        256 KiB, the last 4 MiB).

        `Unavailable`: too many wait (`overloaded`), the owner may not hand out the txid (reason
        `limit`), or the disk; with `in_doubt` in its details if the commit may have happened.
        """
        assert not self._reading.mine, "a write inside of a read could wait for itself"
        if repeat is not None:
            check_request_id(repeat.id)
        ticket = Ticket(operation, repeat, alone=alone, derived=derived)
        if self._writing.mine:
            # Nobody else writes meanwhile: that is what the place was taken for.
            self._round([ticket])
        elif self._writing.enter(ticket, depth=self._queue_depth):
            try:
                self._round(self._writing.take(ticket))
            finally:
                self._writing.leave(ticket)
        return ticket.outcome(self.name)

    def only_derived(self, since: int, until: int) -> bool:
        """Whether all that was written after `since` up to `until` is known to be derived.

        Known is what was written by this object, until something else was written.
        """
        first, last = self._derived
        return first <= since <= until <= last

    def read(self, query: Callable[[apsw.Connection], T]) -> Committed[T]:
        """Run `query` on a read-only connection, inside one consistent snapshot."""
        assert not self._reading.mine, "a read inside of a read"
        waiter = Waiter()
        self._reading.enter(waiter)
        try:
            with sqlite_faults(self.name):
                return self._read(query)
        finally:
            self._reading.leave(waiter)

    def interrupt_long_reads(self, seconds: float) -> bool:
        """Interrupt the running read if it began more than `seconds` ago; True if it did."""
        with self._read_guard:
            began, connection = self._read_began, self._reader
            if began is None or connection is None or self._clock.monotonic() - began <= seconds:
                return False
            connection.interrupt()
            return True

    def attachment(self, kind: type[A], make: Callable[[], A]) -> A:
        """Return the one object of `kind` that goes with this lineage (caches).

        `make` does not use the database.
        """
        with self._attach_lock:
            found = self._attached.get(kind)
            if found is None:
                found = self._attached[kind] = make()
            return found

    @contextmanager
    def writers_place(self, seconds: float = _PLACE_SECONDS) -> Iterator[None]:
        """Inside the block nobody writes but this thread; the thread that has it may nest it.

        `Unavailable` with reason `busy` when the turn has not come after `seconds`.
        """
        if self._writing.mine:
            yield
            return
        assert not self._reading.mine, "the writer's place inside of a read could wait for itself"
        waiter = Waiter()
        self._writing.enter(waiter, seconds=seconds)
        try:
            yield
        finally:
            self._writing.leave(waiter)

    def writer(self) -> apsw.Connection:
        """Return the writer's connection, for the thread in the writer's place.

        Another one than before after `switch`, `try_close` or a rollback that failed.
        """
        assert self._writing.mine, "the writer's connection outside of the writer's place"
        if self._writer is None:
            connection = self._connect(_WRITER_FLAGS)
            self._rounds = Rounds(connection, self.name, self._clock)
            self._writer = connection
        return self._writer

    def txid(self) -> int:
        """Return the last committed txid in the file, for the thread in the writer's place."""
        with sqlite_faults(self.name):
            return self._open_rounds().txid()

    def try_close(self) -> bool:
        """Close both connections if nobody is inside or waits; False at once otherwise.

        The next use opens them again: lineage and attachments stay.
        """
        return self._if_nobody_is_inside(self._close_connections)

    def try_release_memory(self) -> bool:
        """Give back what both connections cache, if nobody is inside; False at once otherwise."""
        return self._if_nobody_is_inside(self._release_memory)

    def _if_nobody_is_inside(self, work: Callable[[], None]) -> bool:
        writer, reader = Waiter(), Waiter()
        if not self._writing.try_enter(writer):
            return False
        try:
            if not self._reading.try_enter(reader):
                return False
            try:
                work()
            finally:
                self._reading.leave(reader)
        finally:
            self._writing.leave(writer)
        return True

    def _release_memory(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.release_memory()

    def close(self, seconds: float = _PLACE_SECONDS) -> None:
        """Wait for who is inside or came before, then close; what was committed stays.

        Afterwards every use is `Unavailable` with reason `closed`. If somebody stays inside for
        longer than `seconds`: `Unavailable` with reason `busy`, and nothing was closed.
        """
        with self.writers_place(seconds), self._readers_place(seconds):
            self._closed = True
            self._close_connections()

    def _round(self, tickets: list[Ticket]) -> None:
        """Carry out the tickets; afterwards each is done, unless this thread was interrupted."""
        assert not self._in_round, "a write inside of a write"
        self._in_round = True
        rounds: Rounds | None = None
        kept = Kept()
        try:
            with kept:
                self._refuse_closed()
                # Before the file is opened: the owner may switch to another one.
                terms = self._gate()
                rounds = self._rounds or self._open_rounds()
                rounds.run(tickets, terms)
            if kept.error is not None:
                _fail(tickets, kept)
        finally:
            # Also when interrupted after COMMIT: what was committed is told.
            if rounds is not None:
                self._after(rounds, kept)
            self._in_round = False

    def _after(self, rounds: Rounds, kept: Kept) -> None:
        if rounds.broken:
            self._writer = self._rounds = None
        if rounds.carried:
            self.rounds += 1
            self.writes += rounds.carried
            self._metrics.add("rounds_committed")
            self._metrics.add("writes_committed", rounds.carried)
        if rounds.landed is None:
            return
        self._note_derived(rounds.landed, rounds.derived)
        with kept:
            self._committed(rounds.landed)
        if kept.error is not None:
            # The commit has happened: whoever wrote is not to be told otherwise.
            _log.error(
                "%s: txid %d is committed, what follows a commit failed",
                self.name,
                rounds.landed,
                exc_info=kept.error,
            )

    def _note_derived(self, txid: int, derived: bool) -> None:
        if not derived:
            self._derived = (txid, txid)
        elif self._derived[1] == txid - 1:
            self._derived = (self._derived[0], txid)
        else:
            # What came before was not written here.
            self._derived = (txid - 1, txid)

    @contextmanager
    def _readers_place(self, seconds: float) -> Iterator[None]:
        waiter = Waiter()
        self._reading.enter(waiter, seconds=seconds)
        try:
            yield
        finally:
            self._reading.leave(waiter)

    def _open_rounds(self) -> Rounds:
        self.writer()
        assert self._rounds is not None
        return self._rounds

    def _open_reader(self) -> apsw.Connection:
        if self._reader is None:
            self._reader = self._connect(_READER_FLAGS)
        return self._reader

    def _read(self, query: Callable[[apsw.Connection], T]) -> Committed[T]:
        connection = self._open_reader()
        try:
            connection.execute("BEGIN")
            self._read_began = self._clock.monotonic()
            txid = int(connection.execute(TXID).get)
            return Committed(query(connection), txid)
        finally:
            with self._read_guard:
                self._read_began = None
            if not _ends(connection):
                # A cursor is open, in a result or a traceback. It would hold its snapshot, and the
                # next read would see that instead of the present.
                self._reader = None
                connection.close(force=True)

    def _connect(self, flags: int) -> apsw.Connection:
        self._refuse_closed()
        if self._path is None:
            # Between two files: what was read is not what holds any more.
            raise Unavailable(
                f"{self.name} is being opened anew; repeat it", reason="busy", retry_after=0.1
            )
        with sqlite_faults(self.name):
            connection = _connect(self._path, flags, immutable=self._immutable)
            try:
                if flags & apsw.SQLITE_OPEN_READWRITE:
                    _pragma(connection, "synchronous", "FULL", 2)
                    _pragma(connection, "secure_delete", "ON", 1)
                self._check(connection, self.name)
            except BaseException:
                connection.close(force=True)
                raise
            return connection

    def _close_connections(self) -> None:
        # The writer last: it folds the log into the file, if nobody follows the log.
        reader, self._reader = self._reader, None
        writer, self._writer, self._rounds = self._writer, None, None
        with sqlite_faults(self.name):
            if reader is not None:
                reader.close()
            if writer is not None:
                writer.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.name} cannot be used: it was closed", reason="closed")


class Template:
    """The image of a new database: made with the first file, copied for the others.

    `prepare` makes the same content every time.
    """

    def __init__(self, prepare: Callable[[apsw.Connection], None]) -> None:
        self._prepare = prepare
        self._image: bytes | None = None
        self._lock = threading.Lock()

    def write_to(self, path: Path) -> None:
        """Make a new database file at `path`, which the caller syncs and makes visible."""
        with self._lock:
            if self._image is None:
                create_file(path, self._prepare)
                # As SQLite left it: with the mark of WAL mode, which nobody is to patch.
                self._image = path.read_bytes()
                return
        path.write_bytes(self._image)


def create_file(path: Path, prepare: Callable[[apsw.Connection], None]) -> None:
    """Make a new database file at `path` with the tables of `prepare`, at txid 0, in WAL mode.

    It has no log beside it. The caller makes it visible afterwards (by a rename), so a crash in
    here leaves no database.
    """
    connection = _connect(path, _WRITER_FLAGS | apsw.SQLITE_OPEN_CREATE)
    try:
        _pragma(connection, "journal_mode", "WAL", "wal")
        _pragma(connection, "secure_delete", "ON", 1)
        with connection:
            connection.execute(
                f"CREATE TABLE {STATE_TABLE} (key TEXT PRIMARY KEY, value) WITHOUT ROWID"
            )
            connection.execute(f"INSERT INTO {STATE_TABLE} VALUES ('txid', 0)")
            connection.execute(
                f"CREATE TABLE {REQUESTS_TABLE} (id TEXT PRIMARY KEY, txid INTEGER, at INTEGER, "
                "digest BLOB, result BLOB) WITHOUT ROWID"
            )
            prepare(connection)
    finally:
        connection.close()


def _ends(connection: apsw.Connection) -> bool:
    """End the transaction of a read; False if something keeps its snapshot."""
    try:
        if connection.in_transaction:
            connection.execute("COMMIT")
    except apsw.Error:
        return False
    return connection.txn_state("main") == apsw.SQLITE_TXN_NONE


def _fail(tickets: list[Ticket], kept: Kept) -> None:
    """Hand what concerned all to each that has no outcome yet."""
    error, kept.error = kept.error, None
    assert error is not None
    for ticket in tickets:
        if ticket.done:
            continue
        ticket.fail(error)
        if isinstance(error, Error):
            # Each thread raises an object of its own, which nobody else adds frames to.
            cause = error.__cause__
            error = error.located("")
            error.__cause__ = cause


def _connect(path: Path, flags: int, *, immutable: bool = False) -> apsw.Connection:
    name = str(path)
    if immutable:
        assert not flags & apsw.SQLITE_OPEN_READWRITE, f"{path} is only to be read"
        for special in "%?#":
            name = name.replace(special, f"%{ord(special):02x}")
        name, flags = f"file:{name}?immutable=1", flags | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(name, flags=flags)
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
