"""ROUTES: every route of the dialect once; each stands beside its handler."""

from __future__ import annotations

from typing import Any

from ..foreign import Reply, Route
from . import adding, agents, health, memories, sessions

__all__ = ["PREFLIGHTS", "ROUTES", "Route"]

ROUTES: tuple[Route, ...] = (
    *adding.ROUTES,
    *memories.ROUTES,
    *agents.ROUTES,
    *sessions.ROUTES,
    *health.ROUTES,
)
_NO_CONTENT = 204


def _preflight(_call: Any) -> Reply:
    """Answer a browser that asks whether a page may send something; the app adds what it may."""
    return Reply(_NO_CONTENT)


PREFLIGHTS: tuple[Route, ...] = tuple(
    Route("OPTIONS", path, "nobody", _preflight, status=_NO_CONTENT)
    for path in dict.fromkeys(one.path for one in ROUTES)
)
