"""Memories that belong together: by what they are the value of, or by their relations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import apsw

from ..api.clusters import Cluster, ClusterBy, ClusterPage, ListClusters
from ..api.limits import BATCH_ITEMS_MAX, PAGE_MAX
from ..errors import Invalid, NotFound
from .checks import check_integer
from .lazy import has_table
from .memories import Conditions, conditions
from .protocols import Sealer
from .relations.tables import RELATIONS, is_made

__all__ = ["KIND", "RELATION", "check", "list_clusters", "members", "summary_key"]

# Of a memory that sums others up, and of its relations to them.
KIND, RELATION = "summary", "summary_of"
_DEDUP = "__palimp_dedup"
_EDGES_MAX = 100_000
_CURSOR_DIGITS_MAX = 18
_FIRST = 10**18
_HOLDS = """m.state = 'active' AND m.superseded_at IS NULL
    AND (m.expires_at IS NULL OR m.expires_at > :now)"""
# What a memory took the place of, directly or not. UNION drops rows met twice: it always ends.
_REPLACED = """WITH RECURSIVE older(handle) AS (
    SELECT :handle
    UNION
    SELECT m.handle FROM __palimp_memories m JOIN older ON m.superseded_by = older.handle
)
SELECT m.handle FROM older JOIN __palimp_memories m USING (handle)
JOIN __palimp_memories h ON h.handle = :handle
WHERE m.project IS h.project AND m.environment IS h.environment AND m.state = 'active'
AND m.kind IS NOT 'summary' AND (m.expires_at IS NULL OR m.expires_at > :now)
ORDER BY m.handle"""
_NEWEST = """WITH RECURSIVE newer(handle, superseded_by) AS (
    SELECT handle, superseded_by FROM __palimp_memories WHERE handle = ?
    UNION
    SELECT m.handle, m.superseded_by
    FROM __palimp_memories m JOIN newer ON m.handle = newer.superseded_by
)
SELECT handle FROM newer WHERE superseded_by IS NULL"""


class _Found(NamedTuple):
    """A cluster by its handles, oldest first; `place` is where it stands in the listing."""

    place: int
    handles: Sequence[int]
    key: str | None = None


def check(request: ListClusters) -> None:
    """Raise `Invalid` for a page that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    check_integer(request.min_size, "min_size", 1, BATCH_ITEMS_MAX)
    _cursor(request.cursor)
    conditions(request, 0)


def summary_key(by: str, number: int | str) -> str:
    """Return the extracted key of the summary of a cluster, so that a newer one replaces it."""
    return f"summary:{by}:{number}"


def list_clusters(
    connection: apsw.Connection, request: ListClusters, sealer: Sealer, now_ms: int
) -> ClusterPage:
    """Return one page, newest first; its txid is set by the caller."""
    where = conditions(request, now_ms).on(connection, sealer)
    complete = True
    if request.by == "key":
        alone = request.min_size < 2
        found = _by_key(connection, where, _cursor(request.cursor), now_ms, alone=alone)
    else:
        edges = _edges(connection, where)
        complete = len(edges) <= _EDGES_MAX
        before = _cursor(request.cursor)
        found = (one for one in _components(edges[:_EDGES_MAX]) if one.place < before)
    large = (one for one in found if len(one.handles) >= request.min_size)
    some = list(islice(large, request.limit + 1))
    page = some[: request.limit]
    return ClusterPage(
        clusters=tuple(_shown(connection, one, request.by, now_ms) for one in page),
        next_cursor=str(page[-1].place) if len(some) > len(page) else None,
        complete=complete,
    )


def members(
    connection: apsw.Connection, cluster: int, by: ClusterBy, now_ms: int
) -> tuple[list[int], int]:
    """Return the handles of a cluster, oldest first, and its id now; `NotFound` where none is."""
    handles = (
        _of_key(connection, cluster, now_ms)
        if by == "key"
        else _connected(connection, cluster, now_ms)
    )
    if cluster not in handles:
        raise NotFound(
            f"no cluster {cluster} by {by}: no memory has that handle, or it belongs with no "
            "other; list the clusters"
        )
    return handles, handles[0]


def _by_key(
    connection: apsw.Connection, where: Conditions, before: int, now_ms: int, *, alone: bool
) -> Iterator[_Found]:
    """Yield clusters, those of one memory among them only if `alone`, which saves most looks."""
    if not has_table(connection, _DEDUP):
        return
    replaced = """AND EXISTS
        (SELECT 1 FROM __palimp_memories o WHERE o.superseded_by = m.handle)"""
    rows: list[Any] = connection.execute(
        f"""SELECT m.handle, min(d.key) FROM {_DEDUP} d JOIN __palimp_memories m USING (handle)
        WHERE d.use = 'extracted' AND m.handle < :before AND m.kind IS NOT 'summary'
        AND m.superseded_at IS NULL AND {where.sql} {"" if alone else replaced}
        GROUP BY m.handle ORDER BY m.handle DESC""",
        {**where.parameters, "before": before},
    ).fetchall()
    for handle, key in rows:
        yield _Found(handle, _replaced(connection, handle, now_ms), key)


def _replaced(connection: apsw.Connection, handle: int, now_ms: int) -> list[int]:
    rows: Any = connection.execute(_REPLACED, {"handle": handle, "now": now_ms})
    return [one for (one,) in rows]


def _of_key(connection: apsw.Connection, cluster: int, now_ms: int) -> list[int]:
    newest = connection.execute(_NEWEST, (cluster,)).get
    if newest is None or not has_table(connection, _DEDUP):
        return []
    keyed = connection.execute(
        f"SELECT 1 FROM {_DEDUP} WHERE handle = ? AND use = 'extracted'", (newest,)
    ).get
    return [] if keyed is None else _replaced(connection, newest, now_ms)


def _edges(connection: apsw.Connection, where: Conditions) -> list[Any]:
    """Return pairs of handles that a relation connects, one more than are looked at."""
    if not is_made(connection):
        return []
    ends = f"SELECT m.handle FROM __palimp_memories m WHERE m.kind IS NOT 'summary' AND {where.sql}"
    return connection.execute(
        f"""WITH ends(handle) AS MATERIALIZED ({ends})
        SELECT source, target FROM {RELATIONS} WHERE type != '{RELATION}'
        AND source IN ends AND target IN ends LIMIT {_EDGES_MAX + 1}""",
        where.parameters,
    ).fetchall()


def _components(edges: Sequence[tuple[int, int]]) -> list[_Found]:
    """Return what the pairs connect, that with the newest memory first."""
    root: dict[int, int] = {}

    def top(handle: int) -> int:
        while root.setdefault(handle, handle) != handle:
            root[handle] = root[root[handle]]
            handle = root[handle]
        return handle

    for source, target in edges:
        root[top(source)] = top(target)
    groups: dict[int, list[int]] = defaultdict(list)
    for handle in sorted(root):
        groups[top(handle)].append(handle)
    found = (_Found(handles[-1], handles) for handles in groups.values())
    return sorted(found, key=lambda one: -one.place)


def _connected(connection: apsw.Connection, cluster: int, now_ms: int) -> list[int]:
    """Return what is connected with one memory, as a walk from it finds it."""
    if not is_made(connection):
        return []
    rows: Any = connection.execute(
        f"""WITH RECURSIVE near(handle) AS (
            SELECT m.handle FROM __palimp_memories m
            WHERE m.handle = :handle AND m.kind IS NOT 'summary' AND {_HOLDS}
            UNION
            SELECT m.handle FROM near JOIN (
                SELECT source AS one, target AS other, type FROM {RELATIONS}
                UNION ALL SELECT target, source, type FROM {RELATIONS}
            ) r ON r.one = near.handle AND r.type != '{RELATION}'
            JOIN __palimp_memories m ON m.handle = r.other
            WHERE m.kind IS NOT 'summary' AND {_HOLDS} LIMIT {BATCH_ITEMS_MAX + 1}
        ) SELECT handle FROM near ORDER BY handle""",
        {"handle": cluster, "now": now_ms},
    )
    found = [handle for (handle,) in rows]
    return found if len(found) > 1 else []


def _shown(connection: apsw.Connection, found: _Found, by: ClusterBy, now_ms: int) -> Cluster:
    ids, scopes = [], set()
    for handle in found.handles[:BATCH_ITEMS_MAX]:
        identity, *scope = connection.execute(
            "SELECT id, project, environment FROM __palimp_memories WHERE handle = ?", (handle,)
        ).get
        ids.append(identity)
        scopes.add(tuple(scope))
    project, environment = scopes.pop() if len(scopes) == 1 else (None, None)
    return Cluster(
        id=found.handles[0],
        by=by,
        size=len(found.handles),
        memories=tuple(ids),
        key=found.key,
        project=project,
        environment=environment,
        summary=_summary(connection, summary_key(by, found.handles[0]), now_ms),
    )


def _summary(connection: apsw.Connection, key: str, now_ms: int) -> str | None:
    if not has_table(connection, _DEDUP):
        return None
    found: str | None = connection.execute(
        f"""SELECT m.id FROM {_DEDUP} d JOIN __palimp_memories m USING (handle)
        WHERE d.use = 'extracted' AND d.key = :key AND {_HOLDS} ORDER BY m.handle DESC LIMIT 1""",
        {"key": key, "now": now_ms},
    ).get
    return found


def _cursor(cursor: str | None) -> int:
    if cursor is None:
        return _FIRST
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor)
