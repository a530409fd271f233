"""Quality of a ranking against the set of right answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

__all__ = ["CUTS", "NDCG_CUT", "mean", "percentile", "rank_scores"]

CUTS = (1, 3, 5, 10, 20)
NDCG_CUT = 10


def rank_scores(ranking: Sequence[str], right: AbstractSet[str]) -> dict[str, float]:
    """Return the scores of one question, each in [0, 1].

    recall@k: share of the right answers among the first k. hit@k: 1 where at least one is. nDCG@10
    with binary gains (Järvelin and Kekäläinen 2002): discounted by log2(rank + 1), over the best
    possible. MRR: 1 / rank of the first right answer within the ranking, else 0.
    """
    marks = [answer in right for answer in ranking]
    scores: dict[str, float] = {}
    for cut in CUTS:
        found = sum(marks[:cut])
        scores[f"recall@{cut}"] = found / len(right)
        scores[f"hit@{cut}"] = float(found > 0)
    gain = sum(1 / math.log2(place + 2) for place, mark in enumerate(marks[:NDCG_CUT]) if mark)
    best = sum(1 / math.log2(place + 2) for place in range(min(NDCG_CUT, len(right))))
    scores[f"nDCG@{NDCG_CUT}"] = gain / best
    scores["MRR"] = next((1 / (place + 1) for place, mark in enumerate(marks) if mark), 0.0)
    return scores


def mean(values: Iterable[float]) -> float:
    """Return the mean, 0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
