"""Changing a small object that several nodes share: read, change, compare and swap, again."""

from __future__ import annotations

from collections.abc import Callable

from .protocol import AlreadyThere, ObjectStore, VersionMismatch

__all__ = ["change_object"]


def change_object(
    store: ObjectStore, key: str, change: Callable[[bytes | None], bytes | None]
) -> bytes | None:
    """Replace an object by what `change` makes of it (None: there is none), and return that.

    Of any number that do this at once each sees the change of the one before. `change` may be
    called several times; None from it leaves everything as it is. Each result has to differ from
    every earlier one (a counter, a nonce): object stores know versions by their bytes. Raises
    `Unavailable` where the store does; with `in_doubt` the change may have happened.
    """
    while True:
        found = store.get(key)
        data = change(found.data if found else None)
        if data is None:
            return found.data if found else None
        try:
            if found is None:
                store.create(key, data)
            else:
                store.replace(key, data, found.version)
        except (AlreadyThere, VersionMismatch):
            continue
        return data
