"""Collections of vectors: a table each, and one that says what they are.

The vectors stand in the file as they are, because a search reads them all; metadata is sealed. The
first vector of a collection fixes its dimensions and metric.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from ..api import (
    ListVectors,
    Metric,
    SearchVectors,
    VectorCollection,
    VectorHit,
    VectorInput,
)
from ..api.limits import COLLECTIONS_MAX, K_MAX, LABEL_BYTES_MAX, METADATA_BYTES_MAX, PAGE_MAX
from ..errors import Error, Internal, Invalid, in_batch
from ..ids import check_name
from .checks import (
    check_embedding,
    check_id,
    check_integer,
    check_name_bytes,
    decode_json,
    encode_json,
)
from .lazy import has_table
from .protocols import Sealer, Undecipherable

__all__ = [
    "Draft",
    "Kind",
    "check_collection",
    "check_list",
    "check_search",
    "complete",
    "delete",
    "draft_all",
    "drop",
    "find",
    "get",
    "info",
    "list_collections",
    "list_ids",
    "search",
    "upsert",
]

_NAME_CHARS_MAX = 64
_KINDS = "__palimp_vectors"
_KINDS_TABLE = f"""CREATE TABLE IF NOT EXISTS {_KINDS}
(name TEXT PRIMARY KEY, metric TEXT NOT NULL, dimensions INTEGER NOT NULL)
WITHOUT ROWID, STRICT"""


class Kind(NamedTuple):
    """What a collection is."""

    metric: Metric
    dimensions: int


class Draft(NamedTuple):
    """A checked vector to be written."""

    given: VectorInput
    metadata: str | None


def check_collection(name: str) -> str:
    """Return the name of a collection; raises `Invalid` for what is none."""
    return check_name(name, "collection", chars_max=_NAME_CHARS_MAX)


def draft_all(items: Sequence[VectorInput]) -> list[Draft]:
    """Check vectors that are written together; errors name the item's index."""
    drafts = []
    for index, given in enumerate(items):
        try:
            check_id(given.id)
            _check_vector(given.embedding, "embedding")
            _check_dimensions(given.embedding, len(items[0].embedding), "the first has")
            drafts.append(Draft(given, _metadata(given)))
        except Error as error:
            raise in_batch(error, "items", index, len(items)) from error
    return drafts


def upsert(
    connection: apsw.Connection,
    name: str,
    drafts: Sequence[Draft],
    metric: Metric | None,
    sealer: Sealer,
) -> Kind:
    """Write vectors, each in the place of what its id held; return what the collection is."""
    from .distances import packed

    dimensions = len(drafts[0].given.embedding)
    kind = find(connection, name)
    if kind is None:
        kind = Kind(metric or "cosine", dimensions)
        _create(connection, name, kind)
    elif metric not in (None, kind.metric):
        raise Invalid(
            f"collection {name!r} compares by {kind.metric}, not by {metric}, since its first "
            "vector; leave metric out, or write to another collection"
        )
    _check_dimensions(drafts[0].given.embedding, kind.dimensions, f"collection {name!r} has")
    for index, draft in enumerate(drafts):
        try:
            vector = packed(draft.given.embedding, kind.metric, "embedding")
        except Error as error:
            raise in_batch(error, "items", index, len(drafts)) from error
        metadata = None
        if draft.metadata is not None:
            place = ("vectors", f"{name}/{draft.given.id}", "metadata")
            metadata = sealer.seal(draft.metadata, *place)
        connection.execute(
            f"""INSERT INTO {table_of(name)} (id, metadata, vector) VALUES (?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata, vector = excluded.vector
            """,
            (draft.given.id, metadata, vector.tobytes()),
        )
    return kind


def check_search(request: SearchVectors) -> None:
    """Raise `Invalid` for a search that cannot be."""
    check_collection(request.collection)
    check_integer(request.k, "k", 1, K_MAX)
    _check_vector(request.vector, "vector")
    for key, value in (request.filter or {}).items():
        if value is not None and not isinstance(value, (str, int, float, bool)):
            raise Invalid(
                f"filter has {type(value).__name__} for {key!r:.80}; compare with text, a number, "
                "true, false or null"
            )


def search(
    connection: apsw.Connection, request: SearchVectors, sealer: Sealer
) -> tuple[VectorHit, ...]:
    """Return the nearest vectors, the nearest first; none of a collection that is not there."""
    from .distances import nearest, packed

    kind = find(connection, request.collection)
    if kind is None:
        return ()
    what = f"collection {request.collection!r} has"
    _check_dimensions(request.vector, kind.dimensions, what, "vector")
    query = packed(request.vector, kind.metric, "vector")
    table = table_of(request.collection)
    rows: Any = connection.execute(f"SELECT handle, vector FROM {table}")
    if request.filter:
        rows = _filtered(connection, request.collection, request.filter, sealer)
    hits = []
    for handle, distance in nearest(rows, query, kind.metric, request.k):
        row: Any = connection.execute(
            f"SELECT id, metadata FROM {table} WHERE handle = ?", (handle,)
        ).fetchone()
        identity, metadata = row
        metadata = _unsealed(metadata, sealer, f"{request.collection}/{identity}")
        hits.append(VectorHit(id=identity, distance=distance, metadata=metadata))
    return tuple(hits)


def get(
    connection: apsw.Connection, name: str, identity: str, sealer: Sealer
) -> tuple[tuple[float, ...], dict[str, Any] | None] | None:
    """Return a vector and its metadata; None where there is none."""
    kind = find(connection, name)
    if kind is None:
        return None
    row: Any = connection.execute(
        f"SELECT vector, metadata FROM {table_of(name)} WHERE id = ?", (identity,)
    ).fetchone()
    if row is None:
        return None
    vector, metadata = row
    if len(vector) != 4 * kind.dimensions:
        raise Internal(
            f"vector {identity!r:.80} of {name!r} is not what was written: import it anew"
        )
    return struct.unpack(f"<{kind.dimensions}f", vector), _unsealed(
        metadata, sealer, f"{name}/{identity}"
    )


def delete(connection: apsw.Connection, name: str, identity: str) -> bool:
    """Remove a vector; False where there was none."""
    if find(connection, name) is None:
        return False
    rows: list[Any] = connection.execute(
        f"DELETE FROM {table_of(name)} WHERE id = ? RETURNING id", (identity,)
    ).fetchall()
    return bool(rows)


def check_list(request: ListVectors) -> None:
    """Raise `Invalid` for a listing that cannot be."""
    check_collection(request.collection)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.cursor is not None:
        check_name_bytes(request.cursor, "cursor", LABEL_BYTES_MAX)


def list_ids(
    connection: apsw.Connection, request: ListVectors
) -> tuple[tuple[str, ...], str | None]:
    """Return one page of ids and the cursor of the next."""
    if find(connection, request.collection) is None:
        return (), None
    rows: list[Any] = connection.execute(
        f"SELECT id FROM {table_of(request.collection)} WHERE id > ? ORDER BY id LIMIT ?",
        # No id is empty.
        (request.cursor or "", request.limit + 1),
    ).fetchall()
    found = tuple(identity for (identity,) in rows[: request.limit])
    return found, found[-1] if len(rows) > request.limit else None


def info(connection: apsw.Connection, name: str) -> VectorCollection:
    """Return what a collection is; it has no vectors where it is not there."""
    kind = find(connection, name)
    if kind is None:
        return VectorCollection(name=name, metric=None, dimensions=None, count=0, txid=0)
    count = int(connection.execute(f"SELECT count(*) FROM {table_of(name)}").get)
    return VectorCollection(
        name=name, metric=kind.metric, dimensions=kind.dimensions, count=count, txid=0
    )


def list_collections(connection: apsw.Connection) -> tuple[VectorCollection, ...]:
    """Return every collection, by name."""
    return tuple(info(connection, name) for name in list_names(connection))


def list_names(connection: apsw.Connection) -> list[str]:
    """Return the names of the collections, in order."""
    if not has_table(connection, _KINDS):
        return []
    return [name for (name,) in connection.execute(f"SELECT name FROM {_KINDS} ORDER BY name")]


def table_of(name: str) -> str:
    """Return the table of a collection, quoted; the name was checked: it has no quotes."""
    return f'"{_KINDS}_{name}"'


def drop(connection: apsw.Connection, name: str) -> bool:
    """Remove a collection with its vectors; False where there was none."""
    if find(connection, name) is None:
        return False
    connection.execute(f"DROP TABLE {table_of(name)}")
    connection.execute(f"DELETE FROM {_KINDS} WHERE name = ?", (name,))
    return True


def find(connection: apsw.Connection, name: str) -> Kind | None:
    """Return what a collection is; None where it is not there."""
    try:
        row: Any = connection.execute(
            f"SELECT metric, dimensions FROM {_KINDS} WHERE name = ?", (name,)
        ).fetchone()
    except apsw.SQLError:
        if has_table(connection, _KINDS):
            raise
        return None
    return None if row is None else Kind(*row)


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the tables in a new database that are among `names`."""
    if _KINDS in names:
        connection.execute(_KINDS_TABLE)
    prefix = f"{_KINDS}_"
    mine = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    for collection in mine[:COLLECTIONS_MAX]:
        # What no collection can be called is not ours.
        with suppress(Invalid):
            _make(connection, check_collection(collection))


def _create(connection: apsw.Connection, name: str, kind: Kind) -> None:
    connection.execute(_KINDS_TABLE)
    count = int(connection.execute(f"SELECT count(*) FROM {_KINDS}").get)
    if count >= COLLECTIONS_MAX:
        raise Invalid(
            f"there are {count:,} collections of vectors, {name!r} would be one more; drop one, or "
            "tell its vectors apart by metadata in a collection that is there"
        )
    connection.execute(f"INSERT INTO {_KINDS} VALUES (?, ?, ?)", (name, *kind))
    _make(connection, name)


def _make(connection: apsw.Connection, name: str) -> None:
    connection.execute(
        f"""CREATE TABLE {table_of(name)} (handle INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        metadata ANY, vector BLOB NOT NULL) STRICT"""
    )


def _filtered(
    connection: apsw.Connection, name: str, wanted: dict[str, Any], sealer: Sealer
) -> Iterator[tuple[int, bytes]]:
    rows: Any = connection.execute(f"SELECT handle, id, metadata, vector FROM {table_of(name)}")
    for handle, identity, stored, vector in rows:
        metadata = _unsealed(stored, sealer, f"{name}/{identity}") or {}
        if all(_same(metadata.get(key), value) for key, value in wanted.items()):
            yield handle, vector


def _same(left: Any, right: Any) -> bool:
    # True is 1 in Python, not in JSON.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _check_vector(values: Sequence[float], field: str) -> None:
    # Zeros are a place like any other where places are compared, not directions: left to `packed`.
    check_embedding(values if any(values) else (1.0,) * len(values), field)


def _check_dimensions(
    values: Sequence[float], expected: int, what: str, field: str = "embedding"
) -> None:
    if len(values) != expected:
        raise Invalid(
            f"{field} has {len(values):,} dimensions, {what} {expected:,}; give vectors of one "
            "model to one collection"
        )


def _metadata(given: VectorInput) -> str | None:
    if given.metadata is None:
        return None
    return encode_json(given.metadata, "metadata", METADATA_BYTES_MAX)


def _unsealed(stored: Any, sealer: Sealer, identity: str) -> dict[str, Any] | None:
    if stored is None:
        return None
    try:
        metadata: dict[str, Any] = decode_json(
            sealer.unseal(stored, "vectors", identity, "metadata")
        )
    except Undecipherable:
        return {"decryption_failed": True}
    return metadata
