"""From an operation's name to its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..api import OPERATIONS, Target
from ..api.base import Request, Result
from ..errors import Error, Invalid
from . import memories, node, recall, sessions
from .context import Context

__all__ = ["HANDLERS", "dispatch"]

HANDLERS: dict[str, Callable[[Context, Target, Any], Result]] = {
    "memories.ingest": memories.ingest,
    "memories.get": memories.get,
    "memories.list": memories.list_page,
    "memories.supersede": memories.supersede,
    "memories.forget": memories.forget,
    "memories.history": memories.history,
    "recall": recall.recall,
    "sessions.list": sessions.list_page,
    "sessions.append": sessions.append,
    "sessions.window": sessions.window,
    "sessions.search": recall.search,
    "sessions.end": sessions.end,
    "profiles.list": node.list_profiles,
    "maintain": node.maintain,
}


def dispatch(context: Context, name: str, target: Target, request: Request) -> Result:
    """Carry out one operation of the table; raises only errors of `palimp.errors`."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise Invalid(f"no operation {name!r}")
    assert isinstance(request, operation.request), f"{name} takes a {operation.request.__name__}"
    try:
        result = HANDLERS[name](context, target, request)
    except Error as error:
        context.metrics.add("operations_failed", operation=name, code=error.code)
        raise
    context.metrics.add("operations_done", operation=name)
    return result
