"""Runs of governance: what a dry run leaves, what undoing brings back, who is asked, who waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

import palimp
from palimp.api import Options, Target
from palimp.api.governance import GetGovernance, Reflect, RunGovernance, UndoGovernance
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.errors import Conflict, Denied, Invalid, NotFound, Unconfigured
from palimp.governance import rules
from palimp.governance.rules import Rule
from palimp.governance.strategy import BUILT_IN, patched_plan, patched_report
from palimp.node import Node, load_settings
from palimp.operations import dispatch, governance
from palimp.operations.context import Context
from palimp.operations.governance_run import Run, Running
from palimp.operations.governing import circuit_open_until, cooling
from palimp.profile import governed

from ...model_server import ModelServer

DAY = 86_400_000
ALICE = Address("default", "alice")
TARGET = Target("default", "alice")


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none", "maintenance_secs": 0}
    made = Node(load_settings(settings), clock=clock)
    yield made
    made.close()


@pytest.fixture
def alice(node: Node) -> palimp.Profile:
    return palimp.Client(Embedded(node)).profile("alice")


def stale(alice: palimp.Profile, clock: ManualClock, count: int = 3) -> list[str]:
    """Write what a run has something to do with: one to be quarantined, the others archived."""
    old = clock.now_ms() - 30 * DAY
    found = [alice.remember("doubtful", trust="T4", observed_at=old).id]
    for number in range(count - 1):
        found.append(alice.remember(f"short {number}", kind="working", observed_at=old).id)
    return found


def rows(node: Node) -> dict[str, list[Any]]:
    """Return all that is in the tables of a profile, as it stands there."""

    def read(connection: apsw.Connection) -> dict[str, list[Any]]:
        names = connection.execute(
            """SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_\\_palimp%'
            ESCAPE '\\' AND name NOT LIKE '%\\_fts%' ESCAPE '\\'"""
        ).fetchall()
        return {
            str(name): connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for (name,) in names
        }

    with node.context.engine.use(ALICE, create=False) as branch:
        assert branch is not None
        return branch.read(read).value


def memories(node: Node) -> list[Any]:
    return rows(node)["__palimp_memories"]


def names(node: Node) -> list[str]:
    return [one.name for one in node.context.engine.checkpoints(ALICE)]


def test_a_dry_run_changes_nothing_and_says_what_a_run_does(
    node: Node, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    before, txid = rows(node), alice.sync().txid
    dry = alice.governance.run(dry_run=True)
    assert (rows(node), names(node), alice.sync().txid) == (before, [], txid)
    assert (dry.dry_run, dry.checkpoint) == (True, None)
    assert dry.counts == {"working": 2, "quarantine": 1}
    done = alice.governance.run()
    assert (done.counts, done.status) == (dry.counts, "success")
    assert [one.memory for one in done.decisions] == [one.memory for one in dry.decisions]
    assert alice.governance.run(dry_run=True).counts == {}


def test_a_run_that_changes_nothing_is_not_kept(node: Node, alice: palimp.Profile) -> None:
    assert alice.governance.run().checkpoint is None
    alice.remember("fine", trust="T1")
    txid = alice.sync().txid
    assert alice.governance.run().checkpoint is None
    assert (len(alice.governance.reports()), alice.sync().txid) == (0, txid)
    assert names(node) == []


def test_undoing_brings_every_row_back_and_keeps_what_came_during_and_after(
    node: Node, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    before = memories(node)
    with node.context.engine.use(ALICE, create=False) as branch:
        assert branch is not None
        with Run(node.context, branch, "all", dry_run=False) as work:
            work.steps(["working"])
            kept = alice.remember("said meanwhile")
            work.steps(["quarantine"])
            work.finish(work.report())
    later = alice.remember("said later")
    (report,) = alice.governance.reports()
    assert report.checkpoint in names(node)
    clock.advance(3_600)
    done = alice.governance.undo(work.id)
    assert (done.restored, done.kept, done.already) == (3, 0, False)
    now = memories(node)
    assert [row for row in now if row in before] == before
    assert {one.id for one in alice.list()} >= {kept.id, later.id}
    assert len(now) == len(before) + 2
    again = alice.governance.undo(work.id)
    assert (again.restored, again.already, again.undone_at) == (0, True, done.undone_at)
    assert memories(node) == now
    assert alice.governance.report(work.id).undone_at == done.undone_at


def test_what_somebody_restored_since_is_kept(alice: palimp.Profile, clock: ManualClock) -> None:
    doubtful, *_ = stale(alice, clock)
    report = alice.governance.run()
    alice.lifecycle.restore(doubtful)
    done = alice.governance.undo(report.id)
    assert (done.restored, done.kept) == (2, 1)


def test_a_run_that_was_interrupted_is_taken_back_as_far_as_it_came(
    node: Node, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    before = memories(node)
    with node.context.engine.use(ALICE, create=False) as branch:
        assert branch is not None
        with Run(node.context, branch, "all", dry_run=False) as work:
            work.steps(["working"])
            with pytest.raises(Conflict, match="has not ended"):
                alice.governance.undo(work.id)
        assert branch.attachment(Running, Running).runs == set()
    (report,) = alice.governance.reports()
    assert (report.id, report.status) == (work.id, "running")
    assert alice.governance.undo(work.id).restored == 2
    assert memories(node) == before


def test_reports_show_decisions_and_forget_ids_with_the_memories(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    done = alice.governance.run()
    assert alice.governance.reports()[0].decisions == ()
    kept = alice.governance.report(done.id)
    assert kept.decisions == done.decisions
    quarantined = next(one for one in done.decisions if one.action == "quarantine")
    assert quarantined.rollback_hint == f"memories.restore {quarantined.memory}"
    assert "doubtful" not in msgspec.json.encode(kept).decode()
    alice.forget(quarantined.memory)
    (gone,) = [one for one in alice.governance.report(done.id).decisions if one.memory is None]
    assert gone.rationale == quarantined.rationale
    for call in (alice.governance.report, alice.governance.undo):
        with pytest.raises(NotFound, match="no governance run 'gov_none'"):
            call("gov_none")


def test_the_last_twenty_runs_are_kept(
    node: Node, alice: palimp.Profile, clock: ManualClock
) -> None:
    for number in range(governed.RUNS_KEPT + 2):
        alice.remember(f"short {number}", kind="working", observed_at=clock.now_ms() - 2 * DAY)
        clock.advance(1)
        alice.governance.run("hourly")
    reports = alice.governance.reports()
    assert len(reports) == governed.RUNS_KEPT
    kept = rows(node)["__palimp_governance_deeds"]
    assert {row[0] for row in kept} == {one.id for one in reports}


# -- failures ---------------------------------------------------------------------------------


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("a secret text")


def test_a_step_that_fails_is_a_warning_and_the_others_go_on(
    node: Node, alice: palimp.Profile, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale(alice, clock)
    monkeypatch.setitem(rules.RULES, "working", Rule("working", broken, broken))
    report = alice.governance.run()
    assert (report.status, report.counts) == ("degraded", {"quarantine": 1})
    assert report.warnings == (
        "step working failed: a defect of the node (ZeroDivisionError), whose log says more",
    )
    failed = alice.governance.run(steps=["working"])
    assert (failed.status, failed.counts) == ("failed", {})


@pytest.mark.parametrize(
    "request_",
    [RunGovernance(task="never"), RunGovernance(steps=("sleep",))],  # type: ignore[arg-type]
)
def test_what_cannot_be_asked(node: Node, request_: RunGovernance) -> None:
    with pytest.raises(Invalid, match=r"give (some of |hourly)"):
        dispatch(node.context, "governance.run", TARGET, request_)


def test_a_profile_that_was_never_written_stays_unwritten(node: Node) -> None:
    for name, asked in (("run", RunGovernance()), ("reflect", Reflect())):
        dispatch(node.context, f"governance.{name}", TARGET, asked)
    dispatch(node.context, "governance.status", TARGET, GetGovernance())
    with pytest.raises(NotFound):
        dispatch(node.context, "governance.undo", TARGET, UndoGovernance(id="gov_1"))
    assert node.context.engine.name(ALICE) is None


def test_only_where_the_policy_asks(node: Node, alice: palimp.Profile, clock: ManualClock) -> None:
    stale(alice, clock)
    asked = RunGovernance(if_enabled=True)
    assert dispatch(node.context, "governance.run", TARGET, asked).skipped  # type: ignore[attr-defined]
    alice.client.set_policy("default", {"governance": {"enabled": True}})
    done = dispatch(node.context, "governance.run", TARGET, asked)
    assert done.counts == {"working": 2, "quarantine": 1}  # type: ignore[attr-defined]
    found = alice.governance.status()
    assert (found.policy_enabled, found.node_enabled, found.enabled) == (True, False, False)


# -- waiting ----------------------------------------------------------------------------------


def test_a_cooldown_says_how_long_it_is_and_force_passes_it(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    alice.remember("fine")
    assert not alice.governance.run(cooldown=True).skipped
    clock.advance(0.5)
    again = alice.governance.run(cooldown=True)
    assert (again.skipped, again.cooldown_remaining_s) == (True, 3_600)
    clock.advance(3_599)
    assert alice.governance.run(cooldown=True).cooldown_remaining_s == 1
    assert not alice.governance.run(cooldown=True, force=True).skipped
    assert not alice.governance.run().skipped
    assert alice.governance.run(cooldown=True).skipped
    assert not alice.governance.consolidate(cooldown=True).skipped
    assert alice.governance.consolidate(cooldown=True).cooldown_remaining_s == 1_800
    clock.advance(3_600)
    assert not alice.governance.run(cooldown=True).skipped


def test_a_cooldown_survives_a_rewind(node: Node, alice: palimp.Profile) -> None:
    alice.remember("fine")
    alice.checkpoint("before")
    alice.governance.run(cooldown=True)
    alice.rewind("before")
    assert alice.governance.run(cooldown=True).skipped
    assert cooling(node.context, ALICE, "governance") > 0


def test_a_dry_run_neither_waits_nor_makes_others_wait(alice: palimp.Profile) -> None:
    alice.remember("fine")
    alice.governance.run(cooldown=True, dry_run=True)
    assert not alice.governance.run(cooldown=True).skipped
    assert not alice.governance.run(cooldown=True, dry_run=True).skipped


# -- strategies -------------------------------------------------------------------------------


class Scripted:
    """A strategy that says what it is told to; an error is raised."""

    key = "governance:scripted:v1"

    def __init__(self) -> None:
        self.plans: Any = {}
        self.executes: Any = {}
        self.seen: list[Any] = []

    def strategy_for(self, _context: Context) -> Any:
        return self

    def plan(self, task: str, base_plan: dict[str, Any]) -> dict[str, Any]:
        self.seen.append((task, base_plan))
        if isinstance(self.plans, Exception):
            raise self.plans
        return dict(self.plans)

    def execute(self, *given: Any) -> dict[str, Any]:
        self.seen.append(given)
        if isinstance(self.executes, Exception):
            raise self.executes
        return dict(self.executes)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def asking(node: Node, scripted: Scripted) -> Context:
    return msgspec.structs.replace(node.context, strategies=scripted)


def run(context: Context, **fields: Any) -> Any:
    return governance.run(context, TARGET, RunGovernance(**fields))


def test_a_strategy_leaves_steps_out_and_adds_to_the_report(
    asking: Context, scripted: Scripted, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    scripted.plans = {"actions": ["quarantine"]}
    scripted.executes = {
        "status": "degraded",
        "metrics": {"calm": 1},
        "warnings": ["careful"],
        "decisions": [{"action": "noted", "rationale": "why not"}],
    }
    report = run(asking, task="all")
    assert (report.counts, report.status) == ({"quarantine": 1}, "degraded")
    assert (report.strategy, report.metrics) == (scripted.key, {"calm": 1})
    assert report.warnings == (f"{scripted.key}: careful",)
    assert [one.action for one in report.decisions] == ["noted"]
    # Kept is what was done.
    kept = alice.governance.report(report.id)
    assert [one.action for one in kept.decisions] == ["quarantine"]
    (task, plan), (_, _, summary, told) = scripted.seen
    assert task == "all"
    assert plan["estimated_impact"] == {
        **dict.fromkeys(rules.RULES, 0),
        "working": 2,
        "quarantine": 1,
    }
    assert (summary, told["status"]) == ({"quarantine": 1}, "success")
    assert "doubtful" not in str(scripted.seen)


def test_what_asks_for_approval_is_not_done_without(
    asking: Context, scripted: Scripted, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    scripted.plans = {"requires_approval": True}
    rejected = run(asking)
    assert (rejected.status, rejected.counts, rejected.checkpoint) == ("rejected", {}, None)
    assert run(asking, approved=True).counts == {"working": 2, "quarantine": 1}


@pytest.mark.parametrize(
    "patch",
    [
        {"actions": ["erase"]},
        {"actions": ["quarantine", "quarantine"]},
        {"actions": "quarantine"},
        {"everything": True},
        Invalid("it is out of order"),
    ],
)
def test_a_plan_that_is_none_is_passed_over(
    asking: Context, scripted: Scripted, alice: palimp.Profile, clock: ManualClock, patch: Any
) -> None:
    stale(alice, clock)
    scripted.plans = patch
    report = run(asking)
    assert (report.status, report.strategy) == ("degraded", BUILT_IN)
    assert report.counts == {"working": 2, "quarantine": 1}
    assert report.metrics["governance.degraded"] == 1
    assert "the built-in rules went on without it" in report.warnings[0]


def test_a_report_that_is_none_keeps_the_one_there_was(
    asking: Context, scripted: Scripted, alice: palimp.Profile, clock: ManualClock
) -> None:
    stale(alice, clock)
    scripted.executes = {"decisions": "all"}
    report = run(asking)
    assert report.status == "degraded"
    assert report.counts == {"working": 2, "quarantine": 1}
    assert report.metrics["plugin.runtime.degraded"] == 1
    assert len(report.decisions) == 3


def test_the_circuit_opens_after_three_failures_for_five_minutes(
    asking: Context, scripted: Scripted, alice: palimp.Profile, clock: ManualClock
) -> None:
    alice.remember("fine")
    scripted.plans = Invalid("no")
    for _ in range(2):
        run(asking)
    scripted.plans = {}
    # One that works counts from the beginning again.
    assert run(asking).status == "success"
    scripted.plans = Invalid("no")
    for _ in range(3):
        assert circuit_open_until(asking, scripted.key, "all") is None
        run(asking)
    scripted.plans = {}
    scripted.seen.clear()
    report = run(asking)
    assert (report.status, scripted.seen) == ("degraded", [])
    assert report.metrics["governance.circuit_open"] == 1
    # Of another task nothing is known.
    assert run(asking, task="hourly").status == "success"
    clock.advance(299)
    assert run(asking).status == "degraded"
    clock.advance(1)
    assert run(asking).status == "success"


def test_a_strategy_that_is_bound_and_missing_degrades(
    node: Node, alice: palimp.Profile, clock: ManualClock
) -> None:
    class Missing:
        def strategy_for(self, _context: Context) -> Any:
            raise NotFound("plugin calm has no release")

    stale(alice, clock)
    context = msgspec.structs.replace(node.context, strategies=Missing())
    report = run(context)
    assert (report.status, report.counts) == ("degraded", {"working": 2, "quarantine": 1})
    assert report.warnings == ("no strategy was asked: plugin calm has no release",)
    assert governance.status(context, TARGET, GetGovernance()).strategy == BUILT_IN


def test_a_status_gets_worse_and_never_better() -> None:
    report = {"status": "failed", "decisions": [], "metrics": {}, "warnings": []}
    assert patched_report("k", report, {"status": "success"})["status"] == "failed"
    with pytest.raises(Invalid, match="reports 101 warnings; give at most 100"):
        patched_report("k", report, {"warnings": ["w"] * 101})
    plan = {"actions": ["a", "b"], "estimated_impact": {}, "requires_approval": False}
    assert patched_plan("k", plan, {"actions": ["b"]})["actions"] == ["b"]
    assert plan["actions"] == ["a", "b"]


# -- reflection -------------------------------------------------------------------------------


def test_without_a_model_reflection_shows_what_hangs_together(alice: palimp.Profile) -> None:
    for number in range(3):
        alice.remember(f"fact {number}", session="s1")
    found = alice.governance.reflect()
    (one,) = found.candidates
    assert (one.signal, [each.text for each in one.memories]) == (
        "session", ["fact 0", "fact 1", "fact 2"],
    )  # fmt: skip
    assert (found.counts, found.checkpoint) == ({}, None)
    with pytest.raises(Unconfigured, match="PALIMP_EXTRACT_API_KEY"):
        alice.governance.reflect("model")
    with pytest.raises(Invalid, match="give auto, candidates or model"):
        alice.governance.reflect("hard")  # type: ignore[arg-type]


def test_a_model_concludes_and_undo_takes_it_back(tmp_path: Path) -> None:
    with (
        ModelServer() as server,
        palimp.open(
            tmp_path / "m",
            embed_provider="none",
            extract_provider="openai",
            extract_base_url=server.url,
        ) as mem,
    ):
        alice = mem.profile("alice")
        ids = [alice.remember(f"fact {number}", session="s1").id for number in range(3)]
        items = [{"text": f"so {n}", "confidence": 0.9 - n} for n in range(5)]
        server.say({"conclusions": items})
        done = alice.governance.reflect(cooldown=True)
        assert (done.counts, done.status) == ({"reflect": 2}, "success")
        found = {one.text: one for one in alice.list() if one.trust == "T4"}
        assert set(found) == {"so 0", "so 1"}
        assert set(found["so 0"].derived_from) == set(ids)
        assert (found["so 0"].confidence, found["so 1"].confidence) == (0.9, 0.0)
        assert found["so 0"].kind == "semantic"
        assert alice.governance.reflect(cooldown=True).skipped
        assert alice.governance.reflect("candidates", cooldown=True).candidates
        assert len(server.seen) == 1
        assert alice.governance.undo(done.id).restored == 2
        assert {one.id for one in alice.list()} == set(ids)
        # What is not fit for it is a warning.
        server.say(*[{"nothing": 1}] * 3)
        assert alice.governance.reflect().status == "failed"
        mem.set_policy("default", {"ai_egress": {"extract": "deny"}})
        with pytest.raises(Denied, match=r"ai_egress\.extract = deny"):
            alice.governance.reflect()


def test_duplicates_are_shown_and_left_alone(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m") as mem:
        alice = mem.profile("alice")
        for text in ("Anna likes tea in the morning", "Anna likes tea in the mornings"):
            alice.remember(text, wait="embedded")
        alice.remember("The garage is closed on Sundays", wait="embedded")
        found = alice.governance.consolidate()
        (one,) = found.candidates
        assert (one.signal, len(one.memories)) == ("duplicates", 2)
        assert (found.counts, found.status, found.checkpoint) == ({}, "success", None)


def test_what_was_done_travels_with_exports_and_forks(
    alice: palimp.Profile, clock: ManualClock, tmp_path: Path
) -> None:
    stale(alice, clock)
    done = alice.governance.run()
    alice.export(tmp_path / "alice.db")
    copy = alice.client.profile("copy")
    copy.import_(tmp_path / "alice.db")
    for profile in (copy, alice.fork("trial")):
        assert profile.governance.reports()[0].id == done.id
        assert profile.governance.undo(done.id).restored == 3
    assert alice.governance.report(done.id).undone_at is None
    assert len(list(alice.list())) == 0


def test_a_repeat_of_a_run_is_the_run_and_of_an_undo_the_undo(tmp_path: Path) -> None:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}, {}))
    with palimp.Client(Embedded(node)) as mem:
        alice = mem.profile("alice")
        # More than are read at a time.
        given = [
            {"text": f"step {number}", "kind": "working", "observed_at": 1_000}
            for number in range(150)
        ]
        alice.ingest(given)
        how = Options(request_id="run-1")
        first = mem.call("governance.run", alice.target, RunGovernance(), how)
        again = mem.call("governance.run", alice.target, RunGovernance(), how)
        assert first.counts == {"working": 150}
        assert (again.id, again.counts, again.checkpoint) == (
            first.id, first.counts, first.checkpoint,
        )  # fmt: skip
        undo, how = UndoGovernance(id=first.id), Options(request_id="undo-1")
        done = mem.call("governance.undo", alice.target, undo, how)
        assert (done.restored, done.kept, done.already) == (150, 0, False)
        assert mem.call("governance.undo", alice.target, undo, how) == done
        assert mem.call("governance.undo", alice.target, undo).already
        assert len(list(alice.list())) == 150
