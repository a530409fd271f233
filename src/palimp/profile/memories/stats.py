"""The memories of a profile in numbers, in two passes: over the rows, and over their codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import apsw

from ...api.stats import MemoryGroup, MemoryStats
from ..indexing import MEMORIES
from ..lazy import has_table
from .states import DELETED

__all__ = ["stats"]

_GROUPS_MAX = 100
_MONTH_MS = 30 * 86_400_000
_PRESENT = (
    "(m.expires_at IS NULL OR m.expires_at > :now) AND (:project IS NULL OR m.project = :project)"
)
_HOLDS = f"m.state = 'active' AND m.superseded_at IS NULL AND {_PRESENT}"


class _Sums(NamedTuple):
    """Of some memories; a sum goes with how many have the value."""

    rows: float = 0
    importance: float = 0
    important: float = 0
    confidence: float = 0
    confident: float = 0
    bytes: float = 0
    recent: float = 0

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def group(self) -> MemoryGroup:
        return MemoryGroup(
            count=int(self.rows),
            importance=self.importance / self.important if self.important else None,
            confidence=self.confidence / self.confident if self.confident else None,
        )


def stats(connection: apsw.Connection, now_ms: int, project: str | None = None) -> MemoryStats:
    """Count the memories, of one project or all; the txid is set by the caller."""
    rows: list[Any] = connection.execute(
        f"""SELECT m.state, m.superseded_at IS NULL, m.type, m.kind, m.trust, m.project,
        min(m.created_at), max(m.created_at), count(*),
        total(m.importance), count(m.importance), total(m.confidence), count(m.confidence),
        sum(octet_length(m.text)), sum(m.created_at > :since)
        FROM __palimp_memories m WHERE {_PRESENT} GROUP BY 1, 2, 3, 4, 5, 6""",
        {"now": now_ms, "since": now_ms - _MONTH_MS, "project": project},
    ).fetchall()
    states: dict[str, int] = {}
    superseded = 0
    holding: list[tuple[Any, ...]] = []
    for state, current, *rest in rows:
        states[state] = states.get(state, 0) + rest[6]
        if state == "active" and not current:
            superseded += rest[6]
        elif state == "active":
            holding.append((*rest[:6], _Sums(*rest[6:])))
    whole = _Sums()
    for *_, sums in holding:
        whole = whole.plus(sums)
    by_type, by_kind, by_trust, by_project = (
        _largest((group[place], group[-1]) for group in holding) for place in range(4)
    )
    return MemoryStats(
        by_state={**states, **_deleted(connection, project)},
        superseded=superseded,
        all=whole.group(),
        by_type=by_type,
        by_kind=by_kind,
        by_trust=by_trust,
        by_project=by_project,
        embedded=_embedded(connection, now_ms, project) if whole.rows else 0,
        last_30_days=int(whole.recent),
        oldest=min((group[4] for group in holding), default=None),
        newest=max((group[5] for group in holding), default=None),
        text_bytes=whole.bytes / whole.rows if whole.rows else None,
    )


def _largest(groups: Iterable[tuple[str | None, _Sums]]) -> dict[str, MemoryGroup]:
    """Return the largest groups by name, the largest first."""
    united: dict[str, _Sums] = {}
    for name, sums in groups:
        united[name or ""] = united.get(name or "", _Sums()).plus(sums)
    ordered = sorted(united, key=lambda name: (-united[name].rows, name))
    return {name: united[name].group() for name in ordered[:_GROUPS_MAX]}


def _deleted(connection: apsw.Connection, project: str | None) -> dict[str, int]:
    if not has_table(connection, DELETED):
        return {}
    rows: Any = connection.execute(
        f"""SELECT state, count(*) FROM {DELETED}
        WHERE :project IS NULL OR project = :project GROUP BY state""",
        {"project": project},
    )
    return dict(rows.fetchall())


def _embedded(connection: apsw.Connection, now_ms: int, project: str | None) -> int:
    return int(
        connection.execute(
            f"""SELECT count(DISTINCT c.handle) FROM {MEMORIES.codes} c
            JOIN __palimp_memories m ON m.handle = c.handle WHERE {_HOLDS}""",
            {"now": now_ms, "project": project},
        ).get
    )
