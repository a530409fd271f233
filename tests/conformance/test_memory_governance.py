"""Governance through every transport: who sees what was quarantined, what a run says, taking back."""

from __future__ import annotations

from typing import Any

import pytest

from palimp.errors import Conflict, NotFound


def _texts(do: Any, profile: Any, **filters: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list(**filters)))


def _doubtful(do: Any, alice: Any, text: str = "Likes oolong") -> Any:
    return do(alice.remember(text, trust="T4", confidence=0.3, observed_at="2020-01-01"))


def test_a_quarantined_memory_is_seen_by_who_asks_for_it(do: Any, alice: Any) -> None:
    written = _doubtful(do, alice)
    do(alice.remember("Likes rice", trust="T1"))
    done = do(alice.governance.run("daily"))
    assert (done.status, done.counts) == ("success", {"quarantine": 1})
    assert done.checkpoint.startswith("pre_governance_")
    assert _texts(do, alice) == ["Likes rice"]
    assert [hit.text for hit in do(alice.recall("oolong"))] in ([], ["Likes rice"])
    assert _texts(do, alice, state="quarantined") == ["Likes oolong"]
    assert do(alice.get(written.id)).state == "quarantined"
    with pytest.raises(Conflict, match="is quarantined and cannot be changed"):
        do(alice.supersede(written.id, "Likes sencha"))
    events = [one.event for one in do.all(alice.lifecycle.events(written.id))]
    assert events == ["created", "quarantined"]
    back = do(alice.lifecycle.restore(written.id))
    assert (back.before, back.state) == ("quarantined", "active")
    assert _texts(do, alice) == ["Likes oolong", "Likes rice"]


def test_quarantined_memories_are_moved_like_others(do: Any, alice: Any) -> None:
    for text in ("one", "other", "third"):
        _doubtful(do, alice, text)
    do(alice.governance.run())
    held = do.all(alice.list(state="quarantined"))[0]
    do(alice.lifecycle.hold(held.id))
    moved = do(alice.lifecycle.move("delete", state="quarantined", types=["fact"]))
    assert len(moved.ids) == 3
    assert _texts(do, alice, state="soft_deleted") == ["one", "other", "third"]


def test_a_run_is_reported_and_taken_back(do: Any, alice: Any) -> None:
    written = _doubtful(do, alice)
    dry = do(alice.governance.run(dry_run=True))
    assert (dry.dry_run, dry.checkpoint, dry.counts) == (True, None, {"quarantine": 1})
    done = do(alice.governance.run())
    (kept,) = do(alice.governance.reports())
    assert (kept.id, kept.counts, kept.decisions) == (done.id, done.counts, ())
    (decision,) = do(alice.governance.report(done.id)).decisions
    assert (decision.action, decision.memory) == ("quarantine", written.id)
    status = do(alice.governance.status())
    assert (status.enabled, status.tasks[0].task) == (False, "hourly")
    back = do(alice.governance.undo(done.id))
    assert (back.restored, back.kept, back.already) == (1, 0, False)
    assert back.txid > done.txid
    assert _texts(do, alice) == ["Likes oolong"]
    again = do(alice.governance.undo(done.id))
    assert (again.already, again.restored, again.undone_at) == (True, 0, back.undone_at)
    with pytest.raises(NotFound, match="no governance run"):
        do(alice.governance.undo("gov_none"))


def test_consolidation_and_reflection_show_without_changing(do: Any, alice: Any) -> None:
    for number in range(3):
        do(alice.remember(f"fact {number}", session="s1"))
    txid = do(alice.sync()).txid
    assert do(alice.governance.consolidate()).status == "success"
    (one,) = do(alice.governance.reflect()).candidates
    assert (one.signal, len(one.memories)) == ("session", 3)
    assert do(alice.sync()).txid == txid


def test_governance_of_a_branch_leaves_main_alone(do: Any, alice: Any) -> None:
    _doubtful(do, alice)
    trial = do(alice.fork("trial"))
    done = do(trial.governance.run())
    assert done.counts == {"quarantine": 1}
    assert (_texts(do, trial), _texts(do, alice)) == ([], ["Likes oolong"])
    assert len(do(alice.governance.reports())) == 0
