"""Branches that are read here and written elsewhere: what their owners tell of them is applied."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from ..errors import Error, Internal, Unavailable
from ..observe import logger
from ..store.disk_faults import disk_faults
from .branch import Branch
from .lanes import LaneQueue
from .lookup import Address
from .options import Parts, Shipments
from .protocol.records import Manifest, decode, manifest_key
from .pushed import Pushed
from .residents import Key, Residents

__all__ = ["Following"]

_LOG = logger("engine")


class Following:
    """Takes what owners of branches tell of their shipments. Thread-safe.

    Nothing depends on it: what was not told, or is doubtful, is read from the store when what is
    here has become older than the node's staleness. `shipments` tells of this node's own.
    """

    def __init__(self, parts: Parts, residents: Residents) -> None:
        self.shipments: Shipments = parts.shipments
        self._parts = parts
        self._residents = residents
        self._lock = threading.Lock()
        # Those that are about to be applied, each in a lane of its own: a shipment would wait.
        self._due: dict[Key, LaneQueue] = {}
        # Those for which it is too early.
        self._waiting: set[Key] = set()

    def followed(self, seconds: float) -> list[tuple[Key, Address]]:
        """Return the branches that were used here in the last `seconds` and are not owned here."""
        now = self._parts.clock.monotonic()
        return [
            (branch.key, branch.address)
            for branch in self._residents.all()
            if now - branch.used_at < seconds and branch.copy.written and not branch.owned
        ]

    def take(
        self, key: Key, manifest: bytes, segments: Sequence[bytes], looked_at: float | None = None
    ) -> str | None:
        """Take a manifest that landed, and segments it names; return why not, None where taken.

        It is applied beside the readers, at once, or by `apply_waiting` where following takes too
        much of the time. `looked_at` (monotonic): it was written after that, and the newest then.
        """
        branch = self._residents.get(key)
        if branch is not None and branch.owned:
            return "owner"
        known = branch.copy.manifest if branch is not None and branch.copy.written else None
        if branch is None or known is None:
            return "unknown"
        try:
            told = decode(manifest, Manifest, manifest_key(*key))
        except (Internal, Unavailable):
            return "format"
        with self._lock:
            pushed = branch.copy.pushed = branch.copy.pushed or Pushed()
        refused = pushed.take(told, segments, looked_at, known)
        if refused is None:
            self._apply_soon(branch)
        return refused

    def apply_waiting(self) -> None:
        """Apply what was told, and could not be applied at once."""
        for key in list(self._waiting):
            self._waiting.discard(key)
            branch = self._residents.get(key)
            if branch is not None:
                self._apply_soon(branch)

    def _apply_soon(self, branch: Branch) -> None:
        key = branch.key
        if self._parts.clock.monotonic() < branch.copy.rests_until:
            self._waiting.add(key)
            return
        with self._lock:
            if key in self._due:
                return
            lane = self._due[key] = LaneQueue()
        try:
            self._parts.lanes.submit(lane, partial(self._apply, key, branch.address))
        except Unavailable:
            # The node is closing.
            self._due.pop(key)

    def _apply(self, key: Key, address: Address) -> None:
        # First: what is told from here on is applied by another one.
        self._due.pop(key)
        try:
            with self._residents.use(key, address) as branch:
                apply_pushed(branch, self._parts.options.patience)
        except Error as error:
            _LOG.warning("%s: what its owner told is not applied: %s", address, error)


def apply_pushed(branch: Branch, patience: float) -> None:
    """Make the local file what the owner told last; nothing where that is not newer than it is."""
    copy = branch.copy
    with branch.local.writers_place(patience), disk_faults(branch.name):
        newest, known = copy.pushed.newest if copy.pushed else None, copy.manifest
        if newest is None or known is None or branch.owned or not copy.written or copy.is_ahead:
            return
        manifest, looked_at = newest
        if manifest.version > known.version:
            copy.settle(manifest)
            if looked_at is not None:
                copy.has_looked(looked_at)
