"""Object storage in the cloud: S3, Google, Azure, through obstore.

Conditions go as headers: `If-None-Match: *` and `If-Match` (S3, Azure),
`x-goog-if-generation-match` (Google).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import Invalid, Unavailable, Unconfigured
from .keys import check_key, check_list, check_range, check_size, is_key, starting_point
from .protocol import (
    KEY_BYTES_MAX,
    AlreadyThere,
    Entry,
    LostRace,
    Page,
    Stored,
    Version,
    VersionMismatch,
)
from .remote_faults import remote_faults

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Connection

__all__ = ["RemoteStore"]

_CONFLICTS_MAX = 6
_CONFLICT_SECONDS = 0.05
_CONFLICT = re.compile(r"status code: 409\b")


class RemoteStore:
    """A bucket, or a prefix in one, over two connections: reads are retried, writes never are."""

    def __init__(
        self, scheme: str, name: str, reads: Connection, writes: Connection, *, clock: Clock
    ) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError

        self._obstore = obstore
        self._lost_races = (AlreadyExistsError, PreconditionError)
        self._unspecific = GenericError
        self._scheme = scheme
        self._name = name
        self._reads = reads
        self._writes = writes
        self._clock = clock
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The URL it was opened by."""
        return self._name

    def create(self, key: str, data: bytes) -> Version:
        """Write an object that does not exist yet."""
        return self._put("create", key, data, "create", AlreadyThere(key))

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Write the object only if it still is `version`."""
        # A None in it is an error for some stores, a missing generation for others.
        mode = {"e_tag": version.tag, "version": version.generation}
        mode = {part: value for part, value in mode.items() if value}
        return self._put("replace", key, data, mode, VersionMismatch(key))

    def get(self, key: str) -> Stored | None:
        """Return the whole object and its version."""
        self._check(key)
        with remote_faults(self._name, f"get {key}"):
            try:
                result = self._obstore.get(self._reads, key)
                return Stored(bytes(result.bytes()), self._version(dict(result.meta)))
            except FileNotFoundError as error:
                self._demand_bucket(error)
                return None

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Return a part of the object."""
        self._check(key)
        check_range(key, offset, length)
        with remote_faults(self._name, f"get_range {key}"):
            try:
                return self._ranged(key, offset, length)
            except FileNotFoundError as error:
                self._demand_bucket(error)
                return None

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Return a page of keys; one request for each 1,000."""
        self._check(None)
        check_list(prefix, after, limit)
        after, more = starting_point(prefix, after)
        entries: list[Entry] = []
        with remote_faults(self._name, f"list {prefix}"):
            stream = self._obstore.list(
                self._reads, prefix[:-1] or None, offset=after, chunk_size=limit
            )
            for chunk in stream if more else ():
                for found in chunk:
                    key = found["path"]
                    if not (is_key(key) and key.startswith(prefix)):
                        continue  # somebody else's object
                    if entries and key <= entries[-1].key:
                        raise Unconfigured(
                            f"object store {self._name} lists out of order ({entries[-1].key} "
                            f"before {key}); use a general purpose bucket"
                        )
                    entries.append(Entry(key, found["size"], self._listed_version(dict(found))))
                    if len(entries) == limit:
                        return Page(entries, key)
        return Page(entries, None)

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._check(key)
        with remote_faults(self._name, f"delete {key}", writes=True):
            try:
                self._obstore.delete(self._writes, key)
            except FileNotFoundError as error:
                self._demand_bucket(error)

    def close(self) -> None:
        """Nothing to do: connections close with the last reference."""

    def _put(self, operation: str, key: str, data: bytes, mode: Any, lost: LostRace) -> Version:
        self._check(key)
        check_size(key, data)
        for attempt in range(_CONFLICTS_MAX):
            if attempt:
                self._clock.sleep(_CONFLICT_SECONDS * 2**attempt)
            with remote_faults(self._name, f"{operation} {key}", writes=True):
                try:
                    done = self._obstore.put(
                        self._writes, key, data, mode=mode, use_multipart=False
                    )
                    return self._version(dict(done))
                except self._lost_races as error:
                    if not self._is_conflict(operation, error):
                        raise lost from error
                except FileNotFoundError as error:
                    raise self._no_bucket() from error
        raise Unavailable(
            f"{self._name}: {operation} {key}: {_CONFLICTS_MAX} times in a row another write was "
            "under way (409); nothing was written, repeat it",
            retry_after=1.0,
            reason="store",
            in_doubt=False,
        )

    def _ranged(self, key: str, offset: int, length: int) -> bytes:
        if length == 0:
            self._obstore.head(self._reads, key)
            return b""
        try:
            span = (offset, offset + length)
            return bytes(self._obstore.get(self._reads, key, options={"range": span}).bytes())
        except self._unspecific:
            # Beyond the end (416) or anything else: the size tells which.
            if offset < self._obstore.head(self._reads, key)["size"]:
                raise
            return b""

    def _is_conflict(self, operation: str, error: Exception) -> bool:
        """Whether the answer was 409, which obstore calls "already exists" for every put.

        On S3 it means that another write was under way and this one did not happen; what the key
        holds is not known. Azure answers it to a create of what exists.
        """
        if self._scheme == "az" and operation == "create":
            return False
        return _CONFLICT.search(str(error)) is not None

    def _version(self, found: dict[str, Any]) -> Version:
        if not found["e_tag"]:
            raise Unconfigured(f"object store {self._name} gives its objects no ETag; use another")
        return Version(found["e_tag"], found["version"])

    def _listed_version(self, found: dict[str, Any]) -> Version | None:
        # Google's listing has no generation, and without it nothing can be replaced.
        return None if self._scheme == "gs" or not found["e_tag"] else self._version(found)

    def _check(self, key: str | None) -> None:
        if os.getpid() != self._process:
            # obstore would wait for ever: its threads are in the parent (measured).
            raise Unavailable(
                f"{self._name} was opened before this process was forked; open it here again in "
                "a new process",
                reason="forked",
                in_doubt=False,
            )
        if key is not None:
            check_key(key)
            if len(key) + len(self._name) > KEY_BYTES_MAX:
                raise Invalid(f"{self._name}/{key:.80}… is longer than {KEY_BYTES_MAX:,} bytes")

    def _demand_bucket(self, error: FileNotFoundError) -> None:
        """Tell a missing object from a missing bucket; both are 404."""
        if re.search(r"NoSuchBucket|ContainerNotFound|specified bucket", str(error)):
            raise self._no_bucket() from error

    def _no_bucket(self) -> Unconfigured:
        return Unconfigured(f"object store {self._name}: there is no such bucket; create it first")
