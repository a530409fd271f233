"""Everything that is held in a profile, record by record: pure functions on a connection."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw
import msgspec

from ..api import GetEvents
from ..api.limits import PAGE_MAX
from ..api.subject import ExportSubject, SubjectRecord
from ..decoding import from_json
from ..errors import Invalid
from ..sealing import PLACEHOLDER, Undecipherable
from . import kv
from .checks import check_integer, check_label, decode_json
from .documents.tables import list_collections, table
from .lazy import has_table
from .memories import events
from .memories.rows import MEMORY_COLUMNS, memory_fields
from .memories.states import DELETED
from .protocols import Sealer
from .relations.pages import entities_of, relations_from
from .sessions import TURN_COLUMNS, turn_fields

__all__ = ["check_export", "page"]

# A page ends after the record with which it gets this large.
_BYTES_MAX = 4 << 20
# In this order, each with what says where in it a record stands.
_PLACES: dict[str, tuple[type, ...]] = {
    "memory": (int,),
    "deleted": (int,),
    "turn": (int,),
    "document": (str, int),
    "value": (str, str),
}
_KINDS = tuple(_PLACES)
_EVENTS = PAGE_MAX


class _Cursor(NamedTuple):
    """The last record of a page: its part of the profile, and its place in there."""

    part: str = _KINDS[0]
    place: tuple[Any, ...] = ()


def check_export(request: ExportSubject) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.session is not None:
        check_label(request.session, "session")
    _decode(request.cursor)


def page(
    connection: apsw.Connection, request: ExportSubject, sealer: Sealer
) -> tuple[tuple[SubjectRecord, ...], str | None]:
    """Return one page of records and the cursor of the next."""
    found: list[SubjectRecord] = []
    size, last = 0, None
    for cursor, record in _records(connection, request, sealer):
        if len(found) == request.limit or size >= _BYTES_MAX:
            assert last is not None
            return tuple(found), _encode(last)
        found.append(record)
        size, last = size + len(msgspec.json.encode(record.data)), cursor
    return tuple(found), None


def _records(
    connection: apsw.Connection, request: ExportSubject, sealer: Sealer
) -> Iterator[tuple[_Cursor, SubjectRecord]]:
    start, session = _decode(request.cursor), request.session
    for part in _KINDS[_KINDS.index(start.part) :]:
        after = start.place if part == start.part else ()
        if part in ("memory", "deleted"):
            found = _memories(connection, part, after, session, sealer)
        elif part == "turn":
            found = _turns(connection, after, session, sealer)
        elif session is not None:
            return
        elif part == "document":
            found = _documents(connection, after)
        else:
            found = _values(connection, after, sealer)
        for place, data in found:
            kind = "memory" if part == "deleted" else part
            yield _Cursor(part, place), SubjectRecord(kind=kind, data=data)  # type: ignore[arg-type]


def _memories(
    connection: apsw.Connection,
    part: str,
    after: tuple[Any, ...],
    session: str | None,
    sealer: Sealer,
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    name = "__palimp_memories" if part == "memory" else DELETED
    if not has_table(connection, name):
        return
    rows: Any = connection.execute(
        f"""SELECT {MEMORY_COLUMNS} FROM {name} m
        WHERE m.handle > ? AND (?2 IS NULL OR m.session = ?2) ORDER BY m.handle""",
        (*(after or (0,)), session),
    )
    for row in rows:
        fields = memory_fields(row, sealer)
        said, _ = events.page(connection, GetEvents(id=fields["id"], limit=_EVENTS), sealer)
        older: Any = connection.execute(
            "SELECT id FROM __palimp_memories WHERE superseded_by = ? ORDER BY handle", (row[0],)
        )
        supersedes = [identity for (identity,) in older]
        if supersedes:
            fields["supersedes"] = supersedes
        for name, related in (
            ("relations", list(relations_from(connection, row[0], sealer))),
            ("entities", list(entities_of(connection, row[0], sealer))),
        ):
            if related:
                fields[name] = related
        yield (row[0],), {**fields, "events": [msgspec.to_builtins(one) for one in said]}


def _turns(
    connection: apsw.Connection, after: tuple[Any, ...], session: str | None, sealer: Sealer
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    rows: Any = connection.execute(
        f"""SELECT {TURN_COLUMNS} FROM __palimp_turns t
        WHERE t.handle > ? AND (?2 IS NULL OR t.session = ?2) ORDER BY t.handle""",
        (*(after or (0,)), session),
    )
    for row in rows:
        yield (row[0],), turn_fields(row, sealer)


def _documents(
    connection: apsw.Connection, after: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    start, last = after or ("", 0)
    for collection in sorted(one.name for one in list_collections(connection)):
        if collection < start:
            continue
        rows: Any = connection.execute(
            f"""SELECT handle, id, json(doc) FROM {table(collection)}
            WHERE handle > ? ORDER BY handle""",
            (last if collection == start else 0,),
        )
        for handle, identity, text in rows:
            document = {"collection": collection, "id": identity, "document": decode_json(text)}
            yield (collection, handle), document


def _values(
    connection: apsw.Connection, after: tuple[Any, ...], sealer: Sealer
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    if not has_table(connection, "__palimp_kv"):
        return
    rows: Any = connection.execute(
        "SELECT ns, k, expires_at FROM __palimp_kv WHERE (ns, k) > (?, ?) ORDER BY ns, k",
        after or ("", ""),
    )
    for ns, key, expires_at in rows:
        data: dict[str, Any] = {"ns": ns, "key": key}
        if expires_at is not None:
            data["expires_at"] = expires_at
        yield (ns, key), {**data, **_value(connection, ns, key, sealer)}


def _value(connection: apsw.Connection, ns: str, key: str, sealer: Sealer) -> dict[str, Any]:
    try:
        # Also one whose time is over, as long as it is there.
        stored = kv.get(connection, ns, key, sealer, -1)
    except Undecipherable:
        return {"text": PLACEHOLDER, "decryption_failed": True}
    assert stored is not None, "it was read a moment ago, in the same transaction"
    try:
        return {"content_type": stored.content_type, "text": stored.data.decode()}
    except UnicodeDecodeError:
        text = base64.b64encode(stored.data).decode()
        return {"content_type": stored.content_type, "base64": text}


def _encode(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def _decode(cursor: str | None) -> _Cursor:
    if cursor is None:
        return _Cursor()
    try:
        data = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        found = from_json(data, _Cursor)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        found = _Cursor("")
    kinds = _PLACES.get(found.part)
    if kinds is None or len(found.place) != len(kinds):
        raise _foreign(cursor)
    if not all(type(one) is kind for one, kind in zip(found.place, kinds, strict=True)):
        raise _foreign(cursor)
    return found


def _foreign(cursor: str) -> Invalid:
    return Invalid(f"cursor {cursor!r:.60} did not come from an earlier page")
