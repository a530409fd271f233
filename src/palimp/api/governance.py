"""Governance on the wire: rules that look through the memories of a profile, and what they did."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .base import Request, Result, Sequenced
from .operation import PROFILE, row
from .tasks import GovernanceTask

__all__ = [
    "ROWS",
    "ClusterMemory",
    "ClusterSignal",
    "Consolidate",
    "GetGovernance",
    "GetGovernanceReport",
    "GovernanceAction",
    "GovernanceDecision",
    "GovernanceReport",
    "GovernanceReports",
    "GovernanceStatus",
    "GovernanceStep",
    "GovernanceTask",
    "GovernanceUndone",
    "ListGovernanceReports",
    "MemoryCluster",
    "Reflect",
    "ReflectMode",
    "RunGovernance",
    "ScheduledTask",
    "UndoGovernance",
]

GovernanceStep: TypeAlias = Literal[
    "tool_results",
    "working",
    "stale",
    "quarantine",
    "redundancy",
    "contradictions",
    "scenes",
    "trust",
    "pollution",
]
GovernanceAction: TypeAlias = Literal[
    "archive", "delete", "quarantine", "supersede", "contradict", "promote", "demote", "reflect"
]
GovernanceOutcome: TypeAlias = Literal["success", "rejected", "degraded", "failed", "running"]
ClusterSignal: TypeAlias = Literal["contradiction", "semantic_cluster", "session", "duplicates"]
ReflectMode: TypeAlias = Literal["auto", "candidates", "model"]


class RunGovernance(Request, frozen=True, kw_only=True):
    """Ask the rules of a task, or these `steps`, and do what they decide; a checkpoint comes first.

    `hourly`: results of tools after 72 hours and working memory after 24 go, and so does what is
    superseded by nothing that is there. `daily`: what nobody vouches for any more is quarantined,
    newer memories take the place of older ones that say the same. `weekly`: associated memories
    that disagree, and conclusions whose grounds are gone. With `dry_run` nothing changes, and the
    answer is what would. With `cooldown` a run within an hour of the last is skipped, unless
    `force`. `approved`: also where a strategy asks for somebody's approval.
    `if_enabled`: only where the policy of the profile has governance on.
    """

    task: GovernanceTask = "all"
    steps: tuple[GovernanceStep, ...] = ()
    dry_run: bool = False
    cooldown: bool = False
    force: bool = False
    approved: bool = False
    if_enabled: bool = False


class Consolidate(Request, frozen=True, kw_only=True):
    """Look for memories that disagree and for conclusions without grounds; show what is alike.

    That are the steps `contradictions`, `scenes` and `trust`. `cooldown` is of 30 minutes.
    """

    dry_run: bool = False
    cooldown: bool = False
    force: bool = False


class Reflect(Request, frozen=True, kw_only=True):
    """Look at what hangs together among the newest facts, and conclude something from each cluster.

    A language model concludes up to two things of each, which are kept as facts of trust `T4` with
    the lineage they have. Mode `auto` shows the clusters alone where there is no model,
    `candidates` always, `model` is an error without one. `cooldown` is of two hours, of a model.
    """

    mode: ReflectMode = "auto"
    dry_run: bool = False
    cooldown: bool = False
    force: bool = False


class GovernanceDecision(Result, frozen=True, kw_only=True):
    """One thing that was decided, why, in numbers, and how to take it back alone.

    `memory` is None for one that is not there any more. `other` took its place, or disagrees.
    """

    action: str
    memory: str | None
    rationale: str
    confidence: float | None = None
    other: str | None = None
    rollback_hint: str = ""


class ClusterMemory(Result, frozen=True, kw_only=True):
    """A memory of a cluster; its text may be a placeholder where it cannot be read."""

    id: str
    text: str


class MemoryCluster(Result, frozen=True, kw_only=True):
    """Memories that hang together, and why; `importance` is at most 0.8."""

    signal: ClusterSignal
    importance: float
    memories: tuple[ClusterMemory, ...]


class GovernanceReport(Result, frozen=True, kw_only=True):
    """What a run did, or would have done (`dry_run`).

    `decisions` are the first 1,000, `counts` says how many each step made. `degraded`: a step or a
    strategy failed, see `warnings`, and the others went on. `failed`: all did. `rejected`: a
    strategy asks for approval, and nothing was done. `running`: it has not ended, or was
    interrupted. A run that changed nothing is not kept and has no `checkpoint`. `skipped`: the last
    one is not long enough ago, `cooldown_remaining_s` says how long that is still to be.
    """

    id: str
    task: str
    status: GovernanceOutcome
    at: int
    decisions: tuple[GovernanceDecision, ...] = ()
    counts: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    metrics: dict[str, float] = {}  # noqa: RUF012 - msgspec copies it
    warnings: tuple[str, ...] = ()
    candidates: tuple[MemoryCluster, ...] = ()
    strategy: str = "governance:default:v1"
    checkpoint: str | None = None
    dry_run: bool = False
    skipped: bool = False
    cooldown_remaining_s: int = 0
    undone_at: int | None = None
    txid: int = 0


class ListGovernanceReports(Request, frozen=True, kw_only=True):
    """Read the reports of the last 20 runs that changed something, without their decisions."""


class GovernanceReports(Result, Sequenced[GovernanceReport], frozen=True, kw_only=True):
    """Reports, the newest first."""

    reports: tuple[GovernanceReport, ...]
    txid: int = 0

    def _items(self) -> tuple[GovernanceReport, ...]:
        return self.reports


class GetGovernanceReport(Request, frozen=True, kw_only=True):
    """Read the report of one run, with its decisions."""

    id: str


class UndoGovernance(Request, frozen=True, kw_only=True):
    """Take back what one run did, and nothing else.

    What was changed again since stays as it is now.
    """

    id: str


class GovernanceUndone(Result, frozen=True, kw_only=True):
    """How many changes were taken back, and how many stay, as they were changed again since.

    `already`: it was taken back before, and nothing was done.
    """

    id: str
    restored: int = 0
    kept: int = 0
    already: bool = False
    undone_at: int | None = None
    txid: int = 0


class GetGovernance(Request, frozen=True, kw_only=True):
    """Ask whether governance is on for a profile, and when each task ran."""


class ScheduledTask(Result, frozen=True, kw_only=True):
    """A task of the schedule: how often, what it asks, and the last run that changed something."""

    task: GovernanceTask
    every_s: int
    steps: tuple[str, ...]
    last: GovernanceReport | None = None
    circuit_open_until: int | None = None


class GovernanceStatus(Result, frozen=True, kw_only=True):
    """`enabled`: the node runs it by its schedule, as node and policy say. `strategy`: its key."""

    enabled: bool
    node_enabled: bool
    policy_enabled: bool
    strategy: str
    tasks: tuple[ScheduledTask, ...]
    txid: int = 0


_GOVERNANCE = PROFILE + "/governance"

ROWS = (
    row(
        "governance.run",
        f"POST {_GOVERNANCE}/run",
        RunGovernance,
        GovernanceReport,
        "admin writes idempotent",
        "Ask the rules of governance and do what they decide, or say what that would be.",
    ),
    row(
        "governance.consolidate",
        f"POST {_GOVERNANCE}/consolidate",
        Consolidate,
        GovernanceReport,
        "admin writes idempotent",
        "Look for memories that disagree and for conclusions without grounds.",
    ),
    row(
        "governance.reflect",
        f"POST {_GOVERNANCE}/reflect",
        Reflect,
        GovernanceReport,
        "admin writes",
        "Conclude something from memories that hang together, or show them.",
    ),
    row(
        "governance.reports",
        f"GET {_GOVERNANCE}/runs",
        ListGovernanceReports,
        GovernanceReports,
        "read",
        "Read what the last runs of governance did.",
    ),
    row(
        "governance.report",
        f"GET {_GOVERNANCE}/runs/{{id}}",
        GetGovernanceReport,
        GovernanceReport,
        "read",
        "Read what one run of governance did, decision by decision.",
    ),
    row(
        "governance.undo",
        f"POST {_GOVERNANCE}/runs/{{id}}/undo",
        UndoGovernance,
        GovernanceUndone,
        "admin writes idempotent",
        "Take back what one run of governance did, and keep what is newer.",
    ),
    row(
        "governance.status",
        f"GET {_GOVERNANCE}",
        GetGovernance,
        GovernanceStatus,
        "read",
        "Read whether governance is on for a profile, and when each task ran.",
    ),
)
