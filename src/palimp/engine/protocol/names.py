"""Names of profiles: which database a name means, through creation, deletion, creation again.

A name's object is made once and never deleted. Deleting a profile makes a tombstone of its manifest
first, which fences the writer, and then takes the database off the name; who meets a tombstone
under a live name finishes that step. A profile that comes to be again gets a new `db_id`, so that
nothing of the old one, no cache and no object, can be taken for the new one's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ...errors import Conflict, NotFound
from ...ids import MAIN
from .heads import branch_of, bury, list_heads
from .lane import read, settle_create
from .records import Gone, Manifest, Name, decode, encode, gone_key, manifest_key, name_key
from .requests import Create, InDoubt, Nonce, Now, Refused, Replace, Sleep, Steps, Stored

__all__ = [
    "Found",
    "Located",
    "delete_profile",
    "find_profile",
    "locate",
    "make_profile",
    "read_name",
]

_RETRY_SECONDS = 0.1


class Found(NamedTuple):
    """The database a name means, and since when (ms).

    Tokens older than `revoked_before` (ms) are refused for ever.
    """

    db_id: str
    gen: int
    revoked_before: int
    created_at: int


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
    db_id: str = yield Nonce()
    if create:
        made = yield from _put_on(key, None, None, db_id)
        if made is not None:
            return made
    while True:
        stored = yield from read(key)
        name = decode(stored.data, Name, key) if stored else None
        if name is not None and name.db_id is not None:
            manifest, _ = yield from _manifest(name.db_id, MAIN)
            if manifest is None or manifest.state != "deleted":
                return _found(name, name.db_id)
            yield from _take_off(namespace, profile, stored, name)
        elif not create:
            return None
        else:
            made = yield from _put_on(key, stored, name, db_id)
            if made is not None:
                return made


def make_profile(namespace: str, profile: str) -> Steps[Found]:
    """Make a profile that does not exist; of any number that try at once one does.

    Raises `Conflict` where it exists.
    """
    key = name_key(namespace, profile)
    db_id: str = yield Nonce()
    while True:
        stored = yield from read(key)
        name = decode(stored.data, Name, key) if stored else None
        if name is None or name.db_id is None:
            made = yield from _put_on(key, stored, name, db_id)
            if made is not None:
                return made
            continue
        if name.db_id == db_id:
            # Ours, whose answer was lost.
            return _found(name, db_id)
        manifest, _ = yield from _manifest(name.db_id, MAIN)
        if manifest is None or manifest.state != "deleted":
            raise Conflict(
                f"profile {profile!r} exists already in {namespace!r}", code="already_exists"
            )
        yield from _take_off(namespace, profile, stored, name)


def read_name(namespace: str, profile: str) -> Steps[Name | None]:
    """Return what a name says, also of a profile that was deleted; None where it never was."""
    key = name_key(namespace, profile)
    stored = yield from read(key)
    return decode(stored.data, Name, key) if stored else None


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
        yield from _take_off(namespace, profile, stored, name)
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
    yield from _take_off(namespace, profile, stored, name)


def _manifest(db_id: str, branch_id: str) -> Steps[tuple[Manifest | None, Stored | None]]:
    key = manifest_key(db_id, branch_id)
    stored = yield from read(key)
    return (decode(stored.data, Manifest, key) if stored else None), stored


def _found(name: Name, db_id: str) -> Found:
    return Found(db_id, name.gen, name.revoked_before, name.created_at)


def _put_on(key: str, stored: Stored | None, name: Name | None, db_id: str) -> Steps[Found | None]:
    """Give a name without a database this one; None where it is not known to be ours."""
    nonce: str = yield Nonce()
    now: int = yield Now()
    try:
        if stored is None or name is None:
            name = Name(nonce=nonce, db_id=db_id, created_at=now)
            version = yield Create(key, encode(name))
        else:
            name = _next(name, nonce, db_id=db_id, created_at=now)
            version = yield Replace(key, encode(name), stored.version)
    except (InDoubt, Refused):
        yield Sleep(_RETRY_SECONDS)
        return None
    return None if version is None else _found(name, db_id)


def _take_off(namespace: str, profile: str, stored: Stored | None, name: Name) -> Steps[None]:
    """Delete the branches of a database whose main is deleted, and take it off its name.

    Or find that somebody did. Whoever deleted main may have ended before the others were.
    """
    assert name.db_id is not None
    # After main, of which no fork can come to live any more: so of the others none is missed.
    for _, head in (yield from list_heads(name.db_id)):
        assert head.branch_id is not None
        yield from bury(name.db_id, head.branch_id, lambda _: True)
    key = name_key(namespace, profile)
    now: int = yield Now()
    # First: a listing believes a name that has none beside it.
    yield from settle_create(gone_key(namespace, profile), encode(Gone()))
    while stored is not None:
        current = decode(stored.data, Name, key)
        if current.db_id != name.db_id:
            return
        nonce: str = yield Nonce()
        revoked_before = max(now, current.revoked_before)
        changed = _next(
            current, nonce, db_id=None, gen=current.gen + 1, revoked_before=revoked_before
        )
        try:
            yield Replace(key, encode(changed), stored.version)
        except (InDoubt, Refused):
            yield Sleep(_RETRY_SECONDS)
        stored = yield from read(key)


def _next(name: Name, nonce: str, **fields: Any) -> Name:
    return msgspec.structs.replace(name, version=name.version + 1, nonce=nonce, **fields)
