"""The metadata of edges, in a table that the first of them makes: most edges have none.

It is sealed where rows are, under the ids of both memories and the type (`mark`), so that it can be
read in every branch the edge is brought to, whatever the handles are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from ...api.limits import METADATA_BYTES_MAX
from ..checks import decode_json, encode_json
from ..lazy import has_table
from ..protocols import Sealer, Undecipherable
from .tables import NOTES, RELATIONS

__all__ = [
    "FIELD",
    "PLACE",
    "Note",
    "Read",
    "complete",
    "drop_loose",
    "joined",
    "metadata_text",
    "note_of",
    "put",
    "read",
    "sealed",
]

# Under which name, and as which field, it is sealed.
PLACE, FIELD = "relations", "metadata"
_KEY = "(source, target, type) = (?, ?, ?)"
_TABLE = f"""CREATE TABLE {NOTES} (
    source INTEGER NOT NULL, target INTEGER NOT NULL, type TEXT NOT NULL, mark TEXT NOT NULL,
    metadata ANY NOT NULL, PRIMARY KEY (source, target, type)
) WITHOUT ROWID, STRICT"""
_INDEX = f"CREATE INDEX {NOTES}_target ON {NOTES} (target)"


class Note(NamedTuple):
    """Metadata as it is stored."""

    mark: str
    metadata: str | bytes


class Read(NamedTuple):
    """Metadata as it was said; None where there is none. `failed`: it cannot be decrypted."""

    metadata: dict[str, Any] | None = None
    failed: bool = False


def metadata_text(metadata: dict[str, Any], field: str) -> str:
    """Return metadata as it is kept; raises `Invalid` for what is no JSON, or too large."""
    return encode_json(metadata, field, METADATA_BYTES_MAX)


def sealed(
    metadata: dict[str, Any] | None, source: str, target: str, type: str, sealer: Sealer
) -> Note | None:
    """Return the note of an edge between two memories, by id; None where nothing is said."""
    if metadata is None:
        return None
    mark = f"{source}/{target}/{type}"
    return Note(mark, sealer.seal(metadata_text(metadata, FIELD), PLACE, mark, FIELD))


def put(connection: apsw.Connection, edge: tuple[int, int, str], note: Note | None) -> None:
    """Let an edge, by handles and type, have this metadata and no other."""
    if note is None:
        if has_table(connection, NOTES):
            connection.execute(f"DELETE FROM {NOTES} WHERE {_KEY}", edge)
        return
    _make(connection)
    connection.execute(f"INSERT OR REPLACE INTO {NOTES} VALUES (?, ?, ?, ?, ?)", (*edge, *note))


def read(note: Note | None, sealer: Sealer) -> Read:
    """Return what was said."""
    if note is None:
        return Read()
    try:
        return Read(decode_json(sealer.unseal(note.metadata, PLACE, note.mark, FIELD)))
    except Undecipherable:
        return Read(failed=True)


def joined(connection: apsw.Connection) -> tuple[str, str]:
    """Return the columns of a note, and what joins it to the edges `r`, for a statement."""
    if not has_table(connection, NOTES):
        return "NULL, NULL", ""
    return (
        "n.mark, n.metadata",
        f"LEFT JOIN {NOTES} n ON (n.source, n.target, n.type) = (r.source, r.target, r.type)",
    )


def note_of(mark: str | None, metadata: str | bytes | None) -> Note | None:
    """Return the note of what `joined` selects."""
    return None if mark is None or metadata is None else Note(mark, metadata)


def drop_loose(connection: apsw.Connection, handles: Iterable[int]) -> None:
    """Remove the metadata of edges from or to these memories that are no more."""
    if not has_table(connection, NOTES):
        return
    connection.executemany(
        f"""DELETE FROM {NOTES} WHERE (source = ?1 OR target = ?1) AND NOT EXISTS (
        SELECT 1 FROM {RELATIONS} r
        WHERE (r.source, r.target, r.type) = ({NOTES}.source, {NOTES}.target, {NOTES}.type))""",
        [(handle,) for handle in handles],
    )


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if NOTES in names:
        _make(connection)


def _make(connection: apsw.Connection) -> None:
    if not has_table(connection, NOTES):
        connection.execute(_TABLE)
        connection.execute(_INDEX)
