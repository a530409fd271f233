"""What a node that reads a branch was told by its owner, until it is in the local file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence

from .protocol import Manifest
from .protocol.records import SegmentRef

__all__ = ["Pushed"]

# Of one branch. What is dropped is read from the store when it is needed.
_WAITING_BYTES = 4 << 20


class Pushed:
    """The newest manifest that the owner of a branch told of, and segments that it sent along.

    Every segment has the digest of a reference in a manifest that came with it. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._manifest: Manifest | None = None
        self._looked_at: float | None = None
        # By their digests, in the order they came.
        self._segments: dict[str, tuple[SegmentRef, bytes]] = {}

    @property
    def newest(self) -> tuple[Manifest, float | None] | None:
        """The newest manifest, and a time (monotonic) after which it was written where known."""
        with self._lock:
            return None if self._manifest is None else (self._manifest, self._looked_at)

    def take(
        self,
        manifest: Manifest,
        segments: Sequence[bytes],
        looked_at: float | None,
        known: Manifest,
    ) -> str | None:
        """Keep what the owner sent to who knows the manifest `known`; or say why not.

        `epoch`: of an owner before the one that is known; `old`: not newer than what is known;
        `digest`: a segment that its manifest does not name.
        """
        refs = {ref.sha256: ref for ref in manifest.segments}
        sent = {hashlib.sha256(data).hexdigest(): data for data in segments}
        with self._lock:
            if self._manifest is not None and self._manifest.version > known.version:
                known = self._manifest
            if manifest.epoch < known.epoch:
                return "epoch"
            if manifest.version <= known.version:
                return "old"
            if not sent.keys() <= refs.keys():
                return "digest"
            self._manifest, self._looked_at = manifest, looked_at
            self._segments.update({digest: (refs[digest], data) for digest, data in sent.items()})
            size = sum(len(data) for _, data in self._segments.values())
            for digest, (_, data) in list(self._segments.items()):
                if size <= _WAITING_BYTES:
                    break
                del self._segments[digest]
                size -= len(data)
        return None

    def refs(self) -> Mapping[int, SegmentRef]:
        """Return the references of the segments that are here, by the txid they begin at."""
        with self._lock:
            return {ref.min: ref for ref, _ in self._segments.values()}

    def data(self, ref: SegmentRef) -> bytes | None:
        """Return a segment that is here."""
        found = self._segments.get(ref.sha256)
        return None if found is None else found[1]

    def drop(self, txid: int) -> None:
        """Forget segments that end at a txid or before it, and a manifest of that or before."""
        with self._lock:
            if self._manifest is not None and self._manifest.txid <= txid:
                self._manifest = None
            self._segments = {k: one for k, one in self._segments.items() if one[0].max > txid}
