"""What a memory is worth by what is known of it: computed when it is read, stored nowhere.

Rules alone and no model: the same facts at the same time always score the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import apsw

from ..api.scores import Scores
from ..sealing import Undecipherable
from .protocols import Sealer
from .relations.tables import RELATIONS, is_made

__all__ = ["WEIGHTS", "Facts", "consistency", "decay", "factors", "halved", "importance", "scores"]

_HOUR_MS = 3_600_000
_HALF_LIFE_HOURS = 30 * 24
# Reads from which on one more says nothing, and characters that say as much as there is to say.
_READS_MOST = 50
_CHARS_MOST = 400
_CONTRADICTION = 0.2
WEIGHTS: Mapping[str, float] = {
    "recency": 0.25,
    "frequency": 0.20,
    "type": 0.20,
    "source": 0.10,
    "size": 0.10,
    "density": 0.15,
}
_TYPES = {"instruction": 1.0, "fact": 0.8, "task": 0.6, "event": 0.5}
# What somebody wrote down on purpose tells more than what was said in passing.
_SOURCES = {
    "upload": 1.0, "document": 1.0, "email": 0.9, "meeting": 0.9, "slack": 0.7, "api": 0.6,
    "web": 0.5, "chat": 0.4,
}  # fmt: skip
_SOURCE = 0.5
_WORD = re.compile(r"\w+", re.UNICODE)
_SHORT = 3


class Facts(NamedTuple):
    """What is known of a memory. `text` is None where it cannot be read."""

    type: str
    source: str | None
    text: str | None
    occurred_at: int
    activated_at: int
    last_accessed_at: int | None = None
    access_count: int = 0


def factors(facts: Facts, now_ms: int) -> dict[str, float]:
    """Return what an importance is made of, each in [0, 1]."""
    words = _WORD.findall(facts.text or "")
    return {
        "recency": halved(now_ms - facts.occurred_at),
        "frequency": min(1.0, math.log1p(facts.access_count) / math.log1p(_READS_MOST)),
        "type": _TYPES[facts.type],
        "source": _SOURCES.get((facts.source or "").casefold(), _SOURCE),
        "size": min(1.0, len(facts.text or "") / _CHARS_MOST),
        "density": _density(words),
    }


def importance(parts: Mapping[str, float]) -> int:
    """Return the weighted mean of factors as a whole number from 0 to 100."""
    return round(100 * math.fsum(weight * parts[name] for name, weight in WEIGHTS.items()))


def decay(facts: Facts, now_ms: int) -> float:
    """Return 1 for what was just written or read, half of it after each 30 days without."""
    used_at = max(facts.activated_at, facts.last_accessed_at or 0)
    return halved(now_ms - used_at)


def consistency(contradictions: int) -> float:
    """Return 1 for what nothing contradicts, less for each contradiction, at least 0."""
    return round(max(0.0, 1.0 - _CONTRADICTION * contradictions), 4)


def scores(
    connection: apsw.Connection, ids: Iterable[str], sealer: Sealer, now_ms: int
) -> dict[str, Scores]:
    """Return the scores of the memories that are there, by id, in the order of the ids."""
    wanted = list(dict.fromkeys(ids))
    rows: list[Any] = connection.execute(
        """SELECT m.id, m.handle, m.text, m.type, m.source, m.occurred_at, m.activated_at,
        m.last_accessed_at, m.access_count FROM __palimp_memories m
        WHERE m.id IN (SELECT value FROM json_each(:ids))
        AND (m.expires_at IS NULL OR m.expires_at > :now)""",
        {"ids": json.dumps(wanted), "now": now_ms},
    ).fetchall()
    related = _related(connection, [row[1] for row in rows], now_ms)
    found = {}
    for identity, handle, stored, kind, source, *rest in rows:
        facts = Facts(kind, source, _text(stored, identity, sealer), *rest)
        parts = factors(facts, now_ms)
        evidence, contradictions = related.get(handle, (0, 0))
        found[identity] = Scores(
            id=identity,
            handle=handle,
            importance=importance(parts),
            decay=decay(facts, now_ms),
            evidence=evidence,
            contradictions=contradictions,
            consistency=consistency(contradictions),
            factors=parts,
        )
    return {identity: found[identity] for identity in wanted if identity in found}


def _related(
    connection: apsw.Connection, handles: list[int], now_ms: int
) -> dict[int, tuple[int, int]]:
    """Return by handle how many memories that hold support it, and contradict it."""
    if not is_made(connection):
        return {}
    # A contradiction is one of both, whichever of them it leads from, and counts once for each.
    rows: Any = connection.execute(
        f"""SELECT one, count(*) FILTER (WHERE edge = 'supports'),
        count(DISTINCT other) FILTER (WHERE edge = 'contradiction') FROM (
            SELECT r.target AS one, r.source AS other, r.type AS edge
            FROM json_each(:handles) h JOIN {RELATIONS} r ON r.target = h.value
            WHERE r.type IN ('supports', 'contradiction')
            UNION ALL SELECT r.source, r.target, r.type
            FROM json_each(:handles) h JOIN {RELATIONS} r ON r.source = h.value
            WHERE r.type = 'contradiction'
        ) JOIN __palimp_memories m ON m.handle = other
        WHERE m.state = 'active' AND m.superseded_at IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > :now) GROUP BY one""",
        {"handles": json.dumps(handles), "now": now_ms},
    )
    return {handle: (supporting, against) for handle, supporting, against in rows}


def halved(age_ms: int) -> float:
    """Return 1 for no age, and half of it after each 30 days."""
    # By whole hours: what is asked twice within one has one answer.
    hours = max(0, age_ms) // _HOUR_MS
    return round(math.exp2(-hours / _HALF_LIFE_HOURS), 6)


def _density(words: list[str]) -> float:
    """Return which share of the words is said once and is no small one: long, a number, a name."""
    telling = {
        word.casefold()
        for word in words
        if len(word) > _SHORT or word[0].isdigit() or (word.isupper() and len(word) > 1)
    }
    return round(len(telling) / len(words), 6) if words else 0.0


def _text(stored: str | bytes, identity: str, sealer: Sealer) -> str | None:
    try:
        return sealer.unseal(stored, "memories", identity, "text")
    except Undecipherable:
        return None
