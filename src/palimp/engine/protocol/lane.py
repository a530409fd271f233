"""The one ordered lane in which an owner changes its manifest, and how a lost answer is read."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ...errors import Internal, Unavailable
from .records import Manifest, decode, encode, manifest_key
from .requests import Create, Get, InDoubt, Refused, Replace, Sleep, Steps, Stored

__all__ = ["Created", "Fenced", "Lane", "read", "settle_create", "swap"]

_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Fenced(Exception):
    """Somebody owns a higher epoch (or the branch was deleted): this owner must stop writing.

    `manifest` is what holds now; it tells whether a change in doubt is part of the history.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(f"epoch {manifest.epoch} is owned by {manifest.owner}")
        self.manifest = manifest


class Lane(msgspec.Struct):
    """What an owner knows of its branch: the manifest that last landed, and its version.

    `floor` is the limit it took over: an earlier owner may have acknowledged numbers up to there.
    `unsettled` while a change is on its way: a lane whose change was abandoned half way is of no
    more use, because that change may land at any time. Take ownership again instead.
    """

    db_id: str
    branch_id: str
    manifest: Manifest
    version: Any
    floor: int = 0
    unsettled: bool = False

    @property
    def key(self) -> str:
        """The manifest's key."""
        return manifest_key(self.db_id, self.branch_id)

    def must_be_settled(self) -> None:
        """Raise `Unavailable` where an earlier change of this lane was abandoned."""
        if self.unsettled:
            raise Unavailable(
                f"{self.key}: an earlier change was abandoned and may land yet; "
                "own the branch again before changing it",
                reason="unsettled",
            )


def read(key: str) -> Steps[Stored | None]:
    """Read an object, as often as it takes to get an answer."""
    for attempt in _attempts():
        try:
            found: Stored | None = yield Get(key)
        except (InDoubt, Refused):
            yield Sleep(attempt)
        else:
            return found
    raise AssertionError("unreachable")


class Created(NamedTuple):
    """How a create ended: `ours` unless another object is there; its version where known."""

    ours: bool
    version: Any = None


def settle_create(key: str, data: bytes) -> Steps[Created]:
    """Create an object, as often as it takes to know.

    After an answer was lost, finding an object may mean that the earlier attempt landed: `ours`
    then too, and who shares the key with others reads it to make sure.
    """
    doubt = False
    for attempt in _attempts():
        try:
            version = yield Create(key, data)
        except InDoubt:
            doubt = True
            yield Sleep(attempt)
        except Refused:
            yield Sleep(attempt)
        else:
            return Created(version is not None or doubt, version)
    raise AssertionError("unreachable")


def swap(lane: Lane, new: Manifest) -> Steps[None]:
    """Change the manifest from what the lane knows to `new`; returns only when that has landed.

    The same bytes are repeated until the object's version has moved, and nothing else is sent in
    this lane meanwhile, because a request may land after its time-out was reported. Then: our
    nonce, it landed; a foreign nonce and a higher epoch, `Fenced`; a foreign nonce and our own
    epoch cannot be, and is a defect.
    """
    lane.must_be_settled()
    lane.unsettled = True
    data = encode(new)
    for attempt in _attempts():
        try:
            version = yield Replace(lane.key, data, lane.version)
        except (InDoubt, Refused):
            yield Sleep(attempt)
            version = None
        if version is not None:
            lane.manifest, lane.version, lane.unsettled = new, version, False
            return
        stored = yield from read(lane.key)
        if stored is None:
            raise Internal(
                f"{lane.key} has vanished; a manifest is never deleted while it is owned"
            )
        if stored.version == lane.version:
            continue
        current = decode(stored.data, Manifest, lane.key)
        if current.nonce == new.nonce:
            lane.manifest, lane.version, lane.unsettled = new, stored.version, False
            return
        if current.epoch > lane.manifest.epoch:
            raise Fenced(current)
        raise Internal(
            f"{lane.key} was changed by somebody else under our own epoch {lane.manifest.epoch}; "
            "two processes share one folder, or this is a defect: please report it",
            epoch=lane.manifest.epoch,
        )


def _attempts() -> _Attempts:
    return _Attempts()


class _Attempts:
    """Endless pauses that grow to a second; who no longer wants to wait drops the generator."""

    def __init__(self) -> None:
        self._number = 0

    def __iter__(self) -> _Attempts:
        return self

    def __next__(self) -> float:
        pause = _RETRY_SECONDS[min(self._number, len(_RETRY_SECONDS) - 1)]
        self._number += 1
        return pause
