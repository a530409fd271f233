"""Rows and the models they have vectors of: what is still to be embedded, and what is out of date.

The vectors of one model are a generation. A row has vectors of one generation of ours, and perhaps
one that its caller gave. Nothing here needs numpy.

A row without a vector is a job. So that nobody has to look at every row for them, a mark says up to
which handle none is missing. It is a lower bound, written in the transactions that change vectors,
and so right after a rewind, a fork and an import. One mark is of the rows that have a vector of any
generation (`_ANY`), one of each model that was embedded anew. Who takes a vector from a row that
stays lowers every mark: a batch that was looked up before that does not raise them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from ..errors import Conflict, Unavailable
from ..sealing import Undecipherable
from .indexing import CORPORA, GIVEN_MODEL, MEMORIES, Corpus, embedding_text, note_stale
from .protocols import Sealer

__all__ = [
    "Batch",
    "Generation",
    "Missing",
    "advance",
    "behind",
    "check_dimensions",
    "count_missing",
    "count_vectors",
    "drop_older",
    "drop_replaced",
    "generations",
    "has_missing",
    "lacking",
    "memory_handles",
    "missing_vectors",
    "model_number",
    "register",
    "turn_handles",
    "unreached",
    "unregister_empty",
]

_ANY = 0
_MODELS_MAX = 255
# No model has it.
_NONE = -1


class Missing(NamedTuple):
    """A row without a vector: what to embed, and the neighbour the text rests on."""

    handle: int
    text: str
    before: int | None


class Batch(NamedTuple):
    """Rows to embed. When all of them have their vectors, none up to `through` misses one.

    `model` is whose vectors were looked for, None: those of any generation. `start` is where the
    search began, `mark` what was written of that, None where nothing was. `unreadable` is one of
    the rows that were passed over because they cannot be read.
    """

    model: str | None
    rows: list[Missing]
    start: int
    through: int
    mark: int | None
    unreadable: int | None = None


class Generation(NamedTuple):
    """A model that has vectors here, other than what callers gave."""

    number: int
    name: str
    dimensions: int


def generations(connection: apsw.Connection) -> list[Generation]:
    """Return the generations, the newest first."""
    rows = connection.execute(
        "SELECT model, name, dimensions FROM __palimp_models WHERE name != ? ORDER BY model DESC",
        (GIVEN_MODEL,),
    )
    return [Generation(*row) for row in rows]


def model_number(connection: apsw.Connection, name: str) -> tuple[int, int] | None:
    """Return number and dimensions of a model that has vectors here, or None."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT model, dimensions FROM __palimp_models WHERE name = ?", (name,)
    ).fetchone()
    return row


def register(connection: apsw.Connection, name: str, dimensions: int) -> tuple[int, int]:
    """Return number and dimensions of a model, which has them from now on."""
    known = model_number(connection, name)
    if known is not None:
        return known
    taken = {number for (number,) in connection.execute("SELECT model FROM __palimp_models")}
    number = max(taken, default=0) + 1
    if number > _MODELS_MAX:
        free = set(range(1, _MODELS_MAX + 1)) - taken
        if not free:
            raise Conflict(
                f"there are vectors of {len(taken)} models here, more cannot be told apart; "
                "run `palimp embed reembed`"
            )
        number = min(free)
    connection.execute(
        "INSERT INTO __palimp_models (model, name, dimensions) VALUES (?, ?, ?)",
        (number, name, dimensions),
    )
    return number, dimensions


def check_dimensions(connection: apsw.Connection, name: str, dimensions: int) -> int:
    """Return the number of a model of ours whose vectors have so many dimensions."""
    number, known = register(connection, name, dimensions)
    if known != dimensions:
        raise Unavailable(
            f"{name} gave vectors of {dimensions:,} dimensions, those it gave before have "
            f"{known:,}; rows stay without a vector until it gives these again, or has another "
            "name (`embed_version`)",
            reason="dimensions",
        )
    return number


def missing_vectors(
    connection: apsw.Connection,
    corpus: Corpus,
    sealer: Sealer,
    limit: int,
    *,
    model: str | None = None,
) -> Batch:
    """Return up to `limit` rows, oldest first, without a vector of any generation, or of `model`.

    Tasks are never embedded.
    """
    number = _mark_number(connection, model)
    marks = _marks(connection, corpus)
    start = max(marks.values(), default=0) if model is None else marks.get(number, 0)
    rows: list[Missing] = []
    full, through, unreadable = True, 0, None
    while full and not rows:
        handles = [
            handle
            for (handle,) in connection.execute(
                f"""SELECT r.handle {_missing(corpus, model)} AND r.handle > :after
                ORDER BY r.handle LIMIT :limit""",
                {"number": number, "limit": limit, "after": through},
            )
        ]
        full = len(handles) == limit
        through = handles[-1] if full else max(start, _highest(connection, corpus))
        rows = _with_texts(connection, corpus, handles, sealer)
        if len(rows) < len(handles):
            unreadable = min(set(handles) - {row.handle for row in rows})
    return Batch(model, rows, start, through, marks.get(number), unreadable)


def count_missing(connection: apsw.Connection, corpus: Corpus, model: str | None = None) -> int:
    """Return how many rows `missing_vectors` would return without a limit."""
    number = _mark_number(connection, model)
    statement = f"SELECT count(*) {_missing(corpus, model)}"
    return int(connection.execute(statement, {"number": number}).get)


def has_missing(connection: apsw.Connection) -> bool:
    """Whether there is a row that no model has a vector of."""
    return any(
        connection.execute(f"SELECT EXISTS (SELECT 1 {_missing(corpus, None)})").get
        for corpus in CORPORA
    )


def lacking(
    connection: apsw.Connection,
    corpus: Corpus,
    model: str,
    handles: Sequence[int],
    sealer: Sealer,
    limit: int,
) -> list[Missing]:
    """Return up to `limit` of these rows that have no vector of a model."""
    known = model_number(connection, model)
    number = known[0] if known else _NONE
    never = "r.type != 'task' AND" if corpus is MEMORIES else ""
    rows: list[Any] = []
    for handle in handles:
        rows += connection.execute(
            f"""SELECT r.handle FROM {corpus.rows} r WHERE {never} r.handle = :handle AND NOT EXISTS
            (SELECT 1 FROM {corpus.vectors} v WHERE v.slot = (r.handle << 8 | :number))""",
            {"handle": handle, "number": number},
        ).fetchall()
        if len(rows) == limit:
            break
    return _with_texts(connection, corpus, [handle for (handle,) in rows], sealer)


def memory_handles(connection: apsw.Connection, ids: Sequence[str]) -> list[int]:
    """Return the handles of those of the memories that are there."""
    found: list[Any] = [
        connection.execute("SELECT handle FROM __palimp_memories WHERE id = ?", (one,)).get
        for one in ids
    ]
    return [handle for handle in found if handle is not None]


def turn_handles(connection: apsw.Connection, session: str, seqs: Sequence[int]) -> list[int]:
    """Return the handles of those of a session's turns that are there."""
    found: list[Any] = [
        connection.execute(
            "SELECT handle FROM __palimp_turns WHERE session = ? AND seq = ?", (session, seq)
        ).get
        for seq in seqs
    ]
    return [handle for handle in found if handle is not None]


def advance(connection: apsw.Connection, corpus: Corpus, batch: Batch) -> None:
    """Raise the mark of a batch of whose rows each has its vector now, where it may be raised."""
    number = _mark_number(connection, batch.model)
    if number == _NONE:
        return
    marks = _marks(connection, corpus)
    mark = marks.get(number)
    if mark is None:
        # From now on it can be seen whether a row lost its vector.
        mark = max(marks.values(), default=0) if batch.model is None else 0
    elif mark == batch.mark:
        mark = max(mark, batch.through)
    else:
        return
    if batch.unreadable is not None:
        # It is looked for again when it can be read.
        note_stale(connection, corpus, batch.unreadable)
    connection.execute(
        """INSERT INTO __palimp_embedded (corpus, model, upto) VALUES (?1, ?2, ?3)
        ON CONFLICT (corpus, model) DO UPDATE SET upto = ?3""",
        (corpus.name, number, mark),
    )


def drop_older(
    connection: apsw.Connection, corpus: Corpus, number: int, handles: Sequence[int]
) -> int:
    """Delete the vectors that these rows, which have one of `number`, have of other generations.

    Returns how many.
    """
    if len(generations(connection)) == 1:
        return 0
    keep = (number, _given(connection))
    dropped = 0
    for handle in handles:
        rows: list[Any] = connection.execute(
            f"SELECT slot, code FROM {corpus.vectors} WHERE slot BETWEEN ? AND ?",
            (handle << 8, (handle << 8) + 255),
        ).fetchall()
        for slot, code in rows:
            if slot & 255 not in keep:
                connection.execute(f"DELETE FROM {corpus.vectors} WHERE slot = ?", (slot,))
                connection.execute(f"DELETE FROM {corpus.codes} WHERE code = ?", (code,))
                dropped += 1
    if dropped:
        _forget_marks(connection, corpus, number)
    return dropped


def drop_replaced(connection: apsw.Connection, corpus: Corpus, model: str, limit: int) -> int:
    """Delete up to `limit` vectors of older generations beside one of `model`; return how many.

    Files of the first release have such rows: it left the older vector where it was.
    """
    known = model_number(connection, model)
    if known is None:
        return 0
    rows: list[Any] = connection.execute(
        f"""SELECT c.handle FROM {corpus.codes} c WHERE c.model NOT IN (:number, :given) AND EXISTS
        (SELECT 1 FROM {corpus.vectors} v WHERE v.slot = (c.handle << 8 | :number)) LIMIT :limit""",
        {"number": known[0], "given": _given(connection), "limit": limit},
    ).fetchall()
    return drop_older(connection, corpus, known[0], [handle for (handle,) in rows])


def unregister_empty(connection: apsw.Connection, model: str) -> None:
    """Forget the generations other than `model` that have no vector left."""
    for number, name, _ in generations(connection):
        if name != model and not any(
            connection.execute(f"SELECT 1 FROM {one.codes} WHERE model = ? LIMIT 1", (number,)).get
            for one in CORPORA
        ):
            connection.execute("DELETE FROM __palimp_embedded WHERE model = ?", (number,))
            connection.execute("DELETE FROM __palimp_models WHERE model = ?", (number,))


def behind(connection: apsw.Connection, current: str | None) -> list[Generation]:
    """Return the generations that may have rows `current` has none of, the newest first."""
    found = [one for one in generations(connection) if one.name != current]
    if found and current is not None:
        number = _mark_number(connection, current)
        if all(
            _marks(connection, corpus).get(number, 0) >= _highest(connection, corpus)
            for corpus in CORPORA
        ):
            return []
    return found


def unreached(connection: apsw.Connection, corpus: Corpus, reached: Sequence[str]) -> int:
    """Return how many rows have vectors, but none of the models `reached`, nor a given one alone.

    Looks at every code: for explanations.
    """
    numbers = [known[0] for name in reached if (known := model_number(connection, name))]
    given = _given(connection)
    left_out = ", ".join(map(str, {*numbers, given}))
    held = "".join(
        f""" AND NOT EXISTS (SELECT 1 FROM {corpus.vectors} v
        WHERE v.slot = (c.handle << 8 | {number}))"""
        for number in numbers
    )
    return int(
        connection.execute(
            f"""SELECT count(DISTINCT c.handle) FROM {corpus.codes} c
            WHERE c.model NOT IN ({left_out}){held}"""
        ).get
    )


def count_vectors(connection: apsw.Connection, corpus: Corpus) -> dict[int, int]:
    """Return by model's number how many rows have a vector of it."""
    rows: list[Any] = connection.execute(
        f"SELECT model, count(*) FROM {corpus.codes} GROUP BY model"
    ).fetchall()
    return dict(rows)


def _missing(corpus: Corpus, model: str | None) -> str:
    never = "r.type != 'task' AND" if corpus is MEMORIES else ""
    if model is None:
        # Who has a vector of one generation has one of any: the highest mark counts.
        whose = ""
        held = f"""v.slot BETWEEN r.handle << 8 AND (r.handle << 8) + 255 AND v.slot & 255 IS NOT
        (SELECT model FROM __palimp_models WHERE name = '{GIVEN_MODEL}')"""
    else:
        whose = "AND model = :number"
        held = "v.slot = (r.handle << 8 | :number)"
    return f"""FROM {corpus.rows} r WHERE {never} r.handle >
    (SELECT coalesce(max(upto), 0) FROM __palimp_embedded WHERE corpus = '{corpus.name}' {whose})
    AND NOT EXISTS (SELECT 1 FROM {corpus.vectors} v WHERE {held})"""


def _given(connection: apsw.Connection) -> int:
    known = model_number(connection, GIVEN_MODEL)
    return known[0] if known else _NONE


def _mark_number(connection: apsw.Connection, model: str | None) -> int:
    if model is None:
        return _ANY
    known = model_number(connection, model)
    return known[0] if known else _NONE


def _marks(connection: apsw.Connection, corpus: Corpus) -> dict[int, int]:
    rows: list[Any] = connection.execute(
        "SELECT model, upto FROM __palimp_embedded WHERE corpus = ?", (corpus.name,)
    ).fetchall()
    return dict(rows)


def _forget_marks(connection: apsw.Connection, corpus: Corpus, number: int) -> None:
    """Remove the marks of generations that lost vectors; what they said of any is kept."""
    connection.execute(
        """INSERT INTO __palimp_embedded (corpus, model, upto)
        SELECT corpus, ?2, max(upto) FROM __palimp_embedded WHERE corpus = ?1 GROUP BY corpus
        ON CONFLICT (corpus, model) DO UPDATE SET upto = max(upto, excluded.upto)""",
        (corpus.name, _ANY),
    )
    connection.execute(
        "DELETE FROM __palimp_embedded WHERE corpus = ? AND model NOT IN (?, ?)",
        (corpus.name, _ANY, number),
    )


def _highest(connection: apsw.Connection, corpus: Corpus) -> int:
    return int(connection.execute(f"SELECT max(handle) FROM {corpus.rows}").get or 0)


def _with_texts(
    connection: apsw.Connection, corpus: Corpus, handles: Sequence[int], sealer: Sealer
) -> list[Missing]:
    found = []
    for handle in handles:
        # Of what cannot be read nothing is embedded.
        with suppress(Undecipherable):
            found.append(Missing(handle, *embedding_text(connection, corpus, handle, sealer)))
    return found
