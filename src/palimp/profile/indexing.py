"""What is indexed of a row: its words, who said it and when, and what was said around it.

The FTS tables are contentless: removing a row takes the very words it was added with. So the
indexed text is a function of the rows alone, and whoever changes rows removes entries before and
adds them after. An event (or turn) is indexed with its neighbours in the session; they are what
makes "yes, that one" findable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from ..clock import format_ms
from .checks import decode_json
from .protocols import Sealer

__all__ = [
    "CORPORA",
    "GIVEN_MODEL",
    "MEMORIES",
    "TURNS",
    "Corpus",
    "Piece",
    "add_entries",
    "drop_vectors",
    "embedding_text",
    "neighbours",
    "piece",
    "reindex_around",
    "remove_entries",
    "turn_text",
]

# Of a neighbour only its beginning is context; a pasted log must not drown the row beside it.
_CONTEXT_CHARS = 2_000
# The model name under which vectors stand that callers hand in themselves.
GIVEN_MODEL = "given"
_NO_LIMIT = 1 << 62
_MONTHS = (
    "January February March April May June July August September October November December".split()
)


class Corpus(NamedTuple):
    """One kind of rows that can be searched, and the SQL that is special to it.

    `source` gives text, keywords, tags, topic, kind, speaker, time of a handle; `near` the handles
    before and after it in its session among those below `:below`, so that the state before a batch
    can be asked for.
    """

    name: str
    rows: str
    fts: str
    vectors: str
    codes: str
    source: str
    near: str


class Piece(NamedTuple):
    """The columns of one FTS entry, in the order of the table."""

    text: str
    keywords: str
    label: str
    before: str
    after: str


def _corpus(name: str, source: str, near: str) -> Corpus:
    table = f"__palimp_{name}"
    return Corpus(name, table, f"{table}_fts", f"{table}_vectors", f"{table}_codes", source, near)


def _beside_event(compare: str, order: str) -> str:
    return f"""(SELECT n.handle FROM __palimp_memories n
    WHERE n.session = m.session AND n.type = 'event' AND n.handle < :below
    AND (n.occurred_at, n.handle) {compare} (m.occurred_at, m.handle)
    ORDER BY n.occurred_at {order}, n.handle {order} LIMIT 1)"""


def _beside_turn(compare: str, order: str) -> str:
    return f"""(SELECT n.handle FROM __palimp_turns n
    WHERE n.session = m.session AND n.seq {compare} m.seq AND n.handle < :below
    ORDER BY n.seq {order} LIMIT 1)"""


MEMORIES = _corpus(
    "memories",
    """SELECT text, keywords, tags, topic, kind, speaker, observed_at
    FROM __palimp_memories WHERE handle = ?""",
    f"""SELECT {_beside_event("<", "DESC")}, {_beside_event(">", "ASC")} FROM __palimp_memories m
    WHERE m.handle = :handle AND m.type = 'event' AND m.session IS NOT NULL""",
)
TURNS = _corpus(
    "turns",
    """SELECT content, NULL, NULL, NULL, NULL, COALESCE(speaker, role), at
    FROM __palimp_turns WHERE handle = ?""",
    f"""SELECT {_beside_turn("<", "DESC")}, {_beside_turn(">", "ASC")} FROM __palimp_turns m
    WHERE m.handle = :handle""",
)
CORPORA = (MEMORIES, TURNS)


def turn_text(content: Any) -> str:
    """Return the words of a turn: itself, a message's text, else all texts of its JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        for name in ("text", "content"):
            if name in content:
                return turn_text(content[name])
        return " ".join(filter(None, map(turn_text, content.values())))
    if isinstance(content, (list, tuple)):
        return " ".join(filter(None, map(turn_text, content)))
    return ""


def neighbours(
    connection: apsw.Connection, corpus: Corpus, handle: int, below: int = _NO_LIMIT
) -> tuple[int | None, int | None]:
    """Return the handles before and after in the session, among those smaller than `below`."""
    found: Any = connection.execute(corpus.near, {"handle": handle, "below": below}).fetchone()
    return found or (None, None)


def piece(
    connection: apsw.Connection,
    corpus: Corpus,
    handle: int,
    sealer: Sealer,
    near: tuple[int | None, int | None],
) -> Piece:
    """Return the FTS entry of a row whose neighbours are `near`."""
    text, keywords, tags, topic, kind, speaker, at = _source(connection, corpus, handle, sealer)
    words = [topic, kind, *(decode_json(tags) if tags else ()), keywords]
    label = [speaker, format_ms(at, pattern=_day) if at is not None else None]
    before, after = near
    return Piece(
        text,
        " ".join(filter(None, words)),
        " ".join(filter(None, label)),
        _spoken(connection, corpus, before, sealer),
        _spoken(connection, corpus, after, sealer),
    )


def embedding_text(
    connection: apsw.Connection, corpus: Corpus, handle: int, sealer: Sealer
) -> tuple[str, int | None]:
    """Return what is embedded of a row and the neighbour it rests on.

    Measured on LoCoMo's development half: the turn before, then the turn with its speaker, is worth
    more than the bare turn.
    """
    _, keywords, tags, topic, *_ = _source(connection, corpus, handle, sealer)
    before, _ = neighbours(connection, corpus, handle)
    extra = [topic, *(decode_json(tags) if tags else ()), keywords]
    parts = [
        _spoken(connection, corpus, before, sealer),
        _spoken(connection, corpus, handle, sealer, chars_max=None),
        *extra,
    ]
    return " ".join(filter(None, parts)), before


def add_entries(
    connection: apsw.Connection, corpus: Corpus, handles: Iterable[int], sealer: Sealer
) -> None:
    """Add the entries of rows that have none."""
    for handle in handles:
        _add_entry(connection, corpus, handle, sealer, neighbours(connection, corpus, handle))


def remove_entries(
    connection: apsw.Connection,
    corpus: Corpus,
    handles: Iterable[int],
    sealer: Sealer,
    below: int = _NO_LIMIT,
) -> None:
    """Remove the entries of rows, before the rows (or, with `below`, after newer rows) change."""
    statement = f"""INSERT INTO {corpus.fts}
    ({corpus.fts}, rowid, text, keywords, label, before, after)
    VALUES ('delete', ?, ?, ?, ?, ?, ?)"""
    for handle in handles:
        near = neighbours(connection, corpus, handle, below)
        entry = piece(connection, corpus, handle, sealer, near)
        connection.execute(statement, (handle, *entry))


def reindex_around(
    connection: apsw.Connection, corpus: Corpus, fresh: Sequence[int], sealer: Sealer
) -> None:
    """Index rows just inserted, and index again the older rows they became neighbours of.

    An older row whose predecessor changed loses its vectors of embedded text: the row without a
    vector is the job of the embedding pass.
    """
    if not fresh:
        return
    first = min(fresh)
    touched: dict[int, None] = {}
    moved: list[int] = []
    for handle in fresh:
        near = _, after = neighbours(connection, corpus, handle)
        _add_entry(connection, corpus, handle, sealer, near)
        touched.update((other, None) for other in near if other is not None and other < first)
        if after is not None and after < first:
            moved.append(after)
    remove_entries(connection, corpus, touched, sealer, below=first)
    add_entries(connection, corpus, touched, sealer)
    drop_vectors(connection, corpus, moved, keep_given=True)


def _add_entry(
    connection: apsw.Connection,
    corpus: Corpus,
    handle: int,
    sealer: Sealer,
    near: tuple[int | None, int | None],
) -> None:
    entry = piece(connection, corpus, handle, sealer, near)
    connection.execute(
        f"""INSERT INTO {corpus.fts} (rowid, text, keywords, label, before, after)
        VALUES (?, ?, ?, ?, ?, ?)""",
        (handle, *entry),
    )


def drop_vectors(
    connection: apsw.Connection, corpus: Corpus, handles: Sequence[int], *, keep_given: bool
) -> None:
    """Delete the vectors of these rows; with `keep_given` those a caller handed in stay."""
    if not handles:
        return
    given = connection.execute(
        "SELECT model FROM __palimp_models WHERE name = ?", (GIVEN_MODEL,)
    ).get
    for handle in handles:
        # Every model's slot of a handle lies in one range of 256.
        rows: list[Any] = connection.execute(
            f"SELECT slot, code FROM {corpus.vectors} WHERE slot BETWEEN ? AND ?",
            (handle << 8, (handle << 8) + 255),
        ).fetchall()
        for slot, code in rows:
            if not (keep_given and slot & 255 == given):
                connection.execute(f"DELETE FROM {corpus.vectors} WHERE slot = ?", (slot,))
                connection.execute(f"DELETE FROM {corpus.codes} WHERE code = ?", (code,))
        connection.execute(
            "UPDATE __palimp_embedded SET upto = ?1 - 1 WHERE corpus = ?2 AND upto >= ?1",
            (handle, corpus.name),
        )


def _source(
    connection: apsw.Connection, corpus: Corpus, handle: int, sealer: Sealer
) -> tuple[Any, ...]:
    row = connection.execute(corpus.source, (handle,)).fetchone()
    assert row is not None, f"no row {handle} in {corpus.rows}"
    text, keywords, *rest = row
    text = sealer.unseal(text)
    if corpus is TURNS:
        text = turn_text(decode_json(text))
    return (text, sealer.unseal(keywords) if keywords is not None else None, *rest)


def _spoken(
    connection: apsw.Connection,
    corpus: Corpus,
    handle: int | None,
    sealer: Sealer,
    chars_max: int | None = _CONTEXT_CHARS,
) -> str:
    if handle is None:
        return ""
    text, _, _, _, _, speaker, _ = _source(connection, corpus, handle, sealer)
    return f"{speaker}: {text[:chars_max]}" if speaker else str(text[:chars_max])


def _day(moment: Any) -> str:
    # Not strftime: the names would follow the program's locale, and an entry has to be removed with
    # the very words it was added with.
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
