"""The channel `relation`: what is one step from the best that other channels found.

A step is an edge between two memories, in either direction, or something that both name. What a
question names counts as found. Each way to a memory is worth what its beginning is worth times the
strength of the step, in [0, 1]; several ways add up as chances do, to at most 1:

- an edge: its weight times the multiplier of its type, relative to the largest multiplier;
- a name: both links' weights times the multiplier, divided by the logarithm of how many memories
  name it; what more than 256 name says nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import apsw
import numpy as np

from ..relations.edges import MULTIPLIERS, multiplier
from ..relations.entities import entity_id
from ..relations.tables import ENTITIES, LINKS, RELATIONS

__all__ = ["ANCHORS_MAX", "NEIGHBOURS_MAX", "named_in", "related"]

ANCHORS_MAX = 32
NEIGHBOURS_MAX = 256
# Of one memory in one direction.
_EDGES_MAX = 64
_ENTITIES_MAX = 64
_WORDS_MAX = 64
# Words of the longest name that is looked for in a question.
_NAME_WORDS_MAX = 4
# No + and #: they end names.
_MARKS = ".,;:!?()\\[\\]{}<>\"“”„«»'‘’`*…¿¡。、，！？「」"
_AROUND_A_WORD = re.compile(rf"^[{_MARKS}]+|(?:['’]s)?[{_MARKS}]+$|['’]s$")
_LARGEST = max(MULTIPLIERS.values())
_BY_NAME = MULTIPLIERS["entity_link"] / _LARGEST


def related(
    connection: apsw.Connection, anchors: Mapping[int, float], query: str | None, id_key: bytes
) -> dict[int, float]:
    """Return what up to 256 memories are worth by their relations, the best first.

    `anchors` are worths of memories that were found, of which the best 32 count. Only for a profile
    that has the tables; which memories may be seen, the caller knows.
    """
    best = sorted(anchors, key=lambda handle: (-anchors[handle], handle))[:ANCHORS_MAX]
    worth = {handle: anchors[handle] for handle in best if anchors[handle] > 0.0}
    missed: dict[int, float] = defaultdict(lambda: 1.0)
    for handle, value in _by_edges(connection, worth):
        missed[handle] *= 1.0 - value
    for handle, value in _by_names(connection, worth, named_in(connection, query, id_key)):
        missed[handle] *= 1.0 - value
    found = {handle: 1.0 - chance for handle, chance in missed.items() if chance < 1.0}
    chosen = sorted(found, key=lambda handle: (-found[handle], handle))[:NEIGHBOURS_MAX]
    return {handle: found[handle] for handle in chosen}


def named_in(connection: apsw.Connection, query: str | None, id_key: bytes) -> list[int]:
    """Return the entities whose names stand in a question, word by word."""
    words = (query or "").split(maxsplit=_WORDS_MAX)[:_WORDS_MAX]
    words = [word for word in (_AROUND_A_WORD.sub("", word) for word in words) if word]
    marks = {
        entity_id(id_key, " ".join(words[start : start + length]))
        for start in range(len(words))
        for length in range(1, min(_NAME_WORDS_MAX, len(words) - start) + 1)
    }
    if not marks:
        return []
    rows: Any = connection.execute(
        f"SELECT e.entity FROM carray(?) c JOIN {ENTITIES} e ON e.mark = c.value ORDER BY 1",
        (apsw.carray(tuple(sorted(marks))),),
    )
    return [entity for (entity,) in rows]


def _by_edges(
    connection: apsw.Connection, worth: Mapping[int, float]
) -> Iterator[tuple[int, float]]:
    for handle, value in worth.items():
        for here, there in (("source", "target"), ("target", "source")):
            rows: Any = connection.execute(
                f"SELECT {there}, type, weight FROM {RELATIONS} WHERE {here} = ? LIMIT ?",
                (handle, _EDGES_MAX),
            )
            for other, kind, weight in rows:
                yield other, _bounded(value * weight * multiplier(kind) / _LARGEST)


def _by_names(
    connection: apsw.Connection, worth: Mapping[int, float], named: list[int]
) -> Iterator[tuple[int, float]]:
    # Of each entity by which memories it was reached, and what that is worth; 0 is the question.
    reached: dict[int, dict[int, float]] = {entity: {0: 1.0} for entity in named}
    rows: list[Any] = []
    if worth:
        rows = connection.execute(
            f"""SELECT l.entity, l.handle, l.weight FROM carray(?) c
            JOIN {LINKS} l ON l.handle = c.value ORDER BY l.entity, l.handle""",
            (apsw.carray(np.asarray(list(worth), np.int64)),),
        ).fetchall()
    for entity, handle, weight in rows:
        reached.setdefault(entity, {})[handle] = worth[handle] * weight
    strongest = sorted(reached, key=lambda entity: (-max(reached[entity].values()), entity))
    for entity in strongest[:_ENTITIES_MAX]:
        members: list[Any] = connection.execute(
            f"SELECT handle, weight FROM {LINKS} WHERE entity = ? LIMIT ?",
            (entity, NEIGHBOURS_MAX + 1),
        ).fetchall()
        if len(members) > NEIGHBOURS_MAX:
            continue
        share = _BY_NAME / math.log2(1.0 + len(members))
        for handle, weight in members:
            for start, value in reached[entity].items():
                if start != handle:
                    yield handle, _bounded(value * weight * share)


def _bounded(value: float) -> float:
    return min(1.0, max(0.0, value))
