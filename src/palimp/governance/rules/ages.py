"""What has had its time: working memory, results of tools, and what is left of chains.

Nothing that holds is touched but those two kinds, which are written to be of use for a day.
"""

from __future__ import annotations

import apsw

from ...profile.lazy import has_table
from ...profile.memories import events, states
from .base import DAY_MS, HOLDS, HOUR_MS, SINCE, Decision, rule

__all__ = ["STALE", "TOOL_RESULTS", "WORKING"]

_WORKING_HOURS = 24
_TOOL_RESULT_HOURS = 72
_STALE_HOURS = 24


def _of_kind(kind: str) -> str:
    return f", {SINCE} FROM __palimp_memories m WHERE {HOLDS} AND m.kind = '{kind}'"


def _working(_: apsw.Connection) -> str:
    return _of_kind("working")


def _judge_working(now_ms: int, handle: int, identity: str, since: int) -> Decision | None:
    hours = (now_ms - since) // HOUR_MS
    if now_ms - since < _WORKING_HOURS * HOUR_MS:
        return None
    said = f"working memory, {hours:,} hours old; it is of use for {_WORKING_HOURS}"
    return Decision("archive", handle, identity, said, 1.0)


def _tool_results(_: apsw.Connection) -> str:
    return _of_kind("tool_result")


def _judge_tool_result(now_ms: int, handle: int, identity: str, since: int) -> Decision | None:
    hours = (now_ms - since) // HOUR_MS
    if now_ms - since < _TOOL_RESULT_HOURS * HOUR_MS:
        return None
    said = f"result of a tool, {hours:,} hours old; it is of use for {_TOOL_RESULT_HOURS}"
    return Decision("delete", handle, identity, said, 1.0)


def _stale(connection: apsw.Connection) -> str:
    """Superseded by what is gone, and archived by `WORKING`; a chain that is whole stays.

    What a deleted memory superseded waits for it: it may be restored.
    """
    broken = """m.state = 'active' AND m.superseded_at IS NOT NULL AND NOT EXISTS
    (SELECT 1 FROM __palimp_memories n WHERE n.handle = m.superseded_by)"""
    if not has_table(connection, states.TABLE):
        return f", m.superseded_at, 0 FROM __palimp_memories m WHERE {broken}"
    waits = f"""m.handle IN (SELECT value FROM {states.TABLE} l, json_each(l.supersedes)
    WHERE l.supersedes IS NOT NULL AND l.purged_at IS NULL)"""
    archived = f"""m.state = 'archived' AND m.kind = 'working' AND EXISTS
    (SELECT 1 FROM {events.TABLE} e WHERE e.handle = m.handle AND e.event = 'archived'
    AND e.at >= l.archived_at AND e.reason = 'governance working')"""
    return f""", coalesce(l.archived_at, m.superseded_at), m.state = 'archived'
    FROM __palimp_memories m LEFT JOIN {states.TABLE} l ON l.handle = m.handle
    WHERE (({broken} AND NOT {waits}) OR ({archived}))"""


def _judge_stale(
    now_ms: int, handle: int, identity: str, since: int, archived: int
) -> Decision | None:
    if now_ms - since < _STALE_HOURS * HOUR_MS:
        return None
    days = (now_ms - since) // DAY_MS
    what = "archived working memory" if archived else "superseded by what is gone"
    return Decision("delete", handle, identity, f"{what}, for {days:,} days", 1.0)


WORKING = rule("working", _working, _judge_working)
TOOL_RESULTS = rule("tool_results", _tool_results, _judge_tool_result)
STALE = rule("stale", _stale, _judge_stale)
