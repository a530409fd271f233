"""Sessions: begun for an agent, read, changed, closed, and summed up as text."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api.events import SessionContext, SessionText
from ....api.limits import TIMELINE_TOKENS_MAX
from ....clock import parse_when
from ....decoding import from_json, from_plain
from ....errors import Invalid
from ..foreign import Route
from .call import Call
from .names import DIALECT, SESSION, check_id, check_type, is_id, new_id
from .refusals import bad, conflict, missing
from .registry import find
from .shapes import stamp

__all__ = ["ROUTES", "counted"]

_ACTIVE, _CLOSED = "active", "closed"
_SINCE = "24h"
_TRIES = 20


class _Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session as it is kept; times in ms."""

    id: str
    agent: str
    created_at: int
    updated_at: int
    status: str = _ACTIVE
    metadata: dict[str, Any] | None = None
    closed_at: int | None = None


class _Options(msgspec.Struct, frozen=True):
    """What a context is asked for with."""

    since: str | None = None
    include_types: list[str] | None = None
    max_tokens: int | None = None


def create(call: Call) -> Any:
    """Begin a session of an agent, named by its id or its name."""
    word = call.word("agent_id")
    if not word:
        raise call.lacking("agent_id")
    metadata = call.object("metadata")
    agent = find(call, word)
    if agent is None:
        raise bad(
            f"failed to create session: this organization has no agent '{word:.80}'; register it "
            "first (POST /api/v1/agents)"
        )
    now = call.now_ms
    made = _Session(new_id("sess"), agent.id, now, now, metadata=metadata)
    call.bindings.put(DIALECT, call.org, SESSION + made.id, _text(made), 0)
    return _shown(call, made)


def listing(call: Call) -> Any:
    """Return the sessions, of all agents or of one, the newest first."""
    found, word = _all(call), call.query.get("agent_id")
    if word:
        agent = find(call, word)
        ids = (word, word if agent is None else agent.id)
        found = [one for one in found if one.agent in ids]
    found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return {"sessions": [_shown(call, one) for one in found], "count": len(found)}


def get(call: Call) -> Any:
    """Return a session."""
    return _shown(call, _found(call)[0])


def put(call: Call) -> Any:
    """Change a session: its status, and what is said of it beside what was said before."""
    status, metadata = call.word("status"), call.object("metadata")
    for _ in range(_TRIES):
        found, version = _found(call)
        now = call.now_ms
        new = msgspec.structs.replace(
            found,
            updated_at=now,
            status=status or found.status,
            closed_at=now if status == _CLOSED else found.closed_at,
            metadata={**(found.metadata or {}), **(metadata or {})} or None,
        )
        if call.bindings.put(DIALECT, call.org, SESSION + new.id, _text(new), version) is not None:
            return _shown(call, new)
    raise conflict(f"session {call.values['id']} is being changed by others; repeat it")


def context(call: Call) -> Any:
    """Return a session as text for a prompt; a session that was never begun has one, too."""
    session = check_id(call.values["id"], "session_id") or ""
    options = _options(call)
    kinds = [check_type(one, "memory_type") for one in options.include_types or ()]
    tokens = options.max_tokens
    request = SessionContext(
        session=session,
        since=_since(call, options.since),
        kinds=tuple(one for one in kinds if one),
        max_tokens=min(tokens, TIMELINE_TOKENS_MAX) if tokens and tokens > 0 else None,
    )
    made: SessionText = call.do("sessions.context", request)
    return {"session_id": session, "context": made.text, "memory_count": made.found}


def counted(call: Call, agent: str) -> tuple[int, int]:
    """Return how many sessions an agent has, and how many of these are active."""
    found = [one for one in _all(call) if one.agent == agent]
    return len(found), sum(one.status == _ACTIVE for one in found)


def _options(call: Call) -> _Options:
    """Return what a body asks for; what cannot be read asks for nothing, as there."""
    try:
        return from_plain(call.sent, _Options)
    except (Invalid, msgspec.ValidationError):
        return _Options()


def _since(call: Call, text: str | None) -> str:
    """Return a time to begin at; of what is none, as there, the last 24 hours."""
    if not text:
        return _SINCE
    try:
        parse_when(text, "since", call.now_ms)
    except Invalid:
        return _SINCE
    return text


def _all(call: Call) -> list[_Session]:
    return [from_json(row.value, _Session) for row in call.kept_all(SESSION)]


def _found(call: Call) -> tuple[_Session, int]:
    """Return the session of the path and the version of its row; raises `NotFound`."""
    identity = call.values["id"]
    row = call.bindings.get(DIALECT, call.org, SESSION + identity) if is_id(identity) else None
    if row is None:
        raise missing("session not found")
    return from_json(row.value, _Session), row.version


def _shown(call: Call, one: _Session) -> dict[str, Any]:
    """Return a session as it travels; what is empty is left out."""
    found: dict[str, Any] = {
        "id": one.id,
        "org_id": call.org,
        "agent_id": one.agent,
        "status": one.status,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
    }
    if one.metadata:
        found["metadata"] = one.metadata
    if one.closed_at is not None:
        found["closed_at"] = stamp(one.closed_at)
    return found


def _text(one: _Session) -> str:
    return msgspec.json.encode(one).decode()


_SESSIONS = "/api/v1/sessions"
_ONE = f"{_SESSIONS}/{{id}}"
_TEST = "tests/dialects/memtrace/test_sessions.py"
_CONTEXT = "tests/dialects/memtrace/test_context.py"
_READ, _WRITE = "read", "write"

ROUTES: tuple[Route, ...] = (
    Route("POST", _SESSIONS, "user", create, _TEST, 201, raw=True, needs=_WRITE),
    Route("GET", _SESSIONS, "user", listing, _TEST, needs=_READ),
    Route("GET", _ONE, "user", get, _TEST, needs=_READ),
    Route("PUT", _ONE, "user", put, _TEST, raw=True, needs=_WRITE),
    Route("POST", f"{_ONE}/context", "user", context, _CONTEXT, raw=True, needs=_READ),
)
