"""The channel `relation`: what is a step, or up to three, from the best that other channels found.

A step is an edge between two memories, in either direction, or something that both name. What a
question names counts as found. Each way to a memory is worth what its beginning is worth times the
strength of the step, in [0, 1]; several ways add up as chances do, to at most 1:

- an edge: its weight times the multiplier of its type, relative to the largest multiplier;
- a name: both links' weights times the multiplier, divided by the logarithm of how many memories
  name it; what more than 256 name says nothing.

A further step begins at the best 32 that the one before reached and that may be seen, each worth
half of what it is worth itself.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apsw
import numpy as np

from ..relations.edges import MULTIPLIERS, multiplier
from ..relations.entities import entity_id
from ..relations.tables import ENTITIES, LINKS, RELATIONS

__all__ = ["ANCHORS_MAX", "NEIGHBOURS_MAX", "Further", "named_in", "related"]

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
# What the beginning of a further step counts of what it is worth.
_FURTHER = 0.5


class Further(NamedTuple):
    """How many more steps to take, and which memories of several may be seen."""

    steps: int
    seen: Callable[[Iterable[int]], Collection[int]]


def related(
    connection: apsw.Connection,
    anchors: Mapping[int, float],
    query: str | None,
    id_key: bytes,
    further: Further | None = None,
) -> dict[int, float]:
    """Return what up to 256 memories are worth by their relations, the best first.

    `anchors` are worths of memories that were found, of which the best 32 count. Only for a profile
    that has the tables; which memories may be seen, the caller knows, and says it of those from
    which `further` goes on.
    """
    begun = _best(anchors, ANCHORS_MAX)
    missed: dict[int, float] = defaultdict(lambda: 1.0)
    passed: set[int] = set()
    for handle, value in _by_edges(connection, begun):
        missed[handle] *= 1.0 - value
    named = named_in(connection, query, id_key)
    for handle, value in _by_names(connection, begun, named, passed):
        missed[handle] *= 1.0 - value
    if further is not None:
        _go_on(connection, begun, missed, passed, further)
    found = {handle: 1.0 - chance for handle, chance in missed.items() if chance < 1.0}
    chosen = sorted(found, key=lambda handle: (-found[handle], handle))[:NEIGHBOURS_MAX]
    return {handle: found[handle] for handle in chosen}


def _best(worth: Mapping[int, float], most: int) -> dict[int, float]:
    best = sorted(worth, key=lambda handle: (-worth[handle], handle))[:most]
    return {handle: worth[handle] for handle in best if worth[handle] > 0.0}


def _go_on(
    connection: apsw.Connection,
    begun: Mapping[int, float],
    missed: dict[int, float],
    passed: set[int],
    further: Further,
) -> None:
    """Take more steps, each from what the one before reached; where that is nothing new it ends.

    No step begins where one began, leads back there, or goes through a name a second time.
    """
    started = set(begun)
    reached = set(missed) - started
    for _ in range(further.steps):
        # Those that nobody may see lead nowhere.
        worth = {handle: _FURTHER * (1.0 - missed[handle]) for handle in reached}
        near = _best(worth, NEIGHBOURS_MAX)
        seen = further.seen(near)
        start = _best({handle: near[handle] for handle in near if handle in seen}, ANCHORS_MAX)
        if not start:
            return
        started |= start.keys()
        ways = [*_by_edges(connection, start), *_by_names(connection, start, [], passed)]
        ways = [(handle, value) for handle, value in ways if handle not in started]
        reached = {handle for handle, _ in ways}
        for handle, value in ways:
            missed[handle] *= 1.0 - value


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
    connection: apsw.Connection,
    worth: Mapping[int, float],
    named: list[int],
    passed: set[int],
) -> Iterator[tuple[int, float]]:
    """Yield ways through names that are not in `passed`, and add these names to it."""
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
        if entity not in passed:
            reached.setdefault(entity, {})[handle] = worth[handle] * weight
    strongest = sorted(reached, key=lambda entity: (-max(reached[entity].values()), entity))
    for entity in strongest[:_ENTITIES_MAX]:
        passed.add(entity)
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
