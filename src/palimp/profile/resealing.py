"""Sealing rows that were written before, in plain or under an older key.

One row is one step: read, removed from the index where its entry will be another one, written
sealed, indexed again. What cannot be read is passed over and never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from ..errors import Invalid
from ..sealing import SEALED, Undecipherable
from .collections import list_names, table_of
from .indexing import MEMORIES, TURNS, Corpus, add_entries, neighbours, remove_entries
from .lazy import has_table
from .memories import events
from .protocols import Sealer
from .relations import notes
from .relations.entities import NAME_FIELD, TABLE
from .relations.tables import ENTITIES, NOTES

__all__ = ["Part", "Resealed", "count", "parts", "refuse_sealed", "reseal"]

# As `memories.states` makes it; deleted rows stand in no index.
_DELETED = "__palimp_deleted"
_KV_IDENTITY = "length(CAST(ns AS BLOB)) || ':' || ns || k"


class Part(NamedTuple):
    """A table with sealed fields: what a row goes by, what it is known by, and the fields.

    `name` is that of its places, `data` is whether the fields hold bytes.
    """

    table: str
    name: str
    key: tuple[str, ...]
    identity: str
    fields: tuple[str, ...]
    corpus: Corpus | None = None
    data: bool = False


class Resealed(NamedTuple):
    """How many rows were sealed and could not be read, and the key of the last one (None: all)."""

    sealed: int
    unreadable: int
    last: tuple[Any, ...] | None


_MEMORY_FIELDS = ("text", "content", "keywords", "metadata")
_PARTS = (
    Part(MEMORIES.rows, "memories", ("handle",), "id", _MEMORY_FIELDS, MEMORIES),
    Part(_DELETED, "memories", ("handle",), "id", _MEMORY_FIELDS),
    Part(TURNS.rows, "turns", ("handle",), "session || '/' || seq", ("content",), TURNS),
    Part("__palimp_proposals", "proposals", ("handle",), "id", ("text", "draft", "reason")),
    Part(ENTITIES, TABLE, ("entity",), "mark", (NAME_FIELD,)),
    Part(NOTES, notes.PLACE, ("source", "target", "type"), "mark", (notes.FIELD,)),
    Part(events.TABLE, events.PLACE, ("seq",), events.CHANGES_IDENTITY, ("changes",)),
    Part("__palimp_kv", "kv", ("ns", "k"), _KV_IDENTITY, ("v",), data=True),
)


def parts(connection: apsw.Connection) -> Iterator[Part]:
    """Yield the tables that are there."""
    yield from (part for part in _PARTS if has_table(connection, part.table))
    for name in list_names(connection):
        yield Part(table_of(name), "vectors", ("handle",), f"'{name}/' || id", ("metadata",))


def refuse_sealed(connection: apsw.Connection) -> None:
    """Raise `Invalid` for a file with sealed rows: no other database than theirs can read them."""
    for part in parts(connection):
        fields = " OR ".join(
            f"(typeof({field}) = 'blob' AND substr({field}, 1, 1) = :sealed "
            f"AND substr({field}, 2, 4) != x'00000000')"
            for field in part.fields
        )
        found = connection.execute(
            f"SELECT 1 FROM {part.table} WHERE {fields} LIMIT 1", {"sealed": SEALED}
        ).get
        if found is not None:
            raise Invalid(
                f"the file holds sealed rows ({part.name}), which can be read in the database they "
                "were written to and nowhere else; bring that one back from its store, or write "
                "what is listed of it anew"
            )


def count(connection: apsw.Connection, part: Part, header: bytes) -> int:
    """Return how many rows of a table are not sealed with the key that begins with `header`."""
    statement = f"SELECT count(*) FROM {part.table} WHERE {_open(part)}"
    return int(connection.execute(statement, {"header": header}).get)


def reseal(
    connection: apsw.Connection,
    part: Part,
    sealer: Sealer,
    header: bytes,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Resealed:
    """Seal up to `limit` rows that follow the key `after`; runs inside the caller's transaction."""
    names = ", ".join(part.key)
    bound: dict[str, Any] = {"header": header, "limit": limit}
    follows = ""
    if after is not None:
        bound |= {f"k{place}": value for place, value in enumerate(after)}
        follows = f"AND ({names}) > ({', '.join(f':k{place}' for place in range(len(after)))})"
    rows: list[Any] = connection.execute(
        f"""SELECT {names}, {part.identity}, {", ".join(part.fields)} FROM {part.table}
        WHERE ({_open(part)}) {follows} ORDER BY {names} LIMIT :limit""",
        bound,
    ).fetchall()
    sealed = 0
    width = len(part.key)
    for row in rows:
        sealed += _reseal(connection, part, sealer, row[:width], row[width], row[width + 1 :])
    return Resealed(sealed, len(rows) - sealed, rows[-1][:width] if len(rows) == limit else None)


def _reseal(
    connection: apsw.Connection,
    part: Part,
    sealer: Sealer,
    key: tuple[Any, ...],
    identity: str,
    values: tuple[Any, ...],
) -> bool:
    fields = [
        (part.name, identity, "value" if part.data else field, value)
        for field, value in zip(part.fields, values, strict=True)
    ]
    try:
        new = [_anew(sealer, *field, data=part.data) for field in fields]
    except Undecipherable:
        return False
    # Entries of sealed rows stay as they are: the key of their words is never another one.
    corpus = part.corpus if isinstance(values[0], str) else None
    touched: list[int] = []
    if corpus is not None:
        near = neighbours(connection, corpus, key[0])
        touched = [key[0], *(other for other in near if other is not None)]
        remove_entries(connection, corpus, touched, sealer)
    assigned = ", ".join(f"{field} = ?" for field in part.fields)
    where = " AND ".join(f"{name} = ?" for name in part.key)
    connection.execute(f"UPDATE {part.table} SET {assigned} WHERE {where}", (*new, *key))
    if corpus is not None:
        add_entries(connection, corpus, touched, sealer)
    return True


def _anew(sealer: Sealer, table: str, identity: str, field: str, value: Any, *, data: bool) -> Any:
    if value is None:
        return None
    place = (table, identity, field)
    if data:
        return sealer.seal_data(sealer.unseal_data(value, *place), *place)
    return sealer.seal(sealer.unseal(value, *place), *place)


def _open(part: Part) -> str:
    """Return the condition of rows of which something is not sealed as it would be now."""
    return " OR ".join(
        f"({field} IS NOT NULL AND substr(CAST({field} AS BLOB), 1, 5) != :header)"
        for field in part.fields
    )
