"""Whether the node answers, how a user's memories are, and what a monitor reads."""

from __future__ import annotations

from typing import Any

from ....api import ListMemories, MemoryPage, Target
from ....api.profiles import ListProfiles
from ....errors import Error
from ....operations import OWNER
from ..foreign import Reply, Route
from .admission import NAME, NAMESPACE
from .call import Call
from .sizes import sizes

__all__ = ["ROUTES"]

_DAY_MS, _MONTH_DAYS = 86_400_000, 30
_OPTIMAL, _DEGRADED = 50_000, 200_000
_PAGE = 1_000
_UNAVAILABLE = 503
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health(_call: Call) -> Any:
    """Say that the process answers."""
    return Reply(200, "ok")


def instance(call: Call) -> Any:
    """Say whether this node takes requests and reaches its database."""
    about, reached = call.node.context.about, _reaches(call)
    takes = reached and not call.app.api.draining and not call.node.closed
    found = {
        "status": "ok" if takes else "degraded",
        "instance_id": f"{about.node}-{about.process}",
        "db": reached,
    }
    return Reply(200 if takes else _UNAVAILABLE, found)


def _reaches(call: Call) -> bool:
    """Whether the catalog answers, and where there is none the store."""
    try:
        bindings = call.node.context.bindings
        if bindings is not None:
            bindings.get(NAME, "", "probe")
        else:
            call.node.call(
                "profiles.list", Target(NAMESPACE), ListProfiles(limit=1), principal=OWNER
            )
    except Error:
        return False
    return True


def analyze(call: Call) -> Any:
    """Return each type's number and how sure it is; what is not kept is null."""
    return {
        name: {
            "total": group.count,
            "avg_confidence": group.confidence,
            "contradiction_rate": None,
            "avg_staleness_hours": None,
        }
        for name, group in sizes(call).by_type.items()
    }


def storage(call: Call) -> Any:
    """Return how much there is."""
    found = sizes(call)
    return {
        "total": found.total + found.inactive,
        "active": found.total,
        "inactive": found.inactive,
        "avg_content_size": found.text_bytes,
    }


def capacity(call: Call) -> Any:
    """Return how much there is against what searches well, by that system's thresholds."""
    found = sizes(call)
    before = found.total - found.last_30_days
    if found.total <= _OPTIMAL:
        advice = "ok"
    else:
        over = found.total > _DEGRADED
        advice = "partition_required" if over else "monitor_query_latency"
    return {
        "user_active_memories": found.total,
        "global_vector_count": None,
        "monthly_growth_rate": round(found.last_30_days / before, 4) if before else 0.0,
        "ivf_thresholds": {"optimal": _OPTIMAL, "degraded": _DEGRADED},
        "recommendation": advice,
    }


def hygiene(call: Call) -> Any:
    """Return what could be cleared away; links never outlive what they join here."""
    until = call.node.context.clock.now_ms() - _DAY_MS
    stale, cursor = 0, None
    while True:
        request = ListMemories(kinds=("working",), until=until, limit=_PAGE, cursor=cursor)
        page: MemoryPage = call.do("memories.list", request)
        stale += len(page.memories)
        cursor = page.next_cursor
        if cursor is None:
            break
    return {
        "inactive_memories": sizes(call).inactive,
        "stale_working_memories": stale,
        "orphan_memory_entity_links": 0,
        "orphan_entity_links": 0,
        "orphan_graph_nodes": 0,
    }


def metrics(call: Call) -> Any:
    """Return the counters of this node in that system's names."""
    return Reply(200, call.app.figures.text(), {"content-type": _METRICS_TYPE})


_TEST = "tests/dialects/memoria/test_health.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", "nobody", health, _TEST),
    Route("GET", "/health/instance", "nobody", instance, _TEST),
    Route("GET", "/v1/health/analyze", "user", analyze, _TEST),
    Route("GET", "/v1/health/storage", "user", storage, _TEST),
    Route("GET", "/v1/health/capacity", "user", capacity, _TEST),
    Route("GET", "/v1/health/hygiene", "user", hygiene, _TEST),
    Route("GET", "/metrics", "nobody", metrics, _TEST),
)
