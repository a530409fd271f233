"""Mutations of the protocol: each takes one rule out, and some schedule has to fail for it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from msgspec import structs

from palimp.engine import protocol
from palimp.engine.protocol import Keep, Timeline, own
from palimp.engine.protocol import branches as branches_module
from palimp.engine.protocol import heads as heads_module
from palimp.engine.protocol.lane import swap
from palimp.engine.protocol.records import evolve
from palimp.engine.protocol.requests import Delete, InDoubt, Nonce, Refused
from palimp.engine.protocol.timeline import read_manifest
from palimp.errors import NotFound


def _repeat_other_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lost answer for a failure, and go on."""
    from palimp.engine.protocol import lane
    from palimp.engine.protocol.records import encode
    from palimp.engine.protocol.requests import InDoubt, Refused, Replace

    def swap(lane_: Any, new: Any) -> Any:
        try:
            version = yield Replace(lane_.key, encode(new), lane_.version)
        except (InDoubt, Refused):
            return
        if version is None:
            raise lane.Fenced(new)
        lane_.manifest, lane_.version = new, version

    for changing in (protocol.ship, protocol.condense, protocol.retain):
        monkeypatch.setattr(sys.modules[changing.__module__], "swap", swap)


def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fork live whatever its parent names when it is read again."""

    def still_named(db_id: str, wanted: Any, parent: Any, origin: Any) -> Any:
        return True, parent, origin.seen
        yield db_id

    monkeypatch.setattr(branches_module, "_still_named", still_named)


def _reuse_txids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out numbers from the head on, not from the limit on."""
    monkeypatch.setattr(
        own.Taken,
        "first_txid",
        property(lambda self: self.before.txid + 1 if self.before else 1),
    )


def _one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect by what this branch's manifest says, without asking the others."""

    def manifests(db_id: str) -> Any:
        return []
        yield db_id

    monkeypatch.setattr(sys.modules["palimp.engine.protocol.collect"], "_manifests", manifests)


def _free_the_unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a stale name without making sure that its unwritten child cannot live any more."""
    bury = heads_module.bury

    def careless(db_id: str, branch_id: str, over: Any) -> Any:
        manifest = yield from read_manifest(db_id, branch_id)
        if manifest is None:
            return over(None)
        return (yield from bury(db_id, branch_id, over))

    monkeypatch.setattr(heads_module, "bury", careless)


def _newer_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect segments of newer owners as well."""
    monkeypatch.setattr(
        sys.modules["palimp.engine.protocol.collect"], "segment_epoch", lambda key: 0
    )


def _low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit to the head at a clean stop, whoever owned the branch before."""
    monkeypatch.setattr(own, "max", lambda head, floor: head, raising=False)


def _history_after_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a snapshot the chain first, and name what went into history in a second change."""

    def careless(lane: Any, new: Any) -> Any:
        held, later = lane.manifest.history, new.history
        yield from swap(lane, structs.replace(new, history=held))
        if later != held:
            yield from swap(lane, evolve(lane.manifest, (yield Nonce()), history=later))

    monkeypatch.setattr(sys.modules["palimp.engine.protocol.ship"], "swap", careless)


def _others_without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect by the manifests of other branches alone, without what their history names."""

    def manifest_only(db_id: str, branch_id: str) -> Any:
        manifest = yield from read_manifest(db_id, branch_id)
        if manifest is None or manifest.state == "deleted":
            raise NotFound("deleted", code="branch_not_found")
        return Timeline(manifest, ())

    monkeypatch.setattr(
        sys.modules["palimp.engine.protocol.collect"], "read_timeline", manifest_only
    )


def _checkpoints_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a checkpoint only as long as any other boundary."""
    kept = Keep.boundaries

    def boundaries(self: Any, timeline: Timeline, now_ms: int) -> Any:
        manifest = structs.replace(timeline.manifest, checkpoints={})
        return kept(self, Timeline(manifest, timeline.older), now_ms)

    monkeypatch.setattr(Keep, "boundaries", boundaries)


def _ways_are_joined_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Join segments also over a point that stays."""
    runs = sys.modules["palimp.engine.protocol.retain"]._runs
    monkeypatch.setattr(
        sys.modules["palimp.engine.protocol.retain"],
        "_runs",
        lambda needed, kept, linked: runs(needed, set(), linked),
    )


def _fenced_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete a branch one does not own without a higher epoch."""

    def same_epoch(manifest: Any, nonce: str, **changes: Any) -> Any:
        return evolve(manifest, nonce, **{**changes, "epoch": manifest.epoch})

    monkeypatch.setattr(heads_module, "evolve", same_epoch)


def _deleted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect a deleted branch as if nobody had forked it."""

    # Not a patch inside of a generator: several are under way, and the last to end would put back
    # what another had put there.
    collecting: Any = sys.modules["palimp.engine.protocol.collect"]

    def careless(db_id: str, branch_id: str) -> Any:
        manifest = yield from collecting.read_manifest(db_id, branch_id)
        assert manifest.state == "deleted"
        done = 0
        for key in (yield from collecting.list_all(collecting.branch_prefix(db_id, branch_id))):
            if collecting.is_collectable(key):
                try:
                    yield Delete(key)
                except (InDoubt, Refused):
                    continue
                done += 1
        return done

    monkeypatch.setattr(sys.modules["nodes"], "collect_deleted", careless)


MUTATIONS = {
    "repeat_other_bytes": _repeat_other_bytes,
    "no_second_look": _no_second_look,
    "reuse_txids": _reuse_txids,
    "one_list": _one_list,
    "free_the_unwritten": _free_the_unwritten,
    "newer_epochs": _newer_epochs,
    "low_limit": _low_limit,
    "history_after_the_change": _history_after_the_change,
    "others_without_history": _others_without_history,
    "checkpoints_age": _checkpoints_age,
    "ways_are_joined_over": _ways_are_joined_over,
    "fenced_by_nothing": _fenced_by_nothing,
    "deleted_alone": _deleted_alone,
}
