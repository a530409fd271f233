"""Taking a branch, and leaving it so that the next owner wastes no txids."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import NotFound
from .lane import Fenced, Lane, read, swap
from .records import Manifest, Owner, decode, encode, evolve, manifest_key
from .requests import Create, InDoubt, Nonce, RecordEpoch, Refused, Replace, Sleep, Steps

__all__ = ["LIMIT_STEP", "Taken", "still_owned", "stop_cleanly", "take_ownership"]

# So many txids may be acknowledged between two changes of the manifest.
LIMIT_STEP = 1 << 20
_RETRY_SECONDS = 0.1


class Taken(NamedTuple):
    """The lane of a new owner, and the manifest it took over (None: the branch was never written).

    The first txid that may be handed out is `first_txid`; what an earlier owner acknowledged and
    did not ship never shares a number with anything.
    """

    lane: Lane
    before: Manifest | None

    @property
    def first_txid(self) -> int:
        """Return the first number nobody may have used."""
        return self.lane.floor + 1


def take_ownership(db_id: str, branch_id: str, node: str) -> Steps[Taken]:
    """Own the branch under a new epoch, above every earlier one; made where it never was written.

    The epoch and a fresh nonce are recorded beside the local file before the manifest is changed,
    so that after a crash this folder knows which epochs may be its own. Raises `NotFound` where
    the branch was deleted.
    """
    key = manifest_key(db_id, branch_id)
    while True:
        stored = yield from read(key)
        before = decode(stored.data, Manifest, key) if stored else None
        if before is not None and before.state != "live":
            raise NotFound(
                f"branch {branch_id} of {db_id} is {before.state}", code="branch_not_found"
            )
        new = yield from _next(before, node)
        assert new.owner is not None
        yield RecordEpoch(db_id, branch_id, new.epoch, new.owner.nonce)
        try:
            if stored is None:
                version = yield Create(key, encode(new))
            else:
                version = yield Replace(key, encode(new), stored.version)
        except (InDoubt, Refused):
            version = None
        if version is None:
            # Lost the race, or the answer: whether it landed shows in the nonce. If it lands later
            # still, it is an epoch of this folder that nobody uses, and the next one is higher.
            stored = yield from read(key)
            landed = stored and decode(stored.data, Manifest, key).nonce == new.nonce
            if not stored or not landed:
                yield Sleep(_RETRY_SECONDS)
                continue
            version = stored.version
        floor = before.limit if before else 0
        return Taken(Lane(db_id, branch_id, new, version, floor), before)


def still_owned(lane: Lane) -> Steps[None]:
    """Read the manifest; `Fenced` where it is somebody else's by now, or a tombstone."""
    stored = yield from read(lane.key)
    current = decode(stored.data, Manifest, lane.key) if stored else None
    if current is not None and current.epoch > lane.manifest.epoch:
        raise Fenced(current)


def _next(before: Manifest | None, node: str) -> Steps[Manifest]:
    nonce: str = yield Nonce()
    owner_nonce: str = yield Nonce()
    owner = Owner(node=node, nonce=owner_nonce)
    if before is None:
        return Manifest(version=1, nonce=nonce, epoch=1, owner=owner, limit=LIMIT_STEP)
    limit = before.limit + LIMIT_STEP
    return evolve(before, nonce, epoch=before.epoch + 1, owner=owner, limit=limit)


def stop_cleanly(lane: Lane) -> Steps[None]:
    """Say that this owner acknowledged nothing beyond the shipped txid, so that none are skipped.

    Only for an owner that has shipped all it acknowledged. The limit is never lowered below the one
    it took over: an owner that died before it may have acknowledged numbers up to there, which come
    back as a recovered branch. Being fenced now is as good.
    """
    nonce: str = yield Nonce()
    try:
        yield from swap(
            lane, evolve(lane.manifest, nonce, limit=max(lane.manifest.txid, lane.floor))
        )
    except Fenced:
        return
