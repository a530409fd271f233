"""Summing up what is said under one key, with the write that makes it enough.

The write is done by then: what cannot be summed up stays as it is, and the next write tries again.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from ..api import ItemResult, MemoryInput, Options, Target
from ..api.clusters import Summarize
from ..errors import Error
from ..governance.document import Effective
from ..observe import logger
from ..profile.clusters import members
from .auditing.actions import ACTIONS
from .context import Context

__all__ = ["sum_up"]

_LOG = logger("operations")
# Up to so many the summary is made anew with each, then whenever there are as many more.
_EACH = 10


def sum_up(
    context: Context,
    target: Target,
    policy: Effective,
    given: Sequence[MemoryInput],
    results: Sequence[ItemResult],
) -> None:
    """Sum up the keys of which these memories are a further value, where the policy says so.

    Without a model, which no write waits for.
    """
    least = policy.memory_summarize_at
    if not least:
        return
    keyed = {
        one.extracted_key: result.handle
        for one, result in zip(given, results, strict=True)
        if one.extracted_key is not None and result.superseded and result.handle is not None
    }
    for handle in keyed.values():
        try:
            _sum_up(context, target, handle, least)
        except Error as error:
            _LOG.info("the values of a key of %s are not summed up: %s", target.profile, error)


def _sum_up(context: Context, target: Target, handle: int, least: int) -> None:
    now_ms = context.clock.now_ms()

    def look(connection: apsw.Connection) -> int:
        return len(members(connection, handle, "key", now_ms)[0])

    with context.reading(target) as database:
        size = 0 if database is None else database.read(look).value
    if size < least or (size > _EACH and size % _EACH):
        return
    from .clusters import summarize

    # A request's id is that of the write: under it nothing else may be answered.
    options = Options(durability=context.options.durability)
    request = Summarize(cluster=handle, method="extractive")
    summarize(context.with_options(options, "clusters.summarize", request), target, request)
    if context.audit is not None and target.namespace is not None:
        action = ACTIONS["clusters.summarize"].name
        principal = context.principal
        context.audit.record(target.namespace, action, target.profile, principal=principal, items=1)
