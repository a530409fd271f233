"""Names of profiles: which database a name means, through creation, deletion, creation again.

A name's object is made once and never deleted. Deleting a profile makes a tombstone of its manifest
first, which fences the writer, and then takes the database off the name; who meets a tombstone
under a live name finishes that step. A profile that comes to be again gets a new `db_id`, so that
nothing of the old one, no cache and no object, can be taken for the new one's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import NotFound
from ...ids import MAIN
from .heads import branch_of, bury
from .lane import read
from .records import Manifest, Name, decode, encode, manifest_key, name_key
from .requests import Create, InDoubt, Nonce, Now, Refused, Replace, Sleep, Steps, Stored

__all__ = ["Found", "Located", "delete_profile", "find_profile", "locate"]

_RETRY_SECONDS = 0.1


class Found(NamedTuple):
    """The database a name means; tokens older than `revoked_before` (ms) are refused for ever."""

    db_id: str
    gen: int
    revoked_before: int


class Located(NamedTuple):
    """A branch that a name leads to: its manifest (None: never written) and that one's version."""

    db_id: str
    branch_id: str
    gen: int
    manifest: Manifest | None
    version: Any


def find_profile(namespace: str, profile: str, *, create: bool) -> Steps[Found | None]:
    """Return the database of a profile, or None where there is none and `create` is False.

    Creating costs one conditional put: a profile that was never written is its name alone. Of any
    number that create at once all get the same database.
    """
    key = name_key(namespace, profile)
    if create:
        made = yield from _put_on(key, None, None)
        if made is not None:
            return made
    while True:
        stored = yield from read(key)
        name = decode(stored.data, Name, key) if stored else None
        if name is not None and name.db_id is not None:
            manifest, _ = yield from _manifest(name.db_id, MAIN)
            if manifest is None or manifest.state != "deleted":
                return Found(name.db_id, name.gen, name.revoked_before)
            yield from _take_off(key, stored, name)
        elif not create:
            return None
        else:
            made = yield from _put_on(key, stored, name)
            if made is not None:
                return made


def locate(namespace: str, profile: str, branch: str) -> Steps[Located | None]:
    """Return where a branch is, or None where the profile does not exist (any more).

    Two reads for `main`, three for another. Raises `NotFound` where the profile has no such branch.
    """
    key = name_key(namespace, profile)
    stored = yield from read(key)
    name = decode(stored.data, Name, key) if stored else None
    if name is None or name.db_id is None:
        return None
    branch_id = MAIN if branch == MAIN else (yield from branch_of(name.db_id, branch))
    manifest, at = None, None
    if branch_id is not None:
        manifest, at = yield from _manifest(name.db_id, branch_id)
    if branch_id == MAIN and manifest is not None and manifest.state == "deleted":
        yield from _take_off(key, stored, name)
        return None
    lives = manifest is not None and manifest.state == "live"
    if branch_id is None or not (lives or branch_id == MAIN):
        raise NotFound(
            f"branch not found: {branch!r} of profile {profile!r} in {namespace!r}",
            code="branch_not_found",
        )
    return Located(name.db_id, branch_id, name.gen, manifest, at.version if at else None)


def delete_profile(namespace: str, profile: str) -> Steps[None]:
    """Delete a profile; when this returns nobody can write to it, and its name is free.

    Raises `NotFound` where there is none. Two deletes at once: both succeed or one finds nothing.
    """
    key = name_key(namespace, profile)
    stored = yield from read(key)
    name = decode(stored.data, Name, key) if stored else None
    if stored is None or name is None or name.db_id is None:
        raise NotFound(f"no profile {profile!r} in {namespace!r}", code="database_not_found")
    # Also where it was never written: a first writer on its way would otherwise come to own a
    # database that no name leads to.
    yield from bury(name.db_id, MAIN, lambda _: True)
    yield from _take_off(key, stored, name)


def _manifest(db_id: str, branch_id: str) -> Steps[tuple[Manifest | None, Stored | None]]:
    key = manifest_key(db_id, branch_id)
    stored = yield from read(key)
    return (decode(stored.data, Manifest, key) if stored else None), stored


def _put_on(key: str, stored: Stored | None, name: Name | None) -> Steps[Found | None]:
    """Give a name without a database a new one; None where it is not known to be ours."""
    nonce: str = yield Nonce()
    db_id: str = yield Nonce()
    try:
        if stored is None or name is None:
            name = Name(nonce=nonce, db_id=db_id)
            version = yield Create(key, encode(name))
        else:
            version = yield from _next(key, stored, name, nonce, db_id, name.revoked_before)
    except (InDoubt, Refused):
        yield Sleep(_RETRY_SECONDS)
        return None
    return None if version is None else Found(db_id, name.gen, name.revoked_before)


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
) -> Steps[Any]:
    changed = Name(
        extra=name.extra,
        version=name.version + 1,
        nonce=nonce,
        gen=name.gen + (db_id is None),
        db_id=db_id,
        revoked_before=revoked_before,
    )
    return (yield Replace(key, encode(changed), stored.version))
