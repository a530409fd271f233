"""What was accepted and is not known to be in Arc: one SQLite file of this node.

    pending --mark--> sending --delivered--> gone (its dedup key stays for a while)
       ^                 |
       +----put_back-----+        parked <--park-- sending       retry: parked -> pending

A row is `sending` on the disk before its request is made. So a row that is `sending` while no
request is under way is in doubt: nobody knows whether Arc has it. Only the drain moves rows of an
organisation, one batch at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import apsw
import msgspec

from ..clock import Clock
from ..decoding import from_msgpack
from ..disk import make_folders, sync_path
from ..errors import Error, Internal, Invalid, Unavailable
from .codec import TIME_US_MAX, TIME_US_MIN, row_event, row_of
from .rows import Import, Parked, Row
from .spool_file import RETRY_SECONDS, open_spool, spool_faults

__all__ = ["Gauges", "Spool", "Spooled"]

T = TypeVar("T")

# What a row takes beside its payload: its columns and its places in the indexes.
ROW_BYTES = 200
_TICKETS_MAX = 64
_VACUUM_PAGES = 2_000
_ID_MAX = 2**63 - 1
# So far at most an imported event is moved to have a time of its own.
_SHIFT_US_MAX = 10**9


class Spooled(NamedTuple):
    """A row in the spool."""

    id: int
    row: Row


class Gauges(NamedTuple):
    """The spool in numbers, over all organisations."""

    events: int
    bytes: int
    parked: int
    seconds: float


class _Ticket:
    """One append, which may be committed together with others."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = False
        self.outcome: Any = None
        self.error: Error | None = None


class Spool:
    """Keeps rows durably until they are known to be in Arc. One process a file; thread-safe.

    What `append` and `add_imports` returned survives the process and a power cut. Nothing is ever
    dropped: above `bytes_max` both raise `Unavailable` (`overloaded`). A full disk, or one that
    fails, is `Unavailable` (reason `disk`); then nothing of the call was kept, and all else was.
    """

    def __init__(self, path: Path, clock: Clock, *, bytes_max: int, recent_seconds: float) -> None:
        self.path = path
        self._clock = clock
        self._bytes_max = bytes_max
        self._recent_ms = round(recent_seconds * 1000)
        self._lock = threading.RLock()
        self._queue: deque[_Ticket] = deque()
        self._closed = False
        with spool_faults(path):
            make_folders(path.parent, path.parent.parent)
            self._db = open_spool(path, clock.now_ms())
            self._rows, self._bytes = self._measured()
            sync_path(path.parent)

    def close(self) -> None:
        """Close the file; every later call is `Unavailable`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()

    def append(
        self,
        org: str,
        rows: Sequence[Row],
        *,
        window_us: int | None = None,
        known: Collection[str] = (),
    ) -> list[Row | None]:
        """Keep the rows, each with a time of its own that is above all before; None: a duplicate.

        With a window a row is one whose dedup key is in `known`, came before in this call, or is
        in the spool since less than that. Check and write are one transaction. The times of the
        rows that are given do not matter.
        """
        return self._committed(lambda: self._append(org, rows, window_us, known))

    def add_imports(self, org: str, imports: Sequence[Import]) -> int:
        """Keep events that were elsewhere, with their times; return how many were new.

        One whose `source` came before is there already. A time that another has becomes the next
        that is free, so that each event has its own.
        """
        return self._committed(lambda: self._add_imports(org, imports))

    def forget_imports(self, org: str) -> None:
        """Forget which sources came, once none of them comes again."""
        self._change("DELETE FROM imported WHERE org = ?", (org,))

    def seen(self, org: str, keys: Collection[str], window_us: int) -> set[str]:
        """Return which of these dedup keys are in the spool since less than `window_us`."""
        since = self._now_us() - window_us
        with self._lock, spool_faults(self.path):
            return {key for key in keys if self._is_there(org, key, since)}

    def take(self, org: str, rows_max: int, bytes_max: int) -> list[Spooled]:
        """Return the first pending rows in their order: at least one, if there is any."""
        found: list[Spooled] = []
        size = 0
        with self._lock, spool_faults(self.path):
            for identity, payload in self._execute(
                "SELECT id, payload FROM rows WHERE org = ? AND state = 'pending' ORDER BY id "
                "LIMIT ?",
                (org, rows_max),
            ):
                size += len(payload)
                if found and size > bytes_max:
                    break
                found.append(Spooled(identity, _row(payload)))
        return found

    def doubtful(self, org: str) -> tuple[list[Spooled], int]:
        """Return the rows in doubt, and since when the last of them is (milliseconds)."""
        with self._lock, spool_faults(self.path):
            rows: list[Any] = self._execute(
                "SELECT id, payload, since_ms FROM rows WHERE org = ? AND state = 'sending' "
                "ORDER BY id",
                (org,),
            ).fetchall()
        return [Spooled(i, _row(p)) for i, p, _ in rows], max((s for *_, s in rows), default=0)

    def mark(self, rows: Sequence[Spooled]) -> None:
        """Note durably that these are about to be sent."""
        self._move(rows, "sending", self._clock.now_ms(), None)

    def doubt(self, rows: Sequence[Spooled]) -> None:
        """Note that from now on nobody knows whether these came through."""
        self._move(rows, "sending", self._clock.now_ms(), None)

    def put_back(self, rows: Sequence[Spooled]) -> None:
        """Note that these are not in Arc: they are pending again, at their place."""
        self._move(rows, "pending", None, None)

    def park(self, row: Spooled, error: str) -> None:
        """Set one aside that Arc refuses."""
        self._move([row], "parked", self._clock.now_ms(), error)

    def delivered(self, org: str, rows: Sequence[Spooled]) -> None:
        """Let go of rows that Arc has; their keys are still known for `recent_seconds`."""
        now_ms = self._clock.now_ms()
        keyed = [(org, r.row.dedup_key, r.row.at_us, now_ms) for r in rows if r.row.dedup_key]

        def work() -> None:
            if keyed:
                self._many("INSERT OR REPLACE INTO recent VALUES (?, ?, ?, ?)", keyed)
            self._execute("DELETE FROM recent WHERE sent_ms < ?", (now_ms - self._recent_ms,))
            self._remove([row.id for row in rows])

        self._transaction(work)

    def retry(self, org: str, ids: Collection[int] | None) -> int:
        """Let parked rows (None: all of the organisation) be pending again; return how many."""
        return self._of_parked(
            org, ids, "UPDATE rows SET state = 'pending', since_ms = NULL, error = NULL"
        )

    def drop(self, org: str, ids: Collection[int] | None) -> int:
        """Remove parked rows for good; return how many."""
        return self._of_parked(org, ids, "DELETE FROM rows")

    def forget(self, org: str) -> int:
        """Remove all there is of an organisation; return how many rows."""

        def work() -> int:
            self._execute("DELETE FROM rows WHERE org = ?", (org,))
            count = self._db.changes()
            for table in ("recent", "imported", "orgs"):
                self._execute(f"DELETE FROM {table} WHERE org = ?", (org,))
            self._rows, self._bytes = self._measured()
            return count

        return self._transaction(work)

    def parked(self, org: str | None, limit: int, after: int) -> list[Parked]:
        """Return parked rows in their order, of one organisation or of all."""
        with self._lock, spool_faults(self.path):
            found: list[Any] = self._execute(
                "SELECT id, org, payload, error, since_ms FROM rows WHERE state = 'parked' "
                "AND id > ? AND (?2 IS NULL OR org = ?2) ORDER BY id LIMIT ?3",
                (after, org, limit),
            ).fetchall()
        return [Parked(i, o, row_event(_row(p)), e or "", s or 0) for i, o, p, e, s in found]

    def count_parked(self, org: str) -> int:
        """Return how many rows of an organisation are parked."""
        return self._number("SELECT count(*) FROM rows WHERE org = ? AND state = 'parked'", (org,))

    def last_id(self, org: str) -> int:
        """Return the number of the last row of an organisation that is on its way; 0 for none."""
        return self._number(
            "SELECT max(id) FROM rows WHERE org = ? AND state IN ('pending', 'sending')", (org,)
        )

    def waiting(self, org: str, *, until: int | None = None, most: int = 1) -> int:
        """Return how many rows are on their way, up to a number; counts to `most`."""
        return self._number(
            "SELECT count(*) FROM (SELECT 1 FROM rows WHERE org = ? "
            "AND state IN ('pending', 'sending') AND id <= ? LIMIT ?)",
            (org, _ID_MAX if until is None else until, most),
        )

    def pending(self) -> dict[str, int]:
        """Return how many rows are on their way, of each organisation that has any."""
        with self._lock, spool_faults(self.path):
            found: list[Any] = self._execute(
                "SELECT org, count(*) FROM rows WHERE state <> 'parked' GROUP BY org"
            ).fetchall()
        return dict(found)

    def gauges(self) -> Gauges:
        """Return the spool in numbers; `seconds` is how long the oldest has been on its way."""
        with self._lock, spool_faults(self.path):
            parked = self._number("SELECT count(*) FROM rows WHERE state = 'parked'", ())
            oldest = self._number(
                "SELECT min(spooled_ms) FROM rows WHERE id IN "
                "(SELECT min(id) FROM rows WHERE state <> 'parked' GROUP BY org)",
                (),
            )
            seconds = max(0.0, (self._clock.now_ms() - oldest) / 1000) if oldest else 0.0
            return Gauges(self._rows, self._bytes, parked, seconds)

    def tidy(self) -> None:
        """Give back the space of what is gone, some of it at a time."""
        with self._lock, spool_faults(self.path):
            self._execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()

    # Inside of a transaction.

    def _append(
        self, org: str, rows: Sequence[Row], window_us: int | None, known: Collection[str]
    ) -> list[Row | None]:
        now_ms = self._clock.now_ms()
        now_us = now_ms * 1000
        keys = set(known)
        last = self._last_us(org)
        kept: list[Row | None] = []
        for row in rows:
            key = row.dedup_key if window_us is not None else ""
            if key and window_us is not None:
                if key in keys or self._is_there(org, key, now_us - window_us):
                    kept.append(None)
                    continue
                keys.add(key)
            last = max(last + 1, now_us)
            kept.append(row._replace(at_us=last))
        self._insert(org, [row for row in kept if row is not None], now_ms)
        self._set_last_us(org, last)
        return kept

    def _add_imports(self, org: str, imports: Sequence[Import]) -> int:
        now_ms = self._clock.now_ms()
        last = self._last_us(org)
        rows = []
        free: dict[int, int] = {}
        for source, event in imports:
            if self._execute(
                "SELECT 1 FROM imported WHERE org = ? AND source = ?", (org, source)
            ).fetchone():
                continue
            if not TIME_US_MIN <= event.at_us < TIME_US_MAX - _SHIFT_US_MAX:
                raise Invalid(
                    f"event {source!r:.80} is of {event.at_us} us since 1970, which no Arc holds: "
                    f"give {TIME_US_MIN} (April 1970) to the year 2262"
                )
            at_us = free.get(event.at_us, event.at_us)
            while self._is_taken(org, at_us):
                at_us += 1
            free[event.at_us] = at_us + 1
            self._execute("INSERT INTO imported VALUES (?, ?, ?)", (org, source, at_us))
            rows.append(row_of(event, at_us))
            last = max(last, at_us)
        self._insert(org, rows, now_ms)
        self._set_last_us(org, last)
        return len(rows)

    def _insert(self, org: str, rows: Sequence[Row], now_ms: int) -> None:
        packed = [msgspec.msgpack.encode(row) for row in rows]
        size = sum(map(len, packed)) + ROW_BYTES * len(rows)
        if rows and self._bytes + size > self._bytes_max:
            raise Unavailable(
                f"{self._rows:,} events ({self._bytes:,} bytes) wait for their Arc, and with these "
                f"{len(rows):,} ({size:,} bytes) they would be over {self._bytes_max:,} "
                "(PALIMP_ARC_SPOOL_BYTES); nothing was accepted. Try again when Arc has taken some",
                code="overloaded",
                retry_after=RETRY_SECONDS,
                reason="spool",
            )
        self._many(
            "INSERT INTO rows (org, at_us, dedup_key, payload, spooled_ms) VALUES (?, ?, ?, ?, ?)",
            [
                (org, row.at_us, row.dedup_key, data, now_ms)
                for row, data in zip(rows, packed, strict=True)
            ],
        )
        self._rows += len(rows)
        self._bytes += size

    def _remove(self, ids: Sequence[int]) -> None:
        """Delete rows by their numbers, which are in the place they were taken from."""
        for identity in ids:
            gone = self._execute(
                "DELETE FROM rows WHERE id = ? RETURNING length(payload)", (identity,)
            ).fetchone()
            if gone is not None:
                self._rows -= 1
                self._bytes -= gone[0] + ROW_BYTES

    def _is_there(self, org: str, key: str, since_us: int) -> bool:
        for table in ("rows", "recent"):
            # SQLite takes the partial index only where the query says so too.
            found = self._execute(
                f"SELECT 1 FROM {table} WHERE org = ? AND dedup_key = ? AND dedup_key <> '' "
                "AND at_us > ? LIMIT 1",
                (org, key, since_us),
            ).fetchone()
            if found:
                return True
        return False

    def _is_taken(self, org: str, at_us: int) -> bool:
        for table in ("rows", "imported"):
            if self._execute(
                f"SELECT 1 FROM {table} WHERE org = ? AND at_us = ?", (org, at_us)
            ).fetchone():
                return True
        return False

    def _last_us(self, org: str) -> int:
        return self._number("SELECT last_us FROM orgs WHERE org = ?", (org,))

    def _set_last_us(self, org: str, last: int) -> None:
        self._execute(
            "INSERT INTO orgs VALUES (?, ?) ON CONFLICT DO UPDATE SET last_us = excluded.last_us",
            (org, last),
        )

    # Transactions.

    def _committed(self, work: Callable[[], T]) -> T:
        """Run `work` in a transaction, together with that of others who wait meanwhile.

        What it raises undoes it alone.
        """
        ticket = _Ticket(work)
        self._queue.append(ticket)
        with self._lock:
            while not ticket.done:
                self._round()
        if ticket.error is not None:
            raise ticket.error.located("") from ticket.error.__cause__
        outcome: T = ticket.outcome
        return outcome

    def _round(self) -> None:
        some = [self._queue.popleft() for _ in range(min(len(self._queue), _TICKETS_MAX))]

        def work() -> None:
            for ticket in some:
                before = self._rows, self._bytes
                self._execute("SAVEPOINT one")
                try:
                    ticket.outcome = ticket.work()
                except Error as error:
                    self._execute("ROLLBACK TO one")
                    self._rows, self._bytes = before
                    ticket.error = error
                self._execute("RELEASE one")

        failed: Error | None = Internal("a write to the spool of events for Arc broke off")
        try:
            self._transaction(work)
            failed = None
        except Error as error:
            failed = error
        finally:
            for ticket in some:
                ticket.error = failed or ticket.error
                ticket.done = True

    def _transaction(self, work: Callable[[], T]) -> T:
        with self._lock, spool_faults(self.path):
            before = self._rows, self._bytes
            self._execute("BEGIN IMMEDIATE")
            try:
                outcome = work()
                self._execute("COMMIT")
            except BaseException:
                self._rows, self._bytes = before
                if self._db.in_transaction:
                    self._execute("ROLLBACK")
                raise
            return outcome

    def _move(
        self, rows: Sequence[Spooled], state: str, since_ms: int | None, error: str | None
    ) -> None:
        def work() -> None:
            self._many(
                "UPDATE rows SET state = ?, since_ms = ?, error = ? WHERE id = ?",
                [(state, since_ms, error, row.id) for row in rows],
            )

        self._transaction(work)

    def _change(self, sql: str, values: Sequence[Any]) -> None:
        self._transaction(lambda: self._execute(sql, values))

    def _of_parked(self, org: str, ids: Collection[int] | None, what: str) -> int:
        def work() -> int:
            sql = f"{what} WHERE org = ? AND state = 'parked'"
            count = 0
            for values in [(org,)] if ids is None else [(org, one) for one in ids]:
                self._execute(sql if ids is None else f"{sql} AND id = ?", values)
                count += self._db.changes()
            self._rows, self._bytes = self._measured()
            return count

        return self._transaction(work)

    def _measured(self) -> tuple[int, int]:
        rows = self._number("SELECT count(*) FROM rows", ())
        size = self._number("SELECT total(length(payload)) FROM rows", ())
        return rows, size + ROW_BYTES * rows

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> apsw.Cursor:
        if self._closed:
            raise Unavailable("the spool of events for Arc is closed", reason="closing")
        return self._db.execute(sql, values)

    def _many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        self._db.executemany(sql, values)

    def _number(self, sql: str, values: Sequence[Any]) -> int:
        with self._lock, spool_faults(self.path):
            found = self._execute(sql, values).fetchone()
        return int(found[0] or 0) if found else 0

    def _now_us(self) -> int:
        return self._clock.now_ms() * 1000


def _row(payload: bytes) -> Row:
    return from_msgpack(payload, Row)
