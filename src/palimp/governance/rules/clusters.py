"""What hangs together: memories to be looked at as one, by a model or by somebody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from ...api.governance import ClusterSignal
from ...profile import proposals
from ...profile.lazy import has_table
from ...profile.relations.tables import RELATIONS
from .base import HOLDS, Look
from .trust import REFLECTION

__all__ = ["Cluster", "clusters"]

_NEWEST = 50
_SIZE_MIN = 3
_SESSIONS_MIN = 2
_NO_SESSION = "default"


class Cluster(NamedTuple):
    """Memories by handle and id, why they are one, and how much that matters."""

    signal: ClusterSignal
    importance: float
    handles: tuple[int, ...]
    ids: tuple[str, ...]


class _Row(NamedTuple):
    handle: int
    id: str
    session: str | None


def clusters(connection: apsw.Connection, look: Look) -> list[Cluster]:
    """Return what hangs together among the newest 50 facts, the largest first.

    By their relations, where three or more of two sessions or more do; else by their sessions.
    """
    rows: list[Any] = connection.execute(
        f"""SELECT m.handle, m.id, m.session FROM __palimp_memories m
        WHERE {HOLDS} AND m.type = 'fact' AND coalesce(m.kind, '') != 'working'
        AND (m.tags IS NULL OR m.tags NOT LIKE '%"{REFLECTION}"%')
        ORDER BY m.handle DESC LIMIT {_NEWEST}""",
        {"now": look.now_ms},
    ).fetchall()
    newest = [_Row(*row) for row in rows]
    found = [
        some
        for some in _components(newest, _edges(connection, newest))
        if len(some) >= _SIZE_MIN and len({one.session for one in some}) >= _SESSIONS_MIN
    ]
    if found:
        made = [_of_relations(connection, some, look) for some in found]
        return sorted(made, key=lambda one: (-one.importance, one.ids))
    return [
        _cluster("session", 0.5, some)
        for some in _sessions(newest).values()
        if len(some) >= _SIZE_MIN
    ]


def _of_relations(connection: apsw.Connection, rows: Sequence[_Row], look: Look) -> Cluster:
    pairs = [
        proposals.pair_id(look.id_key, "contradiction", one.id, other.id)
        for place, one in enumerate(rows)
        for other in rows[:place]
    ]
    disagree = "pending" in proposals.decisions_of(connection, pairs).values()
    importance = 0.5 + min(0.05 * len(rows), 0.3)
    return _cluster("contradiction" if disagree else "semantic_cluster", importance, rows)


def _cluster(signal: ClusterSignal, importance: float, rows: Sequence[_Row]) -> Cluster:
    ordered = sorted(rows)
    handles, ids = (one.handle for one in ordered), (one.id for one in ordered)
    return Cluster(signal, round(importance, 4), tuple(handles), tuple(ids))


def _edges(connection: apsw.Connection, rows: Sequence[_Row]) -> Iterable[tuple[int, int]]:
    if not has_table(connection, RELATIONS):
        return ()
    handles = str([one.handle for one in rows])
    found: list[Any] = connection.execute(
        f"""SELECT source, target FROM {RELATIONS}
        WHERE source IN (SELECT value FROM json_each(?1))
        AND target IN (SELECT value FROM json_each(?1))""",
        (handles,),
    ).fetchall()
    return found


def _components(rows: Sequence[_Row], edges: Iterable[tuple[int, int]]) -> list[list[_Row]]:
    near: dict[int, set[int]] = {one.handle: set() for one in rows}
    for source, target in edges:
        near[source].add(target)
        near[target].add(source)
    by_handle = {one.handle: one for one in rows}
    found, seen = [], set()
    for start in near:
        some, waiting = [], [start]
        while waiting:
            handle = waiting.pop()
            if handle not in seen:
                seen.add(handle)
                some.append(by_handle[handle])
                waiting += near[handle]
        found.append(some)
    return found


def _sessions(rows: Sequence[_Row]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for one in rows:
        found.setdefault(one.session or _NO_SESSION, []).append(one)
    return found
