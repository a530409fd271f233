"""Doing what rules decided: one page of decisions in the caller's transaction, each noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from ...profile import governed, proposals
from ...profile.governed import Deed
from ...profile.memories import states, take_place
from ...profile.memories.states import Act
from .base import Decision, Look, Rule
from .pairs import weakened

__all__ = ["BATCHES", "carry_out"]

# How many rows go in one transaction: what is taken from the index costs much more than a mark.
BATCHES = {"delete": 100}
_STEPS = ("archive", "quarantine", "delete")
# Counted where it is noted.
_NO_NUMBER = 0


def carry_out(
    connection: apsw.Connection,
    run: str,
    rule: Rule,
    decisions: Sequence[Decision],
    look: Look,
    act: Act,
) -> list[Decision]:
    """Do those that the rule still decides, note what each row was before, and return them."""
    done: list[Decision] = []
    deeds: list[Deed] = []
    for decision, before, after in _do(
        connection, rule.again(connection, decisions, look), look, act
    ):
        done.append(decision)
        deeds.append(deed(decision, before, after))
    governed.note(connection, run, deeds)
    return done


def deed(decision: Decision, before: dict[str, Any], after: dict[str, Any]) -> Deed:
    """Return what is noted of a decision that was done."""
    return Deed(
        _NO_NUMBER,
        decision.handle,
        decision.action,
        decision.confidence,
        decision.rationale,
        decision.other,
        before,
        after,
    )


def _do(
    connection: apsw.Connection, decisions: Sequence[Decision], look: Look, act: Act
) -> Iterator[tuple[Decision, dict[str, Any], dict[str, Any]]]:
    """Do decisions, and yield each with what changed of its row."""
    for step in _STEPS:
        wanted = [one for one in decisions if one.action == step]
        found = [(one, states.find(connection, one.id, look.now_ms)) for one in wanted]
        rows = [row for _, row in found if row is not None]
        before = [_before(connection, row) for row in rows]
        if rows:
            states.advance(connection, rows, step, act, look.sealer)
        moved = [one for one, row in found if row is not None]
        for one, row, was in zip(moved, rows, before, strict=True):
            yield one, was, {"state": states.TRANSITIONS[row.state, step]}
    for one in decisions:
        changed = None if one.action in _STEPS else _change(connection, one, look, act)
        if changed is not None:
            yield one, *changed


def _before(connection: apsw.Connection, row: states.Found) -> dict[str, Any]:
    activated_at = connection.execute(
        "SELECT activated_at FROM __palimp_memories WHERE handle = ?", (row.handle,)
    ).get
    return {"state": row.state, "activated_at": activated_at, "archived_at": row.archived_at}


def _change(
    connection: apsw.Connection, decision: Decision, look: Look, act: Act
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Change a row where it stands; None where that changed nothing."""
    if decision.action == "supersede":
        assert decision.other is not None
        if not take_place(connection, decision.handle, decision.other, look.now_ms, act.actor):
            return None
        return {"superseded_by": None}, {"superseded_by": decision.other}
    if decision.action == "contradict":
        return _contradict(connection, decision, look)
    trust = connection.execute(
        "SELECT trust FROM __palimp_memories WHERE handle = ?", (decision.handle,)
    ).get
    connection.execute(
        "UPDATE __palimp_memories SET trust = ? WHERE handle = ?", (decision.value, decision.handle)
    )
    return {"trust": trust}, {"trust": decision.value}


def _contradict(
    connection: apsw.Connection, decision: Decision, look: Look
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Note a pair for somebody to decide on, and believe the older one half as much meanwhile."""
    row = connection.execute(
        """SELECT n.id, o.confidence, o.trust FROM __palimp_memories n, __palimp_memories o
        WHERE n.handle = ? AND o.handle = ?""",
        (decision.other, decision.handle),
    ).fetchone()
    assert row is not None, "looked at in the same transaction"
    assert isinstance(decision.value, float)
    newer, confidence, trust = row
    identity = proposals.pair_id(look.id_key, "contradiction", decision.id, newer)
    new = proposals.NewProposal(
        identity,
        "contradiction",
        "pending",
        reason=decision.rationale,
        score=round(decision.value, 4),
        memory=decision.other,
        other=decision.handle,
    )
    if not proposals.add(connection, [new], look.sealer, look.now_ms):
        return None
    half = weakened(confidence, trust)
    if half is not None:
        connection.execute(
            "UPDATE __palimp_memories SET confidence = ? WHERE handle = ?", (half, decision.handle)
        )
    return {"confidence": confidence}, {"confidence": half, "proposal": identity}
