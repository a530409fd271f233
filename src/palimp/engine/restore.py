"""Building a local file from a snapshot and the segments after it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .. import ltx
from ..errors import Error, Internal
from ..store import ObjectStore
from .protocol.records import SegmentRef

__all__ = ["Missing", "build", "fetch"]


class Missing(Exception):
    """A named object is not there (any more): whoever named it may have been compacted since."""

    def __init__(self, ref: SegmentRef) -> None:
        super().__init__(ref.key)
        self.ref = ref

    def as_error(self, store: ObjectStore) -> Internal:
        """Return the error where the object is still named: it was lost."""
        ref = self.ref
        return Internal(
            f"{store.name}: {ref.key} (txids {ref.min} to {ref.max}) is missing, though the "
            "manifest names it; `palimp verify` says what can still be read",
            key=ref.key,
            min_txid=ref.min,
            max_txid=ref.max,
        )


def fetch(store: ObjectStore, ref: SegmentRef) -> bytes:
    """Return a segment's bytes, compared with the digest of its reference.

    Raises `Missing`, or `Internal` naming object and txids where it is damaged.
    """
    found = store.get(ref.key)
    if found is None:
        raise Missing(ref)
    if hashlib.sha256(found.data).hexdigest() != ref.sha256:
        raise Internal(
            f"{store.name}: {ref.key} (txids {ref.min} to {ref.max}) is damaged: its SHA-256 is "
            f"not {ref.sha256[:16]}...; `palimp verify` says what can still be read",
            key=ref.key,
            min_txid=ref.min,
            max_txid=ref.max,
        )
    return found.data


def build(store: ObjectStore, path: Sequence[SegmentRef], target: Path) -> ltx.PageChecksums:
    """Make the database file that a chain of references gives; return its page checksums.

    Every digest and checksum on the way is compared. The file is synced; its folder's entry is the
    caller's. After an error the file is to be thrown away.
    """
    assert path, "a chain begins with a snapshot"
    assert path[0].min == 1, "a chain begins with a snapshot"
    sums: ltx.PageChecksums | None = None
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for ref in path:
            data = fetch(store, ref)
            size = ltx.Decoder(data).header.page_size
            if sums is None:
                sums = ltx.PageChecksums(size)

            def write(pgno: int, page: bytes, size: int = size) -> None:
                os.pwrite(descriptor, page, (pgno - 1) * size)

            try:
                position = ltx.apply_pages(data, write, sums)
            except Error as error:
                raise error.located(ref.key, key=ref.key) from error
            os.ftruncate(descriptor, position.commit * size)
            if ref.checksum and f"{position.checksum:016x}" != ref.checksum:
                raise Internal(
                    f"{ref.key} makes a database of checksum {position.checksum:016x}, its "
                    f"reference says {ref.checksum}",
                    key=ref.key,
                )
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    assert sums is not None
    return sums
