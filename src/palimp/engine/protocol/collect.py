"""Deleting what nothing refers to, without trusting a clock."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from .branches import list_all
from .lane import Lane, read
from .records import Manifest, branch_prefix, decode, segment_epoch
from .requests import Delete, InDoubt, Refused, Steps

__all__ = ["collect"]


def collect(lane: Lane, in_flight: AbstractSet[str] = frozenset()) -> Steps[int]:
    """Delete the segments under this branch's own prefix that no manifest names; return how many.

    Only its owner does this, and only here: an unnamed object of a lower epoch can never be linked
    (that owner is fenced), and of its own epoch the owner knows every one (`in_flight`, and nothing
    else runs in this lane). A manifest never regains a reference it dropped, except a fork's child
    at its creation, and a fork checks its parent again before its child lives. So: list the
    manifests of the database until two consecutive lists are equal, read them all, and delete what
    none of them names. A branch that is still forming counts as naming.
    """
    lane.must_be_settled()
    prefix = branch_prefix(lane.db_id, lane.branch_id)
    candidates = {
        key
        for key in (yield from list_all(prefix))
        if key.endswith(".ltx")
        and key not in in_flight
        and not lane.manifest.names(key)
        # A newer owner's segment may be on its way into a manifest this one has not seen.
        and segment_epoch(key) <= lane.manifest.epoch
    }
    if not candidates:
        return 0
    manifests = yield from _manifests(lane.db_id)
    while True:
        named: set[str] = set()
        for key in manifests:
            stored = yield from read(key)
            if stored is not None:
                manifest = decode(stored.data, Manifest, key)
                if manifest.history:
                    # What those objects name is not read here; a later release may write them.
                    return 0
                if manifest.state != "deleted":
                    named.update(ref.key for ref in manifest.chain())
        again = yield from _manifests(lane.db_id)
        if again == manifests:
            break
        manifests = again
    done = 0
    for key in sorted(candidates - named):
        try:
            yield Delete(key)
        except (InDoubt, Refused):
            # It is still there, or gone: the next pass sees which.
            continue
        done += 1
    return done


def _manifests(db_id: str) -> Steps[list[str]]:
    keys = yield from list_all(f"v1/db/{db_id}/")
    return [key for key in keys if key.endswith("/manifest.json")]
