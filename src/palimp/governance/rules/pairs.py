"""Memories that were close and have parted: edges whose two ends now say different things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import apsw
import numpy as np

from ...profile import proposals
from ...profile.indexing import GIVEN_MODEL, MEMORIES
from ...profile.lazy import has_table
from ...profile.memories.holds import is_held
from ...profile.relations.tables import RELATIONS
from ...profile.trust import INITIAL
from .base import HOLDS, Ask, Decision, Look, Rule
from .likeness import holding

__all__ = ["CONTRADICTIONS", "weakened"]

_WEIGHT_MIN = 0.7
_COSINE_MAX = 0.4
_PAGE = 500


class _Edge(NamedTuple):
    source: int
    target: int
    weight: float
    source_id: str
    target_id: str
    source_at: int
    target_at: int


def _find(ask: Ask, look: Look) -> Iterator[list[Decision]]:
    after: tuple[int, int] | None = (0, 0)
    seen: set[tuple[int, int | None]] = set()
    while after is not None:
        found, after = ask(partial(_page, look=look, after=after))
        # An edge may stand there in both directions.
        fresh = [one for one in found if _key(one) not in seen]
        seen.update(_key(one) for one in fresh)
        if fresh:
            yield fresh


def _again(
    connection: apsw.Connection, decisions: Sequence[Decision], look: Look
) -> list[Decision]:
    handles = [one for each in decisions for one in (each.handle, each.other or 0)]
    there = holding(connection, handles, look.now_ms)
    return [
        one
        for one in decisions
        if one.handle in there
        and one.other in there
        and not is_held(connection, one.id)
        and not _is_known(connection, look, one)
    ]


def _page(
    connection: apsw.Connection, *, look: Look, after: tuple[int, int]
) -> tuple[list[Decision], tuple[int, int] | None]:
    if not has_table(connection, RELATIONS):
        return [], None
    rows: list[Any] = connection.execute(
        f"""SELECT r.source, r.target, r.weight, a.id, b.id, a.activated_at, b.activated_at
        FROM {RELATIONS} r
        JOIN (SELECT * FROM __palimp_memories m WHERE {HOLDS}) a ON a.handle = r.source
        JOIN (SELECT * FROM __palimp_memories m WHERE {HOLDS}) b ON b.handle = r.target
        WHERE r.type = 'association' AND r.weight >= {_WEIGHT_MIN}
        AND a.type IN ('fact', 'instruction') AND b.type IN ('fact', 'instruction')
        AND a.session IS NOT b.session AND (r.source, r.target) > (:source, :target)
        ORDER BY r.source, r.target LIMIT {_PAGE}""",
        {"now": look.now_ms, "source": after[0], "target": after[1]},
    ).fetchall()
    edges = [_Edge(*row) for row in rows]
    found = []
    for edge in edges:
        cosine = _cosine(connection, edge)
        if cosine is None or cosine >= _COSINE_MAX:
            continue
        decision = _decision(edge, cosine)
        if not is_held(connection, decision.id) and not _is_known(connection, look, decision):
            found.append(decision)
    return found, edges[-1][:2] if len(edges) == _PAGE else None


def _decision(edge: _Edge, cosine: float) -> Decision:
    one = (edge.source_at, edge.source, edge.source_id)
    other = (edge.target_at, edge.target, edge.target_id)
    older, newer = sorted((one, other))
    severity = min(1.0, max(0.0, edge.weight - cosine))
    said = f"associated with weight {edge.weight:.2f}, and now a cosine of {cosine:.2f}"
    return Decision("contradict", older[1], older[2], said, round(severity, 4), newer[1], cosine)


def _is_known(connection: apsw.Connection, look: Look, decision: Decision) -> bool:
    """Whether this pair was proposed before, whatever was decided on it."""
    other = connection.execute(
        "SELECT id FROM __palimp_memories WHERE handle = ?", (decision.other,)
    ).get
    if other is None:
        return True
    identity = proposals.pair_id(look.id_key, "contradiction", decision.id, other)
    return bool(proposals.decisions_of(connection, [identity]))


def _cosine(connection: apsw.Connection, edge: _Edge) -> float | None:
    """Return the cosine of the two by the newest model that both have a vector of."""
    row: Any = connection.execute(
        f"""SELECT a.vector, b.vector FROM __palimp_models m
        JOIN {MEMORIES.vectors} a ON a.slot = (:source << 8 | m.model)
        JOIN {MEMORIES.vectors} b ON b.slot = (:target << 8 | m.model)
        WHERE m.name != :given ORDER BY a.code DESC LIMIT 1""",
        {"source": edge.source, "target": edge.target, "given": GIVEN_MODEL},
    ).fetchone()
    if row is None:
        return None
    one, other = (np.frombuffer(vector, np.float32) for vector in row)
    return float(one @ other)


def _key(decision: Decision) -> tuple[int, int | None]:
    return decision.handle, decision.other


def weakened(confidence: float | None, trust: str | None) -> float | None:
    """Return half of what a memory was believed; None where nobody ever said how far that is."""
    initial = INITIAL.get(trust or "") if confidence is None else confidence
    return None if initial is None else initial / 2


CONTRADICTIONS = Rule("contradictions", _find, _again)
