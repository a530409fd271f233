"""What a recall weighs: the factors there are, named sets of weights, and what a caller may give.

Nothing here needs numpy: policies are checked with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import Invalid

__all__ = [
    "BOOSTS_MAX",
    "DEFAULT",
    "FACTORS",
    "SESSION_BOOST",
    "SETS",
    "TIERS",
    "TIER_MULTIPLIERS",
    "Ranking",
    "is_ranking",
    "ranking_of",
]

TIERS = ("hot", "warm", "cold")
# What a score is multiplied with, whatever the weights are.
TIER_MULTIPLIERS = {"hot": 1.0, "warm": 0.85, "cold": 0.6}
FACTORS = (
    "semantic",
    "keyword",
    "topic",
    "recency",
    "importance",
    "usage",
    "cluster",
    "feedback",
    "tier",
    "speaker",
    "session",
    "when",
    "statement",
    "substance",
    "relation",
    "confidence",
    "decay",
)
# Added to the score of a memory of the session that is asked for, and the most of such additions.
SESSION_BOOST = 0.05
BOOSTS_MAX = 0.10
_WEIGHT_MAX = 1_000.0


class Ranking(NamedTuple):
    """What counts how much. Without `weights` the fitted ones of `recall/weights.py`.

    With weights each factor is spread over [0, 1] among the candidates, and the weights are divided
    by their sum. `fixed`: each is on a scale of its own instead, that does not depend on the other
    candidates; what is hardly believed any more is left out, and the score is multiplied by what
    callers said, `feedback` for each time.
    """

    name: str
    weights: Mapping[str, float] | None = None
    boosts: bool = False
    fixed: bool = False
    feedback: float = 0.1

    @property
    def counts_usage(self) -> bool:
        """Whether it matters how often a memory was read."""
        return self.weights is not None and self.weights.get("usage", 0.0) > 0.0


DEFAULT = Ranking("default")
SETS: dict[str, Ranking] = {
    "default": DEFAULT,
    # The ranker that MemorySync has published.
    "memorysync": Ranking(
        "memorysync",
        {
            "semantic": 0.40,
            "cluster": 0.20,
            "recency": 0.15,
            "importance": 0.15,
            "usage": 0.10,
        },
        boosts=True,
    ),
    # The hybrid score of Memoria.
    "memoria": Ranking(
        "memoria",
        {"semantic": 0.3, "keyword": 0.2, "recency": 0.2, "confidence": 0.3},
        fixed=True,
    ),
}


def ranking_of(given: Any, field: str = "weights") -> Ranking:
    """Return the ranking that a set's name or a mapping means; None is the default.

    Raises `Invalid` for an unknown name or factor, and for weights that rank nothing.
    """
    if given is None:
        return DEFAULT
    if isinstance(given, str):
        if given not in SETS:
            raise Invalid(
                f"{field} is {given!r:.80}; give {' or '.join(SETS)}, or a mapping of factors"
            )
        return SETS[given]
    if not isinstance(given, Mapping):
        raise Invalid(f"{field} must be a name or a mapping, not {type(given).__name__}")
    for name, weight in given.items():
        if name not in FACTORS:
            raise Invalid(f"{field}: no factor {name!r:.80}; factors are {', '.join(FACTORS)}")
        if type(weight) not in (int, float) or not 0.0 <= weight <= _WEIGHT_MAX:
            raise Invalid(f"{field}: {name} is {weight!r:.40}; give a number, 0 to {_WEIGHT_MAX:g}")
    if not math.fsum(given.values()):
        raise Invalid(f"{field} are all 0, which ranks nothing; give at least one more than 0")
    return Ranking("custom", dict(given))


def is_ranking(given: Any) -> bool:
    """Whether `ranking_of` takes it."""
    try:
        ranking_of(given)
    except Invalid:
        return False
    return True
