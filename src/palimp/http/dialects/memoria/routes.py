"""ROUTES: every route of the dialect once; each stands beside its handler."""

from __future__ import annotations

from ..foreign import Route
from . import (
    admin,
    git,
    governance,
    groups,
    health,
    keys,
    mcp,
    memories,
    observing,
    profile,
    retrieval,
    sessions,
)

__all__ = ["ROUTES", "Route"]

ROUTES: tuple[Route, ...] = (
    *memories.ROUTES,
    *retrieval.ROUTES,
    *observing.ROUTES,
    *sessions.ROUTES,
    *profile.ROUTES,
    *health.ROUTES,
    *git.ROUTES,
    *governance.ROUTES,
    *keys.ROUTES,
    *groups.ROUTES,
    *admin.ROUTES,
    *mcp.ROUTES,
)
