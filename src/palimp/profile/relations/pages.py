"""Reading relations and entities, page by page, and those of one memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import apsw

from ...api import Entity, Relation
from ...api.limits import ENTITY_NAME_BYTES_MAX, PAGE_MAX
from ...api.relations import (
    EntityPage,
    ListEntities,
    ListRelations,
    ListUnlinked,
    RelationPage,
    UnlinkedPage,
)
from ...errors import Invalid
from ...sealing import PLACEHOLDER, Undecipherable
from ..checks import check_id, check_integer, check_label
from ..memories.rows import MEMORY_COLUMNS, memory_of
from ..protocols import Sealer
from . import notes
from .entities import NAME_FIELD, TABLE, entity_id
from .given import check_type
from .tables import ENTITIES, LINKS, RELATIONS, is_made, present

__all__ = [
    "check_entities_page",
    "check_relations_page",
    "check_unlinked_page",
    "entities_of",
    "list_entities",
    "list_relations",
    "list_unlinked",
    "relations_from",
]

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_EDGE = re.compile(r"(\d{1,18})\.(\d{1,18})\.([a-z][a-z0-9_]*)", re.ASCII)
_PRESENT = "({0}.expires_at IS NULL OR {0}.expires_at > :now)"


def check_entities_page(request: ListEntities) -> None:
    """Raise `Invalid` for a page that cannot be."""
    _check_page(request)
    check_label(request.name, "name", ENTITY_NAME_BYTES_MAX)
    _number(request.cursor)


def check_relations_page(request: ListRelations) -> None:
    """Raise `Invalid` for a page that cannot be."""
    _check_page(request)
    _edge(request.cursor)


def check_unlinked_page(request: ListUnlinked) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    _number(request.cursor)


def list_entities(
    connection: apsw.Connection,
    request: ListEntities,
    sealer: Sealer,
    id_key: bytes,
    now_ms: int,
) -> EntityPage:
    """Return one page, what was named first first; its txid is set by the caller.

    What only memories name that are deleted is not shown. Raises `NotFound` for a `memory` that is
    not there.
    """
    handle = None if request.memory is None else present(connection, request.memory, now_ms)
    if not is_made(connection):
        return EntityPage(entities=())
    named_by = f"""FROM {LINKS} l JOIN __palimp_memories m USING (handle)
    WHERE l.entity = e.entity AND {_PRESENT.format("m")}"""
    of_one = f"JOIN {LINKS} o ON o.entity = e.entity AND o.handle = :handle"
    rows: list[Any] = connection.execute(
        f"""SELECT e.entity, e.mark, e.name, e.type, e.created_at, (SELECT count(*) {named_by})
        FROM {ENTITIES} e {"" if handle is None else of_one}
        WHERE e.entity > :after AND EXISTS (SELECT 1 {named_by})
        AND (:type IS NULL OR e.type = :type) AND (:mark IS NULL OR e.mark = :mark)
        ORDER BY e.entity LIMIT :limit""",
        {
            "now": now_ms,
            "after": _number(request.cursor),
            "type": request.type,
            "mark": None if request.name is None else entity_id(id_key, request.name),
            "handle": handle,
            "limit": request.limit + 1,
        },
    ).fetchall()
    page = rows[: request.limit]
    found = tuple(
        Entity(id=mark, name=_name(mark, stored, sealer), type=kind, created_at=at, memories=count)
        for _, mark, stored, kind, at, count in page
    )
    return EntityPage(
        entities=found, next_cursor=str(page[-1][0]) if len(rows) > len(page) else None
    )


def list_relations(
    connection: apsw.Connection, request: ListRelations, sealer: Sealer, now_ms: int
) -> RelationPage:
    """Return one page of edges of which both ends are there; its txid is set by the caller.

    Raises `NotFound` for a `memory` that is not there.
    """
    handle = None if request.memory is None else present(connection, request.memory, now_ms)
    if not is_made(connection):
        return RelationPage(relations=())
    source, target, kind = _edge(request.cursor)
    said, beside = notes.joined(connection)
    rows: list[Any] = connection.execute(
        f"""SELECT r.source, r.target, r.type, s.id, t.id, r.weight, r.origin, r.created_at, {said}
        FROM {RELATIONS} r {beside} JOIN __palimp_memories s ON s.handle = r.source
        JOIN __palimp_memories t ON t.handle = r.target
        WHERE (r.source, r.target, r.type) > (:source, :target, :kind)
        AND {"1" if handle is None else "(r.source = :handle OR r.target = :handle)"}
        AND (:type IS NULL OR r.type = :type)
        AND {_PRESENT.format("s")} AND {_PRESENT.format("t")}
        ORDER BY r.source, r.target, r.type LIMIT :limit""",
        {
            "source": source,
            "target": target,
            "kind": kind,
            "handle": handle,
            "type": request.type,
            "now": now_ms,
            "limit": request.limit + 1,
        },
    ).fetchall()
    page = rows[: request.limit]
    found = tuple(_relation(row, sealer) for row in page)
    last = ".".join(map(str, page[-1][:3])) if len(rows) > len(page) else None
    return RelationPage(relations=found, next_cursor=last)


def _relation(row: Any, sealer: Sealer) -> Relation:
    _, _, kind, source, target, weight, origin, at, *note = row
    said = notes.read(notes.note_of(*note), sealer)
    return Relation(
        source=source,
        target=target,
        type=kind,
        weight=weight,
        origin=origin,
        created_at=at,
        metadata=said.metadata,
        decryption_failed=said.failed,
    )


def list_unlinked(
    connection: apsw.Connection, request: ListUnlinked, sealer: Sealer, now_ms: int
) -> UnlinkedPage:
    """Return one page of active memories without links, oldest first, and how many there are."""
    linked = f"AND NOT EXISTS (SELECT 1 FROM {LINKS} l WHERE l.handle = m.handle)"
    which = f"""FROM __palimp_memories m WHERE m.state = 'active' AND m.superseded_at IS NULL
    AND {_PRESENT.format("m")} {linked if is_made(connection) else ""}"""
    bound = {"now": now_ms, "after": _number(request.cursor), "limit": request.limit + 1}
    rows: list[Any] = connection.execute(
        f"SELECT {MEMORY_COLUMNS} {which} AND m.handle > :after ORDER BY m.handle LIMIT :limit",
        bound,
    ).fetchall()
    page = rows[: request.limit]
    return UnlinkedPage(
        memories=tuple(memory_of(row, sealer) for row in page),
        count=connection.execute(f"SELECT count(*) {which}", {"now": now_ms}).get,
        next_cursor=str(page[-1][0]) if len(rows) > len(page) else None,
    )


def entities_of(
    connection: apsw.Connection, handle: int, sealer: Sealer
) -> Iterator[dict[str, Any]]:
    """Yield what a memory names, deleted or not, in the order it was first named."""
    if not is_made(connection):
        return
    rows: Any = connection.execute(
        f"""SELECT e.mark, e.name, e.type, l.origin, l.weight FROM {LINKS} l
        JOIN {ENTITIES} e USING (entity) WHERE l.handle = ? ORDER BY l.entity""",
        (handle,),
    )
    for mark, stored, kind, origin, weight in rows.fetchall():
        name = _name(mark, stored, sealer)
        yield {"name": name, "type": kind, "origin": origin, "weight": weight}


def relations_from(
    connection: apsw.Connection, handle: int, sealer: Sealer
) -> Iterator[dict[str, Any]]:
    """Yield the edges that lead from a memory, deleted or not, to one that is there."""
    if not is_made(connection):
        return
    said, beside = notes.joined(connection)
    rows: Any = connection.execute(
        f"""SELECT m.id, r.type, r.weight, r.origin, {said} FROM {RELATIONS} r {beside}
        JOIN __palimp_memories m ON m.handle = r.target WHERE r.source = ? ORDER BY 1, 2""",
        (handle,),
    )
    for target, kind, weight, origin, *note in rows.fetchall():
        edge = {"to": target, "type": kind, "weight": weight, "origin": origin}
        read = notes.read(notes.note_of(*note), sealer)
        if read.metadata is not None:
            edge["metadata"] = read.metadata
        yield {**edge, "decryption_failed": True} if read.failed else edge


def _name(mark: str, stored: str | bytes, sealer: Sealer) -> str:
    try:
        return sealer.unseal(stored, TABLE, mark, NAME_FIELD)
    except Undecipherable:
        return PLACEHOLDER


def _check_page(request: ListEntities | ListRelations) -> None:
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.memory is not None:
        check_id(request.memory)
    if request.type is not None:
        check_type(request.type, "type")


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not _NUMBER.fullmatch(cursor):
        raise _foreign(cursor)
    return int(cursor)


def _edge(cursor: str | None) -> tuple[int, int, str]:
    if cursor is None:
        return 0, 0, ""
    found = _EDGE.fullmatch(cursor)
    if found is None:
        raise _foreign(cursor)
    return int(found[1]), int(found[2]), found[3]


def _foreign(cursor: str) -> Invalid:
    return Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
