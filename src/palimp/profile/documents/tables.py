"""The tables of documents: one a collection, made by its first write, with its indexes.

`__palimp_docs_{collection}` holds a document a row: its `_id` in a column of its own, the rest as
JSONB. It stands there as it is, not sealed: what cannot be read cannot be searched.

An index is a generated column that takes no room and a B-tree on it. Both bear the path in
hexadecimal, so that the schema alone says what is indexed, and nothing else has to be rewound.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import apsw

from ...api import DocumentCollection
from ...api.limits import COLLECTIONS_MAX, DOCUMENT_INDEXES_MAX
from ...errors import Invalid
from .paths import ID, Path, key_sql, parse_path
from .values import check_collection

__all__ = [
    "columns",
    "complete",
    "create_index",
    "drop",
    "indexed_paths",
    "list_collections",
    "make",
    "table",
]

_TABLE = "__palimp_docs_"
_INDEX = "__palimp_docindex_"


def table(collection: str) -> str:
    """Return the table of a collection, whose name was checked, as SQL."""
    return f'"{_TABLE}{collection}"'


def make(connection: apsw.Connection, collection: str) -> None:
    """Make the table of a collection where there is none; `Invalid` where there are too many."""
    if columns(connection, collection) is not None:
        return
    count = len(_collections(connection))
    if count >= COLLECTIONS_MAX:
        raise Invalid(
            f"the profile has {count:,} collections of documents, {COLLECTIONS_MAX:,} are allowed; "
            "drop one, or put the documents into another"
        )
    connection.execute(
        f"""CREATE TABLE {table(collection)} (
        handle INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, doc BLOB NOT NULL)"""
    )


def columns(connection: apsw.Connection, collection: str) -> dict[str, str] | None:
    """Return the column of every path that has an index; None where there is no collection."""
    rows: list[Any] = connection.execute(
        "SELECT type, name FROM sqlite_schema WHERE tbl_name = ?", (_TABLE + collection,)
    ).fetchall()
    if not rows:
        return None
    prefix = f"{_INDEX}{collection}_"
    found = {ID: "d.id"}
    for kind, name in rows:
        if kind == "index" and name.startswith(prefix):
            digits = name[len(prefix) :]
            found[bytes.fromhex(digits).decode()] = f"d.p_{digits}"
    return found


def indexed_paths(connection: apsw.Connection, collection: str) -> tuple[str, ...]:
    """Return the paths that have an index, in order."""
    return tuple(sorted((columns(connection, collection) or {}).keys() - {ID}))


def create_index(connection: apsw.Connection, collection: str, path: Path) -> bool:
    """Make an index on a path, of the documents that are there too; False where there is one."""
    make(connection, collection)
    known = columns(connection, collection) or {}
    if path.text in known:
        return False
    if len(known) > DOCUMENT_INDEXES_MAX:
        raise Invalid(
            f"collection {collection!r} has {DOCUMENT_INDEXES_MAX} indexes, which is the most; "
            "every one makes each write slower"
        )
    digits = path.text.encode().hex()
    key = key_sql("doc", path.sql("doc", _literal))
    connection.execute(
        f"ALTER TABLE {table(collection)} ADD COLUMN p_{digits} GENERATED ALWAYS AS ({key}) VIRTUAL"
    )
    connection.execute(
        f'CREATE INDEX "{_INDEX}{collection}_{digits}" ON {table(collection)} (p_{digits})'
    )
    return True


def drop(connection: apsw.Connection, collection: str) -> bool:
    """Remove a collection with its documents and indexes; False where there was none."""
    if columns(connection, collection) is None:
        return False
    connection.execute(f"DROP TABLE {table(collection)}")
    return True


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the tables and indexes in a new database that are among `names`, in their order."""
    for name in names:
        # What no collection and no path can be called is not ours.
        with suppress(Invalid, ValueError):
            if name.startswith(_TABLE):
                make(connection, check_collection(name.removeprefix(_TABLE)))
            elif name.startswith(_INDEX):
                collection, _, digits = name.removeprefix(_INDEX).rpartition("_")
                path = parse_path(bytes.fromhex(digits).decode())
                create_index(connection, check_collection(collection), path)


def list_collections(connection: apsw.Connection) -> tuple[DocumentCollection, ...]:
    """Return every collection with how many documents it holds, by name."""
    return tuple(
        DocumentCollection(
            name=name, count=connection.execute(f"SELECT count(*) FROM {table(name)}").get
        )
        for name in _collections(connection)
    )


def _collections(connection: apsw.Connection) -> list[str]:
    rows: list[Any] = connection.execute(
        """SELECT substr(name, length(?1) + 1) FROM sqlite_schema
        WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1 ORDER BY name""",
        (_TABLE,),
    ).fetchall()
    return [name for (name,) in rows]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
