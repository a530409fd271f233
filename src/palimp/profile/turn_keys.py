"""What keeps a turn from being appended twice: keys of its caller's, each within its session.

In a table that the first such key makes. Looked up in the transaction that appends, so that of
twenty at once one is appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from .lazy import has_table

__all__ = ["complete", "drop", "find", "note"]

_NAME = "__palimp_turn_keys"
_TABLE = f"""CREATE TABLE {_NAME} (
    session TEXT NOT NULL, key TEXT NOT NULL, handle INTEGER NOT NULL,
    PRIMARY KEY (session, key)
) WITHOUT ROWID, STRICT"""
_INDEX = f"CREATE INDEX __palimp_turn_keys_handle ON {_NAME} (handle)"


def find(connection: apsw.Connection, session: str, keys: Sequence[str]) -> tuple[int, int] | None:
    """Return handle and number of the turn that has the first of the keys that one has."""
    if not keys or not has_table(connection, _NAME):
        return None
    for key in keys:
        row: Any = connection.execute(
            f"""SELECT t.handle, t.seq FROM {_NAME} k JOIN __palimp_turns t ON t.handle = k.handle
            WHERE k.session = ? AND k.key = ?""",
            (session, key),
        ).fetchone()
        if row is not None:
            handle, seq = row
            return handle, seq
    return None


def note(connection: apsw.Connection, session: str, keys: Sequence[str], handle: int) -> None:
    """Let keys mean a turn that was appended with them."""
    if not keys:
        return
    if not has_table(connection, _NAME):
        _make(connection)
    connection.executemany(
        f"INSERT OR REPLACE INTO {_NAME} VALUES (?, ?, ?)",
        [(session, key, handle) for key in keys],
    )


def drop(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Forget the keys of turns that are removed."""
    if has_table(connection, _NAME):
        connection.executemany(
            f"DELETE FROM {_NAME} WHERE handle = ?", [(handle,) for handle in handles]
        )


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if _NAME in names:
        _make(connection)


def _make(connection: apsw.Connection) -> None:
    connection.execute(_TABLE)
    connection.execute(_INDEX)
