"""Taking what a memory is related to and linked with from one state of a database to another.

Both are states of one database (branches, points of its history): a name that is sealed stays so,
since its place in both is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import apsw

from . import notes
from .tables import ENTITIES, LINKS, RELATIONS, is_made, prepare

__all__ = ["Edge", "Given", "Link", "of", "take"]


class Edge(NamedTuple):
    """An edge between a memory and another one, which goes by its id."""

    other: str
    outgoing: bool
    type: str
    weight: float
    origin: str
    created_at: int
    note: notes.Note | None = None


class Link(NamedTuple):
    """A link of a memory, with the entity as it is stored."""

    mark: str
    name: str | bytes
    type: str
    named_at: int
    origin: str
    weight: float
    created_at: int


class Given(NamedTuple):
    """What a memory is linked with, and its edges in both directions."""

    entities: tuple[Link, ...] = ()
    edges: tuple[Edge, ...] = ()


def of(connection: apsw.Connection, handle: int) -> Given:
    """Return the links and edges of a memory; edges only to those that are there. Reads only.

    Two of them are equal where nothing differs, whatever the handles are.
    """
    if not is_made(connection):
        return Given()
    links: Any = connection.execute(
        f"""SELECT e.mark, e.name, e.type, e.created_at, l.origin, l.weight, l.created_at
        FROM {LINKS} l JOIN {ENTITIES} e USING (entity) WHERE l.handle = ? ORDER BY e.mark""",
        (handle,),
    )
    said, beside = notes.joined(connection)
    columns = f"r.type, r.weight, r.origin, r.created_at, {said} FROM {RELATIONS} r {beside}"
    edges: Any = connection.execute(
        f"""SELECT m.id, 1, {columns}
        JOIN __palimp_memories m ON m.handle = r.target WHERE r.source = ?1
        UNION ALL SELECT m.id, 0, {columns}
        JOIN __palimp_memories m ON m.handle = r.source WHERE r.target = ?1
        ORDER BY 1, 2, 3""",
        (handle,),
    )
    return Given(
        tuple(map(Link._make, links)),
        tuple(
            Edge(other, bool(outgoing), kind, weight, origin, at, notes.note_of(*note))
            for other, outgoing, kind, weight, origin, at, *note in edges
        ),
    )


def take(
    connection: apsw.Connection,
    handle: int,
    given: Given,
    id_to_handle: Callable[[str], int | None],
) -> None:
    """Add links and edges to a memory; runs inside the caller's transaction.

    What it has stays, and is replaced where the same is given. An edge to a memory for which
    `id_to_handle` has no handle is left out: if that one comes later, it brings the edge along.
    """
    edges = [
        (handle, other, edge) if edge.outgoing else (other, handle, edge)
        for edge in given.edges
        if (other := id_to_handle(edge.other)) is not None and other != handle
    ]
    if not edges and not given.entities:
        return
    prepare(connection)
    connection.executemany(
        f"INSERT OR REPLACE INTO {RELATIONS} VALUES (?, ?, ?, ?, ?, ?)",
        [
            (source, target, edge.type, edge.weight, edge.origin, edge.created_at)
            for source, target, edge in edges
        ],
    )
    for source, target, edge in edges:
        notes.put(connection, (source, target, edge.type), edge.note)
    for link in given.entities:
        connection.execute(
            f"""INSERT INTO {ENTITIES} (mark, name, type, created_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (mark) DO NOTHING""",
            link[:4],
        )
        connection.execute(
            f"""INSERT OR REPLACE INTO {LINKS} SELECT ?, entity, ?, ?, ? FROM {ENTITIES}
            WHERE mark = ?""",
            (handle, link.origin, link.weight, link.created_at, link.mark),
        )
