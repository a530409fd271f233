"""The journal of the catalog: what it has that no other object has, one object for each entry.

    v1/catalog/credentials/{id}.json       a key of another system's client: its hash, never itself
    v1/catalog/bindings/{digest}.json      what a dialect keeps: tenants, their Arcs, agents, ...

An entry is written here before it is written in the catalog, whose rows are made again from here.
What was removed stays as an entry without its content: so nothing comes back that is older. Names
of others fit no key of an object, so that of a binding is a digest (BLAKE2b) of what it is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from ..decoding import from_json, from_plain
from ..errors import Internal, Unavailable
from ..ids import random_id
from ..store import ObjectStore, change_object
from .key_rows import CredentialRow

__all__ = [
    "BINDINGS",
    "CREDENTIALS",
    "BindingEntry",
    "Journal",
    "Page",
    "binding_key",
    "binding_of",
    "credential_key",
]

FORMAT = 1
WRITER = 1
CREDENTIALS = "v1/catalog/credentials/"
BINDINGS = "v1/catalog/bindings/"
_DIGEST_BYTES = 20
# So many objects are read at once: a store that is far away answers each in tens of milliseconds.
_TOGETHER = 16

_Raw = dict[str, Any]


class BindingEntry(NamedTuple):
    """What is kept under a name; `value` is empty where it was removed, which is a version too."""

    dialect: str
    scope: str
    key: str
    value: str
    version: int


class Page(NamedTuple):
    """Some objects as they were read, by their keys; `after` is where the next page begins."""

    objects: list[_Raw]
    after: str | None


class Journal:
    """Reads and changes entries. Thread-safe.

    Each change is a compare-and-swap of one object: of any number of nodes that change one entry
    at once each sees the change of the one before. Raises as `store.change_object` does, `Internal`
    where an object is damaged, `Unavailable` with reason `format` for one of a newer release.
    """

    def __init__(self, store: ObjectStore, *, read_only: bool = False) -> None:
        self._store = store
        # Nothing is repaired from a node that may not write.
        self.read_only = read_only

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._store.name

    # -- keys -------------------------------------------------------------------------------------

    def change_credential(
        self, identity: str, change: Callable[[CredentialRow | None], CredentialRow | None]
    ) -> CredentialRow | None:
        """Replace a key by what `change` makes of it; None from it leaves it; return what it is."""

        def changed(old: _Raw | None) -> _Raw | None:
            new = change(None if old is None else credential_of(old))
            return None if new is None else {"credential": _kept(new)}

        found = self._change(credential_key(identity), changed)
        return None if found is None else credential_of(found)

    def succeed(
        self,
        identity: str,
        change: Callable[[CredentialRow | None], CredentialRow | None],
        heir: CredentialRow,
    ) -> CredentialRow | None:
        """Replace a key as `change_credential` does, and have another beside it: both or neither.

        One object says both. Whoever reads it makes that of the other where it is not there.
        """

        def changed(old: _Raw | None) -> _Raw | None:
            new = change(None if old is None else credential_of(old))
            return None if new is None else {"credential": _kept(new), "heir": _kept(heir)}

        found = self._change(credential_key(identity), changed)
        if found is None:
            return None
        if found.get("heir") == _kept(heir):
            self._have(heir)
        return credential_of(found)

    def _have(self, row: CredentialRow) -> CredentialRow:
        """Have an entry of an heir; return what it is by now."""
        found = self.change_credential(
            row.id, lambda old: None if self.read_only or old is not None else row
        )
        return row if found is None else found

    # -- bindings ---------------------------------------------------------------------------------

    def change_binding(
        self,
        dialect: str,
        scope: str,
        key: str,
        change: Callable[[BindingEntry | None], BindingEntry | None],
    ) -> BindingEntry | None:
        """Replace a binding by what `change` makes of it; None from it leaves it as it is.

        Returns what it is then, None where there never was one.
        """

        def changed(old: _Raw | None) -> _Raw | None:
            new = change(None if old is None else binding_of(old))
            return None if new is None else new._asdict()

        found = self._change(binding_key(dialect, scope, key), changed)
        return None if found is None else binding_of(found)

    # -- all of them ------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Whether there is an entry under the key of an object."""
        return self._store.get(key) is not None

    def page(self, prefix: str, after: str | None, limit: int) -> Page:
        """Return up to `limit` entries in the order of their keys."""
        found = self._store.list(prefix, after, limit)
        keys = [entry.key for entry in found.entries]
        with ThreadPoolExecutor(_TOGETHER, "palimp-journal") as pool:
            objects = [one for one in pool.map(self._read, keys) if one is not None]
        return Page(objects, found.after)

    def credentials(self, page: Page) -> Iterator[CredentialRow]:
        """Yield the keys of a page, and those that came instead of them and were not written."""
        for raw in page.objects:
            yield credential_of(raw)
            if "heir" in raw:
                yield self._have(_row(raw["heir"]))

    def _read(self, key: str) -> _Raw | None:
        found = self._store.get(key)
        return None if found is None else self._decode(found.data, key)

    def _change(self, key: str, change: Callable[[_Raw | None], _Raw | None]) -> _Raw | None:
        def changed(data: bytes | None) -> bytes | None:
            old = None if data is None else self._decode(data, key)
            new = change(old)
            if new is None:
                return None
            return self._encode(key, old or {}, new)

        data = change_object(self._store, key, changed)
        return None if data is None else self._decode(data, key)

    def _encode(self, key: str, old: _Raw, new: _Raw) -> bytes:
        writer = old.get("writer", WRITER)
        if writer > WRITER:
            raise Unavailable(
                f"{self.name}: {key} may be changed by releases from writer {writer} on, this one "
                f"has {WRITER}; use a newer release",
                reason="format",
            )
        base = {"format": FORMAT, "writer": WRITER, "version": old.get("version", 0) + 1}
        # What a newer release added stays.
        return msgspec.json.encode(
            {**old, **base, **new, "writer": writer, "nonce": random_id("n")}
        )

    def _decode(self, data: bytes, key: str) -> _Raw:
        try:
            raw = from_json(data, _Raw)
            kind = credential_of if key.startswith(CREDENTIALS) else binding_of
            if raw.get("format") == FORMAT:
                kind(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, AttributeError) as error:
            raise Internal(f"{self.name}: {key} is damaged: {error}") from error
        if not isinstance(raw.get("format"), int) or raw["format"] > FORMAT:
            raise Unavailable(
                f"{self.name}: {key} has format {raw.get('format')!r:.20}, this release reads "
                f"{FORMAT}; use the release that wrote it, or a newer one",
                reason="format",
            )
        return raw


def credential_key(identity: str) -> str:
    """Return the key of the object of a credential."""
    return f"{CREDENTIALS}{identity}.json"


def binding_key(dialect: str, scope: str, key: str) -> str:
    """Return the key of the object of a binding."""
    said = msgspec.json.encode((dialect, scope, key))
    return f"{BINDINGS}{hashlib.blake2b(said, digest_size=_DIGEST_BYTES).hexdigest()}.json"


def credential_of(raw: _Raw) -> CredentialRow:
    """Return what an object says of a credential."""
    return _row(raw["credential"])


def binding_of(raw: _Raw) -> BindingEntry:
    """Return what an object says of a binding."""
    return from_plain([raw[name] for name in BindingEntry._fields], BindingEntry)


def _row(kept: _Raw) -> CredentialRow:
    return from_plain([kept.get(name) for name in CredentialRow._fields], CredentialRow)


def _kept(row: CredentialRow) -> _Raw:
    """Return what is kept of a key: when it was used last changes too often."""
    kept = row._asdict()
    del kept["last_used_at"]
    return kept
