"""Adding, reading, changing and removing memories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ....api import FoundMemories, ListMemories, Memory, MemoryPage
from ....api.annotating import Annotate, AnnotateAll, AnnotatedAll
from ....api.lifecycle import DeleteMemory, MoveMemories
from ....api.limits import PAGE_MAX
from ....api.memories import FindMemories
from ....errors import Conflict, Error, NotFound
from ..foreign import Reply, Route
from .adding import add, bulk_add
from .call import Call
from .names import DIALECT
from .refusals import missing, unprocessable
from .rewriting import rewritten
from .shapes import (
    checked_metadata,
    checked_tags,
    inner,
    outer,
    shape,
    stamp,
    user_number,
    with_inner,
)

__all__ = ["ROUTES", "find", "found", "sees"]

_BATCH_MAX, _FORGET_MAX = 100, 1_000
_DIGITS_MAX = 18
_MULTI = 207
_EDITABLE = ("tags", "importance", "metadata", "source", "event_type")
_FIXED = ("text", "content", "user_id", "environment", "project_id", "embedding", "vector")
_CRITERIA = ("source", "event_type", "tags", "tier", "before", "after")
_PERSONAL = "pii"


def get(call: Call) -> Any:
    """Return one memory, also an archived or superseded one."""
    return shape(find(call, identity(call)), call)


def patch(call: Call) -> Any:
    """Change what is said about a memory, and nothing that it says."""
    memory = find(call, identity(call))
    return shape(rewritten(call, memory, lambda now: _edit(call, now)[0]), call)


def batch_update(call: Call) -> Any:
    """Change what is said about up to 100 memories; one that is not seen is said, and no error.

    It is one transaction, and all is checked before.
    """
    items = [call.item(fields) for fields in call.items("items", _BATCH_MAX)]
    handles = [one.handle("memory_id") for one in items]
    if len(set(handles)) != len(handles):
        raise unprocessable("items name a memory twice; which edit is to win?", "items")
    known = found(call, handles)
    edits = [
        (one, handle, None if handle not in known else _edit(one, known[handle]))
        for one, handle in zip(items, handles, strict=True)
    ]
    requests = tuple(edit[0] for _, _, edit in edits if edit is not None)
    changed = _annotated(call, requests) if requests else set[str]()
    results = []
    for place, (_, handle, edit) in enumerate(edits):
        done = edit is not None and edit[0].id in changed
        results.append(
            {
                "index": place,
                "memory_id": handle,
                "status": "updated" if done else "not_found",
                "changed_fields": edit[1] if done and edit is not None else [],
            }
        )
    updated = sum(one["status"] == "updated" for one in results)
    counts = {"total": len(results), "updated": updated, "not_found": len(results) - updated}
    return Reply(_MULTI, {**counts, "results": results})


def forget(call: Call) -> Any:
    """Delete memories softly, by their ids or by a filter; return the ids of those that were."""
    ids, filters = call.body.get("memory_ids"), call.fields("filters")
    if (ids is None) == (filters is None):
        raise unprocessable("give exactly one of memory_ids and filters")
    reason = call.text("reason", required=False)
    if filters is None:
        known = found(call, _handles(ids)).values()
        return [one.handle for one in _deletable(known, reason) if _deleted(call, one, reason)]
    request, event_type = _criteria(call, filters)
    matched = [
        one
        for one in _listed(call, request)
        if event_type is None or inner(one.metadata).get("event_type") == event_type
    ]
    if call.flag("dry_run"):
        return [one.handle for one in matched]
    _deletable(matched, reason)
    if event_type is not None:
        return [one.handle for one in matched if _deleted(call, one, reason)]
    return _moved(call, request, matched, reason)


def export(call: Call) -> Any:
    """Return all memories of the end user that can be read, in the order they were written."""
    memories = [
        shape(one, call)
        for state in ("active", "archived")
        for one in _listed(call, _scoped(call, state=state))
    ]
    memories.sort(key=lambda one: one["id"])
    return {
        "user_id": user_number(call.end_user),
        "memories": memories,
        "generated_at": stamp(call.node.context.clock.now_ms()),
    }


def health(call: Call) -> Any:
    """Say whether the parts of the node answer; 200 also where one does not."""
    healthy = _reaches(call)
    word = "healthy" if healthy else "unhealthy"
    status = "ok" if healthy and not call.node.closed else "degraded"
    return {"status": status, "db": word, "vector_db": word, "cache": "healthy"}


# -- reading -----------------------------------------------------------------------------------


def identity(call: Call) -> int:
    """Return the memory's number in the path; raises 422 for what is none."""
    text = call.values["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text)):
        raise unprocessable(f"memory id {text!r:.40} is not a positive whole number", "memory_id")
    return int(text)


def find(call: Call, handle: int) -> Memory:
    """Return a memory that the caller sees; raises 404."""
    memory = found(call, [handle]).get(handle)
    if memory is None:
        raise missing(f"Memory not found: {handle}")
    return memory


def found(call: Call, handles: list[int]) -> dict[int, Memory]:
    """Return memories that the caller sees, by their handles."""
    if not handles:
        return {}
    request = FindMemories(handles=tuple(dict.fromkeys(handles)))
    done: FoundMemories = call.do("memories.find", request)
    return {one.handle: one for one in done.memories if one.handle is not None and sees(call, one)}


def sees(call: Call, memory: Memory) -> bool:
    """Whether a memory is in the project that is meant, or in none."""
    return call.project is None or memory.project in (None, call.project)


def _scoped(call: Call, **fields: Any) -> ListMemories:
    return ListMemories(**fields, **call.scoped, limit=PAGE_MAX)


def _listed(call: Call, request: ListMemories) -> Iterator[Memory]:
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    while True:
        page: MemoryPage = call.do("memories.list", ListMemories(**fields))
        yield from page.memories
        if page.next_cursor is None:
            return
        fields["cursor"] = page.next_cursor


# -- changing ----------------------------------------------------------------------------------


def _edit(call: Call, memory: Memory) -> tuple[Annotate, list[str]]:
    """Return what a body changes about a memory, and the names of that; raises 422 and 413."""
    fixed = [name for name in _FIXED if name in call.body]
    if fixed:
        raise unprocessable(f"{fixed[0]} cannot be changed; add another memory", fixed[0])
    given = [name for name in _EDITABLE if call.body.get(name) is not None]
    if not given:
        raise unprocessable(f"give at least one of {', '.join(_EDITABLE)}")
    metadata = checked_metadata(call)
    kept = {**inner(memory.metadata), "updated_at": call.node.context.clock.now_ms()}
    if "event_type" in given:
        kept["event_type"] = call.text("event_type")
    request = Annotate(
        id=memory.id,
        tags=checked_tags(call),
        importance=call.real("importance", 0, 1),
        source=call.text("source", required=False),
        metadata=with_inner(outer(memory.metadata) if metadata is None else metadata, kept),
    )
    return request, given


def _annotated(call: Call, items: tuple[Annotate, ...]) -> set[str]:
    """Change what is said about memories at once; return the ids of those that now say so."""
    done: AnnotatedAll = call.do("memories.annotate_all", AnnotateAll(items=items))
    return {one.id for one in done if one.status != "skipped"}


# -- removing ----------------------------------------------------------------------------------


def _handles(ids: Any) -> list[int]:
    good = isinstance(ids, list) and all(type(one) is int and one >= 1 for one in ids)
    if not good or not 1 <= len(ids) <= _FORGET_MAX:
        raise unprocessable(
            f"memory_ids must be a list of 1 to {_FORGET_MAX:,} positive whole numbers",
            "memory_ids",
        )
    return list(ids)


def _criteria(call: Call, filters: dict[str, Any]) -> tuple[ListMemories, str | None]:
    """Return what is meant by a filter, and what of it is compared here: the event type."""
    unknown = sorted(set(filters) - set(_CRITERIA))
    if unknown:
        raise unprocessable(f"filters has no {unknown[0]!r:.40}; it has {', '.join(_CRITERIA)}")
    asked = call.item({name: value for name, value in filters.items() if value is not None})
    if not asked.body or not any(asked.body.values()):
        raise unprocessable("filters is empty; it would mean everything", "filters")
    since, until = asked.when("after"), asked.when("before")
    if since is not None and until is not None and since >= until:
        raise unprocessable("after is not before before", "after")
    request = _scoped(
        call,
        source=asked.text("source", required=False),
        tags=checked_tags(asked) or (),
        tier=asked.tier(),
        since=since,
        until=until,
    )
    return request, asked.text("event_type", required=False)


def _deletable(memories: Any, reason: str | None) -> list[Memory]:
    """Return memories that may be deleted; raises 422 where one of them asks for a reason."""
    held = list(memories)
    if not reason and any(_PERSONAL in one.tags for one in held):
        raise unprocessable(f"a memory tagged {_PERSONAL} is deleted with a reason only", "reason")
    return held


def _deleted(call: Call, memory: Memory, reason: str | None) -> bool:
    try:
        call.do("memories.delete", DeleteMemory(id=memory.id, reason=reason))
    except (NotFound, Conflict):
        return False
    return True


def _moved(
    call: Call, request: ListMemories, matched: list[Memory], reason: str | None
) -> list[int | None]:
    """Delete what a filter matches, a page in one transaction each."""
    handles = {one.id: one.handle for one in matched}
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    deleted: list[int | None] = []
    while matched:
        move = MoveMemories(**fields, move="delete", method="user_request", reason=reason)
        done = call.do("memories.move", move)
        deleted += [handles[one] for one in done.ids if one in handles]
        if done.next_cursor is None:
            break
        fields["cursor"] = done.next_cursor
    return deleted


def _reaches(call: Call) -> bool:
    """Whether the catalog answers."""
    try:
        bindings = call.node.context.bindings
        if bindings is not None:
            bindings.get(DIALECT, "", "probe")
    except Error:
        return False
    return True


_TEST = "tests/dialects/memorysync/test_memories.py"
_READ, _ADD, _UPDATE, _DELETE = "memory:read", "memory:add", "memory:update", "memory:delete"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", "nobody", health, _TEST),
    Route("POST", "/memory/add", "user", add, _TEST, needs=_ADD),
    Route("POST", "/memory/bulk-add", "user", bulk_add, _TEST, needs=_ADD),
    Route("GET", "/memory/{id}", "user", get, _TEST, needs=_READ),
    Route("PATCH", "/memory/{id}", "user", patch, _TEST, needs=_UPDATE),
    Route("POST", "/memory/batch-update", "user", batch_update, _TEST, needs=_UPDATE),
    Route("DELETE", "/memory/forget", "user", forget, _TEST, needs=_DELETE),
    Route("GET", "/memory/export", "user", export, _TEST, needs=_READ),
)
