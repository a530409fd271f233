"""Which branches a user has, and what is noted of them and of snapshots."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api import (
    Branches,
    BranchInfo,
    ListBranches,
    ListCheckpoints,
    PutValue,
)
from ....errors import NotFound
from ....ids import MAIN
from .admission import NAME
from .call import ACTIVE_BRANCH, Call
from .names import check_branch
from .refusals import missing

__all__ = [
    "begin",
    "branches_of",
    "claim",
    "existing",
    "forget",
    "keep",
    "kept",
    "switch",
]

_MAKING_MS = 30_000
_SPACE, _BEGUN = "memoria", "begun"


def begin(call: Call) -> None:
    """Make sure that the user's profile is there: nothing else can be named or forked.

    It begins with its first write, here of a key that says so.
    """
    try:
        call.do("checkpoints.list", ListCheckpoints(), target=call.place(MAIN))
    except NotFound as error:
        if error.code != "database_not_found":
            raise
        call.do("kv.put", PutValue(ns=_SPACE, key=_BEGUN, data=b"1"), target=call.place(MAIN))


def branches_of(call: Call) -> list[BranchInfo]:
    """Return the branches of the user but main; none of a profile that was never written."""
    try:
        found: Branches = call.do("branches.list", ListBranches(), target=call.place(MAIN))
    except NotFound as error:
        if error.code != "database_not_found":
            raise
        return []
    return [one for one in found.branches if one.name != MAIN]


def switch(call: Call, title: str) -> None:
    """Make a branch the one that is used where the caller names none."""
    if title != MAIN or call.active != MAIN:
        call.keep(ACTIVE_BRANCH, title, of=call.caller.seat)


def existing(call: Call, title: str) -> str:
    """Return our name of a branch that is there; raises `NotFound` for another."""
    name = check_branch(title)
    if name != MAIN and all(one.name != name for one in branches_of(call)):
        raise missing(f"Branch not found: {title}")
    return name


def kept(call: Call, kind: str) -> dict[str, dict[str, Any]]:
    """Return what is noted of the snapshots or branches of the user, by our names."""
    bindings = call.node.context.bindings
    if bindings is None:
        return {}
    prefix = f"{kind}/"
    found = bindings.list(NAME, call.user, prefix)
    return {one.key.removeprefix(prefix): msgspec.json.decode(one.value) for one in found}


def claim(call: Call, kind: str, name: str, about: dict[str, Any]) -> bool:
    """Note that something is being made; of several who do that at once one is told True.

    What was begun longer ago than that takes, and is not there, was not finished.
    """
    bindings = call.node.context.bindings
    if bindings is None:
        return True
    key = f"{kind}/{name}"
    found = bindings.get(NAME, call.user, key)
    if found is not None:
        begun = msgspec.json.decode(found.value).get("at", 0)
        if call.node.context.clock.now_ms() - begun < _MAKING_MS:
            return False
    expect = 0 if found is None else found.version
    text = msgspec.json.encode(about).decode()
    return bindings.put(NAME, call.user, key, text, expect=expect) is not None


def keep(call: Call, kind: str, name: str, about: dict[str, Any]) -> None:
    """Note something of a snapshot or branch, where there is a catalog to keep it in."""
    if call.node.context.bindings is not None:
        call.keep(f"{kind}/{name}", about)


def forget(call: Call, kind: str, name: str) -> None:
    """Remove what is noted."""
    bindings = call.node.context.bindings
    if bindings is not None:
        bindings.delete(NAME, call.user, f"{kind}/{name}")
