"""Branches there are branches here, forked from main; what is compared is compared by ours."""

from __future__ import annotations

import re
from typing import Any

from ....api import (
    DeleteBranch,
    Fork,
    ListMemories,
    MemoryPage,
)
from ....api.compare import Diff, DiffBranches, Merge, Merged, MergeStrategy, Resolution
from ....clock import parse_ms
from ....errors import Conflict, Invalid
from ....ids import MAIN
from ....points import Point
from ..foreign import Reply, Route, wrong
from . import snapshots
from .call import Call
from .changes import diff_items, diff_text
from .names import branch_title, check_branch, stamp
from .picking import pick
from .places import begin, branches_of, existing, forget, keep, kept, switch
from .refusals import unprocessable
from .selecting import apply

__all__ = ["BRANCHES_MAX", "ROUTES"]

BRANCHES_MAX = 20
_KIND = "branch"
_BAD_REQUEST = 400
_ITEMS, _ITEMS_MAX, _LINES_MAX = 100, 500, 500
_BACK_MS = 30 * 60_000
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
# What they call a strategy: ours, and what holds where both sides changed a memory.
_STRATEGIES: dict[str, tuple[MergeStrategy, Resolution]] = {
    "append": ("append", "ours"),
    "accept": ("accept", "theirs"),
    "replace": ("accept", "theirs"),
}


def listing(call: Call) -> Any:
    """Return main, then the branches by name; one of them is active."""
    current, known = check_branch(call.active), kept(call, _KIND)
    shown = [{"name": MAIN, "active": current == MAIN}]
    for one in branches_of(call):
        about = known.get(one.name, {})
        shown.append(
            {
                "name": about.get("name") or branch_title(one.name),
                "active": one.name == current,
                "created_at": stamp(about.get("at", one.at)),
            }
        )
    lines = [f"{one['name']} ← active" if one["active"] else str(one["name"]) for one in shown]
    text = "\n".join(("Branches:", *lines)) if len(lines) > 1 else "No branches. On main."
    return {"branches": shown, "result": text}


def create(call: Call) -> Any:
    """Fork main as it is, as a snapshot has it, or as it was up to half an hour ago."""
    title = call.text("name")
    name = check_branch(title)
    point = _from(call)
    there = branches_of(call)
    if name == MAIN or any(one.name == name for one in there):
        raise _taken(title)
    if len(there) >= BRANCHES_MAX:
        raise unprocessable(f"Branch limit reached ({BRANCHES_MAX}). Delete one first.")
    begin(call)
    at = None if point is None else str(point)
    try:
        call.do("branches.fork", Fork(name=name, at=at), target=call.place(MAIN))
    except Conflict as error:
        raise _taken(title) from error
    keep(call, _KIND, name, {"name": title, "at": call.node.context.clock.now_ms()})
    return {"name": title, "result": f"Created branch '{title}'"}


def checkout(call: Call) -> Any:
    """Make a branch the one that is used where none is named."""
    title = call.values["name"]
    name = existing(call, title)
    switch(call, title)
    text = f"Switched to branch '{title}'."
    if name != MAIN:
        target = call.place(name)
        page: MemoryPage = call.do("memories.list", ListMemories(limit=50), target=target)
        text += f" {len(page.memories)} memories on this branch."
    return {"result": text}


def delete(call: Call) -> Any:
    """Remove a branch; where it was active, main is then."""
    title = call.values["name"]
    if title == MAIN:
        raise wrong("Cannot delete main", _BAD_REQUEST, said=True)
    name = existing(call, title)
    was_active = check_branch(call.active) == name
    call.do("branches.delete", DeleteBranch(), target=call.place(name))
    forget(call, _KIND, name)
    if was_active:
        switch(call, MAIN)
    return Reply(204)


def diff(call: Call) -> Any:
    """Return what differs as text."""
    title = call.values["name"]
    name = existing(call, title)
    # A client of theirs has no limit here; its tool has.
    limit = call.number("limit", _LINES_MAX, 1, _LINES_MAX)
    return {"result": diff_text(_compare(call, name, limit), title)}


def items(call: Call) -> Any:
    """Return what differs as lists, each cut at `limit`."""
    title = call.values["name"]
    name = existing(call, title)
    limit = call.number("limit", _ITEMS, 1, _ITEMS_MAX)
    found = _compare(call, name, limit)
    return diff_items(found, title)


def merge(call: Call) -> Any:
    """Bring what a branch added into main; what it took away stays there."""
    title = call.values["name"]
    name = existing(call, title)
    word = call.text("strategy", required=False) or "accept"
    if word not in _STRATEGIES:
        raise Invalid(f"strategy is {word!r:.40}; give {', '.join(_STRATEGIES)}")
    if name == MAIN:
        raise wrong("Cannot merge main into itself", _BAD_REQUEST, said=True)
    strategy, resolution = _STRATEGIES[word]
    request = Merge(source=name, strategy=strategy, on_conflict=resolution)
    done: Merged = call.do("branches.merge", request, target=call.place(MAIN))
    replacing = {new for _, new in done.replaced}
    new = len(set(done.added) - replacing) + len(done.updated)
    skipped = len(done.skipped) + len(done.kept)
    counts = f"{new} new, {len(done.replaced)} replaced, {skipped} skipped"
    return {"result": f"Merged branch '{title}' into main ({counts})"}


def _taken(title: str) -> Conflict:
    return Conflict(f"Branch '{title}' already exists.", code="already_exists", said=True)


def _from(call: Call) -> Point | None:
    """Return the point of main to fork from; None for main as it is."""
    snapshot = call.text("from_snapshot", required=False)
    moment = call.text("from_timestamp", required=False)
    if snapshot and moment:
        raise Invalid("give from_snapshot or from_timestamp, not both")
    if snapshot:
        return Point.checkpoint(snapshots.find(call, snapshot).checkpoint)
    if not moment:
        return None
    if not _MOMENT.match(moment):
        raise Invalid("from_timestamp must be YYYY-MM-DD HH:MM:SS (UTC)")
    at = parse_ms(moment.replace(" ", "T") + "Z", "from_timestamp")
    now = call.node.context.clock.now_ms()
    if at > now:
        raise Invalid("from_timestamp is in the future")
    if at < now - _BACK_MS:
        raise Invalid("from_timestamp is more than 30 minutes ago")
    return Point.time(at)


def _compare(call: Call, name: str, limit: int) -> Diff:
    found: Diff = call.do("branches.diff", DiffBranches(limit=limit), target=call.place(name))
    return found


_BRANCH = "/v1/branches/{name}"

_TEST = "tests/dialects/memoria/test_git.py"

ROUTES: tuple[Route, ...] = (
    *snapshots.ROUTES,
    Route("GET", "/v1/branches", "user", listing, _TEST),
    Route("POST", "/v1/branches", "user", create, _TEST, 201),
    Route("POST", f"{_BRANCH}/checkout", "user", checkout, _TEST),
    Route("GET", f"{_BRANCH}/diff", "user", diff, _TEST),
    Route("GET", f"{_BRANCH}/diff-items", "user", items, _TEST),
    Route("POST", f"{_BRANCH}/merge", "user", merge, _TEST),
    Route("POST", f"{_BRANCH}/apply", "user", apply, _TEST),
    Route("POST", f"{_BRANCH}/pick", "user", pick, _TEST),
    Route("DELETE", _BRANCH, "user", delete, _TEST, 204),
)
