"""Encryption keys on the wire: which there are, new versions, and giving up old ones. No key."""

from __future__ import annotations

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "FieldsSealed",
    "GetKeys",
    "KeptKey",
    "KeysStatus",
    "ListProfileKeys",
    "MasterKeyInfo",
    "MasterKeysRetired",
    "NamespaceKeysInfo",
    "ProfileKeysInfo",
    "ProfileKeysPage",
    "Reencrypt",
    "Reencrypted",
    "RetireKeys",
    "RetireMasterKeys",
    "Retired",
    "RotateKeys",
    "Rotated",
    "SealFields",
]


class GetKeys(Request, frozen=True, kw_only=True):
    """Ask for the master keys and the keys of namespaces."""


class MasterKeyInfo(Result, frozen=True, kw_only=True):
    """A master key's id, how many namespaces' keys it wraps, and whether it wraps new ones."""

    id: str
    current: bool
    namespaces: int


class NamespaceKeysInfo(Result, frozen=True, kw_only=True):
    """The versions of a namespace's key, the newest first, and when that was made (UTC ms)."""

    namespace: str
    versions: tuple[int, ...]
    made_at: int


class KeysStatus(Result, frozen=True, kw_only=True):
    """What there is; `on` is False where nothing is encrypted."""

    on: bool
    masters: tuple[MasterKeyInfo, ...] = ()
    namespaces: tuple[NamespaceKeysInfo, ...] = ()


class ListProfileKeys(Request, frozen=True, kw_only=True):
    """Read the keys of a namespace's profiles, in a stable order."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ProfileKeysInfo(Result, frozen=True, kw_only=True):
    """The versions of a profile's key, the newest first; `under`: that of its namespace's key.

    No version where nothing of the profile is sealed, or where its key was `destroyed`.
    """

    profile: str
    versions: tuple[int, ...]
    under: int
    made_at: int
    destroyed: bool


class ProfileKeysPage(Result, Sequenced[ProfileKeysInfo], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    profiles: tuple[ProfileKeysInfo, ...]
    next_cursor: str | None

    def _items(self) -> tuple[ProfileKeysInfo, ...]:
        return self.profiles


class RotateKeys(Request, frozen=True, kw_only=True):
    """Give a namespace a new key and wrap the keys of its profiles with it, a page at a time.

    Each profile gets a new key too, which seals from now on, unless `rewrap_only`. Without a
    `cursor` a new version of the namespace's key is made; with that of the page before, it goes on.
    """

    rewrap_only: bool = False
    cursor: str | None = None


class Rotated(Result, frozen=True, kw_only=True):
    """The new version of the namespace's key, and how many profiles it wraps now, this page's.

    `next_cursor` is None where it was the last page.
    """

    namespace: str
    version: int
    profiles: int
    next_cursor: str | None


class Reencrypt(Request, frozen=True, kw_only=True):
    """Store at most `limit` segments again that the newest key of the profile did not seal."""

    limit: int | None = None


class Reencrypted(Result, frozen=True, kw_only=True):
    """How many segments were stored again; `remaining` still have to be: repeat the call.

    `objects_deleted` old ones are gone, `objects_left` not yet: some branch may still need them.
    """

    stored: int
    remaining: int
    objects_deleted: int
    objects_left: int


class SealFields(Request, frozen=True, kw_only=True):
    """Seal at most `limit` rows that stand there in plain or under an older key; 0 only counts."""

    limit: int | None = None


class FieldsSealed(Result, frozen=True, kw_only=True):
    """How many rows were sealed; `remaining` still have to be: repeat the call.

    `unreadable` ones were met that no key here opens; they stay as they are.
    """

    sealed: int
    remaining: int
    unreadable: int


class RetireKeys(Request, frozen=True, kw_only=True):
    """Give up versions of keys in a namespace that nothing needs, a page of profiles at a time.

    With `force` also versions that something needs: what is sealed with them is lost.
    """

    force: bool = False
    cursor: str | None = None


class KeptKey(Result, frozen=True, kw_only=True):
    """A version that stays, and why; `name` is a profile, or empty for the namespace's own key."""

    name: str
    version: int
    why: str


class Retired(Result, frozen=True, kw_only=True):
    """How many versions went, of profiles' keys and of the namespace's, and which stay and why.

    Versions of the namespace's key are looked at with the last page (`next_cursor` is None).
    """

    namespace: str
    profile_keys: int
    namespace_keys: int
    kept: tuple[KeptKey, ...]
    next_cursor: str | None


class RetireMasterKeys(Request, frozen=True, kw_only=True):
    """Need no longer the master keys that wrap nothing."""


class MasterKeysRetired(Result, frozen=True, kw_only=True):
    """Ids of keys that may be taken out of the settings; those that stay, and why."""

    retired: tuple[str, ...]
    kept: dict[str, str]


_NAMESPACE = "/v1/namespaces/{namespace}/keys"

ROWS = (
    row(
        "keys.status",
        "GET /v1/keys",
        GetKeys,
        KeysStatus,
        "read platform",
        "Say which master keys and keys of namespaces there are.",
    ),
    row(
        "keys.retire_masters",
        "POST /v1/keys/retire",
        RetireMasterKeys,
        MasterKeysRetired,
        "admin writes idempotent platform",
        "Need no longer the master keys that wrap nothing.",
    ),
    row(
        "keys.profiles",
        f"GET {_NAMESPACE}",
        ListProfileKeys,
        ProfileKeysPage,
        "read platform",
        "Say which versions of their keys the profiles of a namespace have.",
    ),
    row(
        "keys.rotate",
        f"POST {_NAMESPACE}/rotate",
        RotateKeys,
        Rotated,
        "admin writes platform",
        "Give a namespace and its profiles new keys.",
    ),
    row(
        "keys.retire",
        f"POST {_NAMESPACE}/retire",
        RetireKeys,
        Retired,
        "admin writes idempotent platform",
        "Give up versions of keys that nothing needs.",
    ),
    row(
        "keys.reencrypt",
        f"POST {PROFILE}/keys/reencrypt",
        Reencrypt,
        Reencrypted,
        "admin writes idempotent platform",
        "Store segments again that are not sealed with the newest key.",
    ),
    row(
        "keys.seal_fields",
        f"POST {PROFILE}/keys/seal-fields",
        SealFields,
        FieldsSealed,
        "admin writes idempotent platform",
        "Seal rows that stand in plain or under an older key.",
    ),
)
