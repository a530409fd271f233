"""The objects that hold wrapped keys; no rewind undoes them, and deleting a database leaves them.

    v1/keys/master.json              which master keys wrap keys of this store, with check values
    v1/keys/namespaces/{ns}.json     the versions of a namespace's key, wrapped by master keys
    v1/keys/db/{db_id}.json          those of a profile's key, wrapped by its namespace's

Each is changed by compare-and-swap and carries a nonce. The newest version stands first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ..decoding import from_json
from ..errors import Internal, Unavailable
from ..ids import random_id
from ..store import ObjectStore, change_object

__all__ = [
    "MASTER",
    "NAMESPACES",
    "DatabaseKeys",
    "MasterCheck",
    "MasterKeys",
    "NamespaceKeys",
    "WrappedKey",
    "change",
    "database_key",
    "load",
    "namespace_key",
]

_FORMAT = 1
MASTER = "v1/keys/master.json"
NAMESPACES = "v1/keys/namespaces/"


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a key: what wraps it (a master key's id, or a version), and since when (ms).

    `fields` where rows may be sealed with it.
    """

    version: int
    under: str
    made_at: int
    wrapped: str
    fields: bool = False


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    format: int = _FORMAT
    version: int = 1
    nonce: str = ""


R = TypeVar("R", bound=_Record)


class MasterCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A master key's id, and what shows that one has it."""

    id: str
    check: str


class MasterKeys(_Record, frozen=True, kw_only=True):
    """The master keys that a node has to have."""

    keys: tuple[MasterCheck, ...]


class NamespaceKeys(_Record, frozen=True, kw_only=True):
    """The keys of a namespace."""

    namespace: str
    keys: tuple[WrappedKey, ...]

    def about(self, key: WrappedKey) -> str:
        """Return what one of them is for, and bound to."""
        return _about("namespace", self.namespace, "", key)


class DatabaseKeys(_Record, frozen=True, kw_only=True):
    """The keys of a profile's database; none once they were destroyed.

    `seed` is the key of what has to stay the same for ever, ids and tokens: wrapped anew, never
    renewed. `keyed_ids` unless the database had ids made with the public key before.
    """

    db_id: str
    namespace: str
    keyed_ids: bool = True
    seed: WrappedKey | None = None
    keys: tuple[WrappedKey, ...] = ()
    destroyed_at: int | None = None

    def about(self, key: WrappedKey) -> str:
        """Return what one of them is for, and bound to."""
        use = "seed" if key.version == 0 else "database"
        return _about(use, self.namespace, self.db_id, key)


def namespace_key(namespace: str) -> str:
    """Return where the keys of a namespace are."""
    return f"{NAMESPACES}{namespace}.json"


def database_key(db_id: str) -> str:
    """Return where the keys of a database are."""
    return f"v1/keys/db/{db_id}.json"


def load(store: ObjectStore, key: str, cls: type[R]) -> R | None:
    """Return a record, or None where there is none."""
    found = store.get(key)
    return None if found is None else _decode(found.data, cls, f"{store.name}: {key}")


def change(
    store: ObjectStore, key: str, cls: type[R], make: Callable[[R | None], R | None]
) -> R | None:
    """Replace a record by what `make` makes of it; None from it leaves everything as it is."""
    place = f"{store.name}: {key}"

    def changed(data: bytes | None) -> bytes | None:
        old = None if data is None else _decode(data, cls, place)
        new = make(old)
        if new is None:
            return None
        version = 1 if old is None else old.version + 1
        return msgspec.json.encode(
            msgspec.structs.replace(new, version=version, nonce=random_id("n"))
        )

    data = change_object(store, key, changed)
    return None if data is None else _decode(data, cls, place)


def _decode(data: bytes, cls: type[R], place: str) -> R:
    try:
        found: Any = from_json(data, cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{place} is damaged: bring it back from a copy") from error
    if found.format > _FORMAT:
        raise Unavailable(
            f"{place} has format {found.format}, this release reads {_FORMAT}; use a newer one",
            reason="format",
        )
    record: R = found
    return record


def _about(use: str, namespace: str, db_id: str, key: WrappedKey) -> str:
    return "\0".join(("palimp wrapped key 1", use, namespace, db_id, str(key.version), key.under))
