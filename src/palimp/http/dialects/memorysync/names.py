"""Names of that system and ours that stand for them: tenants, environments, projects."""

from __future__ import annotations

import re

from ....api.tenants import ENVIRONMENTS
from ....operations.credentials import tenant_namespace
from .refusals import bad, unprocessable

__all__ = [
    "DIALECT",
    "ENVIRONMENTS",
    "PRODUCTION",
    "PROJECT_KEY",
    "check_environment",
    "check_project_id",
    "check_tenant",
    "namespace_of",
]

DIALECT = "memorysync"
PRODUCTION = ENVIRONMENTS[0]
# Under this and its id a project is kept among the bindings, in the scope of its tenant.
PROJECT_KEY = "project/"
# No colon: `a` in staging and a tenant called `a:staging` must not share a namespace.
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_PROJECT = re.compile(r"proj_[0-9a-f]{16}\Z")


def namespace_of(tenant: str, environment: str) -> str:
    """Return the namespace of a tenant in an environment; no two pairs have one.

    Raises `Invalid` (400) for what is no tenant's id.
    """
    return tenant_namespace(check_tenant(tenant), environment)


def check_tenant(text: str) -> str:
    """Return a tenant's id; raises `Invalid` (400) for what is none."""
    if not _TENANT.match(text):
        raise bad(
            f"tenant id {text!r:.80} is not 1 to 128 of A-Z, a-z, 0-9, _, . and -",
            "INVALID_TENANT_ID_FORMAT",
        )
    return text


def check_environment(text: str) -> str:
    """Return an environment; raises `Invalid` (422) for what is none."""
    if text not in ENVIRONMENTS:
        raise unprocessable(f"environment {text!r:.40} is none of {', '.join(ENVIRONMENTS)}")
    return text


def check_project_id(text: str) -> str:
    """Return a project's id; raises `Invalid` (400) for what is none."""
    if not _PROJECT.match(text):
        raise bad(f"project id {text!r:.80} is not `proj_` and 16 hex digits", "ValidationError")
    return text
