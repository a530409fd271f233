"""How memories are related, how they changed, what was said of them, and the words for that."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ....api import Memory
from ....api.annotating import Annotate
from ....api.lifecycle import GetEvents, MemoryEvent, MemoryEvents
from ....api.limits import PAGE_MAX
from ....api.relations import AddRelations, ListRelations, NewRelation, Relation, RelationPage
from ..foreign import Route
from .call import Call
from .memories import find, found, identity
from .refusals import missing, unprocessable
from .rewriting import rewritten
from .shapes import IMPORTANCE, checked_metadata, inner, outer, stamp, with_inner

__all__ = ["CONTENT_TYPES", "RELATION_TYPES", "ROUTES", "relation_number", "relation_types"]

RELATION_TYPES = (
    "similar", "derived_from", "continuation", "contradiction", "summary_of", "detail_of",
    "caused_by", "references", "supports", "extends",
)  # fmt: skip
CONTENT_TYPES = (
    "report", "pitch_deck", "blog", "technical", "meeting", "email", "chat", "note", "document",
)  # fmt: skip
_ONTOLOGY = "ontology"
_CUSTOM_MAX = 32
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_NUMBER_BYTES = 6
_OFFSET_MAX = 1_000_000
_REVISIONS, _REVISIONS_MAX = 100, 1_000
_TRACKED = ("tags", "importance", "metadata", "source", "event_type", "evidence_count")
_INNER_TRACKED = ("event_type", "evidence_count")
_EVENTS = {
    "created": "created",
    "revived": "restored",
    "superseded": "superseded",
    "archived": "archived",
    "annotated": "updated",
    "restored": "restored",
    "soft_deleted": "soft_deleted",
    "purged": "purged",
}
_SIGNALS = {"positive": 0.05, "negative": -0.05, "retrieved": 0.01, "ignored": -0.01}
_IMPORTANCE_LEAST, _IMPORTANCE_MOST = 0.05, 1.0
_RECENT = 10
_TREND_LEAST, _TREND_MOST = 0.5, 1.5
_COMMENT_CHARS_MAX = 2_000


# -- relations -----------------------------------------------------------------------------------


def relate(call: Call) -> Any:
    """Relate a memory to another one; what is said of the same pair and type again replaces it."""
    source, target = identity(call), call.handle("to_memory_id")
    kind = call.text("relationship_type")
    if source == target:
        raise unprocessable("a memory is not related to itself", "to_memory_id")
    known = relation_types(call)
    if kind not in known:
        raise unprocessable(
            f"relationship_type {kind!r:.80} is none of {', '.join(known)}", "relationship_type"
        )
    confidence = call.real("confidence", 0, 1)
    metadata = checked_metadata(call)
    both = found(call, [source, target])
    for one in (source, target):
        if one not in both:
            raise missing(f"Memory not found: {one}")
    edge = NewRelation(
        source=both[source].id,
        target=both[target].id,
        type=kind,
        weight=1.0 if confidence is None else confidence,
        metadata=metadata,
    )
    call.do("relations.add", AddRelations(relations=(edge,)))
    written = next(one for one in _edges(call, edge) if one.target == edge.target)
    return {
        "id": relation_number(source, target, kind),
        "from_memory_id": source,
        "to_memory_id": target,
        "relationship_type": kind,
        "confidence": written.weight,
        "metadata": written.metadata,
        "created_at": stamp(written.created_at),
    }


def relation_number(source: int, target: int, kind: str) -> int:
    """Return the number by which a relation travels: of the same pair and type always the same."""
    data = f"{source}/{target}/{kind}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=_NUMBER_BYTES).digest(), "big")


def _edges(call: Call, edge: NewRelation) -> Iterator[Relation]:
    cursor = None
    while True:
        request = ListRelations(memory=edge.source, type=edge.type, limit=PAGE_MAX, cursor=cursor)
        page: RelationPage = call.do("relations.list", request)
        yield from page.relations
        cursor = page.next_cursor
        if cursor is None:
            return


# -- history -------------------------------------------------------------------------------------


def history(call: Call) -> Any:
    """Return how a memory changed, the oldest first; revision 0 is that it was written."""
    memory = find(call, identity(call))
    limit = call.number("limit", _REVISIONS, 1, _REVISIONS_MAX)
    offset = call.number("offset", 0, 0, _OFFSET_MAX)
    shown = [one for one in map(_revision, _events(call, memory)) if one is not None]
    revisions = [{"revision": place, **one} for place, one in enumerate(shown)]
    return {
        "memory_id": memory.handle,
        "total": len(revisions),
        "revisions": revisions[offset : offset + limit],
        "tracked_fields": list(_TRACKED),
    }


def _events(call: Call, memory: Memory) -> Iterator[MemoryEvent]:
    cursor = None
    while True:
        request = GetEvents(id=memory.id, limit=PAGE_MAX, cursor=cursor)
        page: MemoryEvents = call.do("memories.events", request)
        yield from page.events
        cursor = page.next_cursor
        if cursor is None:
            return


def _revision(event: MemoryEvent) -> dict[str, Any] | None:
    """Return an event as a revision; None for what is none: a hold, or a change nobody sees."""
    name = _EVENTS.get(event.event)
    if name is None:
        return None
    diff = _diff(event)
    if name == "updated" and not diff:
        return None
    return {
        "event": name,
        "changed_fields": list(diff),
        "diff": diff,
        "actor": event.actor,
        "created_at": stamp(event.at),
    }


def _diff(event: MemoryEvent) -> dict[str, dict[str, Any]]:
    diff: dict[str, dict[str, Any]] = {}
    for field, (old, new) in (event.changes or {}).items():
        if field == "metadata":
            _metadata_diff(old, new, diff)
        elif field in _TRACKED:
            diff[field] = {"old": old, "new": new}
    return diff


def _metadata_diff(old: Any, new: Any, diff: dict[str, dict[str, Any]]) -> None:
    """Tell apart what the caller changed and what the dialect keeps beside it."""
    if not all(one is None or isinstance(one, dict) for one in (old, new)):
        diff["metadata"] = {"old": old, "new": new}
        return
    before, after = ({} if one is None else one for one in (old, new))
    if outer(before) != outer(after):
        diff["metadata"] = {"old": outer(before), "new": outer(after)}
    for name in _INNER_TRACKED:
        was, now = inner(before).get(name), inner(after).get(name)
        if was != now:
            diff[name] = {"old": was, "new": now}


# -- feedback ------------------------------------------------------------------------------------


def feedback(call: Call) -> Any:
    """Note whether a memory was useful, and let its importance follow; it never leaves its bounds.

    Signals that agree move it further, mixed ones less.
    """
    signal = call.text("signal")
    if signal not in _SIGNALS:
        raise unprocessable(f"signal {signal!r:.40} is none of {', '.join(_SIGNALS)}", "signal")
    comment = call.text("comment", required=False)
    if comment is not None and len(comment) > _COMMENT_CHARS_MAX:
        raise unprocessable(f"comment has more than {_COMMENT_CHARS_MAX:,} characters", "comment")
    moved: list[_Moved] = []

    def edit(now: Memory) -> Annotate:
        # What was made of an earlier look holds no more.
        moved[:] = [_moved(now, signal)]
        return moved[0].change

    memory = rewritten(call, find(call, identity(call)), edit)
    before, after, counts, trend, _ = moved[0]
    return {
        "memory_id": memory.handle,
        "signal": signal,
        "importance_before": before,
        "importance_after": after,
        "adjustment": round(after - before, 6),
        "influenced_ranking": after != before,
        "summary": {
            "total_signals": sum(counts.values()),
            "signal_counts": counts,
            "trend": trend,
        },
    }


class _Moved(NamedTuple):
    """What one signal makes of a memory."""

    before: float
    after: float
    counts: dict[str, int]
    trend: dict[str, Any]
    change: Annotate


def _moved(memory: Memory, signal: str) -> _Moved:
    kept = inner(memory.metadata)
    said = kept.get("feedback") or {}
    counts = {name: said.get("counts", {}).get(name, 0) for name in _SIGNALS}
    counts[signal] += 1
    recent = [*said.get("recent", []), signal][-_RECENT:]
    trend = _trend(recent)
    before = IMPORTANCE if memory.importance is None else memory.importance
    moved = before + _SIGNALS[signal] * trend["trend_multiplier"]
    after = round(min(max(moved, _IMPORTANCE_LEAST), _IMPORTANCE_MOST), 6)
    kept = {**kept, "feedback": {"counts": counts, "recent": recent}}
    metadata = with_inner(outer(memory.metadata), kept) or {}
    change = Annotate(id=memory.id, importance=after, metadata=metadata)
    return _Moved(before, after, counts, trend, change)


def _trend(recent: list[str]) -> dict[str, Any]:
    """Return how the last signals agree: as many for as against move half as far as one alone."""
    good = sum(_SIGNALS[one] > 0 for one in recent)
    share = good / len(recent)
    consistency = abs(2 * share - 1)
    momentum = "neutral" if share == 0.5 else ("positive" if share > 0.5 else "negative")
    multiplier = 1.0 if len(recent) == 1 else _TREND_LEAST + consistency
    return {
        "momentum": momentum,
        "consistency": round(consistency, 6),
        "trend_multiplier": round(min(multiplier, _TREND_MOST), 6),
        "recent_count": len(recent),
    }


# -- words ---------------------------------------------------------------------------------------


def relation_types(call: Call) -> tuple[str, ...]:
    """Return the types of relations that a tenant has: those there always are, and its own."""
    return (*RELATION_TYPES, *call.kept(_ONTOLOGY, {}).get("relation_types", ()))


def ontology(call: Call) -> Any:
    """Return the types of contents and of relations there are."""
    return _ontology(call.kept(_ONTOLOGY, {}))


def change_ontology(call: Call) -> Any:
    """Replace a tenant's own types; what is left out stays, and an empty list clears it."""
    given = {
        name: _types(call, name, builtin)
        for name, builtin in (("content_types", CONTENT_TYPES), ("relation_types", RELATION_TYPES))
        if call.body.get(name) is not None
    }
    if not given:
        raise unprocessable("give content_types, relation_types, or both")
    custom = {**call.kept(_ONTOLOGY, {}), **given}
    call.keep(_ONTOLOGY, custom)
    return _ontology(custom)


def _types(call: Call, name: str, builtin: tuple[str, ...]) -> list[str]:
    given = [one.strip().lower() for one in call.texts(name) or []]
    wrong = next((one for one in given if not _TYPE.match(one)), None)
    if wrong is not None:
        raise unprocessable(
            f"{name}: {wrong!r:.80} is not a letter and up to 63 of a-z, 0-9 and _", name
        )
    own = [one for one in dict.fromkeys(given) if one not in builtin]
    if len(own) > _CUSTOM_MAX:
        raise unprocessable(f"{name} has {len(own)} own types; at most {_CUSTOM_MAX} fit", name)
    return own


def _ontology(custom: dict[str, list[str]]) -> dict[str, Any]:
    contents, relations = custom.get("content_types", []), custom.get("relation_types", [])
    return {
        "content_types": [*CONTENT_TYPES, *contents],
        "relation_types": [*RELATION_TYPES, *relations],
        "builtin_content_types": list(CONTENT_TYPES),
        "builtin_relation_types": list(RELATION_TYPES),
        "custom_content_types": contents,
        "custom_relation_types": relations,
        "max_custom_types": _CUSTOM_MAX,
    }


_TEST = "tests/dialects/memorysync/test_relations.py"
_READ, _UPDATE = "memory:read", "memory:update"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/memory/{id}/relations", "user", relate, _TEST, needs=_UPDATE),
    Route("GET", "/memory/{id}/history", "user", history, _TEST, needs=_READ),
    Route("POST", "/memory/{id}/feedback", "user", feedback, _TEST, needs=_UPDATE),
    Route("GET", "/memory/ontology", "user", ontology, _TEST, needs=_READ),
    Route("PUT", "/memory/ontology", "user", change_ontology, _TEST, needs=_UPDATE),
)
