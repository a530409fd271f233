"""How one memory relates to another: directed edges of a type, with a weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apsw

from ...api import NewRelation, Origin
from ...errors import Invalid
from ..protocols import Sealer
from . import notes
from .tables import RELATIONS, is_made, prepare, present

__all__ = ["MULTIPLIERS", "NewEdge", "add", "multiplier", "remove", "resolved"]

# What an edge of a type is worth in a recall, beside its weight; of all other types 1.
MULTIPLIERS = {
    "causal": 2.0,
    "entity_link": 1.8,
    "temporal": 1.5,
    "consolidation": 1.2,
    "association": 1.0,
    "derived": 1.0,
    "abstraction": 0.8,
}


class NewEdge(NamedTuple):
    """An edge to be, by handle."""

    source: int
    target: int
    type: str
    weight: float
    note: notes.Note | None = None


def multiplier(type: str) -> float:
    """Return what an edge of a type counts."""
    return MULTIPLIERS.get(type, 1.0)


def resolved(
    connection: apsw.Connection, given: Iterable[NewRelation], sealer: Sealer, now_ms: int
) -> Iterator[NewEdge]:
    """Yield edges by handle; raises `NotFound` naming an id that no memory has."""
    for one in given:
        source = present(connection, one.source, now_ms)
        target = present(connection, one.target, now_ms)
        note = notes.sealed(one.metadata, one.source, one.target, one.type, sealer)
        yield NewEdge(source, target, one.type, one.weight, note)


def add(
    connection: apsw.Connection, edges: Iterable[NewEdge], origin: Origin, now_ms: int
) -> tuple[int, int]:
    """Add edges and return how many are new and how many were there.

    The same again replaces weight, origin and metadata, unless it is a rule that says so.
    """
    added = updated = 0
    for edge in edges:
        if edge.source == edge.target:
            raise Invalid("a memory cannot be related to itself; name another one")
        prepare(connection)
        known = connection.execute(
            f"SELECT origin FROM {RELATIONS} WHERE source = ? AND target = ? AND type = ?", edge[:3]
        ).get
        if known is None or origin != "rule" or known == "rule":
            connection.execute(
                f"INSERT OR REPLACE INTO {RELATIONS} VALUES (?, ?, ?, ?, ?, ?)",
                (*edge[:4], origin, now_ms),
            )
            notes.put(connection, edge[:3], edge.note)
        added += known is None
        updated += known is not None
    return added, updated


def remove(connection: apsw.Connection, source: int, target: int, type: str | None) -> int:
    """Remove the edges from one memory to another, of one type or all; return how many."""
    if not is_made(connection):
        return 0
    before = connection.total_changes()
    connection.execute(
        f"""DELETE FROM {RELATIONS} WHERE source = ?1 AND target = ?2
        AND (?3 IS NULL OR type = ?3)""",
        (source, target, type),
    )
    removed = connection.total_changes() - before
    notes.drop_loose(connection, [source])
    return removed
