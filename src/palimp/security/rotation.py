"""Renewing keys: new versions, wrapping anew, and giving up versions that nothing needs.

Wrapping anew costs a read and a write for each profile, however much is sealed. What was sealed
before is opened with the older version until it was stored again; only then that can be retired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from ..errors import NotFound
from .envelope import new_key, unwrap
from .key_records import (
    MASTER,
    NAMESPACES,
    DatabaseKeys,
    MasterKeys,
    NamespaceKeys,
    WrappedKey,
    change,
    database_key,
    load,
    namespace_key,
)
from .keyring import SEALING_SECONDS, Keys

__all__ = [
    "RETIRE_AFTER_MS",
    "Kept",
    "namespaces",
    "retire_database",
    "retire_masters",
    "retire_namespace",
    "rotate_database",
    "rotate_namespace",
]

# A node may seal with an older version for `SEALING_SECONDS`, and what it sealed then is on its way
# for a while.
RETIRE_AFTER_MS = 12 * round(SEALING_SECONDS * 1000)


class Kept(NamedTuple):
    """A version that stays, and why."""

    version: int
    why: str


def namespaces(keys: Keys) -> Iterator[NamespaceKeys]:
    """Yield the keys of every namespace that has some."""
    after, more = None, True
    while more:
        page = keys.store.list(NAMESPACES, after)
        for entry in page.entries:
            found = load(keys.store, entry.key, NamespaceKeys)
            if found is not None:
                yield found
        after, more = page.after, page.after is not None


def rotate_namespace(keys: Keys, namespace: str) -> int:
    """Give a namespace a new key, and wrap its older ones with the first master key; return it.

    Raises `NotFound` where it has none.
    """

    def rotated(found: NamespaceKeys | None) -> NamespaceKeys:
        if found is None:
            raise NotFound(f"namespace {namespace!r} has no keys: nothing in it is sealed")
        newest = keys.new_namespace_key(namespace, found.keys[0].version + 1)
        older = tuple(_by_first_master(keys, found, one) for one in found.keys)
        return msgspec.structs.replace(found, keys=(newest, *older))

    changed = change(keys.store, namespace_key(namespace), NamespaceKeys, rotated)
    assert changed is not None
    keys.forget_namespace(namespace)
    return changed.keys[0].version


def rotate_database(keys: Keys, db_id: str, *, renew: bool) -> bool:
    """Wrap a database's keys with the newest of its namespace's; with `renew` add a new version.

    False where there are none, or where all of it was done. Done once for each version of the
    namespace's key, however often it is repeated.
    """
    done = False

    def rotated(found: DatabaseKeys | None) -> DatabaseKeys | None:
        nonlocal done
        done = False
        if found is None or found.seed is None or not found.keys:
            return None
        under, _ = keys.namespace(found.namespace)
        if all(one.under == str(under) for one in (found.seed, *found.keys)):
            return None
        done = True
        older = [_wrapped_anew(keys, found, one) for one in found.keys]
        if renew:
            version, now_ms = older[0].version + 1, keys.clock.now_ms()
            older.insert(0, keys.wrapped(found, version, new_key(), now_ms))
        seed = _wrapped_anew(keys, found, found.seed)
        return msgspec.structs.replace(found, seed=seed, keys=tuple(older))

    change(keys.store, database_key(db_id), DatabaseKeys, rotated)
    keys.forget(db_id)
    return done


def retire_database(
    keys: Keys, db_id: str, needs: Callable[[int], str | None], *, force: bool
) -> tuple[int, tuple[Kept, ...]]:
    """Give up older versions of a database's key; return how many, and what stays and why.

    `needs` says of a version what still needs it. With `force` all of them go: what is sealed with
    them cannot be read any more.
    """
    gone, kept = 0, list[Kept]()

    def retired(found: DatabaseKeys | None) -> DatabaseKeys | None:
        nonlocal gone
        gone = 0
        kept.clear()
        if found is None or len(found.keys) < 2:
            return None
        left = [found.keys[0]]
        for newer, one in zip(found.keys, found.keys[1:], strict=False):
            why = _too_young(keys, newer) or _of_rows(one) or needs(one.version)
            why = None if force else why
            if why is None:
                gone += 1
            else:
                left.append(one)
                kept.append(Kept(one.version, why))
        return msgspec.structs.replace(found, keys=tuple(left)) if gone else None

    change(keys.store, database_key(db_id), DatabaseKeys, retired)
    keys.forget(db_id)
    return gone, tuple(kept)


def retire_namespace(
    keys: Keys, namespace: str, used: Callable[[int], int], *, force: bool
) -> tuple[int, tuple[Kept, ...]]:
    """Give up older versions of a namespace's key; `used` says how many keys one wraps.

    With `force` also young ones, but none that wraps a key: that would lose what it is the key of.
    """
    gone, kept = 0, list[Kept]()

    def retired(found: NamespaceKeys | None) -> NamespaceKeys | None:
        nonlocal gone
        gone = 0
        kept.clear()
        if found is None or len(found.keys) < 2:
            return None
        left = [found.keys[0]]
        for newer, one in zip(found.keys, found.keys[1:], strict=False):
            count = used(one.version)
            why = f"it wraps keys of {count:,} databases; rotate the namespace" if count else None
            why = why or (None if force else _too_young(keys, newer))
            if why is None:
                gone += 1
            else:
                left.append(one)
                kept.append(Kept(one.version, why))
        return msgspec.structs.replace(found, keys=tuple(left)) if gone else None

    change(keys.store, namespace_key(namespace), NamespaceKeys, retired)
    keys.forget_namespace(namespace)
    return gone, tuple(kept)


def retire_masters(keys: Keys) -> tuple[list[str], dict[str, str]]:
    """Need no longer the master keys that wrap nothing; return their ids, and why others stay.

    The first one stays. A key that went may be taken out of the settings.
    """
    wrapped: dict[str, set[str]] = {}
    for record in namespaces(keys):
        for one in record.keys:
            wrapped.setdefault(one.under, set()).add(record.namespace)
    gone: list[str] = []
    kept: dict[str, str] = {}

    def retired(found: MasterKeys | None) -> MasterKeys | None:
        gone.clear()
        kept.clear()
        for one in found.keys if found else ():
            if one.id == keys.masters[0].id:
                continue
            if one.id in wrapped:
                kept[one.id] = (
                    f"it wraps keys of {len(wrapped[one.id]):,} namespaces, for instance "
                    f"{min(wrapped[one.id])!r}; rotate them"
                )
            else:
                gone.append(one.id)
        if found is None or not gone:
            return None
        left = tuple(one for one in found.keys if one.id not in gone)
        return msgspec.structs.replace(found, keys=left)

    change(keys.store, MASTER, MasterKeys, retired)
    return gone, kept


def _by_first_master(keys: Keys, record: NamespaceKeys, one: WrappedKey) -> WrappedKey:
    if one.under == keys.masters[0].id:
        return one
    inner = unwrap(keys.master_of(record.namespace, one).key, one.wrapped, record.about(one))
    return keys.wrapped_by_master(record.namespace, one.version, inner, one.made_at)


def _wrapped_anew(keys: Keys, record: DatabaseKeys, one: WrappedKey) -> WrappedKey:
    inner = keys.unwrapped(record, one)
    return keys.wrapped(record, one.version, inner, one.made_at, fields=one.fields)


def _too_young(keys: Keys, newer: WrappedKey) -> str | None:
    left = newer.made_at + RETIRE_AFTER_MS - keys.clock.now_ms()
    if left <= 0:
        return None
    return f"other nodes may still seal with it; ask again in {left // 60_000 + 1} minutes"


def _of_rows(one: WrappedKey) -> str | None:
    if not one.fields:
        return None
    return "rows, or rows of earlier states, may be sealed with it"
