"""Encryption keys: their versions, rotation, storing segments again, and giving up old versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from ..api import Target
from ..api.keys import (
    GetKeys,
    KeptKey,
    KeysStatus,
    ListProfileKeys,
    MasterKeyInfo,
    MasterKeysRetired,
    NamespaceKeysInfo,
    ProfileKeysInfo,
    ProfileKeysPage,
    Reencrypt,
    Reencrypted,
    Retired,
    RetireKeys,
    RetireMasterKeys,
    Rotated,
    RotateKeys,
)
from ..api.limits import KEYS_PAGE_MAX, PAGE_MAX, REENCRYPT_OBJECTS_MAX
from ..engine import Address
from ..errors import Invalid, Unconfigured
from ..ids import NAMESPACE_CHARS_MAX, check_name
from ..profile.checks import check_integer
from .arcs import arc_versions, reseal
from .context import Context

if TYPE_CHECKING:
    from ..security.key_records import DatabaseKeys
    from ..security.keyring import Keys

__all__ = ["list_profiles", "reencrypt", "retire", "retire_masters", "rotate", "status"]


def status(context: Context, _target: Target, _request: GetKeys) -> KeysStatus:
    """Say what there is."""
    if context.keys is None:
        return KeysStatus(on=False)
    from ..security.rotation import namespaces

    found, wraps = [], dict[str, int]()
    for record in namespaces(context.keys):
        found.append(
            NamespaceKeysInfo(
                namespace=record.namespace,
                versions=tuple(one.version for one in record.keys),
                made_at=record.keys[0].made_at,
            )
        )
        for master in {one.under for one in record.keys}:
            wraps[master] = wraps.get(master, 0) + 1
    masters = tuple(
        MasterKeyInfo(id=one.id, current=place == 0, namespaces=wraps.get(one.id, 0))
        for place, one in enumerate(context.keys.masters)
    )
    return KeysStatus(on=True, masters=masters, namespaces=tuple(found))


def list_profiles(context: Context, target: Target, request: ListProfileKeys) -> ProfileKeysPage:
    """Read one page of the profiles' keys."""
    keys = _keys(context)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    namespace = _namespace(target)
    page, cursor = _page(context, namespace, request.cursor, request.limit)
    found = []
    for profile, db_id in page:
        record = _record(keys, db_id)
        versions = () if record is None else record.keys
        found.append(
            ProfileKeysInfo(
                profile=profile,
                versions=tuple(one.version for one in versions),
                under=int(versions[0].under) if versions else 0,
                made_at=versions[0].made_at if versions else 0,
                destroyed=record is not None and record.destroyed_at is not None,
            )
        )
    return ProfileKeysPage(profiles=tuple(found), next_cursor=cursor)


def rotate(context: Context, target: Target, request: RotateKeys) -> Rotated:
    """Wrap anew; done for a profile once with each version of the namespace's key."""
    from ..security.rotation import rotate_database, rotate_namespace

    keys, namespace = _keys(context), _namespace(target)
    if request.cursor is None:
        version = rotate_namespace(keys, namespace)
    else:
        # Another node may have made it.
        keys.forget_namespace(namespace)
        version, _ = keys.namespace(namespace)
    if request.cursor is None:
        reseal(context, namespace)
    page, cursor = _page(context, namespace, request.cursor, KEYS_PAGE_MAX)
    renew = not request.rewrap_only
    done = sum(rotate_database(keys, db_id, renew=renew) for _, db_id in page)
    return Rotated(namespace=namespace, version=version, profiles=done, next_cursor=cursor)


def reencrypt(context: Context, target: Target, request: Reencrypt) -> Reencrypted:
    """Store again what is not sealed with the newest key; every boundary stays."""
    keys, address = _keys(context), context.address(target)
    limit = REENCRYPT_OBJECTS_MAX if request.limit is None else request.limit
    check_integer(limit, "limit", 1, REENCRYPT_OBJECTS_MAX)
    erasing, renewing = context.engine.erasing, context.engine.renewing
    db_id = renewing.database(address, create=False)
    objects = set() if db_id is None else erasing.objects(db_id)
    if db_id is None or not objects:
        return Reencrypted(stored=0, remaining=0, objects_deleted=0, objects_left=0)
    keys.forget(db_id)
    newest = keys.sealing(db_id).version
    versions = keys.versions_of(objects)

    def is_old(key: str) -> bool:
        # One that came since was sealed a moment ago.
        return versions.get(key, newest) != newest

    done = renewing.renew(address, is_old, limit)
    left = {key for key in objects if is_old(key)}
    deleted = 0
    if left and not done.remaining:
        erasing.collect(address, db_id)
        still = left & erasing.objects(db_id)
        deleted, left = len(left) - len(still), still
    context.metrics.add("objects_reencrypted", done.stored)
    return Reencrypted(
        stored=done.stored,
        remaining=done.remaining,
        objects_deleted=deleted,
        objects_left=len(left),
    )


def retire(context: Context, target: Target, request: RetireKeys) -> Retired:
    """Give up what nothing needs; which objects need a version is read off their first bytes."""
    from ..security.rotation import retire_database, retire_namespace

    keys, namespace = _keys(context), _namespace(target)
    page, cursor = _page(context, namespace, request.cursor, KEYS_PAGE_MAX)
    gone, kept = 0, []
    for profile, db_id in page:
        count, stays = retire_database(keys, db_id, _needs(context, db_id), force=request.force)
        gone += count
        kept += [KeptKey(name=profile, version=one.version, why=one.why) for one in stays]
    of_namespace = 0
    if cursor is None:
        wraps = _wraps(context, keys, namespace)
        of_namespace, stays = retire_namespace(
            keys, namespace, lambda version: wraps.get(version, 0), force=request.force
        )
        kept += [KeptKey(name="", version=one.version, why=one.why) for one in stays]
    return Retired(
        namespace=namespace,
        profile_keys=gone,
        namespace_keys=of_namespace,
        kept=tuple(kept),
        next_cursor=cursor,
    )


def retire_masters(
    context: Context, _target: Target, _request: RetireMasterKeys
) -> MasterKeysRetired:
    """Take those that wrap nothing off the list of keys that a node has to have."""
    from ..security.rotation import retire_masters as retire_unused

    gone, kept = retire_unused(_keys(context))
    return MasterKeysRetired(retired=tuple(gone), kept=kept)


def _keys(context: Context) -> Keys:
    keys: Keys | None = context.keys
    if keys is None:
        raise Unconfigured(
            "nothing is encrypted here: set PALIMP_MASTER_KEY (`palimp keygen master` makes one)"
        )
    return keys


def _namespace(target: Target) -> str:
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    return check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)


def _page(
    context: Context, namespace: str, cursor: str | None, limit: int
) -> tuple[list[tuple[str, str]], str | None]:
    """Return profiles with their databases, and what asks for the next page."""
    after = None if cursor is None else (namespace, check_name(cursor, "cursor"))
    page, more = context.engine.names(namespace, after, limit)
    found = []
    for names in page:
        known = context.engine.name(Address(*names))
        if known is not None and known.db_id is not None:
            found.append((names[1], known.db_id))
    return found, page[-1][1] if more and page else None


def _record(keys: Keys, db_id: str) -> DatabaseKeys | None:
    from ..security.key_records import DatabaseKeys, database_key, load

    return load(keys.store, database_key(db_id), DatabaseKeys)


def _needs(context: Context, db_id: str) -> Callable[[int], str | None]:
    """Return what says why a version of a profile's key is needed; looks when it is asked."""

    @cache
    def counts() -> Counter[int | None]:
        objects = context.engine.erasing.objects(db_id)
        return Counter(context.keys.versions_of(objects).values())

    def needs(version: int) -> str | None:
        count = counts()[version]
        return f"{count:,} objects are sealed with it; `palimp keys reencrypt`" if count else None

    return needs


def _wraps(context: Context, keys: Keys, namespace: str) -> dict[int, int]:
    """Return how many keys, of databases and of an Arc, each version of the namespace's wraps."""
    found: dict[int, int] = {}
    cursor, more = None, True
    while more:
        page, cursor = _page(context, namespace, cursor, PAGE_MAX)
        for _, db_id in page:
            record = _record(keys, db_id)
            wrapped = (*record.keys, record.seed) if record is not None else ()
            for version in {int(one.under) for one in wrapped if one is not None}:
                found[version] = found.get(version, 0) + 1
        more = cursor is not None
    for version in arc_versions(context, namespace):
        found[version] = found.get(version, 0) + 1
    return found
