"""Storing, reading, correcting and removing memories."""

from __future__ import annotations

from typing import Any

from ....api import History, HistoryOf, Ingest, ListMemories, Memory, MemoryPage, Target
from ....api.lifecycle import DeleteMemory, MoveMemories
from ....api.memories import MemoryInput, Supersede
from ....errors import Conflict, Invalid, NotFound
from ..foreign import Route
from .asking import asked_of, session_rule
from .call import Call
from .refusals import missing, unprocessable
from .retrieval import best
from .shapes import checked_tier, checked_type, confidence_of, shape, type_of
from .writing import checked_content, find, input_of, subject_of, unsaved, words, write

__all__ = ["ROUTES", "type_of"]

_PAGE, _PAGE_MAX = 100, 500
_BATCH_MAX = 100
_IDS_MAX = 1_000
_TOPIC_CHARS_MIN, _TOPIC_ROWS_MAX = 3, 500
_QUERY_FIELDS = {
    "extra_metadata_filter", "subject_id", "memory_types", "session_id", "trust_tier", "branch",
    "limit", "cursor",
}  # fmt: skip
_SELECTORS = ("memory_ids", "topic", "session_id")


def store(call: Call) -> Any:
    """Write one memory; what is the same already is the one that stays."""
    given = input_of(call)
    target = call.target(call.text("branch", required=False))
    return write(call, target, given)


def store_batch(call: Call) -> Any:
    """Write up to 100 in one transaction, all or none; nothing is looked for that is the same."""
    items = call.fields.get("memories")
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise unprocessable("Validation error: missing field `memories`, a list of memories")
    if len(items) > _BATCH_MAX:
        raise unprocessable(
            f"Validation error: a batch has {len(items):,} memories; at most {_BATCH_MAX} fit"
        )
    branch = call.text("branch", required=False)
    subject = subject_of(call)
    inputs = []
    for one in map(call.item, items):
        if one.text("branch", required=False) not in (None, branch):
            raise unprocessable("Validation error: an item's branch is not that of its batch")
        inputs.append(input_of(one, batch=True, subject=subject))
    target = call.target(branch)
    if not inputs:
        return []
    done = call.do("memories.ingest", Ingest(memories=tuple(inputs)), target=target)
    return [
        unsaved(call, target, one, given) for one, given in zip(done.results, inputs, strict=True)
    ]


def list_page(call: Call) -> Any:
    """Return one page, the newest first; a cursor that is none begins at the first."""
    query = call.query
    kind, tier = query.get("memory_type"), query.get("trust_tier")
    fields: dict[str, Any] = {
        "session": query.get("session_id") or None,
        "project": (query.get("subject_id") or "").strip() or None,
        "trust": checked_tier(tier) if tier else None,
        "limit": call.number("limit", _PAGE, 1, _PAGE_MAX),
    }
    target = call.target(query.get("branch"))
    if kind:
        fields["kinds"] = (kind,)
    cursor = query.get("cursor") or None
    try:
        return _page(call, target, ListMemories(**fields, cursor=cursor))
    except Invalid:
        if cursor is None:
            raise
        return _page(call, target, ListMemories(**fields))


def query_page(call: Call) -> Any:
    """Return one page of what has all that is asked for."""
    fields = asked_of(call, _QUERY_FIELDS)
    selectors = [name for name in _QUERY_FIELDS - {"limit", "cursor"} if name in call.fields]
    if not selectors:
        raise unprocessable("Validation error: give at least one selector")
    limit = call.fields.get("limit", _PAGE)
    if type(limit) is not int or not 1 <= limit <= _PAGE_MAX:
        raise unprocessable(f"Validation error: limit must be 1 to {_PAGE_MAX}")
    target = call.target(call.text("branch", required=False))
    request = ListMemories(**fields, limit=limit, cursor=call.text("cursor", required=False))
    return _page(call, target, request)


def get(call: Call) -> Any:
    """Return one memory; None where there is none that holds."""
    target = call.target(call.query.get("branch"))
    try:
        return shape(_active(call, call.values["id"], target), call.user)
    except NotFound:
        return None


def history(call: Call) -> Any:
    """Return every version of a memory, the oldest first."""
    identity = call.values["id"]
    target = call.target(call.query.get("branch"))
    try:
        found: History = call.do("memories.history", HistoryOf(id=identity), target=target)
    except (NotFound, Invalid) as error:
        raise missing(f"Memory not found: {identity:.100}") from error
    if not found.memories:
        raise missing(f"Memory not found: {identity:.100}")
    names = ("memory_id", "content", "is_active", "observed_at", "memory_type")
    versions = [
        {**{name: version[name] for name in names}, "superseded_by": one.superseded_by}
        for one in found.memories
        for version in [shape(one, call.user)]
    ]
    return {"memory_id": identity, "versions": versions, "total": len(versions)}


def correct(call: Call) -> Any:
    """Replace a memory by what it should have said."""
    branch = call.text("branch", required=False)
    content = checked_content(call.text("new_content"), bytes_max=None)
    call.text("reason", required=False)
    target = call.target(branch)
    return _corrected(call, target, _active(call, call.values["id"], target), content)


def correct_by_query(call: Call) -> Any:
    """Replace the memory that a query finds first."""
    content = checked_content(call.text("new_content"), bytes_max=None)
    query, rule = call.text("query"), session_rule(call)
    target = call.target(call.text("branch", required=False))
    hits = best(call, target, query, 1, rule)
    if not hits:
        raise missing("No matching memory found")
    return _corrected(call, target, hits[0], content)


def delete(call: Call) -> Any:
    """Remove a memory, after a safety checkpoint."""
    target = call.target(call.query.get("branch"))
    memory = _active(call, call.values["id"], target)
    call.safety("delete", target)
    _delete(call, target, memory.id, call.query.get("reason"))


def purge(call: Call) -> Any:
    """Remove memories by their ids, by what they say, or by their session, after a checkpoint."""
    selectors = [name for name in _SELECTORS if call.fields.get(name) is not None]
    kinds = [checked_type(one) for one in call.texts("memory_types") or []]
    if len(selectors) > 1:
        raise unprocessable(f"Validation error: give one of {', '.join(_SELECTORS)}")
    if kinds and selectors != ["session_id"]:
        raise unprocessable("Validation error: memory_types needs session_id")
    target = call.target(call.text("branch", required=False))
    reason = call.text("reason", required=False)
    if not selectors:
        return {"purged": 0}
    if selectors == ["session_id"]:
        return _purge_session(call, target, call.text("session_id"), tuple(kinds), reason)
    if selectors == ["topic"]:
        ids = _about(call, target, call.text("topic"))
    else:
        ids = list(dict.fromkeys(call.texts("memory_ids") or []))
        if len(ids) > _IDS_MAX:
            raise unprocessable(
                f"Validation error: memory_ids has {len(ids):,}; at most {_IDS_MAX:,} at once"
            )
        for one in ids:
            _active(call, one, target)
    if not ids:
        return {"purged": 0}
    name = call.safety("purge", target)
    for one in ids:
        _delete(call, target, one, reason)
    return {"purged": len(ids), "snapshot_name": name}


def _purge_session(
    call: Call, target: Target, session: str, kinds: tuple[str, ...], reason: str | None
) -> dict[str, Any]:
    if not session:
        raise unprocessable("Validation error: session_id is empty")
    fields: dict[str, Any] = {"session": session, "kinds": kinds}
    if not _page(call, target, ListMemories(**fields, limit=1))["items"]:
        return {"purged": 0}
    name = call.safety("purge", target)
    purged, cursor = 0, None
    while True:
        request = MoveMemories(
            **fields, move="delete", method="user_request", reason=reason, cursor=cursor
        )
        moved = call.do("memories.move", request, target=target)
        purged += len(moved.ids)
        cursor = moved.next_cursor
        if cursor is None:
            return {"purged": purged, "snapshot_name": name}


def _about(call: Call, target: Target, topic: str) -> list[str]:
    """Return the memories whose text has the topic in it, as it is but for its case."""
    wanted = topic.strip().casefold()
    if len(wanted) < _TOPIC_CHARS_MIN:
        raise unprocessable(
            f"Validation error: topic must have at least {_TOPIC_CHARS_MIN} characters"
        )
    found: list[str] = []
    cursor = None
    while len(found) < _TOPIC_ROWS_MAX:
        request = ListMemories(limit=_PAGE_MAX, cursor=cursor)
        page: MemoryPage = call.do("memories.list", request, target=target)
        found += [one.id for one in page.memories if wanted in one.text.casefold()]
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[:_TOPIC_ROWS_MAX]


def _delete(call: Call, target: Target, identity: str, reason: str | None) -> None:
    try:
        call.do("memories.delete", DeleteMemory(id=identity, reason=reason or None), target=target)
    except (NotFound, Conflict) as error:
        raise missing(f"Memory not found: {identity:.100}") from error


def _corrected(call: Call, target: Target, old: Memory, content: str) -> dict[str, Any]:
    kind = type_of(old)
    given = MemoryInput(
        **words(kind, content, old.project),
        source=old.source,
        trust="T2",
        confidence=confidence_of(old),
        observed_at=call.node.context.clock.now_ms(),
    )
    done = call.do("memories.supersede", Supersede(id=old.id, memory=given), target=target)
    return shape(find(call, done.id, target), call.user)


def _active(call: Call, identity: str, target: Target) -> Memory:
    """Return a memory that holds; raises 404."""
    memory = find(call, identity, target)
    if memory.state != "active" or memory.superseded_at is not None:
        raise missing(f"Memory not found: {identity:.100}")
    return memory


def _page(call: Call, target: Target, request: ListMemories) -> dict[str, Any]:
    page: MemoryPage = call.do("memories.list", request, target=target)
    items = [shape(one, call.user) for one in page.memories]
    return {"items": items, "next_cursor": page.next_cursor}


_TEST = "tests/dialects/memoria/test_memories.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/memories", "user", store, _TEST, 201),
    Route("POST", "/v1/memories/batch", "user", store_batch, _TEST, 201),
    Route("GET", "/v1/memories", "user", list_page, _TEST),
    Route("GET", "/v1/memories/{id}", "user", get, _TEST),
    Route("POST", "/v1/memories/query", "user", query_page, _TEST),
    Route("PUT", "/v1/memories/{id}/correct", "user", correct, _TEST),
    Route("POST", "/v1/memories/correct", "user", correct_by_query, _TEST),
    Route("DELETE", "/v1/memories/{id}", "user", delete, _TEST, 204),
    Route("POST", "/v1/memories/purge", "user", purge, _TEST),
    Route("GET", "/v1/memories/{id}/history", "user", history, _TEST),
)
