"""How far a memory is believed: confidence decays by tier of trust, and tiers are won and lost."""

from __future__ import annotations

import apsw
import msgspec

from ...api.governance import GovernanceAction
from ...profile.trust import INITIAL, TIERS, effective_confidence
from .base import DAY_MS, HOLDS, SINCE, Decision, rule

__all__ = [
    "QUARANTINE",
    "QUARANTINE_BELOW",
    "REFLECTION",
    "SCENES",
    "TRUST",
]

QUARANTINE_BELOW = 0.2
# The tag of what reflection wrote.
REFLECTION = "reflection"
# Of what reflection wrote: from which confidence, age and number of sessions on it rises.
_TO_T3 = (0.8, 7)
_TO_T2 = (0.85, 30, 3)
_FROM_T3 = (0.8, 60)
_FROM_T2 = 0.7


def _trusted(_: apsw.Connection) -> str:
    tiers = ", ".join(f"'{tier}'" for tier in TIERS)
    return f""", m.trust, m.confidence, {SINCE} FROM __palimp_memories m
    WHERE {HOLDS} AND m.trust IN ({tiers})"""


def _judge_confidence(
    now_ms: int, handle: int, identity: str, trust: str, confidence: float | None, since: int
) -> Decision | None:
    days = max(0, now_ms - since) // DAY_MS
    left = effective_confidence(confidence, trust, days)
    if left >= QUARANTINE_BELOW:
        return None
    said = f"confidence {left:.3f} after {days:,} days as {trust}, below {QUARANTINE_BELOW}"
    return Decision("quarantine", handle, identity, said, round(1 - left, 4), None, left)


def _reflected(_: apsw.Connection) -> str:
    """Rows that reflection wrote, how many of their sources hold, and of how many sessions."""
    source = """FROM json_each(m.derived_from) d JOIN __palimp_memories s ON s.id = d.value"""
    there = "s.superseded_at IS NULL AND s.state = 'active'"
    return f""", m.trust, m.confidence, {SINCE}, m.tags,
    (SELECT count(*) {source} WHERE {there}),
    (SELECT count(DISTINCT s.session) {source})
    FROM __palimp_memories m WHERE {HOLDS} AND m.type = 'fact' AND m.derived_from IS NOT NULL
    AND m.tags LIKE '%"{REFLECTION}"%'"""


def _judge_scene(_now_ms: int, handle: int, identity: str, *row: object) -> Decision | None:
    _, _, _, tags, holding, _ = row
    if holding or REFLECTION not in msgspec.json.decode(str(tags)):
        return None
    said = "nothing that it was concluded from holds any more"
    return Decision("quarantine", handle, identity, said, 1.0)


def _judge_trust(
    now_ms: int,
    handle: int,
    identity: str,
    trust: str | None,
    confidence: float | None,
    since: int,
    tags: str,
    _holding: int,
    sessions: int,
) -> Decision | None:
    if trust not in TIERS or REFLECTION not in msgspec.json.decode(tags):
        return None
    sure = INITIAL[trust] if confidence is None else confidence
    days = max(0, now_ms - since) // DAY_MS
    new = _next_tier(trust, sure, days, sessions)
    if new is None:
        return None
    action: GovernanceAction = "promote" if new < trust else "demote"
    said = f"{trust} to {new}: confidence {sure:.2f}, {days:,} days, {sessions:,} sessions"
    return Decision(action, handle, identity, said, sure, None, new)


def _next_tier(trust: str, sure: float, days: int, sessions: int) -> str | None:
    """Return the tier next to `trust` that a conclusion has earned; None: it keeps its own."""
    if trust == "T4" and sure >= _TO_T3[0] and days >= _TO_T3[1]:
        return "T3"
    if trust == "T3":
        if sure >= _TO_T2[0] and days >= _TO_T2[1] and sessions >= _TO_T2[2]:
            return "T2"
        return "T4" if days >= _FROM_T3[1] and sure < _FROM_T3[0] else None
    return "T3" if trust == "T2" and sure < _FROM_T2 else None


QUARANTINE = rule("quarantine", _trusted, _judge_confidence)
SCENES = rule("scenes", _reflected, _judge_scene)
TRUST = rule("trust", _reflected, _judge_trust)
