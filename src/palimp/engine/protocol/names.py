"""Names of profiles: which database a name means, through creation, deletion, creation again.

A name's object is made once and never deleted. Deleting a profile makes a tombstone of its manifest
first, which fences the writer, and then takes the database off the name; who meets a tombstone
under a live name finishes that step. A profile that comes to be again gets a new `db_id`, so that
nothing of the old one, no cache and no object, can be taken for the new one's.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import NotFound
from .lane import read
from .records import Manifest, Name, decode, encode, evolve, manifest_key, name_key, tombstone
from .requests import Create, InDoubt, Nonce, Now, Refused, Replace, Sleep, Steps, Stored

__all__ = ["Found", "delete_profile", "find_profile"]

_RETRY_SECONDS = 0.1
_MAIN = "main"


class Found(NamedTuple):
    """The database a name means; tokens older than `revoked_before` (ms) are refused for ever."""

    db_id: str
    gen: int
    revoked_before: int


def find_profile(namespace: str, profile: str, *, create: bool) -> Steps[Found | None]:
    """Return the database of a profile, or None where there is none and `create` is False.

    Creating costs one conditional put: a profile that was never written is its name alone. Of any
    number that create at once all get the same database.
    """
    key = name_key(namespace, profile)
    while True:
        stored = yield from read(key)
        name = decode(stored.data, Name, key) if stored else None
        if name is not None and name.db_id is not None:
            manifest, _ = yield from _manifest(name.db_id)
            if manifest is None or manifest.state != "deleted":
                return Found(name.db_id, name.gen, name.revoked_before)
            yield from _take_off(key, stored, name)
        elif not create:
            return None
        else:
            yield from _put_on(key, stored, name)


def delete_profile(namespace: str, profile: str) -> Steps[None]:
    """Delete a profile; when this returns nobody can write to it, and its name is free.

    Raises `NotFound` where there is none. Two deletes at once: both succeed or one finds nothing.
    """
    key = name_key(namespace, profile)
    stored = yield from read(key)
    name = decode(stored.data, Name, key) if stored else None
    if stored is None or name is None or name.db_id is None:
        raise NotFound(f"no profile {profile!r} in {namespace!r}", code="database_not_found")
    while True:
        manifest, at = yield from _manifest(name.db_id)
        if manifest is not None and manifest.state == "deleted":
            break
        nonce: str = yield Nonce()
        branch = manifest_key(name.db_id, _MAIN)
        try:
            if manifest is None or at is None:
                # Never written. Without a tombstone a first writer on its way would come to own a
                # database that no name leads to.
                yield Create(branch, encode(tombstone(nonce)))
            else:
                epoch = manifest.epoch + 1
                tomb = evolve(manifest, nonce, state="deleted", epoch=epoch)
                yield Replace(branch, encode(tomb), at.version)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)
    yield from _take_off(key, stored, name)


def _manifest(db_id: str) -> Steps[tuple[Manifest | None, Stored | None]]:
    key = manifest_key(db_id, _MAIN)
    stored = yield from read(key)
    return (decode(stored.data, Manifest, key) if stored else None), stored


def _put_on(key: str, stored: Stored | None, name: Name | None) -> Steps[None]:
    """Give a name without a database a new one; the caller looks at what came of it."""
    nonce: str = yield Nonce()
    db_id: str = yield Nonce()
    try:
        if stored is None or name is None:
            yield Create(key, encode(Name(nonce=nonce, db_id=db_id)))
        else:
            yield from _next(key, stored, name, nonce, db_id, name.revoked_before)
    except (InDoubt, Refused):
        yield Sleep(_RETRY_SECONDS)


def _take_off(key: str, stored: Stored | None, name: Name) -> Steps[None]:
    """Take a deleted database off its name, or find that somebody did."""
    now: int = yield Now()
    while stored is not None:
        current = decode(stored.data, Name, key)
        if current.db_id != name.db_id:
            return
        nonce: str = yield Nonce()
        revoked_before = max(now, current.revoked_before)
        try:
            yield from _next(key, stored, current, nonce, None, revoked_before)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)
        stored = yield from read(key)


def _next(
    key: str, stored: Stored, name: Name, nonce: str, db_id: str | None, revoked_before: int
) -> Steps[None]:
    changed = Name(
        extra=name.extra,
        version=name.version + 1,
        nonce=nonce,
        gen=name.gen + (db_id is None),
        db_id=db_id,
        revoked_before=revoked_before,
    )
    yield Replace(key, encode(changed), stored.version)
