"""How far a memory is believed: what is left of its confidence, by how far it is trusted."""

from __future__ import annotations

import math

__all__ = ["DECAY_DAYS", "INITIAL", "TIERS", "UNKNOWN", "effective_confidence"]

TIERS = ("T1", "T2", "T3", "T4")
# Days after which 1/e of a confidence is left.
DECAY_DAYS = {"T1": 365, "T2": 180, "T3": 60, "T4": 30}
# Of a memory of which nobody said.
INITIAL = {"T1": 0.95, "T2": 0.85, "T3": 0.65, "T4": 0.40}
UNKNOWN = 0.5


def effective_confidence(confidence: float | None, trust: str | None, days: float) -> float:
    """Return what is left of a confidence after so many days; the future is today.

    Of what has none of these tiers nothing is lost.
    """
    initial = INITIAL.get(trust or "", UNKNOWN) if confidence is None else confidence
    if trust not in DECAY_DAYS:
        return initial
    return initial * math.exp(-max(0.0, days) / DECAY_DAYS[trust])
