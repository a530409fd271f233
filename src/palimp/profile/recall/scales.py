"""Cosines of several models on one scale.

What a cosine says differs from model to model: with one 0.3 is near, with another all texts lie
above 0.7. So a cosine of one generation is never held against one of another. What is compared is
how far it stands out among rows of its own generation: its distance from their mean, in standard
deviations, and that is said in the cosines of the generation that leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import apsw
import numpy as np

from ..indexing import Corpus
from ..vectors import CodeIndex, QueryVector, cosines

__all__ = ["on_one_scale"]

_SAMPLE_ROWS = 256
# With fewer a generation says too little of what is usual to be what others are measured by.
_LEADING_ROWS = 32
# Rows that are all alike stand out by nothing.
_SPREAD_MIN = 1e-3


class _Usual(NamedTuple):
    rows: int
    mean: float
    spread: float


def on_one_scale(
    connection: apsw.Connection,
    corpus: Corpus,
    index: CodeIndex,
    queries: Sequence[QueryVector],
    found: Mapping[str, Mapping[int, float]],
) -> dict[int, float]:
    """Return the cosines found by each model in those of one of them.

    Of a single model they stay as they are, and so do those of the one that leads: the first with
    enough rows, or else the one with the most.
    """
    asked = [query for query in queries if found.get(query.model)]
    if len(asked) == 1:
        return dict(found[asked[0].model])
    usual = {query.model: _usual(connection, corpus, index, query) for query in asked}
    enough = (one for one in usual.values() if one.rows >= _LEADING_ROWS)
    leading = next(enough, max(usual.values(), key=lambda one: one.rows, default=None))
    values: dict[int, float] = {}
    for model, own in usual.items():
        assert leading is not None
        if own is leading:
            values.update(found[model])
            continue
        stretch = leading.spread / own.spread
        for handle, cosine in found[model].items():
            values[handle] = leading.mean + (cosine - own.mean) * stretch
    return values


def _usual(
    connection: apsw.Connection, corpus: Corpus, index: CodeIndex, query: QueryVector
) -> _Usual:
    handles = index.sample(corpus, query.model, _SAMPLE_ROWS)
    values = np.array(list(cosines(connection, corpus, query, handles).values()) or [0.0])
    return _Usual(len(handles), float(values.mean()), max(float(values.std()), _SPREAD_MIN))
