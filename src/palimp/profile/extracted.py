"""What becomes of extracted memories: one decision each, all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apsw

from ..api.extraction import Proposal
from ..ids import memory_id
from . import proposals
from .memories import Draft, Writer, ingest
from .proposals import NewProposal

__all__ = ["Candidate", "settle"]

_HELD = "handle, id, type, topic, observed_at"


class Candidate(NamedTuple):
    """A memory that was extracted. `proposal` says all of it but what is found out here.

    `draft` is None where the decision was taken already. `near` is the id of a memory that says the
    same in other words, `replaces` are ids of memories that cannot be true beside it. `certain`:
    its turn, if it comes again, is known to be the same one. Where `trusted` is false somebody is
    asked before it is written.
    """

    proposal: NewProposal
    draft: Draft | None
    near: str | None = None
    replaces: tuple[str, ...] = ()
    certain: bool = False
    trusted: bool = True


class _Held(NamedTuple):
    """A memory that holds now."""

    handle: int
    id: str
    type: str
    topic: str | None
    observed_at: int | None


class _Batch(NamedTuple):
    """What was decided before on these candidates, and the ids of the memories they would be."""

    before: Mapping[str, str]
    ids: frozenset[str]


def settle(
    connection: apsw.Connection, candidates: Sequence[Candidate], writer: Writer
) -> list[Proposal]:
    """Write what is new and add a proposal for each candidate; return these, in order.

    What is there already, was written from the same turn before, or was dismissed, is redundant.
    What would take the place of a memory that has another type or topic, or was observed later, is
    not written: it waits as a contradiction.
    """
    batch = _Batch(
        proposals.decisions_of(connection, [one.proposal.id for one in candidates]),
        frozenset(
            memory_id(writer.id_key, one.draft.canonical)
            for one in candidates
            if one.draft is not None
        ),
    )
    settled = [
        one.proposal if one.draft is None else _decide(connection, one, one.draft, writer, batch)
        for one in candidates
    ]
    proposals.add(connection, settled, writer.sealer, writer.now_ms)
    return [proposals.shown(connection, one, writer.sealer, writer.now_ms) for one in settled]


def _decide(
    connection: apsw.Connection, candidate: Candidate, draft: Draft, writer: Writer, batch: _Batch
) -> NewProposal:
    proposal = candidate.proposal
    known = _redundant(connection, candidate, draft, writer, batch)
    if known is not None:
        why, handle = known
        return proposal._replace(decision="discarded_redundant", reason=why, other=handle)
    against = _against(connection, candidate, draft, writer.now_ms)
    if against is not None:
        why, held = against
        return proposal._replace(
            kind="contradiction", decision="pending", reason=why, other=held.handle
        )
    if not candidate.trusted:
        return proposal._replace(decision="pending")
    outcome = ingest(connection, [draft], writer)
    result = outcome.results[0]
    reason = proposal.reason
    if result.superseded:
        reason = f"it takes the place of {', '.join(result.superseded)}"
    elif result.status == "revived":
        reason = "it holds again"
    return proposal._replace(decision="created", reason=reason, memory=outcome.handles[0])


def _redundant(
    connection: apsw.Connection, candidate: Candidate, draft: Draft, writer: Writer, batch: _Batch
) -> tuple[str, int | None] | None:
    """Return why it need not be written, and the memory that says it already."""
    decided = batch.before.get(candidate.proposal.id)
    if decided == "dismissed":
        return "it was dismissed before", None
    identity = memory_id(writer.id_key, draft.canonical)
    same = _held(connection, identity, writer.now_ms)
    if same is not None:
        return f"{same.id} says the same", same.handle
    if decided in ("created", "accepted", "discarded_redundant"):
        old = _superseded(connection, identity)
        # Said again by a turn nobody can tell from another one it may hold again, unless the very
        # next words take that back.
        if old is not None and (candidate.certain or old[1] in batch.ids):
            return f"{identity} was written of this turn before", old[0]
    if candidate.near is not None:
        near = _held(connection, candidate.near, writer.now_ms)
        if near is not None:
            return f"{near.id} says the same in other words", near.handle
    return None


def _against(
    connection: apsw.Connection, candidate: Candidate, draft: Draft, now_ms: int
) -> tuple[str, _Held] | None:
    """Return why it may not take the place of a memory by itself, and which one that is."""
    topic = draft.given.topic
    for identity in candidate.replaces:
        held = _held(connection, identity, now_ms)
        if held is not None and (topic is None or (held.type, held.topic) != (draft.type, topic)):
            return f"it cannot be true beside {held.id}, which has another key", held
    if topic is None or draft.observed_at is None:
        return None
    row: Any = connection.execute(
        f"""SELECT {_HELD} FROM __palimp_memories WHERE type = ? AND topic = ?
        AND superseded_at IS NULL AND state = 'active'""",
        (draft.type, topic),
    ).fetchone()
    held = None if row is None else _Held(*row)
    if held is None or held.observed_at is None or held.observed_at <= draft.observed_at:
        return None
    return f"{held.id} has the same key and was observed later", held


def _superseded(connection: apsw.Connection, identity: str) -> tuple[int, str | None] | None:
    """Return the handle of a memory that no longer holds, and the id of what took its place."""
    row: tuple[int, str | None] | None = connection.execute(
        """SELECT m.handle, (SELECT n.id FROM __palimp_memories n WHERE n.handle = m.superseded_by)
        FROM __palimp_memories m WHERE m.id = ? AND m.superseded_at IS NOT NULL""",
        (identity,),
    ).fetchone()
    return row


def _held(connection: apsw.Connection, identity: str, now_ms: int) -> _Held | None:
    row: Any = connection.execute(
        f"""SELECT {_HELD} FROM __palimp_memories WHERE id = ? AND superseded_at IS NULL
        AND state = 'active' AND (expires_at IS NULL OR expires_at > ?)""",
        (identity, now_ms),
    ).fetchone()
    return None if row is None else _Held(*row)
