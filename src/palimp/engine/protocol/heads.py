"""Names of branches: one holder at a time, and nobody's once the branch it means is dead.

Whatever takes a name off a branch makes sure first that the branch is a tombstone: a fork that was
paused could otherwise come to live under a name that leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...errors import Conflict, NotFound
from ...ids import MAIN
from .lane import read, settle_create
from .records import (
    Head,
    Manifest,
    decode,
    encode,
    evolve,
    head_key,
    heads_prefix,
    manifest_key,
    tombstone,
)
from .requests import Create, InDoubt, ListKeys, Nonce, Now, Refused, Replace, Sleep, Steps

__all__ = [
    "FORMING_MS_MAX",
    "branch_of",
    "bury",
    "expire",
    "list_all",
    "list_heads",
    "remove_branch",
    "reserve",
    "stop_forming",
]

FORMING_MS_MAX = 60_000
_RETRY_SECONDS = 0.1


def reserve(db_id: str, name: str, branch_id: str) -> Steps[None]:
    """Make the name point at this branch; of two that want one name one gets it, else `Conflict`.

    A name whose branch is deleted, or has been forming for over a minute, may be taken.
    """
    if name == MAIN:
        raise _taken(name)
    key = head_key(db_id, name)
    now: int = yield Now()
    head = Head(nonce=(yield Nonce()), branch_id=branch_id, formed_at=now)
    created = yield from settle_create(key, encode(head))
    if created.version is not None:
        return
    while True:
        stored = yield from read(key)
        assert stored is not None, f"{key} has vanished; names are never deleted"
        held = decode(stored.data, Head, key)
        if held.branch_id == branch_id:
            return
        if held.branch_id is not None:
            yield from _free(db_id, name, held, now)
        taken = _next(held, head.nonce, branch_id, now)
        try:
            version = yield Replace(key, encode(taken), stored.version)
        except (InDoubt, Refused):
            version = None
        if version is not None:
            return
        yield Sleep(_RETRY_SECONDS)


def remove_branch(db_id: str, name: str) -> Steps[str]:
    """Delete a branch one does not own, and free its name; return its id.

    When this returns nobody can write to it: the tombstone's higher epoch fences its owner. Raises
    `NotFound` where no living branch has the name. Two at once: both succeed or one finds nothing.
    """
    branch_id = yield from branch_of(db_id, name)
    if branch_id is not None:
        key = manifest_key(db_id, branch_id)
        stored = yield from read(key)
        state = decode(stored.data, Manifest, key).state if stored else "forming"
        if state != "forming":
            yield from bury(db_id, branch_id, lambda _: True)
            yield from _release(db_id, name, branch_id)
        if state == "live":
            return branch_id
    raise NotFound(f"branch not found: {name!r}", code="branch_not_found")


def expire(db_id: str, now_ms: int) -> Steps[list[str]]:
    """Delete what is over, by anybody: return the names that are free now.

    That is a fork that has been forming for over a minute, a branch whose time to live has ended,
    and the name of a branch that was deleted. When this returns none of them can be written.
    """
    freed: list[str] = []
    for name, held in (yield from list_heads(db_id)):
        assert held.branch_id is not None

        def over(manifest: Manifest | None, held: Head = held) -> bool:
            if _is_forming(manifest):
                return _is_stale(held, now_ms)
            assert manifest is not None
            return manifest.ttl_at is not None and manifest.ttl_at <= now_ms

        if (yield from bury(db_id, held.branch_id, over)):
            yield from _release(db_id, name, held.branch_id)
            freed.append(name)
    return freed


def stop_forming(db_id: str) -> Steps[None]:
    """Delete every branch whose name is reserved and that does not live yet, however young.

    When this returns none of them can come to live; their names are free.
    """
    for name, held in (yield from list_heads(db_id)):
        assert held.branch_id is not None
        if (yield from bury(db_id, held.branch_id, _is_forming)):
            yield from _release(db_id, name, held.branch_id)


def bury(db_id: str, branch_id: str, over: Callable[[Manifest | None], bool]) -> Steps[bool]:
    """Make a branch a tombstone if `over` says of its manifest that it may be; whether it is one.

    `over` is asked about every state that is found, None where nothing was written. Not in a lane:
    others may be doing the same, and whoever wins, it is dead. A branch that was never written gets
    a tombstone too: who is about to write it must find that it may not.
    """
    key = manifest_key(db_id, branch_id)
    while True:
        stored = yield from read(key)
        manifest = decode(stored.data, Manifest, key) if stored else None
        if manifest is not None and manifest.state == "deleted":
            return True
        if not over(manifest):
            return False
        nonce: str = yield Nonce()
        try:
            if stored is None or manifest is None:
                yield Create(key, encode(tombstone(nonce)))
            else:
                dead = evolve(manifest, nonce, state="deleted", epoch=manifest.epoch + 1)
                yield Replace(key, encode(dead), stored.version)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)


def branch_of(db_id: str, name: str) -> Steps[str | None]:
    """Return the id a branch's name points at; that branch need not live."""
    key = head_key(db_id, name)
    stored = yield from read(key)
    return decode(stored.data, Head, key).branch_id if stored else None


def list_heads(db_id: str) -> Steps[list[tuple[str, Head]]]:
    """Return the names that point at a branch, in order."""
    found: list[tuple[str, Head]] = []
    for key in (yield from list_all(heads_prefix(db_id))):
        stored = yield from read(key)
        head = decode(stored.data, Head, key) if stored else None
        if head is not None and head.branch_id is not None:
            found.append((key.removeprefix(heads_prefix(db_id)).removesuffix(".json"), head))
    return found


def list_all(prefix: str) -> Steps[list[str]]:
    """Return all keys below a prefix, page by page."""
    keys: list[str] = []
    while True:
        try:
            page: list[str] = yield ListKeys(prefix, keys[-1] if keys else "")
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)
            continue
        if not page:
            return keys
        keys += page


def _free(db_id: str, name: str, held: Head, now: int) -> Steps[None]:
    """Return if the branch a name points at is dead, after making sure of it; else `Conflict`."""
    assert held.branch_id is not None

    def over(manifest: Manifest | None) -> bool:
        return _is_stale(held, now) and _is_forming(manifest)

    if not (yield from bury(db_id, held.branch_id, over)):
        raise _taken(name)


def _release(db_id: str, name: str, branch_id: str) -> Steps[None]:
    """Take a dead branch off its name, or find that somebody did."""
    key = head_key(db_id, name)
    while True:
        stored = yield from read(key)
        held = decode(stored.data, Head, key) if stored else None
        if stored is None or held is None or held.branch_id != branch_id:
            return
        nonce: str = yield Nonce()
        try:
            yield Replace(key, encode(_next(held, nonce, None, held.formed_at)), stored.version)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)


def _next(held: Head, nonce: str, branch_id: str | None, formed_at: int) -> Head:
    return msgspec.structs.replace(
        held,
        version=held.version + 1,
        nonce=nonce,
        gen=held.gen + 1,
        branch_id=branch_id,
        formed_at=formed_at,
    )


def _is_forming(manifest: Manifest | None) -> bool:
    return manifest is None or manifest.state == "forming"


def _is_stale(held: Head, now: int) -> bool:
    return now - held.formed_at > FORMING_MS_MAX


def _taken(name: str) -> Conflict:
    return Conflict(f"branch {name!r} exists already", code="already_exists")
