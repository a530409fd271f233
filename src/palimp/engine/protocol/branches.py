"""Forks: a child is made of copied references and lives only if its parent still names them all.

The name's object points at the child from the start (`heads.py`); the child's change to `live` is
what commits the fork. While an erasure is under way in the parent a child is made of one object of
its own instead, which was freed of it. So is a recovered branch, which lives at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ...errors import Conflict, Invalid, NotFound
from ...ids import MAIN
from .heads import list_heads, reserve
from .lane import Fenced, Lane, read, settle_create, swap
from .records import (
    Manifest,
    Parent,
    SegmentRef,
    decode,
    encode,
    evolve,
    manifest_key,
)
from .requests import Nonce, Now, Sleep, Steps
from .segments import store_segment
from .ship import Piece
from .timeline import Timeline, read_manifest, read_timeline

__all__ = [
    "Child",
    "Cleansed",
    "Wanted",
    "delete_branch",
    "fork",
    "list_branches",
    "recover",
]

_RETRY_SECONDS = 0.1

# Gives a state of a timeline, freed of what its manifest says is being erased; None where an object
# of it was collected meanwhile.
Cleansed: TypeAlias = Callable[[Timeline, int], Piece | None]


class Wanted(NamedTuple):
    """A fork to be made: from a boundary of the parent (None: what is shipped now), with a name.

    `branch_id` is that of the child, where a repeat of the same request is to find it.
    """

    parent_id: str
    name: str
    txid: int | None = None
    ttl_ms: int | None = None
    branch_id: str | None = None


class Child(NamedTuple):
    """A branch that was made, and the txid it begins from."""

    branch_id: str
    txid: int


class _Origin(NamedTuple):
    """What a child is made of, and what was read of its parent (`seen`: with its history).

    With `freed_of` it is an object of the child, freed of these erasures.
    """

    chain: tuple[SegmentRef, ...]
    txid: int
    seen: Timeline | None = None
    freed_of: frozenset[str] = frozenset()


def fork(db_id: str, wanted: Wanted, cleansed: Cleansed) -> Steps[Child]:
    """Make a branch; when this returns it lives, and every object it names exists.

    Read the parent; reserve the name; write the child as `forming` with copies of the references;
    read the parent again: if it still names every one of them, in its manifest or its history, make
    the child `live`, else copy again. A branch never regains a reference it dropped, and a
    collector begins after the drop: so what the parent names after the child was written, the
    collector finds in the child. Where the parent is marked by an erasure the child begins with
    what `cleansed` gives: no state of it ever holds what is being erased.

    Raises `NotFound` (parent), `Invalid` (no boundary, what can be asked instead is named) or
    `Conflict` (the name is taken, or it took over a minute). What was begun is then a tombstone,
    its name free.
    """
    parent = yield from _live(db_id, wanted.parent_id)
    branch_id: str = yield Nonce()
    if wanted.branch_id is not None:
        before = yield from read_manifest(db_id, wanted.branch_id)
        if before is None:
            branch_id = wanted.branch_id
        elif before.state == "live" and before.parent is not None:
            return Child(wanted.branch_id, before.parent.txid)
        # Else an attempt that came to nothing: a tombstone, or soon one. Its id is used up.
    origin = yield from _origin(db_id, wanted, parent)
    yield from reserve(db_id, wanted.name, branch_id)
    try:
        return (yield from _grow(db_id, wanted, branch_id, origin, cleansed))
    except Fenced as fenced:
        made = fenced.manifest
        if made.owner is not None and made.parent is not None:
            # Only a branch that lives can be owned: our change landed before its answer was lost.
            return Child(branch_id, made.parent.txid)
        raise Conflict(
            f"branch {wanted.name!r} was not finished within a minute, was deleted at once, or an "
            "erasure began meanwhile; fork again if it is still wanted"
        ) from None


def _grow(
    db_id: str, wanted: Wanted, branch_id: str, origin: _Origin, cleansed: Cleansed
) -> Steps[Child]:
    lane = yield from _form(db_id, branch_id, wanted, origin)
    try:
        return (yield from _settle(db_id, wanted, lane, origin, cleansed))
    except (Invalid, NotFound):
        # The parent, or the boundary in it, went away meanwhile.
        yield from delete_branch(lane)
        raise


def _settle(
    db_id: str, wanted: Wanted, lane: Lane, origin: _Origin, cleansed: Cleansed
) -> Steps[Child]:
    while True:
        # Read after the name was reserved: an erasure that marks the parent later lists the names
        # after that, and stops this child or marks it.
        parent = yield from _live(db_id, wanted.parent_id)
        still, seen = not origin.chain, origin.seen
        if origin.chain and origin.freed_of.issuperset(parent.erasing):
            still, parent, seen = yield from _still_named(db_id, wanted, parent, origin)
            still = still and origin.freed_of.issuperset(parent.erasing)
        if still:
            change = evolve(lane.manifest, (yield Nonce()), state="live")
        else:
            origin = yield from _origin(db_id, wanted, parent, seen)
            if parent.erasing and origin.chain:
                origin = yield from _freed(db_id, wanted, lane, cleansed)
            change = evolve(lane.manifest, (yield Nonce()), **_copied(wanted, origin))
        yield from swap(lane, change)
        if lane.manifest.state == "live":
            return Child(lane.branch_id, origin.txid)


def _freed(db_id: str, wanted: Wanted, lane: Lane, cleansed: Cleansed) -> Steps[_Origin]:
    """Store the state a child begins with, without what is being erased in its parent."""
    while True:
        timeline = yield from read_timeline(db_id, wanted.parent_id)
        at = timeline.manifest.txid if wanted.txid is None else wanted.txid
        # Raises what can be asked instead, where it was given up meanwhile.
        timeline.at(at)
        piece = cleansed(timeline, at)
        if piece is not None:
            break
        yield Sleep(_RETRY_SECONDS)
    ref = msgspec.structs.replace(piece.ref(1, lane.manifest.epoch, piece.at), redacted=True)
    ref = yield from store_segment(db_id, lane.branch_id, ref, piece.data)
    return _Origin((ref,), at, timeline, frozenset(timeline.manifest.erasing))


def delete_branch(lane: Lane) -> Steps[None]:
    """Make the branch a tombstone; the higher epoch fences whoever still writes. Frees its name."""
    manifest = lane.manifest
    nonce: str = yield Nonce()
    yield from swap(lane, evolve(manifest, nonce, state="deleted", epoch=manifest.epoch + 1))


def recover(
    db_id: str, name: str, parent: Parent | None, make: Callable[[], Piece], node: str
) -> Steps[Child]:
    """Make a branch of a file that may not continue its own; when this returns it lives.

    `make` gives a snapshot of txid 1 to `max`; the branch consists of it alone, and needs nothing
    of `parent`. It is called once the name is reserved: what it is to be freed of is asked then,
    and an erasure that begins later finds the name. Raises `Conflict` where the name is taken.
    """
    branch_id: str = yield Nonce()
    yield from reserve(db_id, name, branch_id)
    piece = make()
    # Under the branch's own prefix, where nobody collects before the manifest is there.
    ref = yield from store_segment(db_id, branch_id, piece.ref(1, 1, piece.at), piece.data)
    nonce: str = yield Nonce()
    manifest = Manifest(
        version=1,
        nonce=nonce,
        epoch=1,
        owner=None,
        txid=piece.max,
        limit=piece.max,
        commit_pages=piece.commit_pages,
        checksum=piece.checksum,
        parent=parent,
        snapshot=ref,
    )
    key = manifest_key(db_id, branch_id)
    created = yield from settle_create(key, encode(manifest))
    if created.version is None:
        stored = yield from read(key)
        assert stored is not None, f"{key} was written and is not there"
        if decode(stored.data, Manifest, key).snapshot is None:
            raise Conflict(
                f"branch {name!r} of node {node} was not finished within a minute and its name "
                "was taken; recover under another name"
            )
    return Child(branch_id, piece.max)


def list_branches(db_id: str) -> Steps[list[tuple[str, str, Manifest | None]]]:
    """Return name, id and manifest of the branches that live; `main` first, also if not written."""
    main = yield from read_manifest(db_id, MAIN)
    found: list[tuple[str, str, Manifest | None]] = []
    if main is None or main.state == "live":
        found.append((MAIN, MAIN, main))
    for name, head in (yield from list_heads(db_id)):
        assert head.branch_id is not None
        manifest = yield from read_manifest(db_id, head.branch_id)
        if manifest is not None and manifest.state == "live":
            found.append((name, head.branch_id, manifest))
    return found


def _live(db_id: str, branch_id: str) -> Steps[Manifest]:
    manifest = yield from read_manifest(db_id, branch_id)
    if manifest is None:
        raise NotFound(f"branch {branch_id} was never written", code="branch_not_found")
    if manifest.state != "live":
        raise NotFound(f"branch {branch_id} is {manifest.state}", code="branch_not_found")
    return manifest


def _origin(
    db_id: str, wanted: Wanted, parent: Manifest, seen: Timeline | None = None
) -> Steps[_Origin]:
    """Return what a child of this parent is made of; reads its history for older points only."""
    at = parent.txid if wanted.txid is None else wanted.txid
    if not at or at in parent.boundaries():
        return _Origin(tuple(ref for ref in parent.chain() if ref.max <= at), at, seen)
    timeline = yield from _with_history(db_id, wanted, parent, seen)
    return _Origin(timeline.path(at), at, timeline)


def _still_named(
    db_id: str, wanted: Wanted, parent: Manifest, origin: _Origin
) -> Steps[tuple[bool, Manifest, Timeline | None]]:
    """Whether the parent still names all of a child's references; with what was read of it.

    What was freed is the child's own.
    """
    if origin.freed_of:
        return True, parent, origin.seen
    missing = {ref.key for ref in origin.chain} - {ref.key for ref in parent.chain()}
    if not missing:
        return True, parent, origin.seen
    timeline = yield from _with_history(db_id, wanted, parent, origin.seen)
    return missing <= timeline.keys(), timeline.manifest, timeline


def _with_history(
    db_id: str, wanted: Wanted, parent: Manifest, seen: Timeline | None
) -> Steps[Timeline]:
    if seen is not None and seen.manifest.history == parent.history:
        return Timeline(parent, seen.older)
    return (yield from read_timeline(db_id, wanted.parent_id, parent))


def _copied(wanted: Wanted, origin: _Origin) -> dict[str, Any]:
    """Return the fields of a child that come from its parent."""
    chain, at = origin.chain, origin.txid
    return {
        "txid": at,
        "limit": at,
        "commit_pages": chain[-1].commit if chain else 0,
        "checksum": chain[-1].checksum if chain else "",
        "parent": Parent(branch_id=wanted.parent_id, txid=at),
        "snapshot": chain[0] if chain else None,
        "segments": chain[1:],
    }


def _form(db_id: str, branch_id: str, wanted: Wanted, origin: _Origin) -> Steps[Lane]:
    now: int = yield Now()
    nonce: str = yield Nonce()
    manifest = Manifest(
        version=1,
        nonce=nonce,
        state="forming",
        epoch=0,
        owner=None,
        formed_at=now,
        ttl_at=None if wanted.ttl_ms is None else now + wanted.ttl_ms,
        **_copied(wanted, origin),
    )
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
