"""Reviews: what a branch of its own added, against the branch it is to be merged into.

What a review began from stands in its own database, so that nothing else has to be kept, rewound or
removed with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from ..api import Memory, MemoryInput
from ..api.extraction import Proposal, ReviewConflict
from ..decoding import from_json
from ..sealing import PLACEHOLDER
from . import proposals
from .memories import Writer, draft, ingest, take_place
from .memories.rows import MEMORY_COLUMNS, memory_of
from .proposals import NewProposal
from .protocols import Sealer

__all__ = [
    "Added",
    "Changes",
    "Merged",
    "State",
    "changes",
    "conflicts",
    "mark",
    "merge",
    "note",
    "state_of",
]

_KEY = "review"
_SHARED = tuple(
    name
    for name in MemoryInput.__struct_fields__
    if name in Memory.__struct_fields__ and name != "content"
)


class State(msgspec.Struct, frozen=True):
    """What a review is of: the branch, the last memory it began from, and when it ends."""

    target: str
    base: int
    expires_at: int | None
    proposals: tuple[str, ...] = ()


class Added(NamedTuple):
    """A memory that a review wrote, as it would be written again. `fresh`: it was not there."""

    memory: Memory
    given: MemoryInput
    fresh: bool


class Changes(NamedTuple):
    """What a review did: memories in the order they came to hold, and what they took the place of.

    `replaced` holds pairs of an older memory and the id of the newer one.
    """

    added: tuple[Added, ...]
    replaced: tuple[tuple[Memory, str], ...]
    proposals: tuple[Proposal, ...]


class Merged(NamedTuple):
    """The ids that were written, those that no longer hold, and what stood in the way."""

    added: tuple[str, ...]
    superseded: tuple[str, ...]
    conflicts: tuple[ReviewConflict, ...]


def mark(connection: apsw.Connection, target: str, expires_at: int | None) -> None:
    """Note where a review begins, in its own database; done again it changes nothing."""
    if state_of(connection) is not None:
        return
    base = connection.execute("SELECT max(handle) FROM __palimp_memories").get
    _store(connection, State(target, base or 0, expires_at))


def note(connection: apsw.Connection, ids: Iterable[str]) -> None:
    """Note which proposals belong to a review that was marked."""
    state = state_of(connection)
    assert state is not None, "a review is marked before anything belongs to it"
    listed = tuple(dict.fromkeys((*state.proposals, *ids)))
    _store(connection, msgspec.structs.replace(state, proposals=listed))


def state_of(connection: apsw.Connection) -> State | None:
    """Return where the review of this database began; None where it is no review."""
    found = connection.execute("SELECT value FROM __palimp_meta WHERE key = ?", (_KEY,)).get
    return None if found is None else from_json(found, State)


def changes(connection: apsw.Connection, sealer: Sealer, now_ms: int) -> Changes:
    """Return what the review of this database did."""
    state = state_of(connection)
    assert state is not None, "only a review has changes"
    known = proposals.decisions_of(connection, state.proposals)
    stored = [proposals.get(connection, one, sealer) for one in state.proposals if one in known]
    written = {one.memory for one in stored if one.memory is not None}
    handles = [state.base, *sorted(handle for handle in written if handle <= state.base)]
    marks = ", ".join("?" * (len(handles) - 1))
    rows: list[Any] = connection.execute(
        f"""SELECT m.dedup_key, {MEMORY_COLUMNS} FROM __palimp_memories m
        WHERE (m.handle > ? OR m.handle IN ({marks})) AND m.state = 'active'
        AND (m.expires_at IS NULL OR m.expires_at > ?) ORDER BY m.activated_at, m.handle""",
        (*handles, now_ms),
    ).fetchall()
    # What cannot be read is not written anywhere else.
    readable = [
        (row, memory)
        for row in rows
        if not (memory := memory_of(row[1:], sealer)).decryption_failed
    ]
    added = tuple(
        _added(memory, row[0], now_ms, fresh=row[1] > state.base) for row, memory in readable
    )
    replaced = tuple(
        (memory_of(row, sealer), newer.memory.id)
        for newer, ((_, handle, *_), _) in zip(added, readable, strict=True)
        for row in connection.execute(
            f"SELECT {MEMORY_COLUMNS} FROM __palimp_memories m WHERE m.superseded_by = ?", (handle,)
        ).fetchall()
    )
    return Changes(added, replaced, tuple(one.proposal for one in stored))


def conflicts(connection: apsw.Connection, changed: Changes) -> tuple[ReviewConflict, ...]:
    """Return what this database changed since the review began that the review changed too."""
    ids = {one.memory.id for one in changed.added}
    replaced: dict[str, set[str]] = {}
    for older, newer in changed.replaced:
        replaced.setdefault(newer, set()).add(older.id)
    found = []
    for one in changed.added:
        conflict = _lost(connection, one) or _overtaken(connection, one, ids | _all(replaced))
        if conflict is not None:
            found.append(conflict)
    for older, newer in changed.replaced:
        row: Any = connection.execute(
            """SELECT (SELECT n.id FROM __palimp_memories n WHERE n.handle = m.superseded_by)
            FROM __palimp_memories m WHERE m.id = ? AND m.superseded_at IS NOT NULL""",
            (older.id,),
        ).fetchone()
        known = any((one.memory, one.other) == (newer, row and row[0]) for one in found)
        if row is not None and row[0] not in ids and not known:
            reason = f"{older.id}, which it took the place of, was superseded meanwhile"
            found.append(ReviewConflict(memory=newer, other=row[0], reason=reason, written=True))
    return tuple(found)


def merge(connection: apsw.Connection, changed: Changes, writer: Writer) -> Merged:
    """Write what a review added and let it take the place of what it did there, unless changed."""
    against = conflicts(connection, changed)
    held_back = {one.memory: one for one in against if not one.written}
    added: list[str] = []
    superseded: list[str] = []
    handles: dict[str, int] = {}
    for one in changed.added:
        if one.memory.id in held_back:
            continue
        outcome = ingest(connection, [draft(one.given, one.memory.flags)], writer)
        result = outcome.results[0]
        handles[result.id] = outcome.handles[0]
        if result.status != "duplicate":
            added.append(result.id)
            superseded += result.superseded
    for older, newer in changed.replaced:
        handle = _handle(connection, older.id)
        if handle is None or newer not in handles:
            continue
        if take_place(connection, handle, handles[newer], writer.now_ms, writer.actor):
            superseded.append(older.id)
    _keep_proposals(connection, changed.proposals, held_back, writer)
    own = set(added)
    left = tuple(one for one in dict.fromkeys(superseded) if one not in own)
    return Merged(tuple(added), left, against)


def _store(connection: apsw.Connection, state: State) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO __palimp_meta VALUES (?, ?)",
        (_KEY, msgspec.json.encode(state).decode()),
    )


def _added(memory: Memory, dedup_key: str | None, now_ms: int, *, fresh: bool) -> Added:
    fields = {name: getattr(memory, name) for name in _SHARED}
    if memory.content != {"text": memory.text}:
        fields["content"] = memory.content
    if memory.expires_at is not None and memory.type != "task":
        fields["expires_at"] = memory.expires_at
    elif memory.expires_at is not None:
        fields["ttl"] = (memory.expires_at - now_ms) / 1000
    return Added(memory, MemoryInput(**fields, dedup_key=dedup_key), fresh)


def _all(replaced: dict[str, set[str]]) -> set[str]:
    return set().union(*replaced.values())


def _lost(connection: apsw.Connection, one: Added) -> ReviewConflict | None:
    """Return the conflict of a memory that this database had and does not hold any more."""
    row: Any = connection.execute(
        """SELECT m.superseded_at,
        (SELECT n.id FROM __palimp_memories n WHERE n.handle = m.superseded_by)
        FROM __palimp_memories m WHERE m.id = ?""",
        (one.memory.id,),
    ).fetchone()
    if row is None and not one.fresh:
        reason = "it was forgotten meanwhile"
        return ReviewConflict(memory=one.memory.id, reason=reason, written=False)
    if row is not None and row[0] is not None and one.fresh:
        reason = "it was written and superseded meanwhile"
        return ReviewConflict(memory=one.memory.id, other=row[1], reason=reason, written=False)
    return None


def _overtaken(
    connection: apsw.Connection, one: Added, expected: Collection[str]
) -> ReviewConflict | None:
    """Return the conflict of a memory whose topic got another value meanwhile."""
    memory = one.memory
    if memory.topic is None or memory.superseded_at is not None:
        return None
    row: Any = connection.execute(
        """SELECT id, observed_at FROM __palimp_memories
        WHERE type = ? AND topic = ? AND superseded_at IS NULL AND state = 'active'""",
        (memory.type, memory.topic),
    ).fetchone()
    if row is None or row[0] in expected:
        return None
    identity, observed_at = row
    later = observed_at is not None and (memory.observed_at or observed_at) < observed_at
    reason = f"{identity} was written on the same topic meanwhile"
    reason += ", and observed later" if later else "; the review's takes its place"
    return ReviewConflict(memory=memory.id, other=identity, reason=reason, written=not later)


def _handle(connection: apsw.Connection, identity: str | None) -> int | None:
    found: int | None = connection.execute(
        "SELECT handle FROM __palimp_memories WHERE id = ?", (identity,)
    ).get
    return found


def _keep_proposals(
    connection: apsw.Connection,
    given: Sequence[Proposal],
    held_back: dict[str, ReviewConflict],
    writer: Writer,
) -> None:
    """Take over what was proposed and decided; what was held back waits to be decided."""
    kept = []
    for one in given:
        if one.text == PLACEHOLDER:
            continue
        conflict = held_back.get(one.memory or "")
        fields: dict[str, Any] = {}
        if conflict is not None:
            fields = {"decision": "pending", "reason": conflict.reason, "memory": None}
            fields["other"] = _handle(connection, conflict.other)
            fields["kind"] = "memory" if fields["other"] is None else "contradiction"
        kept.append(_taken_over(connection, one)._replace(**fields))
    proposals.add(connection, kept, writer.sealer, writer.now_ms)


def _taken_over(connection: apsw.Connection, one: Proposal) -> NewProposal:
    return NewProposal(
        id=one.id,
        kind=one.kind,
        decision=one.decision,
        text=one.text,
        draft=None if one.draft is None else msgspec.json.encode(one.draft).decode(),
        reason=one.reason,
        category=one.category,
        extracted_key=one.extracted_key,
        confidence=one.confidence,
        score=one.score,
        memory=_handle(connection, one.memory),
        other=_handle(connection, one.other),
        source=one.source,
        session=one.session,
        seq=one.turn,
        span=one.span,
        model=one.model,
    )
