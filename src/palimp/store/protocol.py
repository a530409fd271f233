"""The contract of an object store, and the two outcomes that are not errors.

What a write can come to:

    returns a Version      it happened, is durable, and every later read sees it
    AlreadyThere           create: it did not happen, the key holds an object
    VersionMismatch        replace: it did not happen, the key holds another version or nothing
    Unavailable            details["in_doubt"] is False: it did not happen and never will
                           details["in_doubt"] is True: it may have happened, or happen yet
    Invalid, Denied, Unconfigured      it did not happen; repeating it is no use

The first three are facts about the object. They are private to `store` and the protocol above it,
which must tell "lost the race" from "unknown outcome"; nobody else ever sees the two exceptions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = [
    "KEY_BYTES_MAX",
    "LIST_LIMIT_MAX",
    "OBJECT_BYTES_MAX",
    "SEGMENT_BYTES_MAX",
    "AlreadyThere",
    "Entry",
    "LostRace",
    "ObjectStore",
    "Page",
    "Stored",
    "Version",
    "VersionMismatch",
]

KEY_BYTES_MAX = 1024  # S3's and GCS's limit, the prefix of the URL included
SEGMENT_BYTES_MAX = 255  # a file name
OBJECT_BYTES_MAX = 4 << 30  # below S3's 5 GiB for one PUT
LIST_LIMIT_MAX = 10_000


class LostRace(Exception):
    """A conditional write whose condition did not hold; nothing was written."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class AlreadyThere(LostRace):
    """`create` found an object under the key."""


class VersionMismatch(LostRace):
    """`replace` found another version under the key, or nothing."""


class Version(NamedTuple):
    """What one state of an object is recognised by; opaque, comes from a store and goes back to it.

    Both parts go back: S3 and Azure compare the tag, Google's store the generation. Equal bytes may
    have equal versions (an S3 ETag is an MD5, the directory store's a hash), so a caller that must
    notice "changed and changed back" puts a nonce into every object it replaces.
    """

    tag: str
    generation: str | None = None


class Stored(NamedTuple):
    """An object as it was at one moment."""

    data: bytes
    version: Version


class Entry(NamedTuple):
    """One line of a listing; `version` is None where the store does not give it for nothing."""

    key: str
    size: int
    version: Version | None = None


class Page(NamedTuple):
    """A part of a listing; `after` is what asks for the next part, None when this is the last.

    A page that ends exactly at the last key may still have an `after`; the next page is then empty.
    """

    entries: list[Entry]
    after: str | None


class ObjectStore(Protocol):
    """Whole objects under keys. Safe to call from any thread; no call keeps a lock of the caller.

    Keys: 1 to 1,024 bytes of `a-z 0-9 . _ -` in segments of at most 255 parted by `/`; no segment
    is empty or begins with `.` (so no `..`, no leading or trailing slash). Capitals and other
    letters are left out because file systems fold and normalise them. No key is the folder of
    another (`a` beside `a/b`): the directory store refuses it with `Invalid`, others do not look.

    Objects: 0 bytes to 4 GiB, written and read whole; nobody ever sees half of one.

    A read sees every write that was answered before it began (also by another process). What a
    read has returned stays true after a power cut: it never shows what is not yet durable. One
    exception: what was deleted may come back where the delete was not answered before the cut.
    """

    @property
    def name(self) -> str:
        """What messages call this store, for instance `s3://bucket/prefix`."""
        ...

    def create(self, key: str, data: bytes) -> Version:
        """Write an object that does not exist yet.

        Atomic: of any number of creates at once exactly one succeeds. Raises `AlreadyThere` for
        the others, also for a repeat of one's own create whose answer was lost: read the object
        and look for your nonce. A lost answer raises `Unavailable` with `in_doubt` True; that write
        may still land later, at most once, and then only if the key is free.
        """
        ...

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Write the object only if it still is `version` (compare-and-swap).

        Atomic, as `create`. Raises `VersionMismatch` when the key holds another version or nothing,
        also for a repeat of one's own replace that had happened. A lost answer raises `Unavailable`
        with `in_doubt` True; that write may still land later, and then only if nothing else moved
        the version before.
        """
        ...

    def get(self, key: str) -> Stored | None:
        """Return the whole object and its version, or None where there is none."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Return up to `length` bytes from `offset`, or None where there is no object.

        Fewer at the end of the object, none beyond it. For objects that are never replaced: two
        ranges of a replaced object may come from two versions.
        """
        ...

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Return the next `limit` keys under `prefix` above `after`, in the order of their bytes.

        `prefix` is empty or ends with `/`. `after` is a key, which need not exist (any more). An
        object that is there during the whole of a walk over the pages is in it exactly once; one
        that comes or goes meanwhile may be in it or not.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; whether there was one does not matter, so it may be repeated."""
        ...

    def close(self) -> None:
        """Let go of connections. May be called twice; nothing else may be called afterwards."""
        ...
