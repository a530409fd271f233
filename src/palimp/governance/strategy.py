"""What may have a say in a governance run besides the built-in rules, and how far that goes.

A strategy sees plans and reports, never a memory. It may leave steps of a plan out or put them in
another order, ask for approval, and add to a report; it can make a run do less, never more.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from ..decoding import from_plain
from ..errors import Invalid

__all__ = [
    "BUILT_IN",
    "STATUSES",
    "Status",
    "Strategies",
    "Strategy",
    "patched_plan",
    "patched_report",
]

BUILT_IN = "governance:default:v1"
Status = Literal["success", "rejected", "degraded", "failed"]
# From the best to the worst.
STATUSES: tuple[Status, ...] = ("success", "rejected", "degraded", "failed")
_DECISIONS_MAX = 1_000
_WARNINGS_MAX = 100
_TEXT_CHARS_MAX = 1_000
_METRICS_MAX = 200


class Strategy(Protocol):
    """What is asked before a run and after it. Raises errors of `palimp.errors` only.

    `key` names it in reports, and what is remembered of its failures.
    """

    key: str

    def plan(self, task: str, base_plan: dict[str, Any]) -> dict[str, Any]:
        """Return a patch of the plan, `{}` for none.

        `base_plan` is {"actions": [step, ...], "estimated_impact": {step: memories},
        "requires_approval": false, "users": 1}. The patch may hold `requires_approval`, `actions`
        (some of those, in any order) and `estimated_impact`, each in place of what was there.
        """

    def execute(
        self, task: str, plan: dict[str, Any], summary: dict[str, Any], report: dict[str, Any]
    ) -> dict[str, Any]:
        """Return a patch of the report of what has been done, `{}` for none.

        `summary` is {step: memories}; `report` {"status", "decisions": [{"action", "memory",
        "confidence", "rationale", "rollback_hint"}, ...], "metrics": {name: number},
        "warnings": [text, ...]}. The patch may hold `status`, `decisions` (in place of those),
        `metrics` (merged) and `warnings` (appended).
        """


class Strategies(Protocol):
    """What a node finds strategies by, `Context.strategies`; with None the rules are alone."""

    def strategy_for(self, context: Any) -> Strategy | None:
        """Return the strategy that is bound now, None where none is.

        Raises an error of `palimp.errors` where one is bound and cannot be had: the run then goes
        on with the built-in rules, and its report says so.
        """


class _PlanPatch(msgspec.Struct, forbid_unknown_fields=True):
    requires_approval: bool | None = None
    actions: list[str] | None = None
    estimated_impact: dict[str, int | float] | None = None


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    action: str
    memory: str | None = None
    confidence: float | None = None
    rationale: str = ""
    rollback_hint: str = ""
    evidence: Any = None


class _ReportPatch(msgspec.Struct, forbid_unknown_fields=True):
    status: Status | None = None
    decisions: list[_Decision] | None = None
    metrics: dict[str, int | float] = {}
    warnings: list[str] = []


def patched_plan(key: str, base_plan: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return a plan with a strategy's patch; `Invalid` where that is none, or does more."""
    asked = _read(key, "plan", patch, _PlanPatch)
    plan = dict(base_plan)
    if asked.actions is not None:
        known = plan["actions"]
        wrong = [one for one in asked.actions if one not in known]
        if wrong or len(set(asked.actions)) < len(asked.actions):
            raise Invalid(
                f"strategy {key} plans {(wrong or asked.actions)[0]!r:.80}, which is not among the "
                f"steps of this run, or is there twice; give some of {', '.join(known)}, each once"
            )
        plan["actions"] = asked.actions
    if asked.requires_approval is not None:
        plan["requires_approval"] = asked.requires_approval
    if asked.estimated_impact is not None:
        plan["estimated_impact"] = asked.estimated_impact
    return plan


def patched_report(key: str, report: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return a report with a strategy's patch; `Invalid` where that is none, or is too large.

    A status gets worse by it, never better: what failed is not talked away.
    """
    asked = _read(key, "execute", patch, _ReportPatch)
    for name, count, most in (
        ("decisions", len(asked.decisions or ()), _DECISIONS_MAX),
        ("metrics", len(asked.metrics), _METRICS_MAX),
        ("warnings", len(asked.warnings), _WARNINGS_MAX),
    ):
        if count > most:
            raise Invalid(f"strategy {key} reports {count:,} {name}; give at most {most:,}")
    found = dict(report)
    if asked.status is not None:
        found["status"] = max(report["status"], asked.status, key=STATUSES.index)
    if asked.decisions is not None:
        found["decisions"] = [_short(one) for one in asked.decisions]
    found["metrics"] = {**report["metrics"], **asked.metrics}
    warnings = [f"{key}: {text:.{_TEXT_CHARS_MAX}}" for text in asked.warnings]
    found["warnings"] = [*report["warnings"], *warnings]
    return found


def _read(key: str, hook: str, patch: Any, form: Any) -> Any:
    try:
        return from_plain(patch, form)
    except msgspec.ValidationError as error:
        raise Invalid(f"strategy {key} answers {hook} with what is no patch: {error}") from error


def _short(decision: _Decision) -> dict[str, Any]:
    kept = ("action", "memory", "confidence", "rationale", "rollback_hint")
    values = {name: getattr(decision, name) for name in kept}
    return {n: v[:_TEXT_CHARS_MAX] if isinstance(v, str) else v for n, v in values.items()}
