"""Writing memories: content-addressed, idempotent, superseding in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import apsw

from ...api import ItemResult, MemoryInput
from ...errors import Conflict, NotFound
from ...ids import memory_id
from ..indexing import MEMORIES, reindex_around
from ..protocols import Sealer
from ..schema import prepare_timeline
from ..sessions import touch_session
from . import authors
from .draft import Draft, draft

__all__ = ["Outcome", "Writer", "ingest", "supersede", "take_place"]

_INSERT_COLUMNS = (
    "id type kind topic text content keywords tags metadata source session agent speaker project "
    "environment importance confidence trust observed_at created_at occurred_at activated_at "
    "expires_at derived_from source_span dedup_key"
).split()
_INSERT = (
    f"INSERT INTO __palimp_memories ({', '.join(_INSERT_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(_INSERT_COLUMNS))})"
)
# What a newer memory takes over from the one it supersedes, where it does not say otherwise.
_INHERITED = ("type", "kind", "topic", "tags", "project", "environment", "session", "agent")


class Writer(NamedTuple):
    """What a write needs besides the connection; `ttl_max_ms` is how long a task lives at most.

    `actor` is who writes, for the events of memories.
    """

    now_ms: int
    id_key: bytes
    sealer: Sealer
    ttl_max_ms: int | None = None
    actor: str | None = None


class Outcome(NamedTuple):
    """The results in order, and which handle holds each memory."""

    results: list[ItemResult]
    handles: list[int]
    fresh: list[int]


def ingest(connection: apsw.Connection, drafts: Sequence[Draft], writer: Writer) -> Outcome:
    """Write all drafts in order; runs inside the caller's transaction, which makes it atomic.

    A memory that is there and holds is a `duplicate` and nothing is written; one that was
    superseded or has expired is `revived`; else it is `created`. A created or revived memory with a
    topic supersedes the one that held on (type, topic).
    """
    outcome = Outcome([], [], [])
    if any(item.type == "event" for item in drafts):
        prepare_timeline(connection)
    for item in drafts:
        _ingest_one(connection, item, writer, outcome)
    if outcome.fresh:
        authors.created(connection, outcome.fresh[0], writer.actor)
    reindex_around(connection, MEMORIES, outcome.fresh, writer.sealer)
    return outcome


def supersede(
    connection: apsw.Connection,
    old_id: str,
    given: MemoryInput,
    writer: Writer,
    flags: tuple[str, ...] = (),
) -> Outcome:
    """Write `given` as what replaces `old_id`.

    Type, kind, topic, tags, project, environment, session and agent are taken over unless given.
    The same content again is a `duplicate` and changes nothing. Raises `NotFound`, or `Conflict`
    naming the newer memory where `old_id` was superseded before.
    """
    row = connection.execute(
        f"""SELECT handle, state, superseded_at, superseded_by, {", ".join(_INHERITED)}
        FROM __palimp_memories WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)""",
        (old_id, writer.now_ms),
    ).fetchone()
    if row is None:
        raise NotFound(
            f"no memory {old_id} to supersede; it was forgotten, has expired or never was",
            id=old_id,
        )
    handle, state, superseded_at, superseded_by, *inherited = row
    if state != "active":
        raise Conflict(
            f"memory {old_id} is {state} and cannot be changed; restore it first",
            id=old_id,
            state=state,
        )
    item = draft(_inherit(given, inherited), flags)
    if superseded_at is not None:
        newer = _id_of(connection, superseded_by)
        new_id = memory_id(writer.id_key, item.canonical)
        if new_id == newer:
            return Outcome(
                [ItemResult(id=new_id, status="duplicate", handle=superseded_by)],
                [superseded_by],
                [],
            )
        raise Conflict(
            f"memory {old_id} was superseded before"
            + (f" by {newer}; supersede that one instead" if newer else "; read its history"),
            id=old_id,
            superseded_by=newer,
        )
    outcome = ingest(connection, [item], writer)
    result, new = outcome.results[0], outcome.handles[0]
    if new != handle and old_id not in result.superseded:
        _retire(connection, handle, writer.now_ms, writer.actor)
        _point(connection, handle, new)
        result = ItemResult(
            id=result.id,
            status=result.status,
            superseded=(old_id, *result.superseded),
            note=result.note,
            handle=result.handle,
        )
    return Outcome([result], outcome.handles, outcome.fresh)


def take_place(
    connection: apsw.Connection, old: int, new: int, now_ms: int, actor: str | None
) -> bool:
    """Let a memory that is there supersede another one, both by handle; False where it did before.

    Of the two only the older one changes. `actor` is None for what the node does by itself.
    """
    holds = connection.execute(
        "SELECT 1 FROM __palimp_memories WHERE handle = ? AND superseded_at IS NULL", (old,)
    ).get
    if holds is None or old == new:
        return False
    _retire(connection, old, now_ms, actor)
    _point(connection, old, new)
    return True


def _inherit(given: MemoryInput, inherited: Sequence[Any]) -> MemoryInput:
    fields = {name: getattr(given, name) for name in given.__struct_fields__}
    for name, old in zip(_INHERITED, inherited, strict=True):
        if not fields[name] and old is not None:
            fields[name] = tuple(json.loads(old)) if name == "tags" else old
    if fields["type"] not in ("fact", "instruction") and given.topic is None:
        fields["topic"] = None
    return MemoryInput(**fields)


def _ingest_one(connection: apsw.Connection, item: Draft, writer: Writer, outcome: Outcome) -> None:
    canonical = item.canonical
    if item.window_ms is not None:
        # Its key says what it is a duplicate of, and not its content: later it is new.
        canonical += b"%d" % writer.now_ms
    identity = memory_id(writer.id_key, canonical)
    row = connection.execute(
        """SELECT handle, superseded_at IS NULL AND state = 'active'
        AND (expires_at IS NULL OR expires_at > ?), state FROM __palimp_memories WHERE id = ?""",
        (writer.now_ms, identity),
    ).fetchone()
    if row and row[1]:
        outcome.results.append(ItemResult(id=identity, status="duplicate", handle=row[0]))
        outcome.handles.append(row[0])
        return
    if item.keyed:
        # Not before: most memories have no such key.
        from . import dedup

        same = dedup.same(connection, item, writer.sealer, writer.now_ms)
        if same is not None:
            outcome.results.append(ItemResult(id=same[1], status="duplicate", handle=same[0]))
            outcome.handles.append(same[0])
            return
    displaced = _displace(connection, item, writer)
    if row:
        handle = row[0]
        _revive(connection, handle, _expires_at(item, writer), writer)
        if row[2] != "active":
            # Not before: it takes an archived or quarantined memory.
            from .states import Act, revived

            revived(connection, handle, identity, row[2], Act(writer.now_ms, writer.actor))
    else:
        handle = _insert(connection, identity, item, writer)
        outcome.fresh.append(handle)
    if item.flags is not None:
        _flag(connection, handle, item.flags)
    if item.keyed:
        from . import dedup

        dedup.note(connection, item, handle, writer.now_ms)
    if item.related:
        from ..relations.given import write

        write(connection, handle, item.given, writer.sealer, writer.id_key, writer.now_ms)
    superseded = []
    for old in displaced:
        _point(connection, old, handle)
        superseded.append(_id_of(connection, old) or "")
    if item.given.session is not None:
        touch_session(connection, item.given.session, writer.now_ms)
    status: Literal["revived", "created"] = "revived" if row else "created"
    outcome.results.append(
        ItemResult(
            id=identity,
            status=status,
            superseded=tuple(superseded),
            note=_shortened(item, writer),
            handle=handle,
        )
    )
    outcome.handles.append(handle)


def _expires_at(item: Draft, writer: Writer) -> int | None:
    if item.ttl_ms is None:
        return item.expires_at
    most = item.ttl_ms if writer.ttl_max_ms is None else writer.ttl_max_ms
    ends = writer.now_ms + min(item.ttl_ms, most)
    return ends if item.expires_at is None else min(ends, item.expires_at)


def _shortened(item: Draft, writer: Writer) -> str | None:
    """Return what to say of a task that lives shorter than it was to."""
    most = writer.ttl_max_ms
    if item.ttl_ms is None or most is None or item.ttl_ms <= most:
        return None
    return (
        f"ttl is {most // 1000:,} seconds, not {item.ttl_ms / 1000:,g}: the most that the policy "
        "of this profile allows (memory.task_ttl_max_secs)"
    )


def _displace(connection: apsw.Connection, item: Draft, writer: Writer) -> list[int]:
    """Retire what holds on the item's (type, topic) or has its extracted key.

    Of a topic the database allows one at a time.
    """
    handles: list[int] = []
    if item.given.topic is not None:
        rows: list[Any] = connection.execute(
            """SELECT handle FROM __palimp_memories
            WHERE type = ? AND topic = ? AND superseded_at IS NULL AND state = 'active'""",
            (item.type, item.given.topic),
        ).fetchall()
        handles = [handle for (handle,) in rows]
    if item.given.extracted_key is not None:
        from . import dedup

        held = dedup.replaced(connection, item, writer.now_ms)
        if held is not None and held not in handles:
            handles.append(held)
    for handle in handles:
        _retire(connection, handle, writer.now_ms, writer.actor)
    return handles


def _insert(connection: apsw.Connection, identity: str, item: Draft, writer: Writer) -> int:
    given, seal, now_ms = item.given, writer.sealer.seal, writer.now_ms
    occurred_at = now_ms if item.observed_at is None else item.observed_at
    values = (
        identity,
        item.type,
        given.kind,
        given.topic,
        seal(given.text, "memories", identity, "text"),
        None if item.content is None else seal(item.content, "memories", identity, "content"),
        None if given.keywords is None else seal(given.keywords, "memories", identity, "keywords"),
        item.tags,
        None if item.metadata is None else seal(item.metadata, "memories", identity, "metadata"),
        given.source,
        given.session,
        given.agent,
        given.speaker,
        given.project,
        given.environment,
        given.importance,
        given.confidence,
        given.trust,
        item.observed_at,
        now_ms,
        occurred_at,
        now_ms,
        _expires_at(item, writer),
        json.dumps(given.derived_from) if given.derived_from else None,
        json.dumps(given.source_span) if given.source_span else None,
        given.dedup_key,
    )
    connection.execute(_INSERT, values)
    return connection.last_insert_rowid()


def _revive(
    connection: apsw.Connection, handle: int, expires_at: int | None, writer: Writer
) -> None:
    """Make a row hold again. Its first writer's source stays; a task gets a new lifetime."""
    connection.execute(
        """UPDATE __palimp_memories SET superseded_by = NULL, superseded_at = NULL,
        state = 'active', activated_at = ?, expires_at = ? WHERE handle = ?""",
        (writer.now_ms, expires_at, handle),
    )
    authors.note(connection, "revived", handle, writer.actor)


def _flag(connection: apsw.Connection, handle: int, flags: str) -> None:
    # Not with the row: most have none, and each column of a row is paid for.
    connection.execute("UPDATE __palimp_memories SET flags = ? WHERE handle = ?", (flags, handle))


def _retire(connection: apsw.Connection, handle: int, now_ms: int, actor: str | None) -> None:
    connection.execute(
        "UPDATE __palimp_memories SET superseded_at = ? WHERE handle = ?", (now_ms, handle)
    )
    authors.note(connection, "superseded", handle, actor)


def _point(connection: apsw.Connection, old: int, new: int) -> None:
    connection.execute(
        "UPDATE __palimp_memories SET superseded_by = ? WHERE handle = ?", (new, old)
    )


def _id_of(connection: apsw.Connection, handle: int | None) -> str | None:
    identity: str | None = connection.execute(
        "SELECT id FROM __palimp_memories WHERE handle = ?", (handle,)
    ).get
    return identity
