"""Which memories a request is about: those of its project and of none, as far as they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ....api import ListMemories, Memory
from ....api.limits import PAGE_MAX
from ....api.memories import FindMemories, GetMemory
from ....errors import Invalid, NotFound
from .call import Call
from .refusals import missing, unprocessable

__all__ = ["by_handles", "by_id", "handles_of", "holds", "newest", "seen"]

_HANDLES_MAX = 100


def seen(call: Call, memory: Memory) -> bool:
    """Whether a memory is of the request's project or of none; of all where it names none."""
    return call.project is None or memory.project in (None, call.project)


def holds(call: Call, memory: Memory) -> bool:
    """Whether a memory can be recalled by the request: it is active, and nothing replaced it."""
    return memory.state == "active" and memory.superseded_at is None and seen(call, memory)


def by_id(call: Call, identity: str) -> Memory | None:
    """Return a memory by our id; None where it is not there, or of another project."""
    try:
        found: Memory = call.do("memories.get", GetMemory(id=identity)).memory
    except (NotFound, Invalid):
        return None
    return found if seen(call, found) else None


def handles_of(call: Call, name: str) -> tuple[int, ...]:
    """Return the memory ids in a field of the body; raises 422 for another thing."""
    given = call.body.get(name)
    whole = isinstance(given, list) and all(type(one) is int and one > 0 for one in given)
    if not whole or not 1 <= len(given) <= _HANDLES_MAX:  # type: ignore[arg-type]
        raise unprocessable(f"{name} must be a list of 1 to {_HANDLES_MAX} memory ids", name)
    return tuple(dict.fromkeys(given))  # type: ignore[arg-type]


def by_handles(call: Call, handles: Iterable[int]) -> list[Memory]:
    """Return memories that hold by their ids, in that order; raises 404 where one is missing."""
    wanted = tuple(handles)
    try:
        found = call.do("memories.find", FindMemories(handles=wanted)).memories
    except NotFound:
        found = ()
    there = {one.handle: one for one in found if holds(call, one)}
    for one in wanted:
        if one not in there:
            raise missing(f"Memory not found: {one}")
    return [there[one] for one in wanted]


def newest(call: Call, limit: int, **filters: Any) -> Iterator[Memory]:
    """Yield up to `limit` memories that hold, the newest first."""
    cursor = None
    left = limit
    while left > 0:
        request = ListMemories(**call.scoped, limit=min(left, PAGE_MAX), cursor=cursor, **filters)
        page = call.do("memories.list", request)
        yield from page.memories
        left -= len(page.memories)
        cursor = page.next_cursor
        if cursor is None:
            return
