"""The keys of a store: who opens what, versions, rotation, retirement, destruction."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from palimp.clock import ManualClock
from palimp.errors import Internal, Invalid, NotFound, Unavailable
from palimp.ids import PUBLIC_ID_KEY
from palimp.security.envelope import MasterKey, derive, parse_master_keys, unwrap, wrap
from palimp.security.key_records import (
    MASTER,
    DatabaseKeys,
    MasterKeys,
    NamespaceKeys,
    database_key,
    load,
    namespace_key,
)
from palimp.security.keyring import SEALING_SECONDS, Keys
from palimp.security.rotation import (
    RETIRE_AFTER_MS,
    retire_database,
    retire_masters,
    retire_namespace,
    rotate_database,
    rotate_namespace,
)
from palimp.store import CountingStore, VolatileStore

OLD, NEW = MasterKey(b"o" * 32), MasterKey(b"n" * 32)
STORE = "store_1"


class Name(NamedTuple):
    namespace: str
    profile: str


ALICE, BOB = Name("acme", "alice"), Name("acme", "bob")


class Names:
    """Databases `n_{profile}` of every namespace."""

    def __init__(self) -> None:
        self.written: set[str] = set()
        self.namespaces = {"n_alice": "acme", "n_bob": "acme", "n_eve": "other"}

    def database(self, address: Name, *, create: bool) -> str | None:
        return f"n_{address.profile}"

    def namespace_of(self, db_id: str) -> str:
        return self.namespaces[db_id]

    def was_written(self, db_id: str) -> bool:
        return db_id in self.written


class Nodes:
    """Nodes on one store with one clock."""

    def __init__(self) -> None:
        self.store = VolatileStore(weak_versions=True)
        self.clock = ManualClock()
        self.names = Names()
        self.sealed = False

    def __call__(self, *masters: MasterKey) -> Keys:
        keys = Keys(self.store, masters or (OLD,), self.clock)
        keys.start(STORE, sealed=self.sealed, may_write=True)
        self.sealed = True
        keys.directory = self.names
        return keys

    def record(self, db_id: str) -> DatabaseKeys:
        found = load(self.store, database_key(db_id), DatabaseKeys)
        assert found is not None
        return found


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def keys(nodes: Nodes) -> Keys:
    return nodes()


def unneeded(_version: int) -> str | None:
    return None


# The master key


@pytest.mark.parametrize(
    "text",
    ["", ",", "x", base64.b64encode(b"k" * 31).decode(), "ü" * 44, base64.b64encode(b"k" * 33).decode(),
     f"{OLD.export()},{OLD.export()}", f"{OLD.export()},short"],
)  # fmt: skip
def test_a_malformed_master_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Invalid, match="PALIMP_MASTER_KEY") as caught:
        parse_master_keys(text, "PALIMP_MASTER_KEY")
    assert len(text) < 8 or text not in caught.value.message
    assert OLD.export() not in caught.value.message


def test_one_key_is_given_once() -> None:
    with pytest.raises(Invalid, match="holds one key twice"):
        parse_master_keys(f"{OLD.export()},{OLD.export()}", "it")


def test_a_master_key_is_known_by_an_id_and_never_shown() -> None:
    first, second = parse_master_keys(f" {OLD.export()} , {NEW.export()}\n", "it")
    assert (first.key, second.key) == (OLD.key, NEW.key)
    assert repr(first) == f"<MasterKey {OLD.id}>"
    assert MasterKey.generate().id != MasterKey.generate().id
    assert OLD.check("a") != OLD.check("b")


def test_another_master_key_is_refused_before_anything_is_changed(nodes: Nodes) -> None:
    nodes(OLD)
    before = nodes.store.get(MASTER)
    with pytest.raises(Invalid, match=f"wrapped by master key {OLD.id}.*{NEW.id}") as caught:
        nodes(NEW)
    assert NEW.export() not in caught.value.message
    assert nodes.store.get(MASTER) == before


def test_a_missing_damaged_or_moved_check_value_is_refused(nodes: Nodes) -> None:
    nodes(OLD)
    found = nodes.store.get(MASTER)
    assert found is not None

    def holding(data: bytes | None) -> None:
        nodes.store.delete(MASTER)
        if data is not None:
            nodes.store.create(MASTER, data)

    wrong = found.data.replace(OLD.check(STORE).encode(), OLD.check("another").encode())
    for data, message in ((None, "is missing"), (b"{", "damaged"), (wrong, "does not fit")):
        holding(data)
        with pytest.raises(Invalid, match=message):
            nodes(OLD)
    holding(found.data)
    nodes(OLD)


def test_a_node_that_may_not_write_adds_nothing(nodes: Nodes) -> None:
    Keys(nodes.store, (OLD,), nodes.clock).start(STORE, sealed=False, may_write=False)
    assert nodes.store.get(MASTER) is None


# What seals


def test_every_profile_and_purpose_has_a_key_of_its_own(keys: Keys) -> None:
    found = {
        keys.sealing("n_alice").key,
        keys.sealing("n_bob").key,
        keys.sealing("n_eve").key,
        *(key for _, key in keys.fields(ALICE, create=True)),
        keys.tokens(ALICE),
        keys.id_key(ALICE),
    }
    assert len(found) == 6
    assert all(key is not None and len(key) == 32 for key in found)


def test_another_node_opens_the_same_keys(nodes: Nodes, keys: Keys) -> None:
    sealing, id_key = keys.sealing("n_alice"), keys.id_key(ALICE)
    other = nodes()
    assert other.sealing("n_alice") == sealing
    assert other.opening("n_alice", 1) == sealing.key
    assert other.id_key(ALICE) == id_key
    assert other.fields(ALICE) == keys.fields(ALICE)


def test_no_key_is_readable_in_the_store(nodes: Nodes, keys: Keys) -> None:
    secrets = [OLD.key, keys.sealing("n_alice").key, keys.id_key(ALICE), keys.namespace("acme")[1]]
    stored = b"".join(
        found.data for entry in nodes.store.list().entries if (found := nodes.store.get(entry.key))
    )
    for secret in secrets:
        assert secret not in stored
        assert base64.b64encode(secret) not in stored
        assert secret.hex().encode() not in stored


def test_reading_makes_no_key(nodes: Nodes, keys: Keys) -> None:
    assert keys.fields(ALICE) == []
    assert keys.tokens(ALICE) is None
    assert keys.opening("n_alice", 1) is None
    assert nodes.store.get(database_key("n_alice")) is None


def test_keys_are_read_once(nodes: Nodes) -> None:
    counting = CountingStore(nodes.store)
    nodes()
    keys = Keys(counting, (OLD,), nodes.clock)
    keys.directory = nodes.names
    keys.sealing("n_alice")
    counting.reset()
    keys.sealing("n_alice")
    keys.id_key(ALICE)
    keys.fields(ALICE)
    assert counting.requests == 0
    nodes.clock.advance(SEALING_SECONDS + 1)
    keys.sealing("n_alice")
    assert counting.requests == 1


def test_ids_stay_public_where_there_were_some(nodes: Nodes, keys: Keys) -> None:
    nodes.names.written.add("n_alice")
    assert keys.id_key(ALICE) == PUBLIC_ID_KEY
    assert keys.id_key(BOB) != PUBLIC_ID_KEY
    nodes.names.written.add("n_bob")
    assert nodes().id_key(BOB) == keys.id_key(BOB) != PUBLIC_ID_KEY


def test_before_there_is_an_engine_it_says_so() -> None:
    keys = Keys(VolatileStore(), (OLD,), ManualClock())
    with pytest.raises(Unavailable, match="starting"):
        keys.sealing("n_alice")


# Wrapped keys


def test_a_wrapped_key_opens_only_for_what_it_was_wrapped_for() -> None:
    wrapped = wrap(OLD.key, b"inner" * 6, "a")
    assert unwrap(OLD.key, wrapped, "a") == b"inner" * 6
    flipped = wrapped[:-4] + ("AAAA" if wrapped[-4:] != "AAAA" else "BBBB")
    for key, text, about in ((NEW.key, wrapped, "a"), (OLD.key, wrapped, "b"), (OLD.key, flipped, "a"),
                             (OLD.key, "", "a"), (OLD.key, "§", "a")):  # fmt: skip
        with pytest.raises(Internal, match="altered or put in the place of another"):
            unwrap(key, text, about)
    assert derive(OLD.key, "ids") != derive(OLD.key, "tokens") != OLD.key


def test_keys_of_another_database_are_not_taken(nodes: Nodes, keys: Keys) -> None:
    keys.sealing("n_alice")
    keys.sealing("n_bob")
    alice, bob = nodes.record("n_alice"), nodes.record("n_bob")
    forged = msgspec.structs.replace(alice, keys=bob.keys)
    nodes.store.delete(database_key("n_alice"))
    nodes.store.create(database_key("n_alice"), msgspec.json.encode(forged))
    with pytest.raises(Internal, match="put in the place of another"):
        nodes().sealing("n_alice")


def test_a_lost_version_of_a_namespace_is_named(nodes: Nodes, keys: Keys) -> None:
    keys.sealing("n_alice")
    found = nodes.store.get(namespace_key("acme"))
    assert found is not None
    nodes.store.delete(namespace_key("acme"))
    other = nodes()
    with pytest.raises(Internal, match=r"acme\.json is missing"):
        other.sealing("n_alice")
    nodes.store.create(
        namespace_key("acme"), found.data.replace(b'"version":1,"under"', b'"version":7,"under"')
    )
    with pytest.raises(Internal, match="put in the place of another"):
        nodes().sealing("n_alice")


# Rotation


def test_rotation_seals_with_a_new_key_and_opens_with_the_old(nodes: Nodes, keys: Keys) -> None:
    before, ids = keys.sealing("n_alice"), keys.id_key(ALICE)
    tokens = keys.tokens(ALICE)
    assert rotate_namespace(keys, "acme") == 2
    assert rotate_database(keys, "n_alice", renew=True)
    after = keys.sealing("n_alice")
    assert (after.version, keys.opening("n_alice", 1)) == (2, before.key)
    assert after.key != before.key
    assert (keys.id_key(ALICE), keys.tokens(ALICE)) == (ids, tokens)
    assert [version for version, _ in keys.fields(ALICE)] == [2, 1]
    record = nodes.record("n_alice")
    assert record.seed is not None
    assert {one.under for one in (*record.keys, record.seed)} == {"2"}


def test_rotation_is_done_once_for_each_version(keys: Keys) -> None:
    keys.sealing("n_alice")
    assert not rotate_database(keys, "n_alice", renew=True)
    rotate_namespace(keys, "acme")
    assert rotate_database(keys, "n_alice", renew=True)
    assert not rotate_database(keys, "n_alice", renew=True)
    assert not rotate_database(keys, "n_bob", renew=True)
    assert keys.sealing("n_alice").version == 2
    rotate_namespace(keys, "acme")
    assert rotate_database(keys, "n_alice", renew=False)
    assert keys.sealing("n_alice").version == 2
    with pytest.raises(NotFound, match="nothing in it is sealed"):
        rotate_namespace(keys, "empty")


def test_another_node_seals_with_the_new_key_soon(nodes: Nodes, keys: Keys) -> None:
    other = nodes()
    keys.sealing("n_alice")
    assert other.sealing("n_alice").version == 1
    rotate_namespace(keys, "acme")
    rotate_database(keys, "n_alice", renew=True)
    assert other.sealing("n_alice").version == 1
    # What it has not heard of, it looks up.
    assert other.opening("n_alice", 2) == keys.sealing("n_alice").key
    nodes.clock.advance(SEALING_SECONDS + 1)
    assert other.sealing("n_alice").version == 2


def rotated(nodes: Nodes, keys: Keys) -> None:
    keys.sealing("n_alice")
    rotate_namespace(keys, "acme")
    rotate_database(keys, "n_alice", renew=True)


def test_an_old_key_is_retired_once_nothing_needs_it(nodes: Nodes, keys: Keys) -> None:
    rotated(nodes, keys)
    gone, (kept,) = retire_database(keys, "n_alice", unneeded, force=False)
    assert gone == 0
    assert "other nodes may still seal with it; ask again in 61 minutes" in kept.why
    nodes.clock.advance(RETIRE_AFTER_MS / 1000)
    gone, (kept,) = retire_database(keys, "n_alice", lambda v: f"objects of {v}", force=False)
    assert (gone, kept) == (0, (1, "objects of 1"))
    assert retire_database(keys, "n_alice", unneeded, force=False) == (1, ())
    assert keys.opening("n_alice", 1) is None
    assert keys.sealing("n_alice").version == 2
    assert retire_database(keys, "n_alice", unneeded, force=False) == (0, ())


def test_a_key_of_rows_stays_unless_it_is_forced(nodes: Nodes, keys: Keys) -> None:
    keys.fields(ALICE, create=True)
    rotated(nodes, keys)
    assert [one.fields for one in nodes.record("n_alice").keys] == [False, True]
    nodes.clock.advance(RETIRE_AFTER_MS / 1000)
    gone, (kept,) = retire_database(keys, "n_alice", unneeded, force=False)
    assert (gone, kept.version) == (0, 1)
    assert "rows" in kept.why
    assert retire_database(keys, "n_alice", unneeded, force=True) == (1, ())
    assert [version for version, _ in keys.fields(ALICE)] == [2]


def test_a_namespaces_key_is_retired_once_it_wraps_nothing(nodes: Nodes, keys: Keys) -> None:
    rotated(nodes, keys)
    nodes.clock.advance(RETIRE_AFTER_MS / 1000)
    wraps: Callable[[int], int] = {1: 3}.__getitem__
    for force in (False, True):
        gone, (kept,) = retire_namespace(keys, "acme", wraps, force=force)
        assert gone == 0
        assert "wraps keys of 3 databases" in kept.why
    assert retire_namespace(keys, "acme", lambda _: 0, force=False) == (1, ())
    assert nodes().sealing("n_alice").version == 2


def test_a_master_key_is_replaced(nodes: Nodes) -> None:
    old = nodes(OLD)
    sealing = old.sealing("n_alice")
    with pytest.raises(Invalid):
        nodes(NEW)
    both = nodes(NEW, OLD)
    assert both.sealing("n_alice") == sealing
    gone, kept = retire_masters(both)
    assert gone == []
    assert "1 namespaces, for instance 'acme'" in kept[OLD.id]
    rotate_namespace(both, "acme")
    assert retire_masters(both) == ([OLD.id], {})
    new = nodes(NEW)
    assert new.opening("n_alice", 1) == sealing.key
    with pytest.raises(Invalid, match=NEW.id):
        nodes(OLD)
    # A node that went on with the old one makes nothing that only that one opens.
    with pytest.raises(Invalid, match="was retired"):
        old.sealing("n_eve")
    assert load(nodes.store, namespace_key("other"), NamespaceKeys) is None
    found = load(nodes.store, MASTER, MasterKeys)
    assert found is not None
    assert [one.id for one in found.keys] == [NEW.id]


# Destruction


def test_destroyed_keys_are_gone_and_none_is_made_again(nodes: Nodes, keys: Keys) -> None:
    other = nodes()
    keys.sealing("n_alice")
    keys.destroy("n_alice")
    keys.destroy("n_alice")
    record = nodes.record("n_alice")
    assert (record.keys, record.seed) == ((), None)
    assert keys.is_destroyed("n_alice")
    for node in (keys, other):
        with pytest.raises(NotFound, match="its keys are destroyed"):
            node.sealing("n_alice")
        assert node.opening("n_alice", 1) is None
        assert node.fields(ALICE, create=True) == []
        assert node.tokens(ALICE) is None
        with pytest.raises(NotFound):
            node.id_key(ALICE)
    assert not rotate_database(keys, "n_alice", renew=True)
    assert keys.sealing("n_bob").version == 1
    # One that never had any gets none either.
    assert not keys.is_destroyed("n_eve")
    keys.destroy("n_eve")
    with pytest.raises(NotFound):
        keys.sealing("n_eve")
