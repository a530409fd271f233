"""Which rows a rule has looked at for what they name, and what it found.

Rows are numbered as they are written and their words never change: what is behind the mark in
`__palimp_meta` is the work. The mark stands in the file, so it is right after a rewind, a fork and
an import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from ...api import EntityInput
from ...sealing import Undecipherable
from ..protocols import Sealer
from . import entities

__all__ = ["Row", "mark", "note", "rows"]

_MARK = "named"


class Row(NamedTuple):
    """A memory by handle, and its words; None where they cannot be read."""

    handle: int
    text: str | None


def mark(connection: apsw.Connection) -> int:
    """Return the handle up to which rows were looked at."""
    found = connection.execute("SELECT value FROM __palimp_meta WHERE key = ?", (_MARK,)).get
    return found if type(found) is int else 0


def rows(connection: apsw.Connection, after: int, limit: int, sealer: Sealer) -> list[Row]:
    """Return up to `limit` rows that follow a handle, whatever state they are in."""
    found: list[Any] = connection.execute(
        "SELECT handle, id, text FROM __palimp_memories WHERE handle > ? ORDER BY handle LIMIT ?",
        (after, limit),
    ).fetchall()
    return [Row(handle, _text(identity, stored, sealer)) for handle, identity, stored in found]


def note(
    connection: apsw.Connection,
    found: Sequence[tuple[int, tuple[EntityInput, ...]]],
    through: int,
    sealer: Sealer,
    id_key: bytes,
    now_ms: int,
) -> int:
    """Link rows that are still there with what they name, and set the mark; return new links."""
    links = 0
    for handle, named in found:
        there = connection.execute(
            "SELECT 1 FROM __palimp_memories WHERE handle = ?", (handle,)
        ).get
        if there is not None:
            done = entities.link(connection, handle, named, "rule", sealer, id_key, now_ms)
            links += done.links
    if through > mark(connection):
        connection.execute("INSERT OR REPLACE INTO __palimp_meta VALUES (?, ?)", (_MARK, through))
    return links


def _text(identity: str, stored: str | bytes, sealer: Sealer) -> str | None:
    try:
        return sealer.unseal(stored, "memories", identity, "text")
    except Undecipherable:
        return None
