"""Memories that say the same: by their vectors, and by what vectors do not see.

Compared are facts and instructions that hold and came within 30 days, the newest 5,000: what is
older was compared when it was young. Vectors that callers gave are of models nobody here knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import apsw
import numpy as np
from numpy.typing import NDArray

from ...profile.indexing import GIVEN_MODEL, MEMORIES
from ...profile.memories.holds import held_ids, is_held
from ...profile.protocols import Sealer, Undecipherable
from ...profile.relating import interchangeable
from .base import DAY_MS, HOLDS, SINCE, Ask, Decision, Look, Rule

__all__ = ["REDUNDANCY", "SAME_MIN", "Young", "alike", "groups", "holding", "young"]

SAME_MIN = 0.95
_YOUNG_DAYS = 30
_ROWS_MAX = 5_000
# Pairs whose words are compared, in one run.
_PAIRS_MAX = 10_000
_BLOCK = 256
# Texts read in one look.
_PAGE = 200

Floats = NDArray[np.float32]


class Young(NamedTuple):
    """Rows that may be alike, the newest first, with their vectors; `place` is what all share."""

    place: tuple[Any, ...]
    handles: list[int]
    ids: list[str]
    vectors: Floats


def young(connection: apsw.Connection, look: Look) -> list[Young]:
    """Return the rows that are compared, by what two have to share to be compared."""
    rows: list[Any] = connection.execute(
        f"""SELECT m.handle, m.id, m.type, m.kind, m.topic, m.project, m.environment, m.speaker
        FROM __palimp_memories m WHERE {HOLDS} AND m.type IN ('fact', 'instruction')
        AND coalesce(m.kind, '') NOT IN ('working', 'tool_result') AND {SINCE} > :young
        ORDER BY m.activated_at DESC, m.handle DESC LIMIT {_ROWS_MAX}""",
        {"now": look.now_ms, "young": look.now_ms - _YOUNG_DAYS * DAY_MS},
    ).fetchall()
    vectors = _vectors(connection, [row[0] for row in rows])
    places: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        if row[0] in vectors:
            places.setdefault(tuple(row[2:]), []).append(row)
    return [
        Young(
            place,
            [row[0] for row in some],
            [row[1] for row in some],
            np.stack([vectors[row[0]] for row in some]),
        )
        for place, some in places.items()
        if len(some) > 1
    ]


def alike(rows: Young, minimum: float) -> Iterator[tuple[int, int, float]]:
    """Yield places of a newer and an older row with at least such a cosine, and the cosine.

    The newest older row comes first, and for each the nearest of those newer than it.
    """
    for start in range(0, len(rows.handles), _BLOCK):
        block = rows.vectors[start : start + _BLOCK]
        near = block @ rows.vectors[: start + len(block)].T
        for row in np.flatnonzero(_below(near, start).max(axis=1) >= minimum).tolist():
            older = start + row
            scores = near[row, :older]
            for newer in np.argsort(-scores, kind="stable").tolist():
                if scores[newer] < minimum:
                    break
                yield newer, older, float(scores[newer])


def groups(rows: Young, minimum: float) -> list[list[int]]:
    """Return the places of rows that hang together by such a cosine, two or more in each."""
    root = list(range(len(rows.handles)))

    def top(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for newer, older, _ in alike(rows, minimum):
        root[top(older)] = top(newer)
    found: dict[int, list[int]] = {}
    for place in range(len(root)):
        found.setdefault(top(place), []).append(place)
    return [some for some in found.values() if len(some) > 1]


def holding(connection: apsw.Connection, handles: Sequence[int], now_ms: int) -> set[int]:
    """Return those of the rows that hold."""
    rows: Any = connection.execute(
        f"""SELECT m.handle FROM __palimp_memories m
        WHERE {HOLDS} AND m.handle IN (SELECT value FROM json_each(:handles))""",
        {"now": now_ms, "handles": str(list(handles))},
    )
    return {handle for (handle,) in rows}


def _find(ask: Ask, look: Look) -> Iterator[list[Decision]]:
    """Yield, of rows that say the same, those that a newer one takes the place of."""
    left = _PAIRS_MAX
    held = set(ask(held_ids))
    for rows in ask(lambda c: young(c, look)):
        gone: set[int] = set()
        pairs = (one for one in alike(rows, SAME_MIN) if rows.ids[one[1]] not in held)
        while left > 0 and (some := _some(pairs, min(_PAGE, left))):
            left -= len(some)
            same = ask(partial(_same, rows=rows, pairs=some, sealer=look.sealer))
            found = []
            for newer, older, score in same:
                # Its place is taken by one that stays.
                if newer not in gone and older not in gone:
                    gone.add(older)
                    found.append(_decision(rows, newer, older, score))
            if found:
                yield found


def _again(
    connection: apsw.Connection, decisions: Sequence[Decision], look: Look
) -> list[Decision]:
    handles = [one for each in decisions for one in (each.handle, each.other or 0)]
    there = holding(connection, handles, look.now_ms)
    return [
        one
        for one in decisions
        if one.handle in there and one.other in there and not is_held(connection, one.id)
    ]


def _decision(rows: Young, newer: int, older: int, score: float) -> Decision:
    said = f"a newer one says the same, cosine {score:.3f}"
    known = rows.handles[newer]
    return Decision("supersede", rows.handles[older], rows.ids[older], said, score, known)


def _some(pairs: Iterator[tuple[int, int, float]], most: int) -> list[tuple[int, int, float]]:
    return [pair for _, pair in zip(range(most), pairs, strict=False)]


def _same(
    connection: apsw.Connection,
    *,
    rows: Young,
    pairs: Sequence[tuple[int, int, float]],
    sealer: Sealer,
) -> list[tuple[int, int, float]]:
    """Return the pairs that name the same numbers and names; what cannot be read is in none."""
    wanted = {place for newer, older, _ in pairs for place in (newer, older)}
    texts: dict[int, str] = {}
    for place in wanted:
        stored = connection.execute(
            "SELECT text FROM __palimp_memories WHERE handle = ?", (rows.handles[place],)
        ).get
        with suppress(Undecipherable):
            if stored is not None:
                texts[place] = sealer.unseal(stored, "memories", rows.ids[place], "text")
    return [
        (newer, older, score)
        for newer, older, score in pairs
        if newer in texts and older in texts and interchangeable(texts[newer], texts[older])
    ]


def _below(near: Floats, start: int) -> Floats:
    """Return the cosines of each row with those before it alone."""
    places = np.arange(near.shape[1])[np.newaxis, :]
    own = np.arange(start, start + len(near))[:, np.newaxis]
    return np.where(places < own, near, np.float32(-1.0))


def _vectors(connection: apsw.Connection, handles: Sequence[int]) -> dict[int, Floats]:
    """Return the vectors of the model that most of the rows have one of, of its dimensions."""
    if not handles:
        return {}
    wanted = np.asarray(handles, np.int64)
    best: dict[int, Floats] = {}
    models: list[Any] = connection.execute(
        "SELECT model FROM __palimp_models WHERE name != ?", (GIVEN_MODEL,)
    ).fetchall()
    for (model,) in models:
        rows: Any = connection.execute(
            f"""SELECT v.slot >> 8, v.vector FROM carray(?) c
            JOIN {MEMORIES.vectors} v ON v.slot = c.value""",
            (apsw.carray((wanted << 8) | model),),
        )
        found = {handle: np.frombuffer(vector, np.float32) for handle, vector in rows}
        if len(found) > len(best):
            best = found
    return best


REDUNDANCY = Rule("redundancy", _find, _again)
