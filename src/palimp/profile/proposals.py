"""What was proposed: memories that were extracted, pairs that look alike or disagree.

One row is one proposal and what was decided on it. It is found again by an id made of what it says,
so the same one is not made twice, and one that was dismissed does not come back. Words of users are
sealed in it as they are in memories, and go when the memory or the transcript they came from does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from ..api import MemoryInput
from ..api.extraction import Decision, ListProposals, Proposal, ProposalKind, Side
from ..api.limits import PAGE_MAX
from ..decoding import from_plain
from ..errors import Invalid, NotFound
from ..ids import memory_id
from ..sealing import PLACEHOLDER, Undecipherable
from .checks import check_integer, check_label, decode_json
from .lazy import has_table
from .protocols import Sealer

__all__ = [
    "PROPOSALS_MAX",
    "NewProposal",
    "Stored",
    "add",
    "bare",
    "check_list",
    "complete",
    "decide",
    "decisions_of",
    "get",
    "list_proposals",
    "pair_id",
    "prepare",
    "proposal_id",
    "remove_for",
    "remove_of",
    "shown",
    "withdraw",
    "worded",
]

PROPOSALS_MAX = 10_000
_CURSOR_DIGITS_MAX = 18
# Under SQLite's limit of parameters, also of builds that lower it.
_MARKS_MAX = 500
_NAME = "__palimp_proposals"
_TABLE = f"""CREATE TABLE {_NAME} (
    handle INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    decision TEXT NOT NULL, category TEXT, extracted_key TEXT, text ANY, draft ANY, reason ANY,
    confidence REAL, score REAL, memory INTEGER, other INTEGER, source TEXT, session TEXT,
    seq INTEGER, span_start INTEGER, span_end INTEGER, model TEXT, created_at INTEGER NOT NULL,
    decided_at INTEGER
) STRICT"""
# For removing, beside each forgotten memory and dropped transcript.
_INDEXES = tuple(
    f"""CREATE INDEX {_NAME}_{column} ON {_NAME} ({column}) WHERE {column} IS NOT NULL"""
    for column in ("memory", "other", "session")
)
_COLUMNS = (
    "id kind decision category extracted_key text draft reason confidence score memory other "
    "source session seq span_start span_end model created_at decided_at"
).split()
# Said again, a proposal stays what it was, unless nothing had come of it or it is written now.
_ADD = f"""INSERT INTO {_NAME} ({", ".join(_COLUMNS)})
VALUES ({", ".join("?" * len(_COLUMNS))}) ON CONFLICT (id) DO UPDATE SET
{", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
WHERE {_NAME}.decision LIKE 'discarded%' OR excluded.decision = 'created'"""
_SEALED = range(_COLUMNS.index("text"), _COLUMNS.index("reason") + 1)
# What of a proposal is said by users and models.
_WORDS = ("text", "draft", "reason", "extracted_key")
_SIDE = """SELECT id, type, text, topic, source, session, observed_at, created_at, superseded_at
FROM __palimp_memories WHERE handle = ?"""


class NewProposal(NamedTuple):
    """A proposal to be added; `id` is that of `proposal_id` or `pair_id`.

    `memory` and `other` are handles, `draft` is a `MemoryInput` as JSON.
    """

    id: str
    kind: ProposalKind
    decision: Decision
    text: str | None = None
    draft: str | None = None
    reason: str | None = None
    category: str | None = None
    extracted_key: str | None = None
    confidence: float | None = None
    score: float | None = None
    memory: int | None = None
    other: int | None = None
    source: str | None = None
    session: str | None = None
    seq: int | None = None
    span: tuple[int, int] | None = None
    model: str | None = None


class Stored(NamedTuple):
    """A proposal as it is read, and the handles of its two sides."""

    memory: int | None
    other: int | None
    proposal: Proposal

    @property
    def given(self) -> MemoryInput | None:
        """What is written if it is accepted."""
        draft = self.proposal.draft
        return None if draft is None else from_plain(draft, MemoryInput)


def proposal_id(id_key: bytes, kind: ProposalKind, *parts: str | int | None) -> str:
    """Return the id of a proposal that says this: the same everywhere; it gives no word away."""
    canonical = msgspec.json.encode(["proposal", kind, *parts])
    return "prop_" + memory_id(id_key, canonical).removeprefix("mem_")


def pair_id(id_key: bytes, kind: ProposalKind, one: str, other: str) -> str:
    """Return the id of a proposal about two memories, whichever is named first."""
    return proposal_id(id_key, kind, *sorted((one, other)))


def prepare(connection: apsw.Connection) -> None:
    """Make the table where there is none."""
    if not has_table(connection, _NAME):
        _make(connection)


def add(
    connection: apsw.Connection, proposals: Iterable[NewProposal], sealer: Sealer, now_ms: int
) -> int:
    """Add proposals and return how many of them were not there; the oldest go beyond 10,000.

    One that is there stays what it was: pending, or decided by somebody. Only one that had been
    discarded, or that is written now, is replaced.
    """
    rows = [_sealed(_values(one, now_ms), sealer) for one in proposals]
    if not rows:
        return 0
    prepare(connection)
    before = _count(connection)
    connection.executemany(_ADD, rows)
    added = _count(connection) - before
    _evict(connection, before + added - PROPOSALS_MAX)
    return added


def decisions_of(connection: apsw.Connection, ids: Sequence[str]) -> dict[str, Decision]:
    """Return what was decided on those of these proposals that are known."""
    found: dict[str, Decision] = {}
    if has_table(connection, _NAME):
        for some in _chunks(ids):
            rows: Any = connection.execute(
                f"SELECT id, decision FROM {_NAME} WHERE id IN ({_marks(some)})", some
            )
            found.update(rows)
    return found


def get(connection: apsw.Connection, identity: str, sealer: Sealer) -> Stored:
    """Return a proposal with the handles of its two sides; `NotFound` where there is none."""
    row = None
    if has_table(connection, _NAME):
        row = connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM {_NAME} WHERE id = ?", (identity,)
        ).fetchone()
    if row is None:
        raise NotFound(
            f"no proposal {identity!r:.80}; it never was, or went with what it was about: list "
            "the proposals that there are"
        )
    return _row(connection, _unsealed(row, sealer), sealer)


def decide(
    connection: apsw.Connection,
    identity: str,
    decision: Decision,
    now_ms: int,
    *,
    memory: int | None = None,
) -> None:
    """Note what was decided, and which memory was written of it."""
    connection.execute(
        f"""UPDATE {_NAME} SET decision = ?, decided_at = ?, memory = coalesce(?, memory)
        WHERE id = ?""",
        (decision, now_ms, memory, identity),
    )


def withdraw(connection: apsw.Connection, identity: str) -> bool:
    """Remove a proposal that nobody decided on; False where there is none."""
    if not has_table(connection, _NAME):
        return False
    connection.execute(f"DELETE FROM {_NAME} WHERE id = ? AND decision = 'pending'", (identity,))
    return connection.changes() > 0


def check_list(request: ListProposals) -> None:
    """Raise `Invalid` for a listing that cannot be."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    check_label(request.session, "session")
    check_label(request.source, "source")
    _cursor(request.cursor)


def list_proposals(
    connection: apsw.Connection, request: ListProposals, sealer: Sealer
) -> tuple[tuple[Proposal, ...], str | None]:
    """Return one page, newest first, and the cursor of the next."""
    if not has_table(connection, _NAME):
        return (), None
    rows: list[Any] = connection.execute(
        f"""SELECT handle, {", ".join(_COLUMNS)} FROM {_NAME}
        WHERE (:kind IS NULL OR kind = :kind) AND (:decision IS NULL OR decision = :decision)
        AND (:session IS NULL OR session = :session) AND (:source IS NULL OR source = :source)
        AND (:cursor IS NULL OR handle < :cursor) ORDER BY handle DESC LIMIT :limit""",
        {
            "kind": request.kind,
            "decision": request.decision,
            "session": request.session,
            "source": request.source,
            "cursor": _cursor(request.cursor),
            "limit": request.limit + 1,
        },
    ).fetchall()
    page = rows[: request.limit]
    found = tuple(_row(connection, _unsealed(row[1:], sealer), sealer).proposal for row in page)
    return found, str(page[-1][0]) if len(rows) > request.limit else None


def remove_for(connection: apsw.Connection, handles: Sequence[int]) -> None:
    """Remove the proposals that hold words of these memories; costs nothing without a table."""
    if not has_table(connection, _NAME):
        return
    for some in _chunks(handles):
        for column in ("memory", "other"):
            connection.execute(f"DELETE FROM {_NAME} WHERE {column} IN ({_marks(some)})", some)


def remove_of(
    connection: apsw.Connection,
    *,
    session: str | None = None,
    source: str | None = None,
    turn: int | None = None,
) -> int:
    """Remove the proposals drawn from a transcript or a source; return how many there were.

    With `turn` only those drawn from that turn of the transcript.
    """
    if not has_table(connection, _NAME):
        return 0
    before = connection.total_changes()
    for column, value in (("session", session), ("source", source)):
        if value is not None:
            connection.execute(
                f"DELETE FROM {_NAME} WHERE {column} = ?1 AND (?2 IS NULL OR seq = ?2)",
                (value, turn),
            )
    return connection.total_changes() - before


def shown(
    connection: apsw.Connection, proposal: NewProposal, sealer: Sealer, now_ms: int
) -> Proposal:
    """Return a proposal as it would be read had it been added now."""
    return _row(connection, _values(proposal, now_ms), sealer).proposal


def bare(proposal: Proposal) -> Proposal:
    """Return a proposal without a word: what may be kept where no forgetting reaches it."""
    return msgspec.structs.replace(proposal, **dict.fromkeys(_WORDS), sides=())


def worded(connection: apsw.Connection, bare: Proposal, sealer: Sealer) -> Proposal:
    """Return a bare proposal with its words, as far as they are still there."""
    if bare.id not in decisions_of(connection, [bare.id]):
        return bare
    found = get(connection, bare.id, sealer).proposal
    fields = {name: getattr(found, name) for name in (*_WORDS, "sides")}
    if found.decision != bare.decision:
        # It was decided before that, or since.
        del fields["reason"]
    return msgspec.structs.replace(bare, **fields)


def complete(connection: apsw.Connection, names: Sequence[str]) -> None:
    """Make the table in a new database, where it is among `names`."""
    if _NAME in names:
        _make(connection)


def _make(connection: apsw.Connection) -> None:
    connection.execute(_TABLE)
    for statement in _INDEXES:
        connection.execute(statement)


def _values(given: NewProposal, now_ms: int) -> list[Any]:
    fields = given._asdict()
    start, end = given.span or (None, None)
    fields |= {"span_start": start, "span_end": end, "created_at": now_ms}
    fields["decided_at"] = None if given.decision == "pending" else now_ms
    return [fields[name] for name in _COLUMNS]


def _sealed(values: list[Any], sealer: Sealer) -> list[Any]:
    for place in _SEALED:
        if values[place] is not None:
            values[place] = sealer.seal(values[place], "proposals", values[0], _COLUMNS[place])
    return values


def _unsealed(row: Sequence[Any], sealer: Sealer) -> list[Any]:
    values = list(row)
    try:
        return _opened(values, sealer)
    except Undecipherable:
        values[_SEALED.start : _SEALED.stop] = PLACEHOLDER, None, None
        return values


def _opened(row: Sequence[Any], sealer: Sealer) -> list[Any]:
    values = list(row)
    for place in _SEALED:
        if values[place] is not None:
            values[place] = sealer.unseal(values[place], "proposals", values[0], _COLUMNS[place])
    return values


def _row(connection: apsw.Connection, values: Sequence[Any], sealer: Sealer) -> Stored:
    fields = dict(zip(_COLUMNS, values, strict=True))
    memory, other = fields["memory"], fields["other"]
    newer = _side(connection, memory, sealer)
    older = _side(connection, other, sealer)
    start, end = fields.pop("span_start"), fields.pop("span_end")
    fields |= {
        "memory": newer and newer.id,
        "other": older and older.id,
        "turn": fields.pop("seq"),
        "span": None if start is None else (start, end),
        "draft": fields["draft"] and decode_json(fields["draft"]),
        "sides": tuple(side for side in (newer, older) if side is not None),
    }
    return Stored(memory, other, Proposal(**fields))


def _side(connection: apsw.Connection, handle: int | None, sealer: Sealer) -> Side | None:
    if handle is None:
        return None
    row: Any = connection.execute(_SIDE, (handle,)).fetchone()
    if row is None:
        return None
    fields = dict(zip(Side.__struct_fields__, row, strict=True))
    try:
        fields["text"] = sealer.unseal(fields["text"], "memories", fields["id"], "text")
    except Undecipherable:
        fields["text"] = PLACEHOLDER
    return Side(**fields)


def _count(connection: apsw.Connection) -> int:
    found: int = connection.execute(f"SELECT count(*) FROM {_NAME}").get
    return found


def _evict(connection: apsw.Connection, excess: int) -> None:
    """Remove the oldest: those that were decided first."""
    if excess > 0:
        connection.execute(
            f"""DELETE FROM {_NAME} WHERE handle IN (SELECT handle FROM {_NAME}
            ORDER BY decision = 'pending', handle LIMIT ?)""",
            (excess,),
        )


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _MARKS_MAX):
        yield values[start : start + _MARKS_MAX]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _CURSOR_DIGITS_MAX:
        raise Invalid(f"cursor {cursor!r:.40} did not come from an earlier page")
    return int(cursor)
