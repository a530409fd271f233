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

# Written at once: a megabyte of the usual pages.
_RUN_PAGES = 256


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
    try:
        found = store.get(ref.key)
    except Internal as error:
        # A store that seals sees it first.
        raise Internal(
            f"{error.message} (txids {ref.min} to {ref.max}); `palimp verify` says what can still "
            "be read",
            key=ref.key,
            min_txid=ref.min,
            max_txid=ref.max,
        ) from error
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


def build(store: ObjectStore, path: Sequence[SegmentRef], target: Path) -> None:
    """Make the database file that a chain of references gives.

    The digest of every object is compared, which covers every byte; what the pages sum up to is
    for whoever relies on it. Nothing is synced. After an error the file is to be thrown away.
    """
    assert path, "a chain begins with a snapshot"
    assert path[0].min == 1, "a chain begins with a snapshot"
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for ref in path:
            data = fetch(store, ref)
            try:
                _write_pages(descriptor, data)
            except Error as error:
                raise error.located(ref.key, key=ref.key) from error
    finally:
        os.close(descriptor)


def _write_pages(descriptor: int, data: bytes) -> None:
    """Write the pages of a segment, neighbours in one piece, and set the size it says."""
    header = ltx.Header.decode(data)
    size = header.page_size
    run: list[bytes] = []
    first = 0
    for pgno, page in ltx.trusted_pages(data, header):
        if run and (pgno != first + len(run) or len(run) == _RUN_PAGES):
            os.pwrite(descriptor, b"".join(run), (first - 1) * size)
            run = []
        if not run:
            first = pgno
        run.append(page)
    if run:
        os.pwrite(descriptor, b"".join(run), (first - 1) * size)
    os.ftruncate(descriptor, header.commit * size)
