"""The keys of a store: master over namespace over profile, and what is sealed with them.

A profile's key comes to be with the first thing that is sealed with it. The newest version seals,
older ones open what was sealed before. What was opened is kept in memory: for sealing as long as
`SEALING_SECONDS`, so that every node seals with a new version soon after it was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from ..clock import Clock
from ..errors import Internal, Invalid, NotFound, Unavailable
from ..ids import PUBLIC_ID_KEY
from ..store import ObjectStore
from ..store.sealed import ObjectKey, version_of
from .envelope import MasterKey, Purpose, derive, new_key, unwrap, wrap
from .key_records import (
    MASTER,
    DatabaseKeys,
    MasterCheck,
    MasterKeys,
    NamespaceKeys,
    WrappedKey,
    change,
    database_key,
    load,
    namespace_key,
)

__all__ = ["SEALING_SECONDS", "Directory", "Keys", "Place"]

SEALING_SECONDS = 300.0
_KNOWN_MAX = 10_000
_READERS = 8


class Place(Protocol):
    """The names of a profile."""

    @property
    def namespace(self) -> str:
        """Of its namespace."""

    @property
    def profile(self) -> str:
        """Its own."""


class Directory(Protocol):
    """What is to be known of databases."""

    def database(self, address: Place, *, create: bool) -> str | None:
        """Return the id of a profile's database, made if need be; None where there is none."""

    def namespace_of(self, db_id: str) -> str:
        """Return the namespace a database is in; `NotFound` where no name leads to it."""

    def was_written(self, db_id: str) -> bool:
        """Whether the store holds rows of a database."""


class _Database:
    """The keys of a database, opened: by version, the newest first, and what came of them."""

    __slots__ = ("_derived", "destroyed", "keyed_ids", "loaded_at", "record", "seed", "versions")

    def __init__(
        self,
        record: DatabaseKeys,
        versions: list[tuple[int, bytes]],
        seed: bytes,
        loaded_at: float,
    ) -> None:
        self.record = record
        self.versions = versions
        self.seed = seed
        self.loaded_at = loaded_at
        self.keyed_ids = record.keyed_ids
        self.destroyed = record.destroyed_at is not None
        self._derived: dict[tuple[int, Purpose], bytes] = {}

    def derived(self, version: int, key: bytes, purpose: Purpose) -> bytes:
        """Return a key for a purpose; made once."""
        found = self._derived.get((version, purpose))
        if found is None:
            found = self._derived[version, purpose] = derive(key, purpose)
        return found

    def of(self, purpose: Purpose) -> list[tuple[int, bytes]]:
        """Return the keys for a purpose by version, the newest first."""
        return [(v, self.derived(v, key, purpose)) for v, key in self.versions]


class _Namespace(NamedTuple):
    versions: dict[int, bytes]
    newest: int
    loaded_at: float


class Keys:
    """Knows every key of a store that the master keys open. Thread-safe.

    `masters`: the first wraps new keys, all of them unwrap.
    """

    def __init__(self, store: ObjectStore, masters: tuple[MasterKey, ...], clock: Clock) -> None:
        self.store = store
        self.masters = masters
        self.clock = clock
        # Told once there is one: it reads the store that these keys open.
        self.directory: Directory | None = None
        self._databases: dict[str, _Database] = {}
        self._namespaces: dict[str, _Namespace] = {}

    def start(self, store_id: str, *, sealed: bool, may_write: bool) -> None:
        """Compare the master keys with the check values in the store, and add the first one's.

        Raises `Invalid` where one that is needed is missing or wrong; nothing is changed then.
        """
        given = {master.id: master for master in self.masters}

        def noted(found: MasterKeys | None) -> MasterKeys | None:
            if found is None and sealed:
                raise Invalid(
                    f"{self.store.name} holds sealed values, and its {MASTER}, which the master "
                    "key is compared with, is missing; bring it back from a copy"
                )
            for one in found.keys if found else ():
                if one.id not in given:
                    have = ", ".join(given)
                    raise Invalid(
                        f"{self.store.name} has keys wrapped by master key {one.id}, and what is "
                        f"set is {have}: set PALIMP_MASTER_KEY (or _FILE, _COMMAND) to that key; "
                        "to replace it put the new one before it, by comma"
                    )
                if given[one.id].check(store_id) != one.check:
                    raise Invalid(
                        f"{self.store.name}: the check value of master key {one.id} in {MASTER} "
                        "does not fit: the object was altered, or is of another store; bring it "
                        "back from a copy"
                    )
            first = self.masters[0]
            held = found.keys if found else ()
            if not may_write or any(one.id == first.id for one in held):
                return None
            check = MasterCheck(id=first.id, check=first.check(store_id))
            return MasterKeys(keys=(check, *held))

        try:
            change(self.store, MASTER, MasterKeys, noted)
        except Internal as error:
            raise Invalid(str(error)) from error

    # -- what is sealed ---------------------------------------------------------------------------

    def sealing(self, db_id: str) -> ObjectKey:
        """Return the key that seals objects of a database now; made if there is none."""
        found = self._open(db_id, create=True)
        assert found is not None
        return ObjectKey(*self._alive(found).of("objects")[0])

    def opening(self, db_id: str, version: int) -> bytes | None:
        """Return a version of the key for objects; None where it is not there (any more)."""
        return self._version(db_id, version, "objects")

    def fields(self, address: Place, *, create: bool = False) -> list[tuple[int, bytes]]:
        """Return the keys for fields of rows by version, the newest first.

        Empty where there are none (any more). With `create` one is made, and it is noted that rows
        may be sealed with the newest from now on.
        """
        db_id = self._database_of(address, create=create)
        if db_id is None or not create:
            return [] if db_id is None else self.fields_of(db_id)
        found = self._open(db_id, create=True)
        if found is not None and found.versions and not found.record.keys[0].fields:
            self._note_fields(db_id)
        return self.fields_of(db_id)

    def fields_of(self, db_id: str) -> list[tuple[int, bytes]]:
        """Return the keys for fields of a database by version, the newest first; makes none."""
        found = self._open(db_id, create=False)
        return [] if found is None else found.of("fields")

    def tokens(self, address: Place, *, create: bool = False) -> bytes | None:
        """Return the key of a profile's tokens, which never changes; None where there is none."""
        db_id = self._database_of(address, create=create)
        found = None if db_id is None else self._open(db_id, create=create)
        if found is None or found.destroyed:
            return None
        return found.derived(0, found.seed, "tokens")

    def tokens_of(self, db_id: str) -> bytes | None:
        """Return the key of a database's tokens; None where there is none. Makes none."""
        found = self._open(db_id, create=False)
        if found is None or found.destroyed:
            return None
        return found.derived(0, found.seed, "tokens")

    def id_key(self, address: Place) -> bytes:
        """Return the key of a profile's memory ids, which never changes; made if there is none.

        The public one where the profile was written before there was a master key.
        """
        db_id = self._database_of(address, create=True)
        assert db_id is not None
        found = self._open(db_id, create=True)
        assert found is not None
        self._alive(found)
        return found.derived(0, found.seed, "ids") if found.keyed_ids else PUBLIC_ID_KEY

    def destroy(self, db_id: str) -> None:
        """Destroy the keys of a database, for ever: what is sealed with them cannot be read.

        Also of one that has none, so that none is made on the way.
        """

        def destroyed(found: DatabaseKeys | None) -> DatabaseKeys | None:
            if found is None:
                found = DatabaseKeys(db_id=db_id, namespace="")
            if found.destroyed_at is not None:
                return None
            now_ms = self.clock.now_ms()
            return msgspec.structs.replace(found, seed=None, keys=(), destroyed_at=now_ms)

        change(self.store, database_key(db_id), DatabaseKeys, destroyed)
        self.forget(db_id)

    def is_destroyed(self, db_id: str) -> bool:
        """Whether the keys of a database were destroyed."""
        found = load(self.store, database_key(db_id), DatabaseKeys)
        return found is not None and found.destroyed_at is not None

    def forget(self, db_id: str) -> None:
        """Read the keys of a database again when they are needed next."""
        self._databases.pop(db_id, None)

    def versions_of(self, objects: Iterable[str]) -> dict[str, int | None]:
        """Return the version of the key each object is sealed with; None where it is not sealed.

        Only the first bytes of each are read, several at once.
        """
        from concurrent.futures import ThreadPoolExecutor

        listed = list(objects)
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(partial(version_of, self.store), listed)
            return dict(zip(listed, found, strict=True))

    # -- wrapped keys -----------------------------------------------------------------------------

    def master_of(self, namespace: str, key: WrappedKey) -> MasterKey:
        """Return the master key that wraps a namespace's; `Invalid` where it is not given."""
        for master in self.masters:
            if master.id == key.under:
                return master
        raise Invalid(
            f"version {key.version} of the key of namespace {namespace!r} is wrapped by master key "
            f"{key.under}, which is not given; add it to PALIMP_MASTER_KEY, by comma"
        )

    def new_namespace_key(self, namespace: str, version: int) -> WrappedKey:
        """Return a new version of a namespace's key, wrapped by the first master key."""
        self._check_first()
        return self.wrapped_by_master(namespace, version, new_key(), self.clock.now_ms())

    def wrapped_by_master(
        self, namespace: str, version: int, key: bytes, made_at: int
    ) -> WrappedKey:
        """Return a namespace's key wrapped by the first master key."""
        master = self.masters[0]
        made = WrappedKey(version=version, under=master.id, made_at=made_at, wrapped="")
        about = NamespaceKeys(namespace=namespace, keys=()).about(made)
        return msgspec.structs.replace(made, wrapped=wrap(master.key, key, about))

    def namespace(self, namespace: str, wanted: int | None = None) -> tuple[int, bytes]:
        """Return the newest version of a namespace's key, made if there is none; or `wanted`."""
        known = self._namespaces.get(namespace)
        if known is not None and wanted in known.versions:
            assert wanted is not None
            return wanted, known.versions[wanted]
        if known is None or wanted is not None or self._is_old(known.loaded_at):
            known = self._load_namespace(namespace, create=wanted is None)
        version = known.newest if wanted is None else wanted
        if version not in known.versions:
            raise Internal(
                f"{self.store.name}: {namespace_key(namespace)} lacks version {version}, with "
                "which keys of profiles are wrapped; bring it back from a copy"
            )
        return version, known.versions[version]

    def forget_namespace(self, namespace: str) -> None:
        """Read the keys of a namespace again when they are needed next."""
        self._namespaces.pop(namespace, None)

    def unwrapped(self, record: DatabaseKeys, key: WrappedKey) -> bytes:
        """Return a profile's key."""
        _, outer = self.namespace(record.namespace, int(key.under))
        return unwrap(outer, key.wrapped, record.about(key))

    def wrapped(
        self, record: DatabaseKeys, version: int, key: bytes, made_at: int, *, fields: bool = False
    ) -> WrappedKey:
        """Return a profile's key, wrapped by the newest of its namespace's."""
        under, outer = self.namespace(record.namespace)
        made = WrappedKey(
            version=version, under=str(under), made_at=made_at, wrapped="", fields=fields
        )
        return msgspec.structs.replace(made, wrapped=wrap(outer, key, record.about(made)))

    # -- inside -----------------------------------------------------------------------------------

    def _alive(self, found: _Database) -> _Database:
        if found.destroyed:
            raise NotFound(
                f"database {found.record.db_id} was erased: its keys are destroyed",
                code="database_not_found",
            )
        return found

    def _database_of(self, address: Place, *, create: bool) -> str | None:
        return self._known_to().database(address, create=create)

    def _known_to(self) -> Directory:
        if self.directory is None:
            # What a killed process left is shipped while the engine is still being made.
            raise Unavailable("the node is starting; repeat it", reason="starting", in_doubt=False)
        return self.directory

    def _version(self, db_id: str, version: int, purpose: Purpose) -> bytes | None:
        for look_again in (False, True):
            if look_again:
                self.forget(db_id)
            found = self._open(db_id, create=False)
            for number, key in found.versions if found else ():
                if found is not None and number == version:
                    return found.derived(version, key, purpose)
        return None

    def _is_old(self, loaded_at: float) -> bool:
        return self.clock.monotonic() - loaded_at > SEALING_SECONDS

    def _open(self, db_id: str, *, create: bool) -> _Database | None:
        known = self._databases.get(db_id)
        if known is not None and not self._is_old(known.loaded_at):
            return known
        loaded_at = self.clock.monotonic()
        record = load(self.store, database_key(db_id), DatabaseKeys)
        if record is None and create:
            record = self._make(db_id)
        if record is None:
            return None
        versions = [(key.version, self.unwrapped(record, key)) for key in record.keys]
        seed = b"" if record.seed is None else self.unwrapped(record, record.seed)
        opened = _Database(record, versions, seed, loaded_at)
        if len(self._databases) >= _KNOWN_MAX:
            self._databases.clear()
        self._databases[db_id] = opened
        return opened

    def _make(self, db_id: str) -> DatabaseKeys | None:
        directory = self._known_to()
        namespace = directory.namespace_of(db_id)
        keyed = not directory.was_written(db_id)
        now_ms = self.clock.now_ms()
        empty = DatabaseKeys(db_id=db_id, namespace=namespace, keyed_ids=keyed)
        made = msgspec.structs.replace(
            empty,
            seed=self.wrapped(empty, 0, new_key(), now_ms),
            keys=(self.wrapped(empty, 1, new_key(), now_ms),),
        )
        key = database_key(db_id)
        return change(self.store, key, DatabaseKeys, lambda found: made if found is None else None)

    def _note_fields(self, db_id: str) -> None:
        def noted(record: DatabaseKeys | None) -> DatabaseKeys | None:
            if record is None or not record.keys or record.keys[0].fields:
                return None
            newest = msgspec.structs.replace(record.keys[0], fields=True)
            return msgspec.structs.replace(record, keys=(newest, *record.keys[1:]))

        change(self.store, database_key(db_id), DatabaseKeys, noted)
        self.forget(db_id)

    def _load_namespace(self, namespace: str, *, create: bool) -> _Namespace:
        loaded_at = self.clock.monotonic()
        key = namespace_key(namespace)
        record = load(self.store, key, NamespaceKeys)
        if record is None and not create:
            raise Internal(
                f"{self.store.name}: {key} is missing, with which keys of profiles are wrapped; "
                "bring it back from a copy"
            )
        if record is None:
            made = NamespaceKeys(namespace=namespace, keys=(self.new_namespace_key(namespace, 1),))
            record = change(
                self.store, key, NamespaceKeys, lambda found: made if found is None else None
            )
        assert record is not None
        open_one = partial(self._unwrapped_by_master, record)
        versions = {one.version: open_one(one) for one in record.keys}
        if len(self._namespaces) >= _KNOWN_MAX:
            self._namespaces.clear()
        known = _Namespace(versions, record.keys[0].version, loaded_at)
        self._namespaces[namespace] = known
        return known

    def _check_first(self) -> None:
        """Refuse to wrap with a master key that was retired while this node went on with it."""
        found = load(self.store, MASTER, MasterKeys)
        if found is None or all(one.id != self.masters[0].id for one in found.keys):
            raise Invalid(
                f"master key {self.masters[0].id} was retired, and this node still has it first; "
                "start the node again with the new PALIMP_MASTER_KEY"
            )

    def _unwrapped_by_master(self, record: NamespaceKeys, key: WrappedKey) -> bytes:
        master = self.master_of(record.namespace, key)
        return unwrap(master.key, key.wrapped, record.about(key))
