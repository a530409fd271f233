"""Memories that are the same by a key of their caller's, in a table that the first such key makes.

Two keys, each within one type, project and environment:

- a `dedup_key` with a window: for so long whatever comes with that key is a duplicate;
- an `extracted_key`, which says what the memory is the value of: the same value again is a
  duplicate, another one supersedes.

Looked up in the transaction that writes, so that of twenty at once one is written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from ..lazy import has_table
from ..protocols import Sealer
from .draft import Draft
from .rows import read_memories

__all__ = ["complete", "drop", "keys_of", "move", "note", "put", "replaced", "same"]

_NAME = "__palimp_dedup"
_TABLE = f"""CREATE TABLE {_NAME} (
    use TEXT NOT NULL, key TEXT NOT NULL, type TEXT NOT NULL, project TEXT NOT NULL,
    environment TEXT NOT NULL, handle INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (use, key, type, project, environment)
) WITHOUT ROWID, STRICT"""
_INDEX = f"CREATE INDEX __palimp_dedup_handle ON {_NAME} (handle)"
_WHERE = "d.use = ? AND d.key = ? AND d.type = ? AND d.project = ? AND d.environment = ?"
_ENDINGS = " .!?;,"


class _Known(NamedTuple):
    handle: int
    at: int


def same(
    connection: apsw.Connection, item: Draft, sealer: Sealer, now_ms: int
) -> tuple[int, str] | None:
    """Return handle and id of the memory that a draft is a duplicate of by one of its keys."""
    window_ms = item.window_ms
    if window_ms is not None:
        # Superseded since or not: what comes again with its key is still a repeat of it.
        known = _find(connection, item, "window", now_ms, holding=False)
        # A clock that was set back makes no window shorter.
        if known is not None and now_ms - known.at < window_ms:
            return known.handle, _id_of(connection, known.handle)
    if item.given.extracted_key is not None:
        known = _find(connection, item, "extracted", now_ms)
        if known is not None and _says(connection, known.handle, item, sealer):
            return known.handle, _id_of(connection, known.handle)
    return None


def replaced(connection: apsw.Connection, item: Draft, now_ms: int) -> int | None:
    """Return the memory that held the extracted key of a draft, which has another value."""
    if item.given.extracted_key is None:
        return None
    known = _find(connection, item, "extracted", now_ms)
    return None if known is None else known.handle


def note(connection: apsw.Connection, item: Draft, handle: int, now_ms: int) -> None:
    """Let the keys of a draft mean the memory that was written of it."""
    rows = [(use, *key, handle, now_ms) for use, key in _keys(item)]
    if not rows:
        return
    statement = f"""INSERT INTO {_NAME} VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET handle = excluded.handle, at = excluded.at"""
    if not has_table(connection, _NAME):
        _make(connection)
    connection.executemany(statement, rows)


def keys_of(connection: apsw.Connection, handle: int) -> tuple[tuple[Any, ...], ...]:
    """Return the keys that mean a memory, to be `put` elsewhere."""
    if not has_table(connection, _NAME):
        return ()
    rows: list[Any] = connection.execute(
        f"""SELECT use, key, type, project, environment, at FROM {_NAME} WHERE handle = ?""",
        (handle,),
    ).fetchall()
    return tuple(rows)


def put(connection: apsw.Connection, keys: Sequence[tuple[Any, ...]], handle: int) -> None:
    """Let keys that were read elsewhere mean a memory here."""
    if keys and not has_table(connection, _NAME):
        _make(connection)
    for *key, at in keys:
        connection.execute(
            f"""INSERT INTO {_NAME} VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET handle = excluded.handle, at = excluded.at""",
            (*key, handle, at),
        )


def move(connection: apsw.Connection, handle: int, project: str | None) -> None:
    """Let the keys of a memory mean it in another project, unless they mean one there already."""
    if not has_table(connection, _NAME):
        return
    connection.execute(
        f"UPDATE OR IGNORE {_NAME} SET project = ? WHERE handle = ?", (project or "", handle)
    )
    connection.execute(
        f"DELETE FROM {_NAME} WHERE handle = ? AND project != ?", (handle, project or "")
    )


def drop(connection: apsw.Connection, handle: int) -> None:
    """Forget the keys of a memory that is removed."""
    if has_table(connection, _NAME):
        connection.execute(f"DELETE FROM {_NAME} WHERE handle = ?", (handle,))


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if _NAME in names:
        _make(connection)


def _make(connection: apsw.Connection) -> None:
    connection.execute(_TABLE)
    connection.execute(_INDEX)


def _keys(item: Draft) -> list[tuple[str, tuple[str, str, str, str]]]:
    given = item.given
    scope: tuple[str, str, str] = (item.type, given.project or "", given.environment or "")
    keys: list[tuple[str, tuple[str, str, str, str]]] = []
    if item.window_ms is not None and given.dedup_key is not None:
        keys.append(("window", (given.dedup_key, *scope)))
    if given.extracted_key is not None:
        keys.append(("extracted", (given.extracted_key, *scope)))
    return keys


def _find(
    connection: apsw.Connection, item: Draft, use: str, now_ms: int, *, holding: bool = True
) -> _Known | None:
    """Return the memory a key means, where it is still there; with `holding` not superseded."""
    if not has_table(connection, _NAME):
        return None
    key = dict(_keys(item))[use]
    row: Any = connection.execute(
        f"""SELECT d.handle, d.at FROM {_NAME} d
        JOIN __palimp_memories m ON m.handle = d.handle
        WHERE {_WHERE} AND m.state = 'active' AND (m.expires_at IS NULL OR m.expires_at > ?)
        {"AND m.superseded_at IS NULL" if holding else ""}""",
        (use, *key, now_ms),
    ).fetchone()
    return None if row is None else _Known(*row)


def _says(connection: apsw.Connection, handle: int, item: Draft, sealer: Sealer) -> bool:
    """Whether a memory has the value of a draft: its content, or its text but for the spelling."""
    held = read_memories(connection, [handle], sealer)[handle]
    if item.content is not None:
        kept = msgspec.json.encode(held["content"], order="sorted").decode()
        return kept == item.content
    return _plain(held["text"]) == _plain(item.given.text)


def _plain(text: str) -> str:
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(words).rstrip(_ENDINGS)


def _id_of(connection: apsw.Connection, handle: int) -> str:
    identity: str = connection.execute(
        "SELECT id FROM __palimp_memories WHERE handle = ?", (handle,)
    ).get
    return identity
