"""Snapshots there are checkpoints here: of main, and of each branch, so that a range can be picked.

What main holds decides which there are. What is kept beside them, a description and when they
were made, is kept in bindings and may be missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from ....api import (
    CheckpointInfo,
    Checkpoints,
    CreateCheckpoint,
    DropCheckpoint,
    ListCheckpoints,
    ListMemories,
    Memory,
    MemoryPage,
    Rewind,
)
from ....api.limits import PAGE_MAX
from ....api.stats import GetStats, MemoryStats
from ....clock import parse_ms
from ....errors import Conflict, Error, Invalid, NotFound
from ....ids import MAIN, foreign_name
from ..foreign import Reply, Route
from .call import Call
from .names import clean_snapshot, is_automatic, snapshot_title, stamp
from .places import begin, branches_of, claim, forget, keep, kept
from .refusals import missing, unprocessable
from .shapes import type_of

__all__ = ["ROUTES", "SNAPSHOTS_MAX", "Snapshot", "all_of", "find"]

SNAPSHOTS_MAX = 20
_PAGE, _DETAIL_MAX, _DIFF_MAX = 20, 500, 200
_CUT = {"brief": 80, "normal": 200, "full": 2_000}
_CUT_MARK = " [truncated]"
_DAY = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d)?\Z")
_KIND = "snapshot"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot: what it is called there (`name`) and here, and when it was made."""

    name: str
    checkpoint: str
    txid: int
    at: int
    description: str | None = None
    count: int | None = None

    def shown(self) -> dict[str, Any]:
        """Return what a list holds of it."""
        return {
            "name": self.name,
            "snapshot_name": self.checkpoint,
            "description": self.description,
            "memory_count": self.count,
            "created_at": stamp(self.at),
            "timestamp": stamp(self.at),
            "registered": not is_automatic(self.name),
        }


def all_of(call: Call) -> list[Snapshot]:
    """Return every snapshot of main, the newest first."""
    known = kept(call, _KIND)
    try:
        found: Checkpoints = call.do("checkpoints.list", ListCheckpoints(), branch=MAIN)
    except NotFound as error:
        if error.code != "database_not_found":
            raise
        return []
    snapshots = [_snapshot(one, known.get(one.name, {})) for one in found.checkpoints]
    return sorted(snapshots, key=lambda one: (one.at, one.txid, one.name), reverse=True)


def find(call: Call, name: str) -> Snapshot:
    """Return a snapshot by its name; raises `NotFound`."""
    wanted = clean_snapshot(name)
    for one in all_of(call):
        if one.name == wanted or one.checkpoint == name:
            return one
    raise missing(f"Snapshot not found: {name:.100}")


def create(call: Call) -> Any:
    """Name what main holds now."""
    title = clean_snapshot(call.text("name"))
    description = call.text("description", required=False)
    if is_automatic(title):
        raise Invalid(f"names like '{title}' are those of automatic snapshots")
    there = all_of(call)
    if any(one.name == title for one in there):
        raise _taken(title)
    if sum(not is_automatic(one.name) for one in there) >= SNAPSHOTS_MAX:
        raise unprocessable(f"Snapshot limit reached ({SNAPSHOTS_MAX}). Delete one first.")
    name = foreign_name(title)
    begin(call)
    at = call.node.context.clock.now_ms()
    about = {"at": at, "description": description}
    if not claim(call, _KIND, name, about):
        raise _taken(title)
    try:
        made = _name_everywhere(call, name)
    except Error:
        forget(call, _KIND, name)
        raise
    count = _count(call, name)
    keep(call, _KIND, name, {**about, "count": count})
    snapshot = Snapshot(
        name=title, checkpoint=name, txid=made.txid, at=at, description=description, count=count
    )
    return {**snapshot.shown(), "result": f"Snapshot '{title}' created at {stamp(at)}"}


def list_page(call: Call) -> Any:
    """Return one page, the newest first."""
    limit = call.number("limit", _PAGE, 1, _DETAIL_MAX)
    offset = call.number("offset", 0, 0)
    found = all_of(call)
    page = found[offset : offset + limit]
    lines = [f"{one.name} ({stamp(one.at)})" for one in page]
    return {
        "snapshots": [one.shown() for one in page],
        "total": len(found),
        "limit": limit,
        "offset": offset,
        "has_more": offset + limit < len(found),
        "result": "\n".join((f"Snapshots ({len(found)} total):", *lines))
        if found
        else "No snapshots found.",
    }


def get(call: Call) -> Any:
    """Return what a snapshot holds."""
    snapshot = find(call, call.values["name"])
    detail = call.query.get("detail", "brief")
    if detail not in _CUT:
        raise Invalid(f"detail is {detail!r:.40}; give {', '.join(_CUT)}")
    limit = call.number("limit", 50, 1, _DETAIL_MAX)
    offset = call.number("offset", 0, 0)
    held = list(_memories(call, snapshot.checkpoint))
    page = held[offset : offset + limit]
    return {
        "name": snapshot.name,
        "snapshot_name": snapshot.checkpoint,
        "memory_count": len(held),
        "by_type": dict(Counter(type_of(one) for one in held)),
        "memories": [_detailed(one, detail) for one in page],
        "limit": limit,
        "offset": offset,
        "has_more": offset + limit < len(held),
    }


def diff(call: Call) -> Any:
    """Return what came to main since a snapshot, and what went."""
    snapshot = find(call, call.values["name"])
    limit = call.number("limit", 50, 1, _DIFF_MAX)
    then = {one.id: one for one in _memories(call, snapshot.checkpoint)}
    now = {one.id: one for one in _memories(call, None)}
    return {
        "snapshot_name": snapshot.name,
        "snapshot_count": len(then),
        "current_count": len(now),
        "added": [_brief(now[one]) for one in now if one not in then][:limit],
        "removed": [_brief(then[one]) for one in then if one not in now][:limit],
    }


def rollback(call: Call) -> Any:
    """Make main what it was at a snapshot; what it is now is named first."""
    snapshot = find(call, call.values["name"])
    call.safety("rollback", call.place(MAIN))
    call.do("rewind", Rewind(to=snapshot.checkpoint), branch=MAIN)
    return {"result": f"Rolled back to snapshot '{snapshot.name}'"}


def delete(call: Call) -> Any:
    """Remove one snapshot."""
    _drop(call, [find(call, call.values["name"])])
    return Reply(204)


def delete_many(call: Call) -> Any:
    """Remove those of exact names, of a prefix, or older than a time."""
    body = call.fields
    given = [one for one in ("names", "prefix", "older_than") if body.get(one) is not None]
    if len(given) != 1:
        raise Invalid("give exactly one of names, prefix and older_than")
    meant = _meant(body)
    chosen = [one for one in all_of(call) if meant(one)]
    _drop(call, chosen)
    names = ", ".join(one.name for one in chosen)
    return {"result": f"Deleted {len(chosen)} snapshot(s)" + (f": {names}" if names else "")}


def _taken(title: str) -> Conflict:
    return Conflict(f"Snapshot '{title}' already exists.", code="already_exists", said=True)


def _meant(body: dict[str, Any]) -> Any:
    if (names := body.get("names")) is not None:
        listed = names.split(",") if isinstance(names, str) else names
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise Invalid("names must be text or a list of it")
        wanted = {clean_snapshot(one.strip()) for one in listed if one.strip()}
        return lambda one: one.name in wanted
    if (prefix := body.get("prefix")) is not None:
        if not isinstance(prefix, str) or not prefix:
            raise Invalid("prefix must be text of at least one character")
        return lambda one: one.name.startswith(prefix)
    older = body["older_than"]
    if not isinstance(older, str) or not _DAY.match(older):
        raise Invalid("older_than must be YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")
    before = parse_ms(older, "older_than")
    return lambda one: one.at < before


def _snapshot(found: CheckpointInfo, known: dict[str, Any]) -> Snapshot:
    return Snapshot(
        name=snapshot_title(found.name),
        checkpoint=found.name,
        txid=found.txid,
        at=known.get("at", found.at),
        description=known.get("description"),
        count=known.get("count"),
    )


def _name_everywhere(call: Call, name: str) -> CheckpointInfo:
    """Name what every branch holds, main last: only then it is a snapshot."""
    for branch in branches_of(call):
        # One that is deleted meanwhile has nothing to be named.
        with suppress(NotFound):
            _put(call, branch.name, name)
    return _put(call, MAIN, name)


def _put(call: Call, branch: str, name: str) -> CheckpointInfo:
    request = CreateCheckpoint(name=name)
    target = call.place(branch)
    try:
        made: CheckpointInfo = call.do("checkpoints.create", request, target=target)
    except Conflict:
        # Left of a snapshot that was not finished, or not wholly removed.
        call.do("checkpoints.delete", DropCheckpoint(name=name), target=target)
        made = call.do("checkpoints.create", request, target=target)
    return made


def _drop(call: Call, snapshots: list[Snapshot]) -> None:
    """Remove the names, that of main first: then it is no snapshot any more."""
    places = [MAIN, *(one.name for one in branches_of(call))] if snapshots else []
    for one in snapshots:
        for branch in places:
            try:
                request = DropCheckpoint(name=one.checkpoint)
                call.do("checkpoints.delete", request, target=call.place(branch))
            except NotFound:
                continue
        forget(call, _KIND, one.checkpoint)


def _memories(call: Call, checkpoint: str | None) -> Iterator[Memory]:
    """Yield what main holds, or held at a checkpoint, the newest first."""
    target = msgspec.structs.replace(call.place(MAIN), at=checkpoint)
    cursor = None
    while True:
        request = ListMemories(limit=PAGE_MAX, cursor=cursor)
        page: MemoryPage = call.do("memories.list", request, target=target)
        yield from page.memories
        cursor = page.next_cursor
        if cursor is None:
            return


def _count(call: Call, checkpoint: str) -> int:
    target = msgspec.structs.replace(call.place(MAIN), at=checkpoint)
    found: MemoryStats = call.do("memories.stats", GetStats(), target=target)
    return found.all.count


def _brief(memory: Memory) -> dict[str, Any]:
    return {
        "memory_id": memory.id,
        "content": memory.text,
        "memory_type": type_of(memory),
        "trust_tier": memory.trust,
    }


def _detailed(memory: Memory, detail: str) -> dict[str, Any]:
    content = memory.text.encode("utf-8", "surrogatepass")
    shown = memory.text
    if len(content) > _CUT[detail]:
        # On the boundary of a character: what is cut within one is left out.
        shown = content[: _CUT[detail]].decode("utf-8", "ignore") + _CUT_MARK
    found = {**_brief(memory), "content": shown}
    return {**found, "confidence": memory.confidence} if detail == "full" else found


_TEST = "tests/dialects/memoria/test_git.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/snapshots", "user", create, _TEST, 201),
    Route("GET", "/v1/snapshots", "user", list_page, _TEST),
    Route("POST", "/v1/snapshots/delete", "user", delete_many, _TEST),
    Route("GET", "/v1/snapshots/{name}", "user", get, _TEST),
    Route("GET", "/v1/snapshots/{name}/diff", "user", diff, _TEST),
    Route(
        "POST", "/v1/snapshots/{name}/rollback", "user", rollback, _TEST
    ),
    Route("DELETE", "/v1/snapshots/{name}", "user", delete, _TEST, 204),
)  # fmt: skip
