"""Memories in that system's words: types, tiers, and the object that travels."""

from __future__ import annotations

from typing import Any, NamedTuple

from ....api import Memory, MemoryType
from ....clock import format_ms
from .refusals import unprocessable

__all__ = [
    "CONFIDENCE",
    "KINDS",
    "TIERS",
    "TYPES",
    "Words",
    "checked_tier",
    "checked_type",
    "confidence_of",
    "shape",
    "stamp",
    "tier_of",
    "type_of",
]


class Words(NamedTuple):
    """What a type of memory is here."""

    type: MemoryType
    kind: str


TYPES: dict[str, Words] = {
    "semantic": Words("fact", "semantic"),
    "profile": Words("fact", "profile"),
    "procedural": Words("instruction", "procedural"),
    "working": Words("fact", "working"),
    "tool_result": Words("event", "tool_result"),
    "episodic": Words("event", "episodic"),
}
# Of what came another way: by our own API, or from a model.
KINDS: dict[str, str] = {
    "fact": "semantic",
    "instruction": "procedural",
    "event": "episodic",
    "task": "working",
}
# Each tier, and how sure a memory of it is where nobody says.
CONFIDENCE = {"T1": 0.95, "T2": 0.85, "T3": 0.65, "T4": 0.40}
TIERS = tuple(CONFIDENCE)
_TIER_UNSAID = "T3"


def type_of(memory: Memory) -> str:
    """Return the type of a memory."""
    return memory.kind if memory.kind in TYPES else KINDS[memory.type]


def tier_of(memory: Memory) -> str:
    """Return the trust tier of a memory."""
    return memory.trust if memory.trust in CONFIDENCE else _TIER_UNSAID


def confidence_of(memory: Memory) -> float:
    """Return how sure a memory was from the start; never None, which clients cannot read."""
    found = memory.confidence
    return CONFIDENCE[tier_of(memory)] if found is None else found


def checked_type(name: str) -> str:
    """Return a type; raises 422 for what is none."""
    if name not in TYPES:
        raise unprocessable(f"Invalid memory type: {name:.80}")
    return name


def checked_tier(name: str) -> str:
    """Return a tier; raises 422 for what is none."""
    if name not in CONFIDENCE:
        raise unprocessable(f"Invalid trust tier: {name:.80}")
    return name


def shape(memory: Memory, user: str, *, score: float | None = None) -> dict[str, Any]:
    """Return a memory as it travels."""
    observed = memory.created_at if memory.observed_at is None else memory.observed_at
    found = {
        "memory_id": memory.id,
        "user_id": user,
        "author_id": memory.source,
        "subject_id": memory.project,
        "memory_type": type_of(memory),
        "content": memory.text,
        "trust_tier": tier_of(memory),
        "initial_confidence": confidence_of(memory),
        "is_active": memory.state == "active" and memory.superseded_at is None,
        "session_id": memory.session,
        "observed_at": stamp(observed),
        "created_at": stamp(memory.created_at),
        "retrieval_score": score,
        "extra_metadata": memory.metadata or None,
    }
    for name in ("author_id", "subject_id", "extra_metadata"):
        if found[name] is None:
            del found[name]
    return found


def stamp(ms: int) -> str:
    """Return a time as RFC 3339 text, UTC, with at most 6 fractional digits."""
    return format_ms(ms, pattern="%Y-%m-%dT%H:%M:%S.%fZ")
