"""What each signal is worth. The only place with numbers that were fitted.

Fitted by `bench/tune_recall.py` on LoCoMo's development half, leave-one-conversation-out; the
shipped values are the rounded mean of the folds. docs/internals/recall.md says what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BM25_COLUMNS", "FEEDBACK_WEIGHT", "RELATION_WEIGHT", "WEIGHTS", "Weights"]

# bm25 weights of the FTS columns text, keywords, label, before, after (design section 5).
BM25_COLUMNS = (1.0, 1.0, 1.0, 0.5, 0.2)


class Weights(NamedTuple):
    """Weight of each feature; they are divided by the sum of those in play."""

    topic: float = 4.0
    keyword: float = 0.64
    vector: float = 1.19
    speaker: float = 0.44
    session: float = 0.65
    when: float = 0.41
    statement: float = 0.09
    substance: float = 0.32


WEIGHTS = Weights()
# Of what callers said of memories; in play where they said something. Not fitted: no data has it.
FEEDBACK_WEIGHT = 0.5
# Of relations to what was found; in play where there are some. Not fitted: no data has them.
RELATION_WEIGHT = 0.15
