"""Writing memories: one, or a batch that is written whole or not at all."""

from __future__ import annotations

import hashlib
from typing import Any

from ....api.events import (
    EVENT_DEFAULT,
    KIND_DEFAULT,
    AppendEvents,
    EventInput,
    EventsAppended,
)
from ....api.limits import BATCH_ITEMS_MAX
from ....errors import Error, Invalid
from ..foreign import Reply, Route
from .call import Call
from .names import check_id, check_tags, check_type
from .refusals import bad, conflict, failed
from .registry import touch
from .shapes import KINDS, shape

__all__ = ["ROUTES", "derived_key"]

_CREATED = 201
_HOUR_SECONDS = 3_600.0
# What of a content tells it from others, and how much of its digest is kept.
_KEY_BYTES, _KEY_DIGITS = 200, 32


def create(call: Call) -> Any:
    """Write a memory; a body with `memories` is a batch of them."""
    items = call.sent.get("memories")
    if isinstance(items, list) and items:
        return _batch(call, items)
    (result,) = _append(call, (_event(call),)).results
    if result.event is None:
        raise conflict("duplicate memory")
    touch(call, (result.event,))
    return Reply(_CREATED, shape(result.event, call.org))


def derived_key(agent: str, event: str, content: str) -> str:
    """Return the key of what has none of its own: by it an equal one is known as a duplicate."""
    text = content.encode("utf-8", "surrogatepass")[:_KEY_BYTES]
    data = f"{agent}|{event}|".encode() + text
    return hashlib.sha256(data).hexdigest()[:_KEY_DIGITS]


def _batch(call: Call, items: list[Any]) -> Any:
    """Write those of a batch that are no duplicates; where one is wrong, none."""
    if len(items) > BATCH_ITEMS_MAX:
        raise bad(
            f"memories has {len(items):,} entries, at most {BATCH_ITEMS_MAX:,} are written at "
            "once; send them in several requests"
        )
    events = []
    for index, fields in enumerate(items):
        try:
            if not isinstance(fields, dict):
                raise bad("it must be an object")
            events.append(_event(call.of(fields)))
        except Invalid as error:
            raise _of_item(error, index) from error
    try:
        done = _append(call, tuple(events))
    except Invalid as error:
        raise _of_item(error, error.details.get("index", 0)) from error
    written = [one.event for one in done.results if one.event is not None]
    touch(call, written)
    shown = [shape(one, call.org) for one in written]
    return Reply(_CREATED, {"memories": shown, "count": len(shown)})


def _of_item(error: Error, index: int) -> Error:
    # Our own operation says before what is wrong which of the events it is.
    said = str(error).removeprefix(f"events[{index}] (nothing of the batch was written): ")
    return failed(f"failed to create memory {index}: {said}")


def _append(call: Call, events: tuple[EventInput, ...]) -> EventsAppended:
    settings = call.node.settings
    window = None
    if settings.memtrace_dedup:
        window = settings.memtrace_dedup_window_hours * _HOUR_SECONDS
    done: EventsAppended = call.do(
        "timeline.append", AppendEvents(events=events, dedup_window=window)
    )
    return done


def _event(call: Call) -> EventInput:
    """Return the event of a body; raises `Invalid` (400) for the first thing that is wrong."""
    agent, content = call.word("agent_id"), call.word("content")
    kind = call.word("memory_type") or KIND_DEFAULT
    for name, value in (("agent_id", agent), ("content", content)):
        if not value.strip():
            raise call.lacking(name)
    if kind not in KINDS:
        raise bad(f"invalid memory_type: {kind:.80}")
    check_id(agent, "agent_id")
    session = check_id(call.word("session_id"), "session_id")
    event = check_type(call.word("event_type"), "event_type") or EVENT_DEFAULT
    tags = check_tags(call.texts("tags") or ())
    key = call.word("dedup_key")
    if not key and call.node.settings.memtrace_dedup:
        key = derived_key(agent, event, content)
    return EventInput(
        agent=agent,
        text=content,
        kind=kind,
        event=event,
        session=session,
        metadata=call.object("metadata"),
        tags=tags,
        importance=call.decimal("importance"),
        parent=call.word("parent_id") or None,
        dedup_key=key or None,
    )


_TEST = "tests/dialects/memtrace/test_memories.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/api/v1/memories", "user", create, _TEST, 201, raw=True, needs="write"),
)
