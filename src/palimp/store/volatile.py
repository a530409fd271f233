"""Object storage in memory: for tests, simulations and `mem://`. Gone with the process."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from threading import Lock

from .keys import check_key, check_list, check_range, check_size, starting_point
from .protocol import AlreadyThere, Entry, Page, Stored, Version, VersionMismatch

__all__ = ["VolatileStore"]

_Keys = list[str]


class VolatileStore:
    """A dict behind a lock.

    `weak_versions` makes the version a hash of the bytes, as S3's is, instead of a number that
    never comes back: for simulations, which must not profit from more than real stores give.
    """

    def __init__(self, *, weak_versions: bool = False) -> None:
        self._lock = Lock()
        self._objects: dict[str, Stored] = {}
        self._count = 0
        self._weak = weak_versions
        # Sorted when a listing asks for it: most stores create far more than they list.
        self._sorted: _Keys = []
        self._unsorted: set[str] = set()

    @property
    def name(self) -> str:
        """What messages call it."""
        return "mem://"

    def create(self, key: str, data: bytes) -> Version:
        """Write an object that does not exist yet."""
        check_key(key)
        check_size(key, data)
        with self._lock:
            if key in self._objects:
                raise AlreadyThere(key)
            self._unsorted.add(key)
            return self._put(key, data)

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Write the object only if it still is `version`."""
        check_key(key)
        check_size(key, data)
        with self._lock:
            stored = self._objects.get(key)
            if stored is None or stored.version != version:
                raise VersionMismatch(key)
            return self._put(key, data)

    def get(self, key: str) -> Stored | None:
        """Return the whole object and its version."""
        check_key(key)
        with self._lock:
            return self._objects.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Return a part of the object."""
        check_range(key, offset, length)
        stored = self.get(key)
        return None if stored is None else stored.data[offset : offset + length]

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Return a page of keys."""
        check_list(prefix, after, limit)
        after, more = starting_point(prefix, after)
        with self._lock:
            keys = self._keys()
            # Code points sort as their UTF-8 does; "0" is the character after "/".
            start = bisect_left(keys, prefix) if after is None else bisect_right(keys, after)
            end = bisect_left(keys, prefix[:-1] + "0") if prefix else len(keys)
            chosen = keys[start : min(end, start + limit)] if more else ()
            entries = []
            for key in chosen:
                data, version = self._objects[key]
                entries.append(Entry(key, len(data), version))
        return Page(entries, entries[-1].key if len(entries) == limit else None)

    def delete(self, key: str) -> None:
        """Remove the object."""
        check_key(key)
        with self._lock:
            if self._objects.pop(key, None) is None:
                return
            if key in self._unsorted:
                self._unsorted.remove(key)
            else:
                del self._sorted[bisect_left(self._sorted, key)]

    def close(self) -> None:
        """Keep everything: a test may look at it afterwards."""

    def _put(self, key: str, data: bytes) -> Version:
        data = bytes(data)
        if self._weak:
            version = Version(hashlib.blake2b(data, digest_size=16).hexdigest())
        else:
            self._count += 1
            version = Version(str(self._count))
        self._objects[key] = Stored(data, version)
        return version

    def _keys(self) -> _Keys:
        if self._unsorted:
            # Two sorted runs: timsort merges them in one pass.
            self._sorted.extend(sorted(self._unsorted))
            self._sorted.sort()
            self._unsorted.clear()
        return self._sorted
