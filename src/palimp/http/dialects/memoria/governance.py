"""Governance as a user asks for it: of main, with their cooldowns and in their numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ....api.base import Request
from ....api.governance import (
    Consolidate,
    GovernanceReport,
    GovernanceStep,
    MemoryCluster,
    Reflect,
    ReflectMode,
    RunGovernance,
)
from ....errors import Invalid, NotFound, Unconfigured
from ....ids import MAIN
from ..foreign import Route
from .call import Call

__all__ = ["ROUTES", "consolidated", "governed", "run"]

_UNAVAILABLE = 503
_STEPS: tuple[GovernanceStep, ...] = ("stale", "quarantine")
_MODES: dict[str, ReflectMode] = {
    "auto": "auto",
    "candidates": "candidates",
    "internal": "model",
}


def govern(call: Call) -> Any:
    """Quarantine what nobody vouches for any more, and clean up what is superseded."""
    request = RunGovernance(steps=_STEPS, cooldown=True, force=call.flag("force"))
    report = run(call, "governance.run", request)
    return _skipped(report) or governed(report)


def consolidate(call: Call) -> Any:
    """Look for memories that disagree, and renew trust."""
    request = Consolidate(cooldown=True, force=call.flag("force"))
    report = run(call, "governance.consolidate", request)
    return _skipped(report) or consolidated(report)


def reflect(call: Call) -> Any:
    """Conclude something from what hangs together, or show it."""
    word = call.text("mode", required=False) or "auto"
    if word not in _MODES:
        raise Invalid(f"mode is {word!r:.40}; give {', '.join(_MODES)}")
    model = call.node.context.extractor is not None
    if word == "internal" and not model:
        raise Unconfigured(
            "LLM not configured: this node has no model that reflects; ask for `candidates`",
            http_status=_UNAVAILABLE,
            said=True,
        )
    request = Reflect(mode=_MODES[word], cooldown=True, force=call.flag("force"))
    report = run(call, "governance.reflect", request)
    created = _actions(report)["reflect"]
    if report is None or report.skipped or not (report.candidates or created):
        return _skipped(report) or {"candidates": [], "scenes_created": 0}
    if word == "candidates" or not model:
        return {"candidates": [_cluster(one) for one in report.candidates]}
    return {"scenes_created": created, "candidates_found": len(report.candidates)}


def run(call: Call, operation: str, request: Request) -> GovernanceReport | None:
    """Return the report of a run on main; None where the user never wrote anything."""
    try:
        report: GovernanceReport = call.do(operation, request, target=call.place(MAIN))
    except NotFound as error:
        if error.code != "database_not_found":
            raise
        return None
    return report


def governed(report: GovernanceReport | None) -> dict[str, Any]:
    """Return what a run did, in their numbers. There is no graph apart that could be orphaned."""
    return {
        "quarantined": _count(report, "quarantine"),
        "cleaned_stale": _count(report, "stale"),
        "orphan_graph_cleaned": 0,
    }


def consolidated(report: GovernanceReport | None) -> dict[str, Any]:
    """Return what a consolidation did, in their numbers."""
    actions = _actions(report)
    return {
        "status": "success" if report is None else report.status,
        "conflicts_detected": _count(report, "contradictions"),
        "orphaned_scenes": _count(report, "scenes"),
        "promoted": actions["promote"],
        "demoted": actions["demote"],
        "warnings": [] if report is None else list(report.warnings),
        "decision_count": 0 if report is None else sum(report.counts.values()),
    }


def _count(report: GovernanceReport | None, step: str) -> int:
    return 0 if report is None else report.counts.get(step, 0)


def _actions(report: GovernanceReport | None) -> Counter[str]:
    return Counter(() if report is None else (one.action for one in report.decisions))


def _skipped(report: GovernanceReport | None) -> dict[str, Any] | None:
    if report is None or not report.skipped:
        return None
    return {"skipped": True, "cooldown_remaining_s": report.cooldown_remaining_s}


def _cluster(found: MemoryCluster) -> dict[str, Any]:
    return {
        "signal": found.signal,
        "importance": found.importance,
        "memories": [{"memory_id": one.id, "content": one.text} for one in found.memories],
    }


_TEST = "tests/dialects/memoria/test_governance.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/governance", "user", govern, _TEST),
    Route("POST", "/v1/consolidate", "user", consolidate, _TEST),
    Route("POST", "/v1/reflect", "user", reflect, _TEST),
)
