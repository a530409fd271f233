"""Deleting what nothing refers to, without trusting a clock."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from ...errors import Conflict, NotFound
from .heads import list_all
from .lane import Lane
from .records import branch_prefix, is_collectable, segment_epoch
from .requests import Delete, InDoubt, Refused, Steps
from .timeline import own_timeline, read_manifest, read_timeline

__all__ = ["collect", "collect_deleted"]


def collect(lane: Lane, in_flight: AbstractSet[str] = frozenset()) -> Steps[int]:
    """Delete the objects under this branch's own prefix that no branch needs; return how many.

    Only its owner does this, and only here: an unnamed object of a lower epoch can never be linked
    (that owner is fenced), and of its own epoch the owner knows every one (`in_flight`, and nothing
    else runs in this lane). A branch never regains a reference it dropped, except a fork's child
    at its creation, and a fork checks its parent again before its child lives. So: list the
    manifests of the database until two consecutive lists are equal, read them and their history,
    and delete what none of them names. A branch that is still forming counts as naming.

    Raises `Fenced` where it shows that somebody else owns the branch.
    """
    own = (yield from own_timeline(lane)).keys()
    candidates = {
        key
        for key in (yield from list_all(branch_prefix(lane.db_id, lane.branch_id)))
        if is_collectable(key)
        and key not in in_flight
        and key not in own
        # A newer owner's object may be on its way into a manifest this one has not seen.
        and segment_epoch(key) <= lane.manifest.epoch
    }
    return (yield from _delete_unnamed(lane.db_id, candidates))


def collect_deleted(db_id: str, branch_id: str) -> Steps[int]:
    """Delete the objects of a deleted branch that no other needs; return how many. By anybody.

    Its tombstone fences every epoch, so none of its objects can be linked any more, except by a
    fork that found the branch alive; that one's child is among the manifests by now. The tombstone
    itself stays. Raises `Conflict` where the branch is not deleted.
    """
    manifest = yield from read_manifest(db_id, branch_id)
    if manifest is None or manifest.state != "deleted":
        state = "was never written" if manifest is None else f"is {manifest.state}"
        raise Conflict(f"branch {branch_id} of {db_id} {state}; only a deleted one is collected so")
    keys = yield from list_all(branch_prefix(db_id, branch_id))
    return (yield from _delete_unnamed(db_id, {key for key in keys if is_collectable(key)}))


def _delete_unnamed(db_id: str, candidates: set[str]) -> Steps[int]:
    if not candidates:
        return 0
    done = 0
    for key in sorted(candidates - (yield from _named(db_id))):
        try:
            yield Delete(key)
        except (InDoubt, Refused):
            # It is still there, or gone: the next pass sees which.
            continue
        done += 1
    return done


def _named(db_id: str) -> Steps[set[str]]:
    """Return the keys that any branch of the database needs."""
    manifests = yield from _manifests(db_id)
    while True:
        named = yield from _read_all(db_id, manifests)
        again = yield from _manifests(db_id)
        if again == manifests:
            return named
        manifests = again


def _read_all(db_id: str, manifests: Iterable[str]) -> Steps[set[str]]:
    named: set[str] = set()
    for key in manifests:
        try:
            timeline = yield from read_timeline(db_id, key.split("/")[-2])
        except NotFound:
            # Deleted: it names nothing.
            continue
        named |= timeline.keys()
    return named


def _manifests(db_id: str) -> Steps[list[str]]:
    keys = yield from list_all(f"v1/db/{db_id}/")
    return [key for key in keys if key.endswith("/manifest.json")]
