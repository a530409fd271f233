"""Vectors of rows: stored exactly, found by sign codes, rescored exactly.

A vector is stored as float32 of unit length. Beside it stands a code of 1,024 bits: the signs of
the vector after a fixed pseudo-random rotation, so that the share of differing bits grows with the
angle (Charikar 2002). The codes of a model lie in memory as 64-bit words; a query counts differing
bits and the nearest rows are rescored with the stored vectors. Several models stand side by side
and are never compared with each other.

Measured on 16,081 real texts (bundled model, `bench/sign_codes.py`): of the ten nearest by cosine,
the signs of the bare 256 numbers have 67 % among their first 64 and 78 % among 128; rotated to
1,024 bits 96 % and 99 %.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import apsw
import numpy as np
from numpy.typing import NDArray

from .generations import Missing, check_dimensions, drop_older, model_number, register
from .indexing import GIVEN_MODEL, Corpus, embedding_text
from .protocols import Sealer, Undecipherable

__all__ = [
    "CodeIndex",
    "QueryVector",
    "Stored",
    "cosines",
    "having",
    "nearest",
    "sign_codes",
    "store_given",
    "store_missing",
    "unit",
]

_CODE_BITS = 1_024
_CODE_WORDS = _CODE_BITS // 64
_SIDE = 32
# So many rows are rescored exactly for each that is wanted: codes are right about most, not all.
_RESCORED_A_ROW = 2
_GROWTH = 1.5
_DEAD_SHARE_MAX = 0.25
_FAR = np.iinfo(np.uint16).max

Floats = NDArray[np.float32]
Handles = NDArray[np.int64]


class QueryVector(NamedTuple):
    """A vector to search with: the model's name and a unit row of its dimension."""

    model: str
    vector: Floats


class Stored(NamedTuple):
    """How many rows got their vector, and how many vectors of older generations went for it."""

    rows: int
    dropped: int


class CodeIndex:
    """The codes of one corpus and model in memory, brought up to date at each search.

    Lives with an open database. Codes are only ever appended to the table, so catching up reads the
    rows after the last one seen; a code whose vector is gone or newer is marked when it is met.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By name: the number of a model that is gone is given to another one.
        self._parts: dict[tuple[str, str], _Codes] = {}

    def search(
        self,
        connection: apsw.Connection,
        corpus: Corpus,
        query: QueryVector,
        limit: int,
        allowed: Handles | None,
    ) -> list[int]:
        """Return the handles of the `limit` codes nearest to `query`, in no particular order."""
        known = model_number(connection, query.model)
        assert known is not None, f"nothing here has a vector of {query.model}"
        with self._lock:
            key = (corpus.name, query.model)
            codes = self._parts.get(key)
            if codes is None or codes.worn_out:
                self._drop_gone(connection)
                codes = self._parts[key] = _Codes()
            codes.catch_up(connection, corpus, known[0])
            return codes.nearest(query.vector, limit, allowed)

    def sample(self, corpus: Corpus, model: str, count: int) -> list[int]:
        """Return up to `count` handles spread over all that the last search of a model knew."""
        with self._lock:
            codes = self._parts.get((corpus.name, model))
            return [] if codes is None else codes.sample(count)

    def bury(self, corpus: Corpus, model: str, handles: Iterable[int]) -> None:
        """Never offer these handles again: they have no vector of this model any more."""
        with self._lock:
            self._parts[corpus.name, model].bury(handles)

    def _drop_gone(self, connection: apsw.Connection) -> None:
        for key in list(self._parts):
            if model_number(connection, key[1]) is None:
                del self._parts[key]


class _Codes:
    """Growing arrays: words transposed (word number, row), so that a scan reads memory in order."""

    def __init__(self) -> None:
        self._signs = np.zeros((_CODE_WORDS, 1024), np.uint64)
        self._handles = np.zeros(1024, np.int64)
        self._size = 0
        self._dead = 0
        self._last_code = 0

    @property
    def worn_out(self) -> bool:
        """Whether so many codes are dead that reading the table again pays."""
        return self._dead > 1024 and self._dead > self._size * _DEAD_SHARE_MAX

    def catch_up(self, connection: apsw.Connection, corpus: Corpus, model: int) -> None:
        rows: list[Any] = connection.execute(
            f"SELECT code, handle, signs FROM {corpus.codes} WHERE code > ? AND model = ?",
            (self._last_code, model),
        ).fetchall()
        if not rows:
            return
        end = self._size + len(rows)
        if end > self._handles.size:
            room = int(end * _GROWTH)
            self._signs = np.concatenate(
                (self._signs, np.zeros((_CODE_WORDS, room - self._handles.size), np.uint64)), 1
            )
            self._handles = np.concatenate(
                (self._handles, np.zeros(room - self._handles.size, np.int64))
            )
        signs = np.frombuffer(b"".join(row[2] for row in rows), np.uint64)
        self._signs[:, self._size : end] = signs.reshape(len(rows), _CODE_WORDS).T
        self._handles[self._size : end] = [row[1] for row in rows]
        self._size, self._last_code = end, rows[-1][0]

    def nearest(self, query: Floats, limit: int, allowed: Handles | None) -> list[int]:
        if not self._size:
            return []
        code = np.frombuffer(sign_codes(query[np.newaxis, :])[0], np.uint64)
        distance = np.zeros(self._size, np.uint16)
        for word in range(_CODE_WORDS):
            distance += np.bitwise_count(self._signs[word, : self._size] ^ code[word])
        handles = self._handles[: self._size]
        if self._dead:
            distance[handles < 0] = _FAR
        if allowed is not None:
            distance[~np.isin(handles, allowed)] = _FAR
        if limit < self._size:
            chosen = np.argpartition(distance, limit)[:limit]
        else:
            chosen = np.arange(self._size)
        found: list[int] = np.unique(handles[chosen[distance[chosen] != _FAR]]).tolist()
        return found

    def sample(self, count: int) -> list[int]:
        there = self._handles[: self._size]
        there = there[there >= 0]
        places = np.linspace(0, there.size - 1, min(count, there.size)).astype(np.int64)
        found: list[int] = np.unique(there[places]).tolist()
        return found

    def bury(self, handles: Iterable[int]) -> None:
        gone = np.isin(self._handles[: self._size], list(handles))
        self._dead += int(gone.sum())
        self._handles[: self._size][gone] = -1


def unit(values: Sequence[float] | Floats) -> Floats:
    """Return a vector scaled to length 1 as float32; zeros stay zeros."""
    vector = np.asarray(values, np.float64)
    # Scaled by its largest number first: the square of a huge one would overflow, of a tiny one
    # vanish.
    largest = float(np.abs(vector).max(initial=0.0))
    if not largest:
        return vector.astype(np.float32)
    vector = vector / largest
    return (vector / math.sqrt(float(vector @ vector))).astype(np.float32)


def store_given(
    connection: apsw.Connection, corpus: Corpus, handle: int, values: Sequence[float]
) -> str | None:
    """Store a caller's own vector; return None, or why it was left out.

    The first vector given decides the dimension of this profile's given vectors.
    """
    model, dimensions = register(connection, GIVEN_MODEL, len(values))
    if dimensions != len(values):
        return (
            f"stored without its embedding: it has {len(values):,} dimensions, the given "
            f"embeddings of this profile have {dimensions:,}"
        )
    _put(connection, corpus, model, [handle], unit(values)[np.newaxis, :])
    return None


def store_missing(
    connection: apsw.Connection,
    corpus: Corpus,
    model: str,
    rows: Sequence[Missing],
    vectors: Floats,
    sealer: Sealer,
) -> Stored:
    """Store the vectors of rows that were embedded; what they have of other generations goes.

    A row whose text changed meanwhile, or that is gone, is passed over: it stays a job, or is none.
    Raises `Unavailable` where the model gave vectors of other dimensions before.
    """
    number = check_dimensions(connection, model, vectors.shape[1])
    current = []
    for place, row in enumerate(rows):
        exists = connection.execute(
            f"SELECT 1 FROM {corpus.rows} WHERE handle = ?", (row.handle,)
        ).get
        with suppress(Undecipherable):
            if exists and embedding_text(connection, corpus, row.handle, sealer) == row[1:]:
                current.append(place)
    handles = [rows[place].handle for place in current]
    _put(connection, corpus, number, handles, vectors[current])
    return Stored(len(handles), drop_older(connection, corpus, number, handles))


def nearest(
    connection: apsw.Connection,
    corpus: Corpus,
    index: CodeIndex,
    query: QueryVector,
    limit: int,
    allowed: Handles | None = None,
) -> dict[int, float] | str:
    """Return the `limit` rows nearest to `query` with their exact cosines, the nearest first.

    Or say why this model cannot be searched here. `allowed` narrows the search to these handles.
    """
    known = model_number(connection, query.model)
    if known is None:
        return f"no row has a vector of {query.model}"
    dimensions = known[1]
    if dimensions != query.vector.size:
        return (
            f"the query has {query.vector.size:,} dimensions, vectors of {query.model} here have "
            f"{dimensions:,}"
        )
    if not query.vector.any():
        return f"{query.model} knows no word of the query"
    near = index.search(connection, corpus, query, limit * _RESCORED_A_ROW, allowed)
    exact = cosines(connection, corpus, query, near)
    if len(exact) < len(near):
        index.bury(corpus, query.model, set(near) - exact.keys())
    best = sorted(exact, key=lambda handle: (-exact[handle], handle))[:limit]
    return {handle: exact[handle] for handle in best}


def cosines(
    connection: apsw.Connection, corpus: Corpus, query: QueryVector, handles: Sequence[int]
) -> dict[int, float]:
    """Return the exact cosine of each row that has a vector of the query's model."""
    known = model_number(connection, query.model)
    if known is None or known[1] != query.vector.size or not handles:
        return {}
    slots = (np.asarray(handles, np.int64) << 8) | known[0]
    rows: list[Any] = connection.execute(
        f"""SELECT v.slot >> 8, v.vector FROM carray(?) c
        JOIN {corpus.vectors} v ON v.slot = c.value""",
        (apsw.carray(slots),),
    ).fetchall()
    if not rows:
        return {}
    matrix = np.frombuffer(b"".join(row[1] for row in rows), np.float32)
    values = matrix.reshape(len(rows), -1) @ query.vector
    return dict(zip([row[0] for row in rows], values.tolist(), strict=True))


def having(
    connection: apsw.Connection, corpus: Corpus, models: Sequence[str], handles: Iterable[int]
) -> set[int]:
    """Return those of the rows that have a vector of one of these models."""
    found: set[int] = set()
    wanted = np.fromiter(handles, np.int64)
    for name in models:
        known = model_number(connection, name)
        if known is not None and wanted.size:
            found.update(
                handle
                for (handle,) in connection.execute(
                    f"""SELECT v.slot >> 8 FROM carray(?) c
                    JOIN {corpus.vectors} v ON v.slot = c.value""",
                    (apsw.carray((wanted << 8) | known[0]),),
                )
            )
    return found


def _put(
    connection: apsw.Connection, corpus: Corpus, model: int, handles: Sequence[int], rows: Floats
) -> None:
    for handle, vector, signs in zip(handles, rows, sign_codes(rows), strict=True):
        slot = handle << 8 | model
        if connection.execute(f"SELECT 1 FROM {corpus.vectors} WHERE slot = ?", (slot,)).get:
            continue
        connection.execute(
            f"INSERT INTO {corpus.codes} (model, handle, signs) VALUES (?, ?, ?)",
            (model, handle, signs),
        )
        connection.execute(
            f"INSERT INTO {corpus.vectors} (slot, code, vector) VALUES (?, ?, ?)",
            (slot, connection.last_insert_rowid(), vector.tobytes()),
        )


def sign_codes(rows: Floats) -> list[bytes]:
    """Return the code of each row: 1,024 signs after a rotation that is the same for ever.

    The rotation is two rounds of pseudo-random sign flips and a Hadamard transform (Ailon and
    Chazelle 2009); a row longer than 1,024 numbers is the sum of its rotated pieces.
    """
    total = np.zeros((len(rows), _CODE_BITS), np.float32)
    for piece, start in enumerate(range(0, rows.shape[1], _CODE_BITS)):
        part = rows[:, start : start + _CODE_BITS]
        padded = np.zeros((len(rows), _CODE_BITS), np.float32)
        padded[:, : part.shape[1]] = part
        for flips in _flips(piece):
            padded = _hadamard(padded * flips)
        total += padded
    return [row.tobytes() for row in np.packbits(total > 0, axis=1)]


@cache
def _flips(piece: int) -> Floats:
    """Return the sign flips of both rounds, from a hash: the same on every machine and release."""
    digest = hashlib.shake_128(f"palimp sign codes 1 {piece}".encode()).digest(2 * _CODE_BITS // 8)
    bits = np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.float32)
    return (2.0 * bits - 1.0).reshape(2, _CODE_BITS)


@cache
def _hadamard_side() -> Floats:
    side = np.ones((1, 1), np.float32)
    while len(side) < _SIDE:
        side = np.block([[side, side], [side, -side]])
    return side


def _hadamard(rows: Floats) -> Floats:
    """Return the Hadamard transform of each row, as H32 X H32: two small products."""
    side = _hadamard_side()
    square = rows.reshape(len(rows), _SIDE, _SIDE)
    transformed: Floats = (side @ (square @ side)).reshape(len(rows), _CODE_BITS)
    return transformed
