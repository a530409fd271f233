"""What is carried of a memory from one branch to another, as it stands there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from ..generations import register
from ..indexing import GIVEN_MODEL, MEMORIES, embedding_text
from ..memories import authors, dedup
from ..memories.authors import Authors
from ..protocols import Sealer, Undecipherable
from ..relations import copying, notes
from ..relations.copying import Given
from ..relations.tables import LINKS, RELATIONS, drop_orphans, is_made
from .versions import Version, is_deleted

__all__ = ["Luggage", "insert", "pack", "put_links", "put_vectors"]

# Set where it is put down: the number of the row, and the number of what took its place.
_LEFT = ("handle", "superseded_by")


class Luggage(NamedTuple):
    """A memory to be carried: its row, its vectors by model, the text they were made of, and more.

    `deleted` is of one that is not there any more: whether it can still be restored.
    """

    columns: tuple[str, ...]
    row: tuple[Any, ...]
    vectors: tuple[tuple[str, int, bytes, bytes], ...] = ()
    embedded: str | None = None
    keys: tuple[tuple[Any, ...], ...] = ()
    links: Given = Given()
    authors: Authors = Authors()
    deleted: bool = False


def pack(
    connection: apsw.Connection, versions: Iterable[tuple[str, Version | None]], sealer: Sealer
) -> dict[str, Luggage]:
    """Read what is to be carried of memories, by id."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM pragma_table_info('__palimp_memories') ORDER BY cid"
        )
        if name not in _LEFT
    ]
    columns, listed = tuple(names), ", ".join(names)
    found: dict[str, Luggage] = {}
    for identity, version in versions:
        if version is None:
            gone = is_deleted(connection, identity)
            found[identity] = Luggage((), (), deleted=gone)
            continue
        row = connection.execute(
            f"SELECT {listed} FROM __palimp_memories WHERE handle = ?", (version.handle,)
        ).fetchone()
        assert row is not None, f"memory {identity} went while it was read"
        vectors = _vectors(connection, version.handle)
        text = _embedded(connection, version.handle, sealer) if vectors else None
        links = copying.of(connection, version.handle)
        keys = dedup.keys_of(connection, version.handle)
        by = authors.of(connection, version.handle)
        found[identity] = Luggage(columns, tuple(row), vectors, text, keys, links, by)
    return found


def insert(connection: apsw.Connection, luggage: Luggage) -> int:
    """Write a row, not yet pointing to what took its place, and return its number."""
    marks = ", ".join("?" * len(luggage.columns))
    connection.execute(
        f"INSERT INTO __palimp_memories ({', '.join(luggage.columns)}) VALUES ({marks})",
        luggage.row,
    )
    handle = connection.last_insert_rowid()
    dedup.put(connection, luggage.keys, handle)
    authors.arrived(connection, handle, luggage.authors)
    return handle


def put_vectors(connection: apsw.Connection, handle: int, luggage: Luggage, sealer: Sealer) -> None:
    """Write the vectors of an indexed row, but those that would be made of other words here."""
    if not luggage.vectors:
        return
    same = _embedded(connection, handle, sealer) == luggage.embedded
    for model, dimensions, signs, vector in luggage.vectors:
        if model != GIVEN_MODEL and not same:
            continue
        number, known = register(connection, model, dimensions)
        if known != dimensions:
            continue
        connection.execute(
            f"INSERT INTO {MEMORIES.codes} (model, handle, signs) VALUES (?, ?, ?)",
            (number, handle, signs),
        )
        connection.execute(
            f"INSERT INTO {MEMORIES.vectors} (slot, code, vector) VALUES (?, ?, ?)",
            (handle << 8 | number, connection.last_insert_rowid(), vector),
        )


def put_links(
    connection: apsw.Connection, handle: int, luggage: Luggage, handles: Callable[[str], int | None]
) -> None:
    """Link a memory as it is there, as far as somebody said so; `handles` gives numbers of ids."""
    before: list[Any] = []
    if is_made(connection):
        before = connection.execute(
            f"SELECT entity FROM {LINKS} WHERE handle = ?", (handle,)
        ).fetchall()
        for table, column in ((LINKS, "handle"), (RELATIONS, "source")):
            connection.execute(
                f"DELETE FROM {table} WHERE {column} = ? AND origin != 'rule'", (handle,)
            )
        # Those of edges to it stay: their edges do.
        notes.drop_loose(connection, [handle])
    copying.take(connection, handle, luggage.links, handles)
    if before:
        drop_orphans(connection, [entity for (entity,) in before])


def _vectors(connection: apsw.Connection, handle: int) -> tuple[tuple[str, int, bytes, bytes], ...]:
    rows: Sequence[Any] = connection.execute(
        f"""SELECT n.name, n.dimensions, c.signs, v.vector FROM {MEMORIES.vectors} v
        JOIN {MEMORIES.codes} c ON c.code = v.code JOIN __palimp_models n ON n.model = v.slot & 255
        WHERE v.slot BETWEEN ? AND ?""",
        (handle << 8, (handle << 8) + 255),
    ).fetchall()
    return tuple(rows)


def _embedded(connection: apsw.Connection, handle: int, sealer: Sealer) -> str | None:
    with suppress(Undecipherable):
        return embedding_text(connection, MEMORIES, handle, sealer)[0]
    return None
