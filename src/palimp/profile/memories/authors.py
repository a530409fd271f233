"""Who wrote a memory, wrote it again, and let another one take its place.

The row of a memory says when that was, and here stands who it was, so that no write grows its row.
Of those who create memories only the changes are kept: numbers of memories rise and are never given
twice, so one row says who wrote all memories from its number on, up to the next such row. A profile
that one caller writes has one. The others have a row for each memory, of the last time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import apsw

from ..lazy import has_table

__all__ = [
    "TABLE",
    "Authors",
    "Step",
    "arrived",
    "complete",
    "created",
    "drop",
    "find",
    "note",
    "of",
]

Step = Literal["created", "revived", "superseded"]
TABLE = "__palimp_authors"
_TABLE = f"""CREATE TABLE {TABLE} (
    step TEXT NOT NULL, handle INTEGER NOT NULL, actor TEXT, PRIMARY KEY (step, handle)
) WITHOUT ROWID, STRICT"""
_OF_EACH: tuple[Step, ...] = ("revived", "superseded")


class Authors(NamedTuple):
    """Who did what to one memory; None where nobody did, or it is not known."""

    created: str | None = None
    revived: str | None = None
    superseded: str | None = None


def created(connection: apsw.Connection, handle: int, actor: str | None) -> None:
    """Note who wrote the newest memory, and those that come after it until somebody else does."""
    last = f"SELECT actor FROM {TABLE} WHERE step = 'created' ORDER BY handle DESC LIMIT 1"
    try:
        known = connection.execute(last).get
    except apsw.SQLError:
        if has_table(connection, TABLE):
            raise
        known = None
    actor = actor or None
    if known != actor:
        _put(connection, "created", handle, actor)


def note(connection: apsw.Connection, step: Step, handle: int, actor: str | None) -> None:
    """Note who revived or superseded a memory; nobody takes away what was noted of an earlier time.

    Whether there was such a step stands in the memory's row.
    """
    if actor:
        _put(connection, step, handle, actor)
    elif has_table(connection, TABLE):
        connection.execute(f"DELETE FROM {TABLE} WHERE (step, handle) = (?, ?)", (step, handle))


def arrived(connection: apsw.Connection, handle: int, authors: Authors) -> None:
    """Note of the newest memory, which came from another branch, who did what to it there."""
    created(connection, handle, authors.created)
    for step in _OF_EACH:
        actor: str | None = getattr(authors, step)
        if actor is not None:
            _put(connection, step, handle, actor)


def find(connection: apsw.Connection, wanted: Sequence[tuple[Step, int]]) -> list[str | None]:
    """Return who made each of these steps of memories, in their order."""
    if not wanted or not has_table(connection, TABLE):
        return [None] * len(wanted)
    return [_find(connection, step, handle) for step, handle in wanted]


def of(connection: apsw.Connection, handle: int) -> Authors:
    """Return who did what to a memory."""
    return Authors(*find(connection, [("created", handle), *((step, handle) for step in _OF_EACH)]))


def drop(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Remove what is said of memories that go.

    From which number on somebody wrote stays, because it is about those after it: it says of no
    memory that there was one.
    """
    if handles and has_table(connection, TABLE):
        connection.executemany(
            f"DELETE FROM {TABLE} WHERE (step, handle) = (?, ?)",
            [(step, handle) for step in _OF_EACH for handle in handles],
        )


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if TABLE in names:
        connection.execute(_TABLE)


def _find(connection: apsw.Connection, step: Step, handle: int) -> str | None:
    compared = "<=" if step == "created" else "="
    found: Any = connection.execute(
        f"""SELECT actor FROM {TABLE} WHERE step = ? AND handle {compared} ?
        ORDER BY handle DESC LIMIT 1""",
        (step, handle),
    ).get
    return None if found is None else str(found)


def _put(connection: apsw.Connection, step: Step, handle: int, actor: str | None) -> None:
    statement = f"INSERT OR REPLACE INTO {TABLE} VALUES (?, ?, ?)"
    try:
        connection.execute(statement, (step, handle, actor))
    except apsw.SQLError:
        if has_table(connection, TABLE):
            raise
        connection.execute(_TABLE)
        connection.execute(statement, (step, handle, actor))
