"""Distances between vectors: every one is computed, so what is found is what is nearest.

A distance is a function of the two vectors alone, not of where a row stands in a block: a product
of BLAS would round the same row differently at another place, and equal rows would be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..api import Metric
from ..errors import Internal, Invalid
from .vectors import unit

__all__ = ["nearest", "packed"]

Floats = NDArray[np.float32]

# The square of a difference of two, times the most dimensions, is far from where float32 ends.
_NUMBER_MAX = 1e15
# So much is looked at in one go: it stays in the processor's cache.
_BLOCK_BYTES = 1 << 20


def packed(values: Sequence[float], metric: Metric, field: str) -> Floats:
    """Return a vector as it is stored: float32, of length 1 for cosine; raises `Invalid`."""
    if metric == "cosine":
        vector = unit(values)
        if not vector.any():
            raise Invalid(
                f"{field} is all zeros: it has no direction, which is all that cosine compares; "
                "leave it out, or use a collection with metric l2 or dot"
            )
        return vector
    numbers = np.asarray(values, np.float64)
    largest = float(np.abs(numbers).max())
    if largest > _NUMBER_MAX:
        raise Invalid(
            f"{field} has a number of {largest:.3g}; with {metric} give at most {_NUMBER_MAX:g}"
        )
    return numbers.astype(np.float32)


def nearest(
    rows: Iterable[tuple[int, bytes]], query: Floats, metric: Metric, k: int
) -> list[tuple[int, float]]:
    """Return handle and distance of the `k` rows nearest to `query`; of equals, the first come."""
    best = np.empty(0, np.float32)
    handles = np.empty(0, np.int64)
    for block_handles, block in _blocks(rows, query.size):
        distance = _distances(block, query, metric)
        # Of what is as far as the last of the best, the best has those that came before.
        near = distance < best[-1] if best.size == k else slice(None)
        best = np.concatenate((best, distance[near]))
        handles = np.concatenate((handles, block_handles[near]))
        order = np.argsort(best, kind="stable")[:k]
        best, handles = best[order], handles[order]
    return list(zip(handles.tolist(), best.tolist(), strict=True))


def _blocks(
    rows: Iterable[tuple[int, bytes]], dimensions: int
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    remaining = iter(rows)
    size = max(1, _BLOCK_BYTES // (4 * dimensions))
    while True:
        taken = list(islice(remaining, size))
        if not taken:
            return
        joined = b"".join([vector for _, vector in taken])
        handles = np.array([handle for handle, _ in taken], np.int64)
        if len(joined) != 4 * len(taken) * dimensions:
            raise Internal(
                f"a vector with a handle of {handles.min()} to {handles.max()} has not the "
                f"{dimensions:,} dimensions of its collection; import the profile anew"
            )
        yield handles, np.frombuffer(joined, np.float32).reshape(len(taken), dimensions)


def _distances(block: Floats, query: Floats, metric: Metric) -> Any:
    if metric == "l2":
        apart = block - query
        return np.sqrt(np.einsum("ij,ij->i", apart, apart))
    product = np.einsum("ij,j->i", block, query)
    if metric == "dot":
        return -product
    return np.clip(1 - product, 0, 2)
