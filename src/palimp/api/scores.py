"""What memories are worth by what is known of them, on the wire."""

from __future__ import annotations

from .base import Request, Result, Sequenced
from .operation import PROFILE, row

__all__ = ["ROWS", "ScoreMemories", "ScoredMemories", "Scores"]


class ScoreMemories(Request, frozen=True, kw_only=True):
    """Compute the scores of up to 1,000 memories, by id."""

    ids: tuple[str, ...]


class Scores(Result, frozen=True, kw_only=True):
    """What a memory is worth now, by rules alone: the same facts at the same time score the same.

    `importance` (0 to 100) is computed from `factors`, each in [0, 1]: how new it is, how often it
    was read, its type, its source, and how long and how dense its text is. What its writer gave as
    importance is no part of it. `decay` is 1 for what was just written or read, and half of that
    after each 30 days without. `evidence` counts the relations `supports` that lead to it,
    `contradictions` those of type `contradiction` from or to it, each from what holds;
    `consistency` is 1 without any, and 0.2 less for each, down to 0.
    """

    id: str
    handle: int
    importance: int
    decay: float
    evidence: int
    contradictions: int
    consistency: float
    factors: dict[str, float]


class ScoredMemories(Result, Sequenced[Scores], frozen=True, kw_only=True):
    """The scores of the memories that are there, each once, in the order of the ids asked for."""

    scores: tuple[Scores, ...]
    txid: int

    def _items(self) -> tuple[Scores, ...]:
        return self.scores


ROWS = (
    row(
        "memories.scores",
        f"POST {PROFILE}/memories/scores",
        ScoreMemories,
        ScoredMemories,
        "read",
        "Compute what memories are worth: importance, decay, evidence, consistency.",
    ),
)
