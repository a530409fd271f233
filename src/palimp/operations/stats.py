"""What a profile holds, in numbers."""

from __future__ import annotations

import msgspec

from ..api import Target
from ..api.stats import GetStats, MemoryGroup, MemoryStats
from ..profile.checks import check_label
from ..profile.memories.stats import stats as count
from .context import Context

__all__ = ["stats"]

_NONE = MemoryStats(
    by_state={}, superseded=0, all=MemoryGroup(count=0), by_type={}, by_kind={}, by_trust={}
)


def stats(context: Context, target: Target, request: GetStats) -> MemoryStats:
    """Count the memories of a profile, or of a project."""
    check_label(request.project, "project")
    with context.reading(target) as database:
        if database is None:
            return _NONE
        now_ms = context.now_ms(database)
        found, txid, _ = database.read(lambda c: count(c, now_ms, request.project))
    return msgspec.structs.replace(found, txid=txid)
