"""Memories on their way in: what a body says, what is worth keeping, and what was there already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from ....api import FoundMemories, Ingest, Ingested, ItemResult, Memory
from ....api.annotating import Annotate
from ....api.limits import TTL_SECONDS_MAX
from ....api.memories import FindMemories, MemoryInput
from ....errors import Conflict, Error, Invalid, NotFound
from ..foreign import Reply, status_of
from .call import Call
from .facts import fact_of, low_value, spelled
from .refusals import is_too_large, unprocessable
from .rewriting import rewritten
from .shapes import checked_metadata, checked_tags, inner, outer, shape, text_key, with_inner

__all__ = ["Stored", "add", "bulk_add", "skipped", "store", "store_all"]

_BULK_MAX = 50
_REF_CHARS_MAX = 128
_REPEAT_SECONDS = 600
_TTL_MINUTES_MAX = TTL_SECONDS_MAX // 60
_MINUTE_MS = 60_000
_MULTI = 207
_ALREADY, _DUPLICATE, _LARGE = "already_ingested", "duplicate", "metadata_too_large"
# What a memory has of its own where it was just written; the rest is read.
_ECHOED = (
    "kind", "tags", "metadata", "source", "session", "project", "importance", "confidence",
    "expires_at", "observed_at",
)  # fmt: skip


class Stored(NamedTuple):
    """What became of one: `memory` is that which was written, or was there. `ids` are handles."""

    status: Literal["created", "skipped", "rejected"]
    ids: tuple[int, ...] = ()
    reason: str | None = None
    memory: Memory | None = None


def add(call: Call) -> Any:
    """Write one memory; or say why there is none, or which one it is already."""
    done = store(call)
    if done.memory is None or done.status != "created":
        return skipped(done)
    return shape(done.memory, call)


def bulk_add(call: Call) -> Any:
    """Write up to 50; each says what became of it, and of an end user all are one transaction."""
    items = [call.item(fields) for fields in call.items("items", _BULK_MAX)]
    done = store_all(items, deduplicate=call.flag("deduplicate", default=True))
    results = [
        {
            "index": place,
            "status": one.status,
            "memory_ids": list(one.ids),
            **({} if one.reason is None else {"reason": one.reason}),
        }
        for place, one in enumerate(done)
    ]
    counts = {
        status: sum(one.status == status for one in done)
        for status in ("created", "skipped", "rejected")
    }
    return Reply(_MULTI, {"total": len(done), **counts, "results": results})


def skipped(done: Stored) -> dict[str, Any]:
    """Return what says that nothing was written, and why."""
    return {
        "status": "skipped",
        "reason": done.reason,
        "memory_ids": list(done.ids),
        "candidates_extracted": 0,
        "candidates_stored": 0,
    }


def store(call: Call) -> Stored:
    """Write the memory that a body says; raises what is wrong with it."""
    planned = plan(call, deduplicate=call.flag("deduplicate", default=True))
    if isinstance(planned, Stored):
        return planned
    done: Ingested = call.do("memories.ingest", Ingest(memories=(planned,)))
    return _settled(call, [planned], done.results)[0]


def store_all(calls: Sequence[Call], *, deduplicate: bool = True) -> list[Stored]:
    """Write the memories of several bodies; what is wrong with one rejects that one alone."""
    done: dict[int, Stored] = {}
    users: dict[str, list[tuple[int, Call, MemoryInput]]] = {}
    for place, call in enumerate(calls):
        try:
            planned = plan(call, deduplicate=deduplicate)
        except Invalid as error:
            done[place] = Stored("rejected", reason=_why(error))
            continue
        if isinstance(planned, Stored):
            done[place] = planned
        else:
            users.setdefault(call.end_user, []).append((place, call, planned))
    for rows in users.values():
        done.update(_store_rows(rows))
    return [done[place] for place in range(len(calls))]


def plan(call: Call, *, deduplicate: bool = True) -> MemoryInput | Stored:
    """Return the memory to write, or why none is; raises 422 and 413."""
    text = call.text("text", required=False)
    text = call.text("content") if text is None else text
    if not text.strip():
        raise unprocessable("text is empty", "text")
    metadata, ref = checked_metadata(call), call.text("client_ref", required=False)
    if ref is not None and not 1 <= len(ref) <= _REF_CHARS_MAX:
        raise unprocessable(f"client_ref has 1 to {_REF_CHARS_MAX} characters", "client_ref")
    why = low_value(text)
    if why is not None:
        return Stored("skipped", reason=why)
    fact = fact_of(text) if deduplicate else None
    kept = {
        "event_type": call.text("event_type", required=False),
        "content_type": call.text("content_type", required=False),
        "extracted_type": None if fact is None else fact.type,
        "extracted_key": None if fact is None else fact.key,
        "client_ref": ref,
    }
    fields: dict[str, Any] = {
        "text": text,
        "type": "fact",
        "kind": "fact" if fact is None else fact.type,
        "tags": checked_tags(call) or (),
        "metadata": with_inner(metadata, kept),
        "source": call.text("source", required=False) or None,
        "session": call.text("session_id", required=False) or None,
        "project": call.project,
        "importance": call.real("importance", 0, 1),
        "observed_at": call.when("occurred_at"),
        "expires_at": _expires_at(call),
        "extracted_key": None if fact is None else fact.key,
        **_same(call, text, ref, deduplicate=deduplicate),
    }
    if fact is not None and fact.value is not None:
        fields["content"] = fact.value
    elif spelled(text) != text:
        fields["content"] = {"text": spelled(text)}
    return MemoryInput(**fields)


def _same(call: Call, text: str, ref: str | None, *, deduplicate: bool) -> dict[str, Any]:
    """Return what says of which memory this is a repeat, beside what it is the value of."""
    if ref is not None:
        return {"dedup_key": f"ref:{ref}", "dedup_window": TTL_SECONDS_MAX}
    if deduplicate:
        # The same words in another project are another memory.
        return {"dedup_key": f"project:{call.project or ''}"}
    return {"dedup_key": f"said:{text_key(call, spelled(text))}", "dedup_window": _REPEAT_SECONDS}


def _expires_at(call: Call) -> int | None:
    minutes = call.real("ttl_minutes", 1, _TTL_MINUTES_MAX)
    if minutes is None:
        return None
    return call.node.context.clock.now_ms() + round(minutes * _MINUTE_MS)


def _store_rows(rows: list[tuple[int, Call, MemoryInput]]) -> dict[int, Stored]:
    """Write what is of one end user in one transaction, without those that are refused."""
    done: dict[int, Stored] = {}
    while rows:
        call = rows[0][1]
        try:
            given = [one for _, _, one in rows]
            written: Ingested = call.do("memories.ingest", Ingest(memories=tuple(given)))
        except Error as error:
            index = 0 if len(rows) == 1 else error.details.get("index")
            if not isinstance(index, int) or not isinstance(error, Invalid):
                raise
            place, _, _ = rows.pop(index)
            done[place] = Stored("rejected", reason=_why(error))
            continue
        settled = _settled(call, given, written.results)
        done.update({place: one for (place, _, _), one in zip(rows, settled, strict=True)})
        break
    return done


def _settled(
    call: Call, given: Sequence[MemoryInput], results: Sequence[ItemResult]
) -> list[Stored]:
    """Return what became of memories; those that were there, or were changed, are read."""
    handles = [
        one.handle
        for one in results
        if one.handle is not None and (one.status != "created" or one.note is not None)
    ]
    known: dict[int | None, Memory] = {}
    if handles:
        found: FoundMemories = call.do(
            "memories.find", FindMemories(handles=tuple(dict.fromkeys(handles)))
        )
        known = {one.handle: one for one in found.memories}
    return [
        _outcome(call, one, result, known.get(result.handle))
        for one, result in zip(given, results, strict=True)
    ]


def _outcome(call: Call, given: MemoryInput, result: ItemResult, known: Memory | None) -> Stored:
    assert result.handle is not None
    ids = (result.handle,)
    if result.status != "duplicate":
        return Stored("created", ids, memory=known or _unread(call, given, result))
    if known is None:
        # It was removed meanwhile: then it is no longer there, and nothing is to be said of it.
        return Stored("skipped", ids, _DUPLICATE)
    ref = inner(known.metadata).get("client_ref")
    if ref is not None and given.dedup_key == f"ref:{ref}":
        return Stored("skipped", ids, _ALREADY, known)
    if given.extracted_key is not None:
        _said_again(call, known)
    return Stored("skipped", ids, _DUPLICATE, known)


def _said_again(call: Call, known: Memory) -> None:
    """Note that something was said once more; of what is under legal hold it is not noted."""

    def edit(now: Memory) -> Annotate:
        kept = inner(now.metadata)
        kept = {
            **kept,
            "evidence_count": kept.get("evidence_count", 0) + 1,
            "updated_at": call.node.context.clock.now_ms(),
        }
        return Annotate(id=now.id, metadata=with_inner(outer(now.metadata), kept) or {})

    with suppress(Conflict, NotFound):
        rewritten(call, known, edit)


def _unread(call: Call, given: MemoryInput, result: ItemResult) -> Memory:
    """Return a memory that was just written."""
    return Memory(
        id=result.id,
        type=given.type or "fact",
        text=given.text,
        content=None,
        created_at=call.node.context.clock.now_ms(),
        handle=result.handle,
        **{name: getattr(given, name) for name in _ECHOED},
    )


def _why(error: Error) -> str:
    if is_too_large(error):
        return _LARGE
    return f"{status_of(error)}: {error}"
