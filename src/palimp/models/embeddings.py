"""What servers answer to a request for embeddings, checked before anybody computes with it."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..decoding import from_json
from .pool import Unusable

__all__ = ["DIMENSIONS_MAX", "Floats", "read_embeddings", "unit"]

Floats = NDArray[np.float32]

DIMENSIONS_MAX = 8_192
# No call reads more; what says so would spoil every sum it is in.
_TOKENS_MAX = 100_000_000


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Usage(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


def read_embeddings(content: bytes, count: int) -> tuple[Floats, int | None]:
    """Return the rows in the order of the texts, and the tokens that the server counted.

    There are `count` of them, all of one dimension; their numbers may be none. Raises `Unusable`.
    """
    try:
        answer = from_json(content, _Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = _lenient(content)
    items = answer.data
    places = [place if item.index is None else item.index for place, item in enumerate(items)]
    if len(items) != count or set(places) != set(range(count)):
        raise Unusable(f"{len(items):,} vectors to {count:,} texts")
    dimensions = {len(item.embedding) for item in items}
    if len(dimensions) != 1 or not 1 <= min(dimensions) <= DIMENSIONS_MAX:
        raise Unusable("vectors of different dimensions, or of none")
    rows = np.empty((count, dimensions.pop()), np.float32)
    with np.errstate(over="ignore"):
        for place, item in zip(places, items, strict=True):
            rows[place] = item.embedding
    usage = answer.usage
    counts = () if usage is None else (usage.total_tokens, usage.prompt_tokens)
    tokens = next((n for n in counts if n is not None and 0 <= n <= _TOKENS_MAX), None)
    return rows, tokens


def _lenient(content: bytes) -> _Answer:
    """Return an answer with NaN for what is no number: some servers write null, or NaN."""
    try:
        found = json.loads(content)
        items = [
            _Item([_number(n) for n in item["embedding"]], index)
            for place, item in enumerate(found["data"])
            if isinstance(index := item.get("index", place), int)
        ]
        return _Answer(items)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Unusable("no embeddings") from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def unit(rows: Floats) -> Floats:
    """Return the rows at length 1; zeros stay zeros."""
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
