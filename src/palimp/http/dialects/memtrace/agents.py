"""Agents: registered under a name, found by that or by their id, and counted."""

from __future__ import annotations

from typing import Any

from ....api.events import GetTimelineStats, TimelineStats
from ..foreign import Reply, Route
from .call import Call
from .names import check_id, new_id
from .refusals import conflict, missing
from .registry import Agent, add, everyone, find, remove
from .sessions import counted
from .shapes import stamp

__all__ = ["ROUTES"]

_NO_CONTENT = 204


def create(call: Call) -> Any:
    """Register an agent; a name is taken once in an organisation."""
    name = call.word("name")
    if not name:
        raise call.lacking("name")
    about, config = call.word("description"), call.object("config")
    made = Agent(new_id("agent"), name, call.now_ms, about, config)
    if not add(call, made):
        raise conflict(f"agent '{name}' already exists in this organization")
    return _shown(call, made)


def listing(call: Call) -> Any:
    """Return all agents, the newest first."""
    found = [_shown(call, one) for one in everyone(call)]
    return {"agents": found, "count": len(found)}


def get(call: Call) -> Any:
    """Return the agent of an id, or of a name."""
    found = find(call, call.values["id"])
    if found is None:
        raise missing("agent not found")
    return _shown(call, found)


def stats(call: Call) -> Any:
    """Return what there is of an agent in numbers, also of one that is not registered."""
    word = call.values["id"]
    check_id(word, "agent_id")
    found: TimelineStats = call.do("timeline.stats", GetTimelineStats(agent=word))
    agent = find(call, word)
    sessions, active = counted(call, word if agent is None else agent.id)
    said = {
        "agent_id": word,
        "memory_count": found.count,
        "memories_24h": found.last_24h,
        "errors_24h": found.errors_24h,
        "session_count": sessions,
        "active_sessions": active,
        "memory_types": found.by_kind,
    }
    if agent is not None and agent.last_active_at is not None:
        said["last_active_at"] = stamp(agent.last_active_at)
    return said


def delete(call: Call) -> Any:
    """Remove an agent, by its id; its memories and sessions stay."""
    if not remove(call, call.values["id"]):
        raise missing("agent not found")
    return Reply(_NO_CONTENT)


def _shown(call: Call, one: Agent) -> dict[str, Any]:
    """Return an agent as it travels; what is empty is left out."""
    found: dict[str, Any] = {
        "id": one.id,
        "org_id": call.org,
        "name": one.name,
        "created_at": stamp(one.created_at),
    }
    if one.description:
        found["description"] = one.description
    if one.config:
        found["config"] = one.config
    if one.last_active_at is not None:
        found["last_active_at"] = stamp(one.last_active_at)
    return found


_AGENTS = "/api/v1/agents"
_ONE = f"{_AGENTS}/{{id}}"
_TEST = "tests/dialects/memtrace/test_agents.py"
_READ, _WRITE = "read", "write"

ROUTES: tuple[Route, ...] = (
    Route("POST", _AGENTS, "user", create, _TEST, 201, raw=True, needs=_WRITE),
    Route("GET", _AGENTS, "user", listing, _TEST, needs=_READ),
    Route("GET", _ONE, "user", get, _TEST, needs=_READ),
    Route("GET", f"{_ONE}/stats", "user", stats, _TEST, needs=_READ),
    Route("DELETE", _ONE, "user", delete, _TEST, 204, needs=_WRITE),
)
