"""What the master key is for: users, their numbers, and upkeep on their behalf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ....api import ListProfiles, ProfilePage, Target
from ....api.governance import Consolidate, GovernanceReport, GovernanceStep, RunGovernance
from ....api.lifecycle import MovedMemories, MoveMemories
from ....api.limits import PAGE_MAX
from ....api.relations import ListUnlinked, UnlinkedPage
from ....api.stats import GetStats, MemoryStats
from ....api.usage import DatabaseUsage, ReadUsage
from ....clock import format_ms
from ....errors import Invalid, NotFound
from ....ids import MAIN, foreign_name, foreign_text
from ..foreign import Route, wrong
from . import admin_plugins, governance, keys, snapshots
from .admission import NAMESPACE
from .call import Call
from .credentials import of_user, revoke_all
from .names import branch_title, check_user, is_group
from .places import branches_of
from .relay import relay

__all__ = ["ROUTES"]

_BAD_REQUEST = 400
_DAYS, _DAYS_MAX, _DAY_MS = 7, 90, 86_400_000
_HYGIENE = (
    "inactive_memories", "stale_working_memories", "orphan_memory_entity_links",
    "orphan_entity_links", "orphan_graph_nodes",
)  # fmt: skip
_STEPS: tuple[GovernanceStep, ...] = (
    "tool_results", "working", "stale", "quarantine", "redundancy", "pollution",
)  # fmt: skip


def stats(call: Call) -> Any:
    """Return how much there is of all users; it is counted now."""
    users = list(_users(call))
    found = [_sizes(call.of(user)) for user in users]
    return {
        "total_users": len(users),
        "total_memories": sum(memories for memories, _ in found),
        "total_snapshots": sum(count for _, count in found),
    }


def config(call: Call) -> Any:
    """Return what this node is set to; no secrets."""
    context, settings = call.node.context, call.node.settings
    about = context.about
    return {
        "db": {"catalog": _without_password(settings.catalog_url), "store": about.object_store},
        "embedding": {
            "provider": settings.embed_provider,
            "model": None if context.embedder is None else context.embedder.name,
            "dimensions": None if context.embedder is None else context.embedder.dimensions,
        },
        "llm": {"provider": settings.extract_provider, "model": settings.extract_model},
        "has_embedding": context.embedder is not None,
        "has_llm": context.extractor is not None,
        "governance_plugin_binding": settings.governance_plugin_binding,
        "instance_id": f"{about.node}-{about.process}",
        "lock_ttl_secs": settings.governance_lock_ttl,
        "governance_enabled": settings.governance_enabled,
    }


def users(call: Call) -> Any:
    """Return one page of the users that have memories; the cursor is the last of it."""
    limit = call.number("limit", 100, 1, PAGE_MAX)
    after = call.query.get("cursor")
    found: list[str] = []
    for user in _users(call, after):
        if len(found) == limit:
            return {"users": [{"user_id": one} for one in found], "next_cursor": found[-1]}
        found.append(user)
    return {"users": [{"user_id": one} for one in found], "next_cursor": None}


def user_stats(call: Call) -> Any:
    """Return how much a user has."""
    inner = _of(call)
    memories, count = _sizes(inner)
    return {"user_id": inner.user, "memory_count": memories, "snapshot_count": count}


def branch_stats(call: Call) -> Any:
    """Return how much is on each branch of a user."""
    inner = _of(call)
    names = [MAIN, *(one.name for one in branches_of(inner))]
    found = [
        {"name": MAIN if name == MAIN else branch_title(name), "count": _held(inner, name)}
        for name in names
    ]
    total = sum(int(str(one["count"])) for one in found)
    return {"branches": found, "total": total, "degraded": False, "degraded_branches": []}


def call_stats(call: Call) -> Any:
    """Return what was done for a user, by day; what is not kept of single requests is null."""
    inner = _of(call)
    days = call.number("days", _DAYS, 1, _DAYS_MAX)
    clock = call.node.context.clock
    since = format_ms(clock.now_ms() - (days - 1) * _DAY_MS, pattern="%Y-%m-%d")
    series: list[dict[str, Any]] = []
    try:
        used: DatabaseUsage = inner.do(
            "usage.database", ReadUsage(from_=since), target=inner.place(MAIN)
        )
        series = [{"day": one.day, "writes": one.writes, "recalls": one.recalls} for one in used]
        total = sum(one["writes"] + one["recalls"] for one in series)
    except NotFound:
        total = 0
    return {
        "total_calls": total,
        "avg_latency_ms": None,
        "error_count": None,
        "error_rate": None,
        "days": days,
        "by_path": [],
        "recent_calls": [],
        "all_time": {},
        "series": series,
    }


def delete_user(call: Call) -> Any:
    """Delete all memories of a user softly, on every branch, after a safety checkpoint."""
    inner = _of(call)
    try:
        inner.safety("delete_user", inner.place(MAIN))
    except NotFound:
        return {"status": "ok", "user_id": inner.user}
    for name in (MAIN, *(one.name for one in branches_of(inner))):
        cursor = None
        while True:
            request = MoveMemories(move="delete", since=0, include_superseded=True, cursor=cursor)
            moved: MovedMemories = inner.do("memories.move", request, target=inner.place(name))
            cursor = moved.next_cursor
            if cursor is None:
                break
    return {"status": "ok", "user_id": inner.user}


def user_keys(call: Call) -> Any:
    """Return the keys of a user."""
    user = check_user(call.values["user"])
    return {"user_id": user, "keys": [keys.shown(one) for one in of_user(call, user)]}


def revoke_keys(call: Call) -> Any:
    """Let the keys of a user hold no more."""
    user = check_user(call.values["user"])
    return {"user_id": user, "revoked": revoke_all(call, of_user(call, user))}


def set_params(call: Call) -> Any:
    """Set the numbers that a user's searches are ranked by."""
    inner = _of(call)
    given = call.fields.get("params", call.fields)
    if not isinstance(given, dict):
        raise Invalid("params must be an object")
    params = relay(inner, "PUT", "v1/retrieval-params", body=given)
    return {"user_id": inner.user, "params": params}


def trigger(call: Call) -> Any:
    """Run upkeep for a user now, whenever it ran last."""
    inner, op = _of(call), call.query.get("op", "governance")
    if op not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        raise wrong(f"unknown op {op!r:.40}; give {known}", _BAD_REQUEST, said=True)
    return {"op": op, "user_id": inner.user, **_OPERATIONS[op](inner)}


def _govern(call: Call) -> dict[str, Any]:
    report = governance.run(call, "governance.run", RunGovernance(steps=_STEPS))
    return {
        **governance.governed(report),
        "cleaned_tool_results": _count(report, "tool_results"),
        "archived_working": _count(report, "working"),
        "compressed_redundant": _count(report, "redundancy"),
        "cleaned_incrementals": 0,
        "pollution_detected": _count(report, "pollution") > 0,
    }


def _consolidate(call: Call) -> dict[str, Any]:
    return governance.consolidated(governance.run(call, "governance.consolidate", Consolidate()))


def _entities(call: Call) -> dict[str, Any]:
    """Return what is linked; rules link what is certain by themselves, soon after it is written."""
    target = call.place(MAIN)
    found: UnlinkedPage = call.do("entities.unlinked", ListUnlinked(limit=1), target=target)
    linked = max(0, _held(call, MAIN) - found.count)
    return {
        "processed": linked,
        "skipped": found.count,
        "edges_created": 0,
        "entities_linked": linked,
    }


def _weekly(call: Call) -> dict[str, Any]:
    """Run the weekly rules; safety snapshots are bounded as they are made."""
    governance.run(call, "governance.run", RunGovernance(task="weekly"))
    return {"cleaned_snapshots": 0, "cleaned_branches": 0}


_OPERATIONS = {
    "governance": _govern,
    "consolidate": _consolidate,
    "extract_entities": _entities,
    "weekly": _weekly,
}


def hygiene(call: Call) -> Any:
    """Return what could be cleared away, of all users."""
    found = [relay(call.of(user), "GET", "v1/health/hygiene") for user in _users(call)]
    return {name: sum(one[name] for one in found) for name in _HYGIENE} | {"orphan_stats": 0}


def _of(call: Call) -> Call:
    return call.of(check_user(call.values["user"]))


def _users(call: Call, after: str | None = None) -> Iterator[str]:
    """Yield the users that have memories, by the names of their profiles."""
    cursor = None if not after else foreign_name(after)
    while True:
        request = ListProfiles(limit=PAGE_MAX, cursor=cursor)
        page: ProfilePage = call.do("profiles.list", request, target=Target(NAMESPACE))
        for one in page.profiles:
            user = foreign_text(one.profile)
            # Of a long id only a hash is left, by which nobody can be asked for.
            if user is not None and not is_group(user):
                yield user
        cursor = page.next_cursor
        if cursor is None:
            return


def _sizes(call: Call) -> tuple[int, int]:
    """Return how many memories of a user hold in main, and how many snapshots there are."""
    return _held(call, MAIN), len(snapshots.all_of(call))


def _held(call: Call, branch: str) -> int:
    found: MemoryStats = call.do("memories.stats", GetStats(), target=call.place(branch))
    return found.all.count


def _count(report: GovernanceReport | None, step: str) -> int:
    return 0 if report is None else report.counts.get(step, 0)


def _without_password(url: str | None) -> str | None:
    if url is None or "@" not in url:
        return url
    scheme, _, rest = url.partition("://")
    credential, _, host = rest.rpartition("@")
    return f"{scheme}://{credential.partition(':')[0]}:***@{host}"


_USER = "/admin/users/{user}"
_TEST = "tests/dialects/memoria/test_admin.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/admin/stats", "master", stats, _TEST),
    Route("GET", "/admin/config", "master", config, _TEST),
    Route("GET", "/admin/users", "master", users, _TEST),
    Route("GET", f"{_USER}/stats", "master", user_stats, _TEST),
    Route("GET", f"{_USER}/branch-stats", "master", branch_stats, _TEST),
    Route("GET", f"{_USER}/call-stats", "master", call_stats, _TEST),
    Route("DELETE", _USER, "master", delete_user, _TEST),
    Route("GET", f"{_USER}/keys", "master", user_keys, _TEST),
    Route("DELETE", f"{_USER}/keys", "master", revoke_keys, _TEST),
    Route("POST", f"{_USER}/params", "master", set_params, _TEST),
    Route(
        "POST", f"{_USER}/reset-access-counts", "master", None, _TEST,
        refusal="how often a memory was used is kept for its tier and is not reset here",
    ),
    Route(
        "POST", f"{_USER}/strategy", "master", None, _TEST,
        refusal="there is one strategy of retrieval; its weights are set by the policy",
    ),
    Route("POST", "/admin/governance/{user}/trigger", "master", trigger, _TEST),
    Route("GET", "/admin/health/hygiene", "master", hygiene, _TEST),
    *admin_plugins.ROUTES,
)  # fmt: skip
