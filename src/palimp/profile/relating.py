"""Facts and instructions that say almost the same, or that cannot both be true.

Found beside the rows that just got a vector, noted as proposals, and changed by nobody here unless
a policy says so. Every vector has a code, and codes are numbered as they are written: what is
behind the mark in `__palimp_meta` is the work. The mark stands in the file, so it is right after a
rewind, a fork and an import.

What callers give as vectors is of models nobody here knows: only vectors of ours are compared.
Events, tasks and working memory are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import apsw

from . import proposals
from .indexing import GIVEN_MODEL, MEMORIES
from .memories import take_place
from .proposals import NewProposal, pair_id
from .protocols import Sealer, Undecipherable

if TYPE_CHECKING:
    from .vectors import CodeIndex, Handles, QueryVector

__all__ = [
    "Association",
    "Found",
    "Noted",
    "Pair",
    "Reader",
    "Said",
    "find",
    "find_of",
    "has_more",
    "interchangeable",
    "mark",
    "note",
    "replaced",
]

_MARK = "related"
_NEAR_MAX = 64
# Below that two texts are about different things, whatever else they share.
_RELATED_MIN = 0.6
# From that on they are about the same, and an edge says so.
_ASSOCIATED_MIN = 0.7
# A row that is like many others says so three times, and so does each of those.
_PAIRS_A_ROW_MAX = 3
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TOKEN = re.compile(r"\w+")
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nobody|nothing|neither|nor|without|cannot|stopped|quit|\w+n['’]t)\b",
    re.IGNORECASE,
)
_COLUMNS = (
    "handle id type kind topic speaker project environment session agent tags activated_at text"
).split()
_ACTIVE = """type IN ('fact', 'instruction') AND superseded_at IS NULL AND state = 'active'
AND coalesce(kind, '') != 'working'"""
# What two memories have to share to be compared at all, and for one to take the other's place.
_SAME_PLACE = ("project", "environment")
_SAME_ROLE = ("type", "kind", "topic", "speaker", "session", "agent", "tags")


class Said(Protocol):
    """What a sentence says of whom."""

    @property
    def subject(self) -> str:
        """Of whom or what."""

    @property
    def slot(self) -> str:
        """What about it."""

    @property
    def value(self) -> str:
        """What that is."""

    @property
    def polarity(self) -> bool:
        """False where it is not so."""

    @property
    def key(self) -> str:
        """What two sentences share that speak of the same."""


class Reader(Protocol):
    """Understands sentences, as far as that goes."""

    def statement(self, text: str) -> Any:
        """Return what a text says, as a `Said`; None where that is not understood."""

    def contradiction(self, first: Any, second: Any) -> str | None:
        """Return why both cannot be true; None where they can."""


class _Row(NamedTuple):
    handle: int
    id: str
    type: str
    kind: str | None
    topic: str | None
    speaker: str | None
    project: str | None
    environment: str | None
    session: str | None
    agent: str | None
    tags: str | None
    activated_at: int
    text: str


Kind = Literal["duplicate", "contradiction"]


class Pair(NamedTuple):
    """Two memories by handle. `replaces`: the newer one may take the older one's place."""

    newer: int
    older: int
    kind: Kind
    score: float | None
    reason: str
    model: str
    replaces: bool


class Association(NamedTuple):
    """Two memories by handle that are near to each other, and how near."""

    newer: int
    older: int
    cosine: float


class Found(NamedTuple):
    """Pairs, how many rows were looked at, and the number of the last code of these."""

    pairs: list[Pair]
    rows: int
    through: int
    associations: tuple[Association, ...] = ()


class Noted(NamedTuple):
    """How many pairs were new, and how many memories a newer one took the place of."""

    duplicates: int = 0
    contradictions: int = 0
    superseded: int = 0


def mark(connection: apsw.Connection) -> int:
    """Return the number of the code up to which rows were compared."""
    found = connection.execute("SELECT value FROM __palimp_meta WHERE key = ?", (_MARK,)).get
    return found if type(found) is int else 0


def has_more(connection: apsw.Connection, after: int) -> bool:
    """Whether there are rows whose codes follow `after`."""
    found = connection.execute(
        f"SELECT 1 FROM {MEMORIES.codes} WHERE code > ? LIMIT 1", (after,)
    ).get
    return found is not None


def find(
    connection: apsw.Connection,
    index: CodeIndex,
    sealer: Sealer,
    reader: Reader,
    after: int,
    limit: int,
    minimum: float,
    *,
    associations: bool = False,
) -> Found:
    """Compare up to `limit` rows whose codes follow `after` with those near to them.

    Two with a cosine of `minimum` or more are near duplicates, unless they differ in a number, a
    negation or their subject. With `associations` what is as near as 0.7 in the same place is given
    too, of each row the nearest three. Reads only.
    """
    import numpy as np

    from .vectors import QueryVector

    pairs: dict[tuple[int, int, str], Pair] = {}
    through, rows = after, 0
    near: dict[tuple[int, int], Association] = {}
    search = _Search(connection, index, sealer, reader, minimum, associations)
    for code, handle, model, vector in _fresh(connection, after, limit):
        through, rows = code, rows + 1
        row = search.row(handle) if model is not None else None
        if row is not None and vector is not None:
            query = QueryVector(model, np.frombuffer(vector, np.float32))
            for pair in search.pairs(row, query):
                pairs.setdefault((pair.newer, pair.older, pair.kind), pair)
            for one in search.associations:
                near.setdefault((one.newer, one.older), one)
    return Found(list(pairs.values()), rows, through, tuple(near.values()))


def find_of(
    connection: apsw.Connection,
    index: CodeIndex,
    sealer: Sealer,
    reader: Reader,
    handles: Sequence[int],
    minimum: float,
) -> Found:
    """Compare these rows, whether they were compared before or not; the mark is not moved by it."""
    import numpy as np

    from .vectors import QueryVector

    pairs: dict[tuple[int, int, str], Pair] = {}
    search = _Search(connection, index, sealer, reader, minimum, associating=False)
    for handle in handles:
        row = search.row(handle)
        if row is None:
            continue
        for model, vector in _own_vectors(connection, handle):
            for pair in search.pairs(row, QueryVector(model, np.frombuffer(vector, np.float32))):
                pairs.setdefault((pair.newer, pair.older, pair.kind), pair)
    return Found(list(pairs.values()), len(handles), 0)


def note(
    connection: apsw.Connection,
    found: Found,
    sealer: Sealer,
    id_key: bytes,
    now_ms: int,
    *,
    supersede: bool,
) -> Noted:
    """Note pairs as proposals; with `supersede` newer near duplicates take the older ones' place.

    Passed over are pairs of which one is gone or holds no more, and those somebody decided on: what
    was dismissed does not come back.
    """
    counted: dict[Kind, int] = {"duplicate": 0, "contradiction": 0}
    superseded = 0
    for pair in found.pairs:
        ids = _ids(connection, (pair.newer, pair.older))
        if ids is None:
            continue
        identity = pair_id(id_key, pair.kind, *ids)
        known = proposals.decisions_of(connection, [identity]).get(identity)
        replaced = supersede and pair.replaces and known in (None, "pending")
        if known is None:
            counted[pair.kind] += 1
            new = _proposal(identity, pair)
            proposals.add(connection, [new], sealer, now_ms)
        if replaced:
            take_place(connection, pair.older, pair.newer, now_ms, None)
            proposals.decide(connection, identity, "superseded", now_ms)
            superseded += 1
    _associate(connection, found.associations, now_ms)
    if found.through > mark(connection):
        values = (_MARK, found.through)
        connection.execute("INSERT OR REPLACE INTO __palimp_meta VALUES (?, ?)", values)
    return Noted(counted["duplicate"], counted["contradiction"], superseded)


def interchangeable(one: str, other: str) -> bool:
    """Whether two texts that are near differ neither in a number, nor in a negation, nor a name."""
    if _numbers(one) != _numbers(other) or _is_negated(one) != _is_negated(other):
        return False
    return _telling(one) == _telling(other)


class _Search:
    """One pass of comparing; what was read of rows is kept for it."""

    def __init__(
        self,
        connection: apsw.Connection,
        index: CodeIndex,
        sealer: Sealer,
        reader: Reader,
        minimum: float,
        associating: bool,
    ) -> None:
        self._connection = connection
        self._index = index
        self._sealer = sealer
        self._reader = reader
        self._minimum = minimum
        self._associating = associating
        # Of the row that was looked at last.
        self.associations: list[Association] = []
        self._rows: dict[int, _Row | None] = {}
        self._active: Handles | None = None
        self._said: dict[int, Said | None] = {}

    def row(self, handle: int) -> _Row | None:
        """Return a row if it takes part."""
        if handle not in self._rows:
            self._rows[handle] = None
            for found in self._read("handle = ?", handle):
                self._rows[handle] = found
        return self._rows[handle]

    def pairs(self, row: _Row, query: QueryVector) -> Iterator[Pair]:
        """Yield what a row is paired with, of each kind the nearest three."""
        left: dict[Kind, int] = dict.fromkeys(("duplicate", "contradiction"), _PAIRS_A_ROW_MAX)
        self.associations = []
        for other, score in self._others(row, query):
            older, newer = sorted((row, other), key=lambda one: (one.activated_at, one.handle))
            self._associate(newer, older, score)
            verdict = self._judge(newer, older, score)
            if verdict is not None and left[verdict[0]]:
                kind, reason = verdict
                left[kind] -= 1
                replaces = kind == "duplicate" and self._replaces(newer, older)
                yield Pair(newer.handle, older.handle, kind, score, reason, query.model, replaces)

    def _others(self, row: _Row, query: QueryVector) -> Iterator[tuple[_Row, float | None]]:
        said = self._statement(row)
        # What nobody understands contradicts nothing.
        least = _RELATED_MIN
        if said is None:
            least = min(self._minimum, _ASSOCIATED_MIN) if self._associating else self._minimum
        found = self._near(query, least)
        for handle, score in found.items():
            other = self.row(handle) if handle != row.handle else None
            if other is not None:
                yield other, round(score, 4)
        if said is None:
            return
        # Under one topic there is one of each type. It may be put in other words altogether.
        for topic in dict.fromkeys((said.key, row.topic or said.key)):
            for other in self._read("topic = ?", topic):
                if other.handle != row.handle and other.handle not in found:
                    yield other, None

    def _near(self, query: QueryVector, least: float) -> dict[int, float]:
        """Return the rows with at least such a cosine, the nearest first."""
        import numpy as np

        from .vectors import nearest

        near = nearest(self._connection, MEMORIES, self._index, query, _NEAR_MAX)
        if isinstance(near, dict) and len(near) == _NEAR_MAX and min(near.values()) > least:
            # Perhaps events and what holds no more have taken all places.
            if self._active is None:
                handles = self._connection.execute(
                    f"SELECT handle FROM __palimp_memories WHERE {_ACTIVE}"
                ).fetchall()
                self._active = np.array([handle for (handle,) in handles], np.int64)
            near = nearest(self._connection, MEMORIES, self._index, query, _NEAR_MAX, self._active)
        if not isinstance(near, dict):
            return {}
        return {handle: score for handle, score in near.items() if score >= least}

    def _judge(self, newer: _Row, older: _Row, score: float | None) -> tuple[Kind, str] | None:
        """Return the kind of a pair, and why it is one; None where it is none."""
        if not _equal(newer, older, _SAME_PLACE) or _differ(newer.speaker, older.speaker):
            return None
        one, other = self._statement(newer), self._statement(older)
        if one is not None and other is not None:
            if one.subject != other.subject:
                return None
            reason = self._reader.contradiction(one, other)
            if reason is not None:
                return "contradiction", reason
            if (one.slot, one.value, one.polarity) != (other.slot, other.value, other.polarity):
                return None
        if score is None or score < self._minimum or newer.type != older.type:
            return None
        if _numbers(newer.text) != _numbers(older.text):
            return None
        if _is_negated(newer.text) != _is_negated(older.text):
            return "contradiction", "almost the same words, one of them with a negation"
        return "duplicate", f"cosine {score:.3f}"

    def _associate(self, newer: _Row, older: _Row, score: float | None) -> None:
        if not self._associating or score is None or score < _ASSOCIATED_MIN:
            return
        if len(self.associations) < _PAIRS_A_ROW_MAX and _equal(newer, older, _SAME_PLACE):
            self.associations.append(Association(newer.handle, older.handle, min(score, 1.0)))

    def _replaces(self, newer: _Row, older: _Row) -> bool:
        return _equal(newer, older, _SAME_ROLE) and _telling(newer.text) == _telling(older.text)

    def _statement(self, row: _Row) -> Said | None:
        if row.handle not in self._said:
            self._said[row.handle] = self._reader.statement(row.text)
        return self._said[row.handle]

    def _read(self, where: str, value: int | str) -> Iterator[_Row]:
        statement = f"""SELECT {", ".join(_COLUMNS)} FROM __palimp_memories
        WHERE {where} AND {_ACTIVE}"""
        rows: list[Any] = self._connection.execute(statement, (value,)).fetchall()
        for *fields, stored in rows:
            # What cannot be read is compared with nothing.
            with suppress(Undecipherable):
                text = self._sealer.unseal(stored, "memories", fields[1], "text")
                yield _Row._make((*fields, text))


def _fresh(connection: apsw.Connection, after: int, limit: int) -> list[Any]:
    """Return code, handle, model's name (None: not of ours) and vector, in the order of codes."""
    rows: list[Any] = connection.execute(
        f"""SELECT c.code, c.handle, m.name, v.vector FROM {MEMORIES.codes} c
        LEFT JOIN __palimp_models m ON m.model = c.model AND m.name != ?
        LEFT JOIN {MEMORIES.vectors} v ON v.slot = (c.handle << 8 | c.model) AND v.code = c.code
        WHERE c.code > ? ORDER BY c.code LIMIT ?""",
        (GIVEN_MODEL, after, limit),
    ).fetchall()
    return rows


def _own_vectors(connection: apsw.Connection, handle: int) -> list[Any]:
    """Return the names of our models and the vectors of a row."""
    rows: list[Any] = connection.execute(
        f"""SELECT m.name, v.vector FROM {MEMORIES.vectors} v
        JOIN __palimp_models m ON m.model = v.slot & 255
        WHERE v.slot BETWEEN ?1 << 8 AND (?1 << 8) + 255 AND m.name != ?2""",
        (handle, GIVEN_MODEL),
    ).fetchall()
    return rows


def replaced(connection: apsw.Connection, pairs: Iterable[Pair]) -> dict[str, tuple[str, ...]]:
    """Return whose place the newer ones of these pairs have by now, by id."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        row = connection.execute(
            """SELECT n.id, o.id FROM __palimp_memories o
            JOIN __palimp_memories n ON n.handle = o.superseded_by
            WHERE o.handle = ? AND n.handle = ?""",
            (pair.older, pair.newer),
        ).fetchone()
        if row is not None:
            found[row[0]] = (*found.get(row[0], ()), row[1])
    return found


def _ids(connection: apsw.Connection, handles: Sequence[int]) -> tuple[str, str] | None:
    """Return the ids of two memories, newest first; None where one does not hold any more."""
    found = [
        connection.execute(
            f"SELECT id FROM __palimp_memories WHERE handle = ? AND {_ACTIVE}", (handle,)
        ).get
        for handle in handles
    ]
    return (found[0], found[1]) if all(found) else None


def _associate(connection: apsw.Connection, found: Sequence[Association], now_ms: int) -> None:
    """Relate what is near to each other and still holds, the newer one to the older one."""
    if not found:
        return
    from .relations.edges import NewEdge, add

    edges = [
        NewEdge(one.newer, one.older, "association", one.cosine)
        for one in found
        if _ids(connection, (one.newer, one.older)) is not None
    ]
    add(connection, edges, "rule", now_ms)


def _proposal(identity: str, pair: Pair) -> NewProposal:
    return NewProposal(
        identity,
        pair.kind,
        "pending",
        reason=pair.reason,
        score=pair.score,
        memory=pair.newer,
        other=pair.older,
        model=pair.model,
    )


def _equal(one: _Row, other: _Row, fields: Iterable[str]) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _numbers(text: str) -> list[str]:
    return sorted(_NUMBER.findall(text))


def _is_negated(text: str) -> bool:
    return len(_NEGATION.findall(text)) % 2 == 1


def _telling(text: str) -> tuple[list[str], list[str]]:
    """Return the words with a capital, in order, and those with a digit: who is named, and what.

    Means of words know no order: "Ann owes Bob" is as near to "Bob owes Ann" as can be. Nor do they
    know an id: of two that differ in one letter neither is a word.
    """
    named = [word for word in _WORD.findall(text) if word[0].isupper()]
    counted = [word for word in _TOKEN.findall(text) if any(map(str.isdigit, word))]
    return named, sorted(counted)
