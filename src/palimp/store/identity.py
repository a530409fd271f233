"""Which store this is: a word of its own, so that a folder never meets another store's history."""

from __future__ import annotations

import msgspec

from ..errors import Internal, Unavailable
from ..ids import random_id
from .protocol import AlreadyThere, ObjectStore

__all__ = ["identify"]

_KEY = "v1/store.json"
_FORMAT = 1


class _Identity(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    id: str


def identify(store: ObjectStore) -> str:
    """Return the id of a store; given to it by the first that asks, the same for ever.

    Raises `Unavailable` (reason `format`) where a newer release says how the store is laid out.
    """
    while True:
        found = store.get(_KEY)
        if found is not None:
            return _decode(store, found.data)
        try:
            fresh = _Identity(format=_FORMAT, id=random_id("store"))
            store.create(_KEY, msgspec.json.encode(fresh))
        except AlreadyThere:
            continue


def _decode(store: ObjectStore, data: bytes) -> str:
    try:
        found = msgspec.json.decode(data, type=_Identity)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{store.name}: {_KEY} is damaged: {error}") from error
    if found.format > _FORMAT:
        raise Unavailable(
            f"{store.name} has format {found.format}, this release reads up to {_FORMAT}; use the "
            "release that wrote it, or a newer one",
            reason="format",
        )
    return found.id
