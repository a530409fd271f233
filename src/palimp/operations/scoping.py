"""Filters that name no project: let through, recorded or refused, as the policy says.

A project is a label within a profile. That none was named may be meant, or forgotten.
"""

from __future__ import annotations

from ..api import Target
from ..api.base import Request
from ..api.memories import Filters
from ..errors import Invalid
from .access import Principal
from .auditing.actions import UNSCOPED
from .context import Context

__all__ = ["check", "record"]


def check(context: Context, target: Target, request: Request) -> bool:
    """Return whether a request is to be recorded as one that spans all projects.

    Raises `Invalid` where the policy wants one named.
    """
    if not isinstance(request, Filters) or target.namespace is None or request.any_project:
        return False
    if request.project is not None or request.project_or_none is not None:
        return False
    word = context.policies.lenient(target.namespace, target.profile).memory_unscoped
    if word == "refuse":
        raise Invalid(
            f"the filters name no project, and the policy of {target.namespace}--{target.profile} "
            "wants one (memory.unscoped): give project or project_or_none, or any_project where "
            "all are meant"
        )
    return word == "record"


def record(
    context: Context, target: Target, principal: Principal, projects: int | None = None
) -> None:
    """Let the audit say that somebody named no project; `projects` is of how many, where known."""
    if context.audit is None or target.namespace is None:
        return
    record = context.audit.record
    if projects is None:
        record(target.namespace, UNSCOPED, target.profile, principal=principal)
    else:
        record(
            target.namespace,
            UNSCOPED,
            target.profile,
            principal=principal,
            projects_spanned=projects,
        )
