"""How much a user's memories are, in that system's types."""

from __future__ import annotations

from typing import NamedTuple

from ....api.stats import GetStats, MemoryGroup, MemoryStats
from .call import Call
from .shapes import CONFIDENCE

__all__ = ["Sizes", "sizes"]

# What is of no type of theirs came by our own API.
_OTHER = "semantic"


class Sizes(NamedTuple):
    """What holds: by type, in all, how sure; and how much does not hold. Times in ms."""

    by_type: dict[str, MemoryGroup]
    total: int
    inactive: int
    confidence: float
    oldest: int | None
    newest: int | None
    last_30_days: int
    text_bytes: float


def sizes(call: Call, branch: str | None = None) -> Sizes:
    """Return the sizes of a branch; None: the one that is checked out."""
    found: MemoryStats = call.do("memories.stats", GetStats(), branch=branch)
    by_type = {name or _OTHER: group for name, group in found.by_kind.items()}
    everything = sum(found.by_state.values())
    confidence = found.all.confidence
    return Sizes(
        by_type=by_type,
        total=found.all.count,
        inactive=everything - found.all.count,
        confidence=round(CONFIDENCE["T1"] if confidence is None else confidence, 4),
        oldest=found.oldest,
        newest=found.newest,
        last_30_days=found.last_30_days,
        text_bytes=round(found.text_bytes or 0.0, 1),
    )
