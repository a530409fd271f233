"""Which store this is: a word of its own, so that a folder never meets another store's history."""

from __future__ import annotations

import msgspec
from msgspec import structs

from ..decoding import from_json
from ..errors import Internal, Unavailable
from ..ids import random_id
from .changing import change_object
from .protocol import AlreadyThere, ObjectStore

__all__ = ["Identity", "identify", "mark_sealed", "recognise"]

_KEY = "v1/store.json"
_FORMAT = 1


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The id of a store, and whether it may hold sealed objects."""

    format: int
    id: str
    sealed: bool = False


def identify(store: ObjectStore) -> str:
    """Return the id of a store; given to it by the first that asks, the same for ever.

    Raises `Unavailable` (reason `format`) where a newer release says how the store is laid out.
    """
    return recognise(store).id


def recognise(store: ObjectStore) -> Identity:
    """Return what a store is; as `identify`."""
    while True:
        found = store.get(_KEY)
        if found is not None:
            return _decode(store, found.data)
        try:
            fresh = Identity(format=_FORMAT, id=random_id("store"))
            store.create(_KEY, msgspec.json.encode(fresh))
        except AlreadyThere:
            continue


def mark_sealed(store: ObjectStore) -> None:
    """Note for ever that the store may hold sealed objects; before the first is written."""

    def marked(data: bytes | None) -> bytes | None:
        assert data is not None, "a store that was recognised"
        found = _decode(store, data)
        return None if found.sealed else msgspec.json.encode(structs.replace(found, sealed=True))

    change_object(store, _KEY, marked)


def _decode(store: ObjectStore, data: bytes) -> Identity:
    try:
        found = from_json(data, Identity)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{store.name}: {_KEY} is damaged: {error}") from error
    if found.format > _FORMAT:
        raise Unavailable(
            f"{store.name} has format {found.format}, this release reads up to {_FORMAT}; use the "
            "release that wrote it, or a newer one",
            reason="format",
        )
    return found
