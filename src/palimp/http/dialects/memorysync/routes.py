"""ROUTES: every route of the dialect once; each stands beside its handler."""

from __future__ import annotations

from ..foreign import Route
from . import (
    exports,
    graph,
    history,
    imports,
    keys,
    lifecycle,
    memories,
    plane,
    projects,
    query,
    relations,
    saas,
    state,
    summaries,
    upload,
)

__all__ = ["ROUTES", "Route"]

ROUTES: tuple[Route, ...] = (
    *memories.ROUTES,
    *query.ROUTES,
    *relations.ROUTES,
    *plane.ROUTES,
    *history.ROUTES,
    *state.ROUTES,
    *summaries.ROUTES,
    *graph.ROUTES,
    *imports.ROUTES,
    *upload.ROUTES,
    *projects.ROUTES,
    *exports.ROUTES,
    *keys.ROUTES,
    *lifecycle.ROUTES,
    *saas.ROUTES,
)
