"""Forks: a child is made of copied references and lives only if its parent still names them all.

The name's object points at the child from the start; the child's change to `live` is what commits
the fork. A name whose child is deleted, or has been forming for over a minute, may be taken.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import Conflict, Invalid, NotFound
from .lane import Fenced, Lane, read, settle_create, swap
from .records import (
    Head,
    Manifest,
    Parent,
    SegmentRef,
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
    "Child",
    "Wanted",
    "delete_branch",
    "fork",
    "list_all",
    "read_branches",
]

_RETRY_SECONDS = 0.1
FORMING_MS_MAX = 60_000


class Wanted(NamedTuple):
    """A fork to be made: from a boundary of the parent (None: what is shipped now), with a name."""

    parent_id: str
    name: str
    txid: int | None = None
    ttl_ms: int | None = None


class Child(NamedTuple):
    """A branch that was made, and the txid it begins from."""

    branch_id: str
    txid: int


def fork(db_id: str, wanted: Wanted) -> Steps[Child]:
    """Make a branch; when this returns it lives, and every object it names exists.

    Read the parent; reserve the name; write the child as `forming` with copies of the references;
    read the parent again: if it still names every one of them, make the child `live`, else copy
    again. A manifest never regains a reference it dropped, and a collector begins after the drop:
    so what the parent names after the child was written, the collector finds in the child.

    Raises `NotFound` (parent), `Invalid` (no boundary, both neighbours named) or `Conflict` (the
    name is taken, or it took over a minute). What was begun is then a tombstone, its name free.
    """
    parent_key = manifest_key(db_id, wanted.parent_id)
    parent = yield from _live(parent_key, wanted.parent_id)
    _chain_up_to(parent, wanted.txid)
    branch_id: str = yield Nonce()
    yield from _reserve(db_id, wanted.name, branch_id)
    try:
        return (yield from _grow(db_id, wanted, branch_id, parent))
    except Fenced as fenced:
        made = fenced.manifest
        if made.owner is not None and made.parent is not None:
            # Only a branch that lives can be owned: our change landed before its answer was lost.
            return Child(branch_id, made.parent.txid)
        raise Conflict(
            f"branch {wanted.name!r} was not finished within a minute and its name was taken"
        ) from None


def _grow(db_id: str, wanted: Wanted, branch_id: str, parent: Manifest) -> Steps[Child]:
    chain, at = _chain_up_to(parent, wanted.txid)
    lane = yield from _form(db_id, branch_id, _child(parent, wanted, chain, at), wanted.ttl_ms)
    try:
        return (yield from _settle(db_id, wanted, lane, chain, at))
    except (Invalid, NotFound):
        # The parent, or the boundary in it, went away meanwhile.
        yield from delete_branch(lane)
        raise


def _settle(
    db_id: str, wanted: Wanted, lane: Lane, chain: tuple[SegmentRef, ...], at: int
) -> Steps[Child]:
    parent_key = manifest_key(db_id, wanted.parent_id)
    while True:
        again = yield from _live(parent_key, wanted.parent_id)
        nonce: str = yield Nonce()
        if all(again.names(ref.key) for ref in chain):
            change = evolve(lane.manifest, nonce, state="live")
        else:
            chain, at = _chain_up_to(again, wanted.txid)
            copied = _child(again, wanted, chain, at)
            change = evolve(
                lane.manifest,
                nonce,
                txid=at,
                limit=at,
                parent=copied.parent,
                snapshot=copied.snapshot,
                segments=copied.segments,
                commit_pages=copied.commit_pages,
                checksum=copied.checksum,
            )
        yield from swap(lane, change)
        if lane.manifest.state == "live":
            return Child(lane.branch_id, at)


def delete_branch(lane: Lane) -> Steps[None]:
    """Make the branch a tombstone; the higher epoch fences whoever still writes. Frees its name."""
    manifest = lane.manifest
    nonce: str = yield Nonce()
    yield from swap(lane, evolve(manifest, nonce, state="deleted", epoch=manifest.epoch + 1))


def read_branches(db_id: str) -> Steps[dict[str, str]]:
    """Return the branches of a database that live: name -> branch id. `main` needs no name."""
    found: dict[str, str] = {"main": "main"}
    for key in (yield from list_all(heads_prefix(db_id))):
        stored = yield from read(key)
        branch_id = decode(stored.data, Head, key).branch_id if stored else None
        if branch_id is None:
            continue
        child = yield from _manifest(db_id, branch_id)
        if child is not None and child.state == "live":
            found[key.removeprefix(heads_prefix(db_id)).removesuffix(".json")] = branch_id
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


def _reserve(db_id: str, name: str, branch_id: str) -> Steps[None]:
    """Make the name point at this child; of two forks of one name one wins."""
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
        taken = Head(
            nonce=head.nonce,
            version=held.version + 1,
            gen=held.gen + 1,
            branch_id=branch_id,
            formed_at=now,
        )
        try:
            version = yield Replace(key, encode(taken), stored.version)
        except (InDoubt, Refused):
            version = None
        if version is not None:
            return
        yield Sleep(_RETRY_SECONDS)


def _free(db_id: str, name: str, held: Head, now: int) -> Steps[None]:
    """Return if the branch a name points at is dead, after making sure of it; else `Conflict`."""
    assert held.branch_id is not None
    key = manifest_key(db_id, held.branch_id)
    while True:
        stored = yield from read(key)
        manifest = decode(stored.data, Manifest, key) if stored else None
        if manifest is not None and manifest.state == "deleted":
            return
        stale = now - held.formed_at > FORMING_MS_MAX
        if not stale or (manifest is not None and manifest.state == "live"):
            raise Conflict(f"branch {name!r} exists already", code="already_exists")
        # Not in a lane: others may be doing the same, and whoever wins, it is dead.
        nonce: str = yield Nonce()
        try:
            if stored is None or manifest is None:
                # Never written: its fork is dead or paused, and must not make it live any more.
                yield Create(key, encode(tombstone(nonce)))
            else:
                dead = evolve(manifest, nonce, state="deleted", epoch=manifest.epoch + 1)
                yield Replace(key, encode(dead), stored.version)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)


def _live(key: str, branch_id: str) -> Steps[Manifest]:
    stored = yield from read(key)
    if stored is None:
        raise NotFound(f"branch {branch_id} was never written", code="branch_not_found")
    manifest = decode(stored.data, Manifest, key)
    if manifest.state != "live":
        raise NotFound(f"branch {branch_id} is {manifest.state}", code="branch_not_found")
    return manifest


def _manifest(db_id: str, branch_id: str) -> Steps[Manifest | None]:
    key = manifest_key(db_id, branch_id)
    stored = yield from read(key)
    return decode(stored.data, Manifest, key) if stored else None


def _chain_up_to(parent: Manifest, txid: int | None) -> tuple[tuple[SegmentRef, ...], int]:
    at = parent.txid if txid is None else txid
    if at and at not in parent.boundaries():
        below = max((b for b in parent.boundaries() if b < at), default=None)
        above = min((b for b in parent.boundaries() if b > at), default=None)
        raise Invalid(f"txid {at} is no boundary; the nearest are {below} and {above}")
    return tuple(ref for ref in parent.chain() if ref.max <= at), at


def _child(parent: Manifest, wanted: Wanted, chain: tuple[SegmentRef, ...], at: int) -> Manifest:
    snapshot = chain[0] if chain and chain[0].min == 1 else None
    whole = at == parent.txid
    return Manifest(
        version=1,
        nonce="",
        state="forming",
        epoch=0,
        owner=None,
        txid=at,
        limit=at,
        commit_pages=parent.commit_pages if whole else 0,
        checksum=parent.checksum if whole else "",
        parent=Parent(branch_id=wanted.parent_id, txid=at),
        snapshot=snapshot,
        segments=chain[1:] if snapshot else chain,
    )


def _form(db_id: str, branch_id: str, child: Manifest, ttl_ms: int | None) -> Steps[Lane]:
    now: int = yield Now()
    nonce: str = yield Nonce()
    ttl_at = None if ttl_ms is None else now + ttl_ms
    manifest = evolve(child, nonce, formed_at=now, ttl_at=ttl_at)
    key = manifest_key(db_id, branch_id)
    created = yield from settle_create(key, encode(manifest))
    if created.version is not None:
        return Lane(db_id, branch_id, manifest, created.version)
    stored = yield from read(key)
    assert stored is not None, f"{key} was written and is not there"
    current = decode(stored.data, Manifest, key)
    if current.nonce != nonce:
        # Between the two somebody took the name, as stale, and made this child a tombstone.
        raise Fenced(current)
    return Lane(db_id, branch_id, current, stored.version)
