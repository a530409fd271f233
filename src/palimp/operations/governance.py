"""Governance of a profile's memories: asked for, reported, taken back."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ..api import Target
from ..api.governance import (
    Consolidate,
    GetGovernance,
    GetGovernanceReport,
    GovernanceDecision,
    GovernanceReport,
    GovernanceReports,
    GovernanceStatus,
    GovernanceStep,
    GovernanceUndone,
    ListGovernanceReports,
    RunGovernance,
    ScheduledTask,
    UndoGovernance,
)
from ..decoding import from_json, from_plain
from ..engine import Branch
from ..errors import Conflict, Error, Invalid, NotFound
from ..governance.rules import TASKS
from ..governance.strategy import BUILT_IN, STATUSES, patched_plan, patched_report
from ..governance.undoing import take_back
from ..profile import governed
from ..profile.checks import check_label
from ..profile.memories.states import Act
from .auditing.actions import UNASKED
from .context import Context
from .governance_run import Run, Running, run_of, told
from .governing import PERIODS, circuit_open_until, cooling, failed, succeeded, touch

if TYPE_CHECKING:
    from ..governance.strategy import Strategy

__all__ = [
    "consolidate",
    "done_before",
    "get_report",
    "list_reports",
    "run",
    "skipped",
    "status",
    "undo",
]

_CONSOLIDATION: tuple[GovernanceStep, ...] = ("contradictions", "scenes", "trust")
# Read at a time.
_BATCH = 100
_NO_LIMIT = (1 << 63) - 1


def run(context: Context, target: Target, request: RunGovernance) -> GovernanceReport:
    """Ask the rules of a task and do what they decide."""
    names = _steps(request)
    address = context.address(target)
    policy = context.policies.lenient(address.namespace, address.profile)
    if request.if_enabled and not policy.governance_enabled:
        return skipped(context, request.task, 0)
    if request.cooldown and not request.force and not request.dry_run:
        left = cooling(context, address, "governance")
        if left:
            return skipped(context, request.task, left)
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return _nothing(context, request.task, dry_run=request.dry_run)
        before = done_before(context, branch)
        if before is not None:
            return before
        asked = not request.if_enabled
        with Run(context, branch, request.task, dry_run=request.dry_run, asked=asked) as work:
            report = _carried_out(work, names, approved=request.approved)
    if request.cooldown and not request.dry_run:
        touch(context, address, "governance")
    return report


def consolidate(context: Context, target: Target, request: Consolidate) -> GovernanceReport:
    """Look for what disagrees and what has lost its grounds; show what is alike."""
    address = context.address(target)
    if request.cooldown and not request.force and not request.dry_run:
        left = cooling(context, address, "consolidate")
        if left:
            return skipped(context, "consolidate", left)
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return _nothing(context, "consolidate", dry_run=request.dry_run)
        before = done_before(context, branch)
        if before is not None:
            return before
        from .reflecting import duplicates

        with Run(context, branch, "consolidate", dry_run=request.dry_run) as work:
            work.steps(_CONSOLIDATION)
            shown = duplicates(work)
            report = work.report(decisions=work.told())
            work.finish(report)
            report = msgspec.structs.replace(report, candidates=shown, txid=work.txid)
    if request.cooldown and not request.dry_run:
        touch(context, address, "consolidate")
    return report


def list_reports(
    context: Context, target: Target, _request: ListGovernanceReports
) -> GovernanceReports:
    """Read what is said of the runs that are kept."""
    with context.reading(target) as database:
        if database is None:
            return GovernanceReports(reports=())
        found, txid, _ = database.read(governed.entries)
    return GovernanceReports(reports=tuple(_report(one) for one in found), txid=txid)


def get_report(context: Context, target: Target, request: GetGovernanceReport) -> GovernanceReport:
    """Read what one run did."""
    check_label(request.id, "id")
    with context.reading(target) as database:
        if database is None:
            raise _unknown(request.id)
        found, txid, _ = database.read(
            lambda c: (
                (governed.entry(c, request.id), governed.shown(c, request.id))
                if governed.entry(c, request.id)
                else (None, [])
            )
        )
    kept, rows = found
    if kept is None:
        raise _unknown(request.id)
    decisions: tuple[GovernanceDecision, ...] = told(request.id, rows)
    return msgspec.structs.replace(_report(kept), decisions=decisions, txid=txid)


def undo(context: Context, target: Target, request: UndoGovernance) -> GovernanceUndone:
    """Take back what a run did, the latest change first, where it was not changed again since.

    In one transaction: a run is taken back or it is not.
    """
    check_label(request.id, "id")
    address = context.address(target)
    sealer = context.sealer_of(address)
    now_ms = context.clock.now_ms()
    act = Act(now_ms, context.principal.actor, None, f"governance.undo {request.id}")

    def write(connection: apsw.Connection) -> GovernanceUndone:
        kept = governed.entry(connection, request.id)
        if kept is None:
            raise _unknown(request.id)
        if kept.undone_at is not None:
            return GovernanceUndone(id=request.id, already=True, undone_at=kept.undone_at)
        restored = total = 0
        below = _NO_LIMIT
        while deeds := governed.latest_deeds(connection, request.id, below, _BATCH):
            restored += take_back(connection, deeds, act, sealer)
            total, below = total + len(deeds), deeds[-1].seq
        governed.undone(connection, request.id, now_ms)
        return GovernanceUndone(
            id=request.id, restored=restored, kept=total - restored, undone_at=now_ms
        )

    with context.engine.use(address, create=False) as branch:
        if branch is None:
            raise _unknown(request.id)
        if request.id in branch.attachment(Running, Running).runs:
            raise Conflict(f"governance run {request.id} has not ended; take it back when it has")
        done, txid, _ = context.commit(branch, write, GovernanceUndone)
        context.wake(address)
    return msgspec.structs.replace(done, txid=txid)


def status(context: Context, target: Target, _request: GetGovernance) -> GovernanceStatus:
    """Read whether governance is on, and the last run of each task that changed something."""
    address = context.address(target)
    kept: list[governed.Entry] = []
    txid = 0
    with context.reading(target) as database:
        if database is not None:
            kept, txid, _ = database.read(governed.entries)
    reports = [_report(one) for one in kept]
    key = BUILT_IN
    # Which one it would be is said by a run, where it cannot be had.
    with suppress(Error):
        strategy = _bound(context)
        key = BUILT_IN if strategy is None else strategy.key
    policy = context.policies.lenient(address.namespace, address.profile).governance_enabled
    tasks = tuple(
        ScheduledTask(
            task=task,
            every_s=every,
            steps=TASKS[task],
            last=next((one for one in reports if one.task == task), None),
            circuit_open_until=None if key == BUILT_IN else circuit_open_until(context, key, task),
        )
        for task, every in PERIODS.items()
    )
    enabled = context.governing.enabled
    return GovernanceStatus(
        enabled=enabled and policy,
        node_enabled=enabled,
        policy_enabled=policy,
        strategy=key,
        tasks=tasks,
        txid=txid,
    )


def done_before(context: Context, branch: Branch) -> GovernanceReport | None:
    """Return the report of the run that this very request began, where it changed something."""
    identity = run_of(context)
    if identity is None:
        return None
    kept, txid, _ = branch.read(lambda c: governed.entry(c, identity))
    return None if kept is None else msgspec.structs.replace(_report(kept), txid=txid)


def skipped(context: Context, task: str, seconds: int) -> GovernanceReport:
    """Return the report of a run that comes too soon."""
    return GovernanceReport(
        id="",
        task=task,
        status="success",
        at=context.clock.now_ms(),
        skipped=True,
        cooldown_remaining_s=seconds,
    )


# -- with a strategy --------------------------------------------------------------------------


def _carried_out(
    work: Run, names: tuple[GovernanceStep, ...], *, approved: bool
) -> GovernanceReport:
    """Do the steps as a strategy would have them, and return the report with what it adds."""
    strategy, degraded = _strategy(work)
    plan: dict[str, Any] = {
        "actions": list(names),
        "estimated_impact": {},
        "requires_approval": False,
        "users": 1,
    }
    if strategy is not None:
        plan["estimated_impact"] = work.impact(names)
        try:
            patch = strategy.plan(work.name, plan)
            plan = patched_plan(strategy.key, plan, patch)
        except Error as error:
            degraded = _fell_back(work, strategy, error)
            strategy = None
    if plan["requires_approval"] and not approved:
        work.warn(
            "the strategy asks for approval: nothing was done; repeat the run with `approved`"
        )
        rejected = work.report("rejected", strategy=strategy.key if strategy else BUILT_IN)
        work.finish(rejected)
        return msgspec.structs.replace(rejected, txid=work.txid)
    work.steps(plan["actions"])
    report = work.report(decisions=work.told())
    if strategy is not None:
        report, fault = _patched(work, strategy, plan, report)
        degraded = degraded or fault
    if degraded:
        worst = max(report.status, "degraded", key=STATUSES.index)
        metrics = {**report.metrics, "governance.degraded": 1.0}
        warnings = tuple(dict.fromkeys((*report.warnings, *work.warnings)))
        report = msgspec.structs.replace(report, status=worst, metrics=metrics, warnings=warnings)
    work.finish(report)
    return msgspec.structs.replace(report, txid=work.txid)


def _strategy(work: Run) -> tuple[Strategy | None, bool]:
    """Return the strategy to be asked, and whether one was to be that cannot."""
    try:
        found = _bound(work.context)
        if found is None:
            return None, False
        until = circuit_open_until(work.context, found.key, work.name)
    except Error as error:
        work.warn(f"no strategy was asked: {error}")
        _tell_degraded(work)
        return None, True
    if until is not None:
        work.metrics["governance.circuit_open"] = 1.0
        seconds = -(-(until - work.at) // 1000)
        work.warn(f"strategy {found.key} failed too often and is left alone for {seconds:,} s")
        _tell_degraded(work)
        return None, True
    return found, False


def _bound(context: Context) -> Strategy | None:
    found: Strategy | None
    found = None if context.strategies is None else context.strategies.strategy_for(context)
    return None if found is None or found.key == BUILT_IN else found


def _patched(
    work: Run, strategy: Strategy, plan: dict[str, Any], report: GovernanceReport
) -> tuple[GovernanceReport, bool]:
    """Return the report with what a strategy adds, and whether it failed to."""
    decisions = [msgspec.to_builtins(one) for one in report.decisions]
    plain: dict[str, Any] = {
        "status": report.status,
        "decisions": decisions,
        "metrics": dict(report.metrics),
        "warnings": list(report.warnings),
    }
    for one in decisions:
        one.pop("other", None)
    report = msgspec.structs.replace(report, strategy=strategy.key)
    try:
        patch = strategy.execute(work.name, plan, dict(work.counts), plain)
        said = patched_report(strategy.key, plain, patch)
    except Error as error:
        work.metrics["plugin.runtime.degraded"] = 1.0
        _fell_back(work, strategy, error)
        return msgspec.structs.replace(report, metrics=work.metrics), True
    succeeded(work.context, strategy.key, work.name)
    if "decisions" not in patch:
        del said["decisions"]
    else:
        said["decisions"] = from_plain(said["decisions"], tuple[GovernanceDecision, ...])
    said["warnings"] = tuple(said["warnings"])
    return msgspec.structs.replace(report, **said), False


def _fell_back(work: Run, strategy: Strategy, error: Error) -> bool:
    """Note that a strategy failed; the run goes on without it."""
    work.warn(f"strategy {strategy.key} failed, the built-in rules went on without it: {error}")
    failed(work.context, strategy.key, work.name)
    _tell_degraded(work)
    return True


def _tell_degraded(work: Run) -> None:
    work.context.metrics.add("governance_degraded", task=work.name)
    if work.context.audit is not None:
        address = work.branch.address
        about = {"branch": address.branch, "outcome": "error"}
        work.context.audit.record(address.namespace, UNASKED, address.profile, about=about)


# -- parts ------------------------------------------------------------------------------------


def _steps(request: RunGovernance) -> tuple[GovernanceStep, ...]:
    """Return the steps that are asked for, each once; raises `Invalid`."""
    if request.task not in TASKS:
        raise Invalid(f"task is {request.task!r:.80}; give {', '.join(TASKS)}")
    known = TASKS["all"]
    wrong = [one for one in request.steps if one not in known]
    if wrong:
        raise Invalid(f"no step {wrong[0]!r:.80}; give some of {', '.join(known)}")
    return tuple(dict.fromkeys(request.steps)) or TASKS[request.task]


def _nothing(context: Context, task: str, *, dry_run: bool) -> GovernanceReport:
    """Return the report of a run on a profile that was never written."""
    now_ms = context.clock.now_ms()
    return GovernanceReport(id="", task=task, status="success", at=now_ms, dry_run=dry_run)


def _report(kept: governed.Entry) -> GovernanceReport:
    found = from_json(kept.report, GovernanceReport)
    return msgspec.structs.replace(
        found, id=kept.run, checkpoint=kept.checkpoint, undone_at=kept.undone_at
    )


def _unknown(identity: str) -> NotFound:
    return NotFound(
        f"no governance run {identity!r:.80}; the last {governed.RUNS_KEPT} that changed something "
        "are kept, `palimp governance report` lists them"
    )
