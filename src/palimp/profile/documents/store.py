"""Documents: insert, find, count, update, delete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from ...api import DeleteDocuments, FindDocuments, UpdateDocuments
from ...api.limits import (
    BATCH_ITEMS_MAX,
    DOCUMENT_BYTES_MAX,
    DOCUMENT_ID_BYTES_MAX,
    DOCUMENT_PAGE_BYTES_MAX,
    DOCUMENT_SKIP_MAX,
    PAGE_MAX,
)
from ...errors import Conflict, Error, Invalid, in_batch
from ...ids import ulid
from ..checks import check_integer, check_text
from ..lazy import has_table
from .filters import Bound, Condition, Keys, compile_filter
from .pages import compile_sort, next_cursor
from .paths import ID
from .tables import columns, make, table
from .updates import Change, apply
from .values import check_collection, check_value

__all__ = [
    "Draft",
    "check_filter",
    "check_find",
    "count",
    "delete",
    "draft",
    "find",
    "insert",
    "update",
]


class Draft(NamedTuple):
    """A checked document: the id it brings, if any, and the rest as JSON."""

    id: str | None
    text: str


def draft(documents: Sequence[dict[str, Any]]) -> list[Draft]:
    """Check a batch of documents; raises `Invalid` naming the one that does not fit."""
    count = len(documents)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"an insert has {count:,} documents; give 1 to {BATCH_ITEMS_MAX:,}")
    drafts = []
    for index, document in enumerate(documents):
        try:
            drafts.append(_draft(document))
        except Error as error:
            raise in_batch(error, "docs", index, count) from error
    return drafts


def insert(
    connection: apsw.Connection, collection: str, drafts: Sequence[Draft], now_ms: int
) -> list[str]:
    """Write documents and return their ids; `Conflict` where an id is taken.

    The caller's transaction makes it all of them or none.
    """
    ids = [one.id or ulid(now_ms) for one in drafts]
    done = 0

    def rows() -> Iterator[tuple[str, str]]:
        nonlocal done
        for done, (identity, one) in enumerate(zip(ids, drafts, strict=True)):  # noqa: B007
            yield identity, one.text

    statement = f"INSERT INTO {table(collection)} (id, doc) VALUES (?, jsonb(?))"
    try:
        try:
            connection.executemany(statement, rows())
        except apsw.SQLError:
            # Nothing was written: the table is looked for before the first row is.
            if has_table(connection, table(collection).strip('"')):
                raise
            make(connection, collection)
            connection.executemany(statement, rows())
    except apsw.ConstraintError as error:
        taken = Conflict(
            f"collection {collection!r} already has a document with _id {ids[done]!r:.80}; update "
            "it, or leave the _id out",
            code="already_exists",
        )
        raise in_batch(taken, "docs", done, len(drafts)) from error
    return ids


def check_filter(given: dict[str, Any]) -> None:
    """Raise `Invalid` for a filter that cannot be: where there is nothing to ask."""
    compile_filter(given, Keys({}, Bound()))


def check_find(request: FindDocuments) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_collection(request.collection)
    compile_sort(request.sort, request.cursor, Keys({}, Bound()))
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    check_integer(request.skip, "skip", 0, DOCUMENT_SKIP_MAX)
    if request.skip and request.cursor is not None:
        raise Invalid(f"skip is {request.skip:,} with a cursor; give one of them")


def find(
    connection: apsw.Connection, request: FindDocuments
) -> tuple[tuple[dict[str, Any], ...], str | None]:
    """Return one page and the cursor of the next."""
    keys = _keys(connection, request.collection)
    condition = compile_filter(request.filter, keys)
    order = compile_sort(request.sort, request.cursor, keys)
    if not keys.columns:
        return (), None
    more = "".join(f", {key}" for key in order.keys)
    # The limit is not bound: SQLite plans by it.
    rows = connection.execute(
        f"""SELECT d.handle, d.id, json(d.doc){more} FROM {table(request.collection)} AS d
        WHERE {condition.sql} AND {order.after} ORDER BY {order.sql}
        LIMIT {request.limit + 1} OFFSET {request.skip}""",
        condition.values,
    )
    found: list[dict[str, Any]] = []
    size, last = 0, ""
    for handle, identity, text, *values in rows:
        if len(found) == request.limit or size > DOCUMENT_PAGE_BYTES_MAX:
            rows.close()
            return tuple(found), last
        found.append(_document(identity, text))
        size += len(text)
        last = next_cursor(handle, tuple(values))
    return tuple(found), None


def count(connection: apsw.Connection, collection: str, filter: dict[str, Any]) -> int:
    """Return how many documents match."""
    keys = _keys(connection, collection)
    condition = compile_filter(filter, keys)
    if not keys.columns:
        return 0
    found: int = connection.execute(
        f"SELECT count(*) FROM {table(collection)} AS d WHERE {condition.sql}", condition.values
    ).get
    return found


def update(
    connection: apsw.Connection, request: UpdateDocuments, changes: list[Change]
) -> tuple[int, int]:
    """Change what matches; return how many matched and how many are different now."""
    keys = _keys(connection, request.collection)
    condition = compile_filter(request.filter, keys)
    if not keys.columns:
        return 0, 0
    matched: list[Any] = connection.execute(
        _matching(request.collection, condition, multi=request.multi), condition.values
    ).fetchall()
    modified = sum(_change(connection, request.collection, row, changes) for (row,) in matched)
    return len(matched), modified


def delete(connection: apsw.Connection, request: DeleteDocuments) -> int:
    """Remove what matches; return how many that were."""
    keys = _keys(connection, request.collection)
    condition = compile_filter(request.filter, keys)
    if not keys.columns:
        return 0
    matching = _matching(request.collection, condition, multi=request.multi)
    connection.execute(
        f"DELETE FROM {table(request.collection)} WHERE handle IN ({matching})", condition.values
    )
    return connection.changes()


def _draft(document: dict[str, Any]) -> Draft:
    if ID not in document:
        check_value(document, "the document")
        return Draft(None, _encode(document, "the document"))
    identity = document[ID]
    if identity is None:
        raise Invalid("_id is null; give text, or leave it out for one that is made")
    if not isinstance(identity, str):
        raise Invalid(f"_id must be text, not {type(identity).__name__}")
    check_text(identity, ID, DOCUMENT_ID_BYTES_MAX)
    rest = {key: value for key, value in document.items() if key != ID}
    check_value(rest, "the document")
    return Draft(identity, _encode(rest, "the document"))


def _encode(document: dict[str, Any], what: str) -> str:
    encoded = msgspec.json.encode(document)
    if len(encoded) > DOCUMENT_BYTES_MAX:
        raise Invalid(
            f"{what} has {len(encoded):,} bytes as JSON, at most {DOCUMENT_BYTES_MAX:,} are "
            "allowed; split it",
            code="payload_too_large",
        )
    return encoded.decode()


def _document(identity: str, text: str) -> dict[str, Any]:
    return {ID: identity, **msgspec.json.decode(text)}


def _keys(connection: apsw.Connection, collection: str) -> Keys:
    """Return what gives the keys of a collection; without columns where there is none."""
    return Keys(columns(connection, collection) or {}, Bound())


def _matching(collection: str, condition: Condition, *, multi: bool) -> str:
    """Return the SQL of the rows that match, in the order of insertion; the first, or all."""
    return (
        f"SELECT d.handle FROM {table(collection)} AS d WHERE {condition.sql} ORDER BY d.handle"
        f"{'' if multi else ' LIMIT 1'}"
    )


def _change(
    connection: apsw.Connection, collection: str, handle: int, changes: list[Change]
) -> bool:
    """Change one document; return whether it is different now."""
    rows: list[Any] = connection.execute(
        f"SELECT id, json(doc) FROM {table(collection)} WHERE handle = ?", (handle,)
    ).fetchall()
    ((identity, text),) = rows
    document = msgspec.json.decode(text)
    before = msgspec.json.encode(document)
    what = f"document {identity!r:.80}"
    try:
        apply(changes, document)
    except Error as error:
        raise error.located(f"{what} (nothing was updated)") from error
    # By their texts: to Python 1, 1.0 and true are equal.
    if msgspec.json.encode(document) == before:
        return False
    check_value(document, what)
    connection.execute(
        f"UPDATE {table(collection)} SET doc = jsonb(?) WHERE handle = ?",
        (_encode(document, what), handle),
    )
    return True
