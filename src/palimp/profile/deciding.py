"""What accepting and dismissing a proposal does to the memories it is about."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from ..api import MemoryInput
from ..api.extraction import DecideProposal, Decision, Proposal
from ..errors import Conflict, Invalid
from . import proposals
from .memories import Draft, Writer, draft, ingest, take_place
from .proposals import Stored

__all__ = ["Outcome", "decide"]

_DONE = ("created", "accepted", "superseded")


class Outcome(NamedTuple):
    """The proposal as it is now, whether that is new, and the memories that no longer hold."""

    proposal: Proposal
    changed: bool
    superseded: tuple[str, ...]


def decide(
    connection: apsw.Connection,
    request: DecideProposal,
    given: MemoryInput | None,
    flags: tuple[str, ...],
    writer: Writer,
) -> Outcome:
    """Carry out one decision; runs inside the caller's transaction.

    `given` is the memory that the proposal would write, as it may be kept, with its flags.

    Decided like that before, it changes nothing. Raises `NotFound` where the proposal went with
    what it was about, `Conflict` where it was decided otherwise, or what it would keep no longer
    holds.
    """
    stored = proposals.get(connection, request.id, writer.sealer)
    was = stored.proposal.decision
    superseded: tuple[str, ...] = ()
    if request.decision == "accept" and was not in _DONE:
        item = None if given is None else draft(given, flags)
        superseded = _accept(connection, stored, item, request.keep, writer)
    elif request.decision == "dismiss" and was != "dismissed":
        _check_open(stored.proposal)
        proposals.decide(connection, request.id, "dismissed", writer.now_ms)
    now = proposals.get(connection, request.id, writer.sealer).proposal
    return Outcome(now, now.decision != was, superseded)


def _check_open(proposal: Proposal) -> None:
    if proposal.decision in _DONE:
        raise Conflict(
            f"proposal {proposal.id} is {proposal.decision} and cannot be dismissed; forget or "
            "supersede the memory instead",
            id=proposal.id,
        )


def _accept(
    connection: apsw.Connection,
    stored: Stored,
    item: Draft | None,
    keep: str | None,
    writer: Writer,
) -> tuple[str, ...]:
    proposal = stored.proposal
    if proposal.kind == "failed":
        raise Invalid(
            f"proposal {proposal.id} is an extraction that failed: there is nothing to accept; "
            "extract again, or dismiss it"
        )
    if stored.memory is not None and stored.other is not None:
        return _choose(connection, stored, keep, writer)
    if item is None or proposal.decision == "discarded_policy":
        raise Invalid(
            f"proposal {proposal.id} is {proposal.decision} and cannot be accepted: "
            f"{proposal.reason or 'nothing of it was kept'}"
        )
    return _write(connection, stored, item, keep, writer)


def _write(
    connection: apsw.Connection, stored: Stored, item: Draft, keep: str | None, writer: Writer
) -> tuple[str, ...]:
    """Write the memory of a proposal; it takes the place of what it contradicts."""
    proposal = stored.proposal
    pair = proposal.kind == "contradiction" and stored.other is not None
    if keep is not None:
        if pair and keep == proposal.other:
            proposals.decide(connection, proposal.id, "dismissed", writer.now_ms)
            return ()
        raise Invalid(
            f"keep is {keep!r:.80}; proposal {proposal.id} has no such memory: leave keep out to "
            + (f"write the new one, or give {proposal.other}" if pair else "write it")
        )
    outcome = ingest(connection, [item], writer)
    superseded = outcome.results[0].superseded
    if pair:
        assert stored.other is not None
        assert proposal.other is not None
        if take_place(connection, stored.other, outcome.handles[0], writer.now_ms, writer.actor):
            superseded = (proposal.other, *superseded)
    decision: Decision = "accepted" if pair else "created"
    handle = outcome.handles[0]
    proposals.decide(connection, proposal.id, decision, writer.now_ms, memory=handle)
    return superseded


def _choose(
    connection: apsw.Connection, stored: Stored, keep: str | None, writer: Writer
) -> tuple[str, ...]:
    """Let one of two memories take the place of the other: the newer, unless `keep` says which."""
    proposal = stored.proposal
    sides = {proposal.memory: stored.memory, proposal.other: stored.other}
    kept = proposal.memory if keep is None else keep
    if kept not in sides:
        raise Invalid(
            f"keep is {kept!r:.80}; proposal {proposal.id} is about {proposal.memory} and "
            f"{proposal.other}: give one of these"
        )
    (gone,) = sides.keys() - {kept}
    new, old = sides[kept], sides[gone]
    assert new is not None
    assert old is not None
    row: Any = connection.execute(
        """SELECT (SELECT n.id FROM __palimp_memories n WHERE n.handle = m.superseded_by)
        FROM __palimp_memories m WHERE m.handle = ? AND m.superseded_at IS NOT NULL""",
        (new,),
    ).fetchone()
    if row is not None:
        raise Conflict(
            f"memory {kept} no longer holds"
            + (f": {row[0]} took its place" if row[0] else "")
            + "; keep the other one, or dismiss the proposal",
            id=kept,
            superseded_by=row[0],
        )
    proposals.decide(connection, proposal.id, "accepted", writer.now_ms)
    done = take_place(connection, old, new, writer.now_ms, writer.actor)
    return (gone,) if done and gone is not None else ()
