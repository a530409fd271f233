"""What governance did: its runs, and every row that one changed with what it was before.

A row is noted in the transaction that changes it. So a run that was interrupted can be taken back
as far as it came, and so can one beside which others wrote. Memories go by handle: what is
forgotten leaves no id here. No words of users stand in these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from .lazy import has_table

__all__ = [
    "RUNS_KEPT",
    "Deed",
    "Entry",
    "begin",
    "complete",
    "end",
    "entries",
    "entry",
    "ids",
    "latest_deeds",
    "note",
    "shown",
    "undone",
]

RUNS_KEPT = 20
RUNS = "__palimp_governance_runs"
DEEDS = "__palimp_governance_deeds"
# Of a run, with their reasons: what a report shows.
_REASONED = 1_000
_TABLES = (
    f"""CREATE TABLE {RUNS} (
    run TEXT PRIMARY KEY, at INTEGER NOT NULL, checkpoint TEXT NOT NULL, undone_at INTEGER,
    report TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE {DEEDS} (
    run TEXT NOT NULL, seq INTEGER NOT NULL, handle INTEGER NOT NULL, action TEXT NOT NULL,
    confidence REAL, rationale TEXT, other INTEGER, before TEXT NOT NULL, after TEXT NOT NULL,
    PRIMARY KEY (run, seq)) STRICT, WITHOUT ROWID""",
)


class Deed(NamedTuple):
    """One change of one row: fields of it before and after, as far as they differ."""

    seq: int
    handle: int
    action: str
    confidence: float | None
    rationale: str | None
    other: int | None
    before: dict[str, Any]
    after: dict[str, Any]


class Entry(NamedTuple):
    """A run as it is kept; `report` is what was said of it, as JSON."""

    run: str
    at: int
    checkpoint: str
    undone_at: int | None
    report: str


def begin(connection: apsw.Connection, run: str, at: int, checkpoint: str, report: str) -> None:
    """Note that a run begins; of 20 earlier ones the oldest goes, with what it did."""
    if not has_table(connection, RUNS):
        _make(connection)
    connection.execute(
        f"INSERT OR REPLACE INTO {RUNS} VALUES (?, ?, ?, NULL, ?)", (run, at, checkpoint, report)
    )
    old: list[Any] = connection.execute(
        f"SELECT run FROM {RUNS} ORDER BY run DESC LIMIT -1 OFFSET {RUNS_KEPT}"
    ).fetchall()
    for name in old:
        for table in (DEEDS, RUNS):
            connection.execute(f"DELETE FROM {table} WHERE run = ?", name)


def note(connection: apsw.Connection, run: str, deeds: Iterable[Deed]) -> None:
    """Note what a run did, in the transaction that does it; `seq` of each is counted here."""
    last = connection.execute(f"SELECT max(seq) FROM {DEEDS} WHERE run = ?", (run,)).get or 0
    for seq, one in enumerate(deeds, last + 1):
        said = one.rationale if seq <= _REASONED else None
        sides = (msgspec.json.encode(side).decode() for side in (one.before, one.after))
        connection.execute(
            f"INSERT INTO {DEEDS} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (run, seq, one.handle, one.action, one.confidence, said, one.other, *sides),
        )


def end(connection: apsw.Connection, run: str, report: str) -> None:
    """Note what is said of a run that has ended."""
    connection.execute(f"UPDATE {RUNS} SET report = ? WHERE run = ?", (report, run))


def undone(connection: apsw.Connection, run: str, at: int) -> None:
    """Note that a run was taken back."""
    connection.execute(f"UPDATE {RUNS} SET undone_at = ? WHERE run = ?", (at, run))


def entry(connection: apsw.Connection, run: str) -> Entry | None:
    """Return a run; None where there is none of that name, or it is too long ago."""
    if not has_table(connection, RUNS):
        return None
    row: Any = connection.execute(f"SELECT * FROM {RUNS} WHERE run = ?", (run,)).fetchone()
    return None if row is None else Entry(*row)


def entries(connection: apsw.Connection) -> list[Entry]:
    """Return the runs that are kept, the newest first."""
    if not has_table(connection, RUNS):
        return []
    rows: list[Any] = connection.execute(f"SELECT * FROM {RUNS} ORDER BY run DESC").fetchall()
    return [Entry(*row) for row in rows]


def latest_deeds(connection: apsw.Connection, run: str, below: int, limit: int) -> list[Deed]:
    """Return up to `limit` changes of a run numbered `below` that, the latest first."""
    return _deeds(connection, run, "seq < ? ORDER BY seq DESC", below, limit)


def _deeds(connection: apsw.Connection, run: str, which: str, place: int, limit: int) -> list[Deed]:
    rows: Any = connection.execute(
        f"""SELECT seq, handle, action, confidence, rationale, other, before, after FROM {DEEDS}
        WHERE run = ? AND {which} LIMIT ?""",
        (run, place, limit),
    )
    decode = msgspec.json.decode
    return [Deed._make((*rest, decode(old), decode(new))) for *rest, old, new in rows]


def shown(connection: apsw.Connection, run: str) -> list[tuple[Deed, str | None, str | None]]:
    """Return the first changes of a run, with the ids of each memory and of the other one.

    None for one that is not there any more.
    """
    found = _deeds(connection, run, "seq > ? ORDER BY seq", 0, _REASONED)
    handles = {handle for one in found for handle in (one.handle, one.other) if handle is not None}
    found_ids = ids(connection, sorted(handles))
    return [(one, found_ids.get(one.handle), found_ids.get(one.other or 0)) for one in found]


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the tables in a new database, where they are among `names`."""
    if RUNS in names:
        _make(connection)


def _make(connection: apsw.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)


def ids(connection: apsw.Connection, handles: Sequence[int]) -> dict[int, str]:
    """Return the ids of memories, deleted ones too, by handle; those that are gone are missing."""
    tables = ["__palimp_memories"]
    if has_table(connection, "__palimp_deleted"):
        tables.append("__palimp_deleted")
    found: dict[int, str] = {}
    for table in tables:
        found.update(
            connection.execute(
                f"""SELECT handle, id FROM {table}
                WHERE handle IN (SELECT value FROM json_each(?))""",
                (str(list(handles)),),
            )
        )
    return found
