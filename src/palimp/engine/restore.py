"""Building a local file: from a snapshot and the segments after it, or from an earlier file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .. import ltx
from ..errors import Error, Internal
from ..store import ObjectStore
from .protocol import Manifest
from .protocol.records import SegmentRef

__all__ = ["Held", "Missing", "advance", "build", "continuation", "fetch", "file_sums"]

# Written at once: a megabyte of the usual pages.
_RUN_PAGES = 256
_READ_BYTES = 1 << 20


class Held(NamedTuple):
    """A whole database file that nobody writes, and what it is.

    `epoch` is the highest that is known to have been taken when it was that; `sums` are the
    checksums of its pages, where they are known.
    """

    path: Path
    txid: int
    checksum: str
    epoch: int
    sums: ltx.PageChecksums | None = None


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


def continuation(
    held: Held, manifest: Manifest, pushed: Mapping[int, SegmentRef]
) -> tuple[SegmentRef, ...]:
    """Return the segments that make what is held into what a manifest says; empty where none do.

    They are of the manifest's chain, or of those that were `pushed` (by the txid they begin at):
    each begins where the one before it ends, and none is of an owner before that one's.
    """
    by_min = {**pushed, **{ref.min: ref for ref in manifest.segments}}
    txid, epoch = held.txid, held.epoch
    found = []
    while txid < manifest.txid:
        ref = by_min.get(txid + 1)
        if ref is None or not epoch <= ref.epoch <= manifest.epoch:
            return ()
        found.append(ref)
        txid, epoch = ref.max, ref.epoch
    # Also what was cut off since, or began elsewhere: a chain that goes on from another state.
    is_there = txid == manifest.txid and bool(found) and found[-1].checksum == manifest.checksum
    return tuple(found) if is_there else ()


def advance(
    held: Held,
    segments: Sequence[SegmentRef],
    get: Callable[[SegmentRef], bytes],
    target: Path,
) -> ltx.PageChecksums:
    """Make a file of one that is held and the segments that continue it; return its checksums.

    What is held stays as it is, for who reads it. Of every segment the txids, the checksum of the
    database before it and the one after it are compared: `Internal` or `Invalid` where one of them
    is another. Nothing is synced. After an error the file is to be thrown away.
    """
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        sums = held.sums.copy() if held.sums is not None else None
        txid = held.txid
        for ref in segments:
            data = get(ref)
            if ref is segments[0]:
                _copy(held.path, descriptor)
            size = ltx.Header.decode(data).page_size
            if sums is None:
                sums = file_sums(target, size)
                _compare(f"the file at txid {txid}", held.checksum, sums)
            try:
                position = ltx.apply_pages(data, partial(_put, descriptor, size), sums, txid=txid)
            except Error as error:
                raise error.located(ref.key, key=ref.key) from error
            os.ftruncate(descriptor, position.commit * size)
            txid = position.txid
            _compare(ref.key, ref.checksum, sums)
    finally:
        os.close(descriptor)
    assert sums is not None, "nothing to advance by"
    return sums


def file_sums(path: Path, page_size: int) -> ltx.PageChecksums:
    """Return the checksums of a database file's pages."""
    return ltx.PageChecksums.of_pages(_pages(path, page_size), page_size)


def _pages(path: Path, size: int) -> Iterator[memoryview]:
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(max(size, _READ_BYTES)):
            view = memoryview(piece)
            for start in range(0, len(view), size):
                yield view[start : start + size]


def _compare(what: str, checksum: str, sums: ltx.PageChecksums) -> None:
    if checksum != f"{sums.checksum:016x}":
        raise Internal(
            f"{what} makes a database of checksum {sums.checksum:016x}, its reference says "
            f"{checksum}"
        )


def _put(descriptor: int, size: int, pgno: int, page: bytes) -> None:
    os.pwrite(descriptor, page, (pgno - 1) * size)


def _copy(source: Path, target: int) -> None:
    """Copy a file, without reading it where the file system can share its blocks."""
    with source.open("rb", buffering=0) as stream:
        left = os.fstat(stream.fileno()).st_size
        try:
            while left > 0:
                copied = os.copy_file_range(stream.fileno(), target, left)
                if not copied:
                    break
                left -= copied
        except (AttributeError, OSError):
            # Not on every system, and not on every file system; what was copied is copied again.
            stream.seek(0)
            with os.fdopen(os.dup(target), "wb") as written:
                written.seek(0)
                shutil.copyfileobj(stream, written, _READ_BYTES)


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
