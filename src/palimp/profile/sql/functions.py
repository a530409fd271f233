"""Functions for vectors in ordinary BLOB columns: 32-bit floats, the lowest byte first.

    vector32(json or blob)      the blob of a vector
    vector_extract(blob)        its numbers as JSON
    vector_distance_cos(a, b)   1 - cosine, from 0 (same direction) to 2 (opposite)
    vector_distance_l2(a, b)    Euclidean distance

NULL gives NULL. A vector is a blob or a JSON array; one that is none is `Invalid`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ...api.limits import EMBEDDING_DIMENSIONS_MAX
from ...decoding import from_json
from ...errors import Invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

__all__ = ["FUNCTIONS", "register"]

_FLOAT_BYTES = 4


def register(connection: apsw.Connection) -> None:
    """Make the functions known to a connection, for statements and not for schemas.

    An index or a CHECK that called one would need us wherever the file is opened.
    """
    for name, (function, arguments) in FUNCTIONS.items():
        connection.create_scalar_function(
            name,
            function(name),
            arguments,
            deterministic=True,
            flags=apsw.SQLITE_DIRECTONLY,
        )


def _vector32(name: str) -> Callable[[Any], bytes | None]:
    def vector32(value: Any) -> bytes | None:
        return None if value is None else _vector(value, name).tobytes()

    return vector32


def _extract(name: str) -> Callable[[Any], str | None]:
    def vector_extract(value: Any) -> str | None:
        if value is None:
            return None
        # The shortest digits that give the same 32 bits again.
        return f"[{','.join(_vector(value, name).astype(str))}]"

    return vector_extract


def _distance(
    name: str, compare: Callable[[Vector, Vector, float], float]
) -> Callable[[Any, Any], float | None]:
    # In a scan one of the two stays the same: it is read once.
    known: Any = None
    vector: Vector | None = None
    square = 0.0

    def distance(a: Any, b: Any) -> float | None:
        nonlocal known, vector, square
        if a is None or b is None:
            return None
        np = _numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            if type(a) is type(known) and a == known:
                a, b = b, a
            elif type(b) is not type(known) or b != known:
                vector = _vector(b, name)
                known, square = b, float(vector.dot(vector))
            assert vector is not None
            # Of a row only what does not fit is looked at more closely.
            fits = type(a) is bytes and len(a) == vector.nbytes
            other = np.frombuffer(a, "<f4") if fits else _vector(a, name)
            if other.size != vector.size:
                raise Invalid(
                    f"{name}: vectors of {other.size:,} and {vector.size:,} dimensions cannot be "
                    "compared; give two of one model"
                )
            found = compare(other, vector, square)
        if not math.isfinite(found):
            _vector(a, name)
            raise Invalid(f"{name}: the distance is not finite: a vector is all zeros or too large")
        return found

    return distance


def _cosine(a: Vector, b: Vector, b_square: float) -> float:
    square = float(a.dot(a)) * b_square
    if not 0.0 < square < math.inf:
        return math.nan
    found = 1.0 - float(a.dot(b)) / math.sqrt(square)
    # Rounding may lead out of [0, 2]; what is not a number stays so.
    return found if math.isnan(found) else min(2.0, max(0.0, found))


def _euclidean(a: Vector, b: Vector, _: float) -> float:
    difference = a - b
    square = float(difference.dot(difference))
    if not math.isfinite(square):
        # Large numbers, or none.
        wide = _numpy().subtract(a, b, dtype="f8")
        square = float(wide.dot(wide))
    return math.sqrt(square)


@cache
def _numpy() -> Any:
    import numpy as np  # 95 ms that only who has vectors should pay

    return np


def _vector(value: Any, name: str) -> Vector:
    """Return a vector given as a blob or as JSON; raises `Invalid`."""
    if isinstance(value, bytes):
        if not value or len(value) % _FLOAT_BYTES:
            raise Invalid(
                f"{name}: a vector's blob has {len(value):,} bytes; give 4 for every number"
            )
        found: Vector = _numpy().frombuffer(value, "<f4")
    elif isinstance(value, str):
        found = _parsed(value, name)
    else:
        raise Invalid(
            f"{name}: a vector is a blob of 32-bit floats or a JSON array of numbers, "
            f"not {value!r:.40}"
        )
    if not 1 <= found.size <= EMBEDDING_DIMENSIONS_MAX:
        raise Invalid(
            f"{name}: a vector has {found.size:,} dimensions; give 1 to "
            f"{EMBEDDING_DIMENSIONS_MAX:,}"
        )
    finite = _numpy().isfinite(found)
    if not finite.all():
        place = int(finite.argmin())
        raise Invalid(f"{name}: number {place} of a vector is {found[place]}; give finite 32 bits")
    return found


def _parsed(text: str, name: str) -> Vector:
    np = _numpy()
    try:
        numbers = from_json(text, list[float])
    except msgspec.DecodeError as error:
        raise Invalid(f"{name}: {text!r:.40} is no JSON array of numbers: {error}") from error
    with np.errstate(over="ignore"):
        found: Vector = np.array(numbers, "<f8").astype("<f4")
    return found


FUNCTIONS: dict[str, tuple[Callable[[str], Callable[..., Any]], int]] = {
    "vector32": (_vector32, 1),
    "vector_extract": (_extract, 1),
    "vector_distance_cos": (lambda name: _distance(name, _cosine), 2),
    "vector_distance_l2": (lambda name: _distance(name, _euclidean), 2),
}
