"""From an operation's name to its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from ..api import NO_OPTIONS, OPERATIONS, Options, Target
from ..api.base import Request, Result
from ..api.operations import Durability
from ..engine import check_request_id
from ..errors import Error, Invalid
from . import branches, memories, node, recall, sessions
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
    "branches.list": branches.list_branches,
    "branches.fork": branches.fork,
    "branches.delete": branches.delete,
    "checkpoints.create": branches.checkpoint,
    "checkpoints.list": branches.checkpoints,
    "checkpoints.delete": branches.drop_checkpoint,
    "points.list": branches.points,
    "rewind": branches.rewind,
    "sync": branches.sync,
    "export": branches.export,
    "import": branches.import_,
    "verify": branches.verify,
    "manifest": branches.manifest,
    "wake": branches.wake,
    "profiles.list": node.list_profiles,
    "names.list": branches.names,
    "maintain": node.maintain,
}


def dispatch(
    context: Context, name: str, target: Target, request: Request, options: Options = NO_OPTIONS
) -> Result:
    """Carry out one operation of the table; raises only errors of `palimp.errors`."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise Invalid(f"no operation {name!r}")
    assert isinstance(request, operation.request), f"{name} takes a {operation.request.__name__}"
    try:
        if operation.writes and target.at is not None:
            raise Invalid(
                f"{name} would write to the past, at {target.at!r:.80}, which never changes; "
                "fork a branch from that point, or rewind to it, and write there"
            )
        if options is not NO_OPTIONS:
            context = context.with_options(_checked(options), name, request)
        result = HANDLERS[name](context, target, request)
    except Error as error:
        context.metrics.add("operations_failed", operation=name, code=error.code)
        raise
    context.metrics.add("operations_done", operation=name)
    return result


def _checked(options: Options) -> Options:
    """Return the options if they can be meant."""
    if options.durability not in (None, *get_args(Durability)):
        raise Invalid(f"durability is {options.durability!r:.80}; give 'local' or 'durable'")
    if options.request_id is not None:
        if not isinstance(options.request_id, str):
            raise Invalid(f"request_id must be text, not {type(options.request_id).__name__}")
        check_request_id(options.request_id)
    return options
