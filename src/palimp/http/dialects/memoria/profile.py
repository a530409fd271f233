"""What is known of a user: their profile, what their memories name, the tools they came with."""

from __future__ import annotations

from typing import Any

from ....api import ListMemories, MemoryPage
from ....api.memories import EntityInput
from ....api.relations import EntityPage, LinkEntities, ListEntities, ListUnlinked, MemoryEntities
from ....errors import NotFound, Unconfigured
from ..foreign import Route
from .call import Call
from .refusals import missing, unprocessable
from .shapes import stamp
from .sizes import sizes
from .usage import used

__all__ = ["ROUTES"]

_SHOWN = 50
_PAGE = 1_000
_UNLINKED = 50
_MODES = ("auto", "internal", "candidates")


def me(call: Call) -> Any:
    """Return the profile of the caller, or of another user to the master."""
    user = call.values["user"]
    if user not in ("me", call.user):
        call = call.of(user)
    branch = call.query.get("branch")
    subject = (call.query.get("subject_id") or "").strip() or None
    request = ListMemories(kinds=("profile",), project=subject, limit=_SHOWN)
    page: MemoryPage = call.do("memories.list", request, branch=branch)
    found = sizes(call, branch)
    stats = {
        "by_type": {name: group.count for name, group in found.by_type.items()},
        "total": found.total,
        "avg_confidence": found.confidence,
        "oldest": None if found.oldest is None else stamp(found.oldest),
        "newest": None if found.newest is None else stamp(found.newest),
    }
    text = "\n".join(one.text for one in page.memories)
    return {"user_id": call.user, "profile": text, "stats": stats}


def tool_usage(call: Call) -> Any:
    """Return the tools that the user came with, and when each did last."""
    return [{"tool_name": name, "last_used_at": stamp(at)} for name, at in used(call)]


def entities(call: Call) -> Any:
    """Return what the user's memories name."""
    found = [{"name": one.name, "entity_type": one.type} for one in _entities(call)]
    return {"entities": found}


def extract_entities(call: Call) -> Any:
    """Return the memories that are linked with nothing, for an agent to say what they name."""
    mode = call.text("mode", required=False) or "auto"
    if mode not in _MODES:
        raise unprocessable(f"Validation error: mode must be one of {', '.join(_MODES)}")
    if mode == "internal":
        raise Unconfigured(
            "LLM not configured: no model of this node links entities; ask for `candidates`",
            said=True,
        )
    found = call.do("entities.unlinked", ListUnlinked(limit=_UNLINKED))
    if not found.memories:
        return {"status": "complete", "unlinked": 0}
    return {
        "status": "candidates",
        "unlinked": found.count,
        "memories": [{"memory_id": one.id, "content": one.text} for one in found.memories],
        "existing_entities": [
            {"name": one.name, "entity_type": one.type} for one in _entities(call)
        ],
    }


def link_entities(call: Call) -> Any:
    """Link memories with what they name."""
    given = call.fields.get("entities")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise unprocessable("Validation error: missing field `entities`, a list of links")
    links = tuple(_link(one) for one in map(call.item, given))
    if not links:
        return {"entities_created": 0, "entities_reused": 0, "edges_created": 0}
    try:
        done = call.do("entities.link", LinkEntities(links=links))
    except NotFound as error:
        raise missing(f"Memory not found: {error}") from error
    return {
        "entities_created": done.created,
        "entities_reused": done.reused,
        "edges_created": done.links,
    }


def _link(one: Call) -> MemoryEntities:
    named = one.fields.get("entities")
    if not isinstance(named, list) or not all(isinstance(each, dict) for each in named):
        raise unprocessable("Validation error: entities must be a list of name and type")
    inputs = tuple(
        EntityInput(name=each.text("name"), type=each.text("type", required=False))
        for each in map(one.item, named)
    )
    return MemoryEntities(id=one.text("memory_id"), entities=inputs)


def _entities(call: Call) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        request = ListEntities(limit=_PAGE, cursor=cursor)
        page: EntityPage = call.do("entities.list", request)
        found += page.entities
        cursor = page.next_cursor
        if cursor is None:
            return found


_TEST = "tests/dialects/memoria/test_profile.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/profiles/{user}", "user", me, _TEST),
    Route("GET", "/v1/tool-usage", "user", tool_usage, _TEST),
    Route("GET", "/v1/entities", "user", entities, _TEST),
    Route("POST", "/v1/extract-entities", "user", extract_entities, _TEST),
    Route("POST", "/v1/extract-entities/link", "user", link_entities, _TEST),
)
