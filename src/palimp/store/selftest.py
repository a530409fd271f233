"""The start-up test of a store, whether its conditional writes are real.

Some S3 look-alikes take `If-None-Match` and `If-Match` and silently ignore them. On such a store
two owners would overwrite each other's manifests, so it is refused before anything is written.
"""

from __future__ import annotations

from contextlib import suppress

from ..clock import Clock
from ..errors import Error, Unavailable, Unconfigured
from ..ids import random_id
from .protocol import AlreadyThere, ObjectStore, Version, VersionMismatch

__all__ = ["SELF_TEST_PREFIX", "self_test"]

SELF_TEST_PREFIX = "self-test/"
# A start is not to fail because one answer was lost on its way.
_PAUSES = (0.2, 1.0)
_NEVER = "0123456789abcdef0123456789abcdef"


def self_test(store: ObjectStore, clock: Clock | None = None) -> None:
    """Raise `Unconfigured` unless the store keeps the contract; leaves no object behind.

    About a dozen requests on a key of its own, so that any number of nodes may test at once. Where
    one has no answer it begins again, twice. What the store itself raises (`Denied`,
    `Unavailable` at last, a missing bucket) goes through.
    """
    clock = clock or Clock()
    for pause in _PAUSES:
        try:
            _test(store)
        except Unavailable:
            clock.sleep(pause)
        else:
            return
    _test(store)


def _test(store: ObjectStore) -> None:
    key = f"{SELF_TEST_PREFIX}{random_id('probe')}"
    first_bytes, second_bytes = (random_id("nonce").encode() for _ in range(2))
    try:
        first = store.create(key, first_bytes)
        _refuses_second_create(store, key)
        second = store.replace(key, second_bytes, first)
        _refuses_stale_replace(store, key, first)
        _reads_what_was_written(store, key, second_bytes, second)
    except BaseException:
        # What was found out matters more than that a probe stays behind.
        with suppress(Error):
            store.delete(key)
        raise
    store.delete(key)
    if store.get(key) is not None:
        raise _refusal(store, "an object is still there after it was deleted")
    _refuses_replace_of_nothing(store, key, second)


def _refuses_second_create(store: ObjectStore, key: str) -> None:
    try:
        store.create(key, b"second create")
    except AlreadyThere:
        return
    raise _refusal(store, "a second create of one key succeeded (If-None-Match is ignored)")


def _refuses_stale_replace(store: ObjectStore, key: str, stale: Version) -> None:
    for version in (stale, _like(stale)):
        try:
            store.replace(key, b"stale replace", version)
        except VersionMismatch:
            continue
        raise _refusal(store, "a replace with a stale version succeeded (If-Match is ignored)")


def _refuses_replace_of_nothing(store: ObjectStore, key: str, version: Version) -> None:
    try:
        store.replace(key, b"replace of nothing", version)
    except VersionMismatch:
        return
    store.delete(key)
    raise _refusal(store, "a replace of a missing object succeeded (If-Match is ignored)")


def _reads_what_was_written(store: ObjectStore, key: str, data: bytes, version: Version) -> None:
    stored = store.get(key)
    if stored is None or stored.data != data:
        raise _refusal(store, "a read right after a write did not see it")
    if stored.version != version:
        raise _refusal(
            store, f"a read gives version {stored.version}, the write had given {version}"
        )
    if store.get_range(key, 1, 5) != data[1:6]:
        raise _refusal(store, "a range read returned other bytes")
    page = store.list(SELF_TEST_PREFIX, key[:-1])
    if not page.entries or page.entries[0].key != key:
        raise _refusal(store, "a listing right after a write did not show it")


def _like(version: Version) -> Version:
    """Return a version that never was, in the form of one that was."""
    tag = f'"{_NEVER}"' if version.tag.startswith('"') else _NEVER
    return Version(tag, None if version.generation is None else "1")


def _refusal(store: ObjectStore, what: str) -> Unconfigured:
    return Unconfigured(
        f"object store {store.name} cannot be used: {what}. Two nodes would overwrite each other; "
        "use a store with conditional writes (AWS S3, Google, Azure, a current MinIO, file://)",
        reason="store",
    )
