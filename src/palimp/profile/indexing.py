"""What is indexed of a row: its words, who said it and when, and what was said around it.

The FTS tables are contentless: removing a row takes the very words it was added with. So the
indexed text is a function of the rows alone, and whoever changes rows removes entries before and
adds them after. An event (or turn) is indexed with its neighbours in the session; they are what
makes "yes, that one" findable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from ..clock import format_ms
from ..sealing import Undecipherable
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
    "is_stale",
    "may_rebuild",
    "neighbours",
    "note_stale",
    "piece",
    "rebuild",
    "reindex_around",
    "remove_entries",
    "turn_text",
]

# Of a neighbour only its beginning is context; a pasted log must not drown the row beside it.
_CONTEXT_CHARS = 2_000
# The model name under which vectors stand that callers hand in themselves.
GIVEN_MODEL = "given"
_NO_LIMIT = 1 << 62
# In __palimp_meta: an unreadable row, or that entries are left of rows that are gone or changed.
_STALE = "index_stale"
_LEFT = "left"
_MONTHS = (
    "January February March April May June July August September October November December".split()
)


class Corpus(NamedTuple):
    """One kind of rows that can be searched, and the SQL that is special to it.

    `source` gives what a row is known by, text, keywords, tags, topic, kind, speaker, time of a
    handle; `near` the handles before and after it in its session among those below `:below`, so
    that the state before a batch can be asked for.
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
    """SELECT id, text, keywords, tags, topic, kind, speaker, observed_at
    FROM __palimp_memories WHERE handle = ?""",
    f"""SELECT {_beside_event("<", "DESC")}, {_beside_event(">", "ASC")} FROM __palimp_memories m
    WHERE m.handle = :handle AND m.type = 'event' AND m.session IS NOT NULL""",
)
TURNS = _corpus(
    "turns",
    """SELECT session || '/' || seq, content, NULL, NULL, NULL, NULL, COALESCE(speaker, role), at
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
    *,
    strict: bool = False,
) -> Piece:
    """Return the FTS entry of a row whose neighbours are `near`.

    What comes of a sealed row stands in it as hashes, of a neighbour that cannot be read nothing.
    Raises `Undecipherable` where the row itself cannot be read, if `strict` also for a neighbour.
    """
    text, keywords, tags, topic, kind, speaker, at, sealed = _source(
        connection, corpus, handle, sealer
    )
    words = [topic, kind, *(decode_json(tags) if tags else ()), keywords]
    label = [speaker, format_ms(at, pattern=_day) if at is not None else None]
    before, after = near
    said, dated = " ".join(filter(None, words)), " ".join(filter(None, label))
    if sealed:
        text, said, dated = (_hidden(connection, one, sealer) for one in (text, said, dated))
    # Most rows have no neighbours, and each microsecond of a write is counted.
    return Piece(
        text,
        said,
        dated,
        "" if before is None else _context(connection, corpus, before, sealer, strict=strict),
        "" if after is None else _context(connection, corpus, after, sealer, strict=strict),
    )


def embedding_text(
    connection: apsw.Connection, corpus: Corpus, handle: int, sealer: Sealer
) -> tuple[str, int | None]:
    """Return what is embedded of a row and the neighbour it rests on.

    Measured on LoCoMo's development half: the turn before, then the turn with its speaker, is worth
    more than the bare turn. Raises `Undecipherable` where the row cannot be read.
    """
    source = _source(connection, corpus, handle, sealer)
    _, keywords, tags, topic, *_ = source
    before, _ = neighbours(connection, corpus, handle)
    extra = [topic, *(decode_json(tags) if tags else ()), keywords]
    parts = ["", _spoken(source, chars_max=None), *extra]
    if before is not None:
        with suppress(Undecipherable):
            parts[0] = _spoken(_source(connection, corpus, before, sealer))
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
    if sealer.token_key is not None and is_stale(connection):
        # With which words they were added is not known; `rebuild` does without them.
        note_stale(connection)
        return
    for handle in handles:
        near = neighbours(connection, corpus, handle, below)
        try:
            entry = piece(connection, corpus, handle, sealer, near, strict=True)
        except Undecipherable:
            note_stale(connection)
        else:
            connection.execute(statement, (handle, *entry))


def is_stale(connection: apsw.Connection) -> bool:
    """Whether some rows could not be read when their entries were to be written or removed."""
    found = connection.execute("SELECT 1 FROM __palimp_meta WHERE key = ?", (_STALE,)).get
    return found is not None


def note_stale(
    connection: apsw.Connection, corpus: Corpus | None = None, handle: int | None = None
) -> None:
    """Note that a row could not be read; without one, that entries of rows are left that changed.

    Until `rebuild` no entry is removed, because nobody knows any more what stands in them.
    """
    value = _LEFT if corpus is None else f"{corpus.name} {handle}"
    connection.execute(
        """INSERT INTO __palimp_meta VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = ?2 WHERE value != ?3""",
        (_STALE, value, _LEFT),
    )


def may_rebuild(connection: apsw.Connection, sealer: Sealer) -> bool:
    """Whether `rebuild` would make the index better."""
    value = connection.execute("SELECT value FROM __palimp_meta WHERE key = ?", (_STALE,)).get
    if value is None or value == _LEFT:
        return value is not None
    name, _, handle = value.partition(" ")
    corpus = next(one for one in CORPORA if one.name == name)
    if connection.execute(corpus.source, (int(handle),)).fetchone() is None:
        return True
    try:
        _source(connection, corpus, int(handle), sealer)
    except Undecipherable:
        return False
    return True


def rebuild(connection: apsw.Connection, sealer: Sealer) -> None:
    """Write every entry anew, and let rows be embedded that could not be read before."""
    connection.execute("DELETE FROM __palimp_meta WHERE key = ?", (_STALE,))
    connection.execute("UPDATE __palimp_embedded SET upto = min(upto, 0) - 1")
    for corpus in CORPORA:
        connection.execute(f"INSERT INTO {corpus.fts} ({corpus.fts}) VALUES ('delete-all')")
        handles: list[Any] = connection.execute(f"SELECT handle FROM {corpus.rows}").fetchall()
        add_entries(connection, corpus, [handle for (handle,) in handles], sealer)


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
    try:
        entry = piece(connection, corpus, handle, sealer, near)
    except Undecipherable:
        note_stale(connection, corpus, handle)
        return
    connection.execute(
        f"""INSERT INTO {corpus.fts} (rowid, text, keywords, label, before, after)
        VALUES (?, ?, ?, ?, ?, ?)""",
        (handle, *entry),
    )


def drop_vectors(
    connection: apsw.Connection, corpus: Corpus, handles: Sequence[int], *, keep_given: bool
) -> None:
    """Delete the vectors of these rows, which are on their way out.

    With `keep_given` the rows stay, and so do the vectors that a caller handed in.
    """
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
        if keep_given:
            # Every mark moves, also one below the row: a batch under way is to see that a row lost
            # its vector. Of a row that goes none is missing.
            connection.execute(
                "UPDATE __palimp_embedded SET upto = min(upto, ?) - 1 WHERE corpus = ?",
                (handle, corpus.name),
            )


def _source(
    connection: apsw.Connection, corpus: Corpus, handle: int, sealer: Sealer
) -> tuple[Any, ...]:
    row = connection.execute(corpus.source, (handle,)).fetchone()
    assert row is not None, f"no row {handle} in {corpus.rows}"
    identity, text, keywords, *rest = row
    sealed = isinstance(text, bytes)
    if corpus is TURNS:
        text = turn_text(decode_json(sealer.unseal(text, "turns", identity, "content")))
        return (text, None, *rest, sealed)
    text = sealer.unseal(text, "memories", identity, "text")
    if keywords is not None:
        keywords = sealer.unseal(keywords, "memories", identity, "keywords")
    return (text, keywords, *rest, sealed)


def _context(
    connection: apsw.Connection, corpus: Corpus, handle: int, sealer: Sealer, *, strict: bool
) -> str:
    """Return what a neighbour adds to an entry."""
    try:
        source = _source(connection, corpus, handle, sealer)
    except Undecipherable:
        if strict:
            raise
        note_stale(connection, corpus, handle)
        return ""
    spoken = _spoken(source)
    return _hidden(connection, spoken, sealer) if source[-1] else spoken


def _spoken(source: Sequence[Any], chars_max: int | None = _CONTEXT_CHARS) -> str:
    text, _, _, _, _, speaker, _, _ = source
    return f"{speaker}: {text[:chars_max]}" if speaker else str(text[:chars_max])


def _hidden(connection: apsw.Connection, text: str, sealer: Sealer) -> str:
    from .blind import hidden

    key = sealer.token_key
    if key is None:
        raise Undecipherable("the key of the profile's words in the index is missing")
    return hidden(connection, text, key)


def _day(moment: Any) -> str:
    # Not strftime: the names would follow the program's locale, and an entry has to be removed with
    # the very words it was added with.
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
