"""What is there after a stop, in order or not, and without the folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock, ManualClock
from palimp.engine import Address
from palimp.engine.protocol.own import LIMIT_STEP
from palimp.engine.protocol.records import manifest_key
from palimp.errors import Internal, Unavailable
from palimp.node import Node, load_settings
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore
from palimp.store.directory import DirectoryStore
from palimp.store.faulty import FaultyStore

from .engines import (
    Engines,
    P,
    Switch,
    fill,
    key_of,
    put,
    recovered,
    stored,
    words,
    words_at,
)


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


def rewrite(store: ObjectStore, key: tuple[str, str], **changes: object) -> None:
    """Change fields of a manifest as another release might have written them."""
    place = manifest_key(*key)
    found = store.get(place)
    assert found is not None
    raw = {**msgspec.json.decode(found.data), **changes}
    store.replace(place, msgspec.json.encode(raw), found.version)


# A process that ends


def test_after_a_clean_stop_txids_go_on_without_a_gap(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    assert [put(a, "one", durable=True), put(a, "two")] == [1, 2]
    engines.close(a)
    manifest = stored(store, _only_key(store))
    assert (manifest.txid, manifest.limit, manifest.epoch) == (2, 2, 1)
    again = engines(store)
    assert words(again) == ["one", "two"]
    assert put(again, "three", durable=True) == 3
    # The page checksums were kept, so the first shipment is a segment.
    assert [ref.min for ref in stored(store, key_of(again)).chain()] == [1, 2, 3]


def test_after_a_kill_nothing_is_lost_and_no_number_comes_twice(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "one", durable=True)
    put(a, "two")
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a")
    assert words(again) == ["one", "two"]
    txid = put(again, "three")
    assert txid == 1 + LIMIT_STEP + 1
    again.sync(P)
    manifest = stored(store, key_of(again))
    assert (manifest.epoch, manifest.txid) == (2, txid)
    assert manifest.snapshot is not None
    assert (manifest.snapshot.min, manifest.snapshot.max, manifest.segments) == (1, txid, ())
    assert words_at(again, 1) == ["one"]
    assert recovered(again) == {}
    assert again.verify(P).findings == ()


def test_what_a_killed_process_left_is_shipped_without_another_write(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "one", durable=True)
    lost = put(a, "two")
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a")
    assert words(again) == ["one", "two"]
    assert again.sync(P).txid == lost
    assert stored(store, key_of(again)).txid == lost


def test_closing_ships_what_a_killed_process_left(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    put(a, "one", durable=True)
    put(a, "two")
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a")
    assert words(again) == ["one", "two"]
    key = key_of(again)
    engines.close(again)
    assert stored(store, key).txid == 2
    assert words(engines(store, "elsewhere")) == ["one", "two"]


def test_a_first_write_that_was_never_shipped_survives_a_kill(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "one")
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a")
    assert words(again) == ["one"]
    again.sync(P)
    assert words(engines(store, "elsewhere")) == ["one"]


def test_killed_twice_before_anything_was_shipped(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    txids = [put(a, "one")]
    engines.copy("a", "b")
    b = engines(store, "b", node="a")
    txids.append(put(b, "two"))
    engines.copy("b", "c")
    c = engines(store, "c", node="a")
    txids.append(put(c, "three", durable=True))
    assert words(c) == ["one", "two", "three"]
    assert txids == sorted(set(txids))
    assert recovered(c) == {}


def test_a_crash_between_the_manifest_and_the_local_file_of_a_rewind(
    engines: Engines, store: VolatileStore
) -> None:
    """The store has the rewind, the file does not: it is behind, and catches up."""
    a = engines(store)
    fill(a, 3)
    engines.copy("a", "killed")
    done = a.rewind(P, Point.txid(1))
    again = engines(store, "killed", node="a")
    assert words(again) == ["w0"]
    assert put(again, "more", durable=True) > done.txid
    assert words(again) == ["w0", "more"]
    assert recovered(again) == {}
    assert again.verify(P).findings == ()


def test_a_stray_that_could_not_be_recovered_is_recovered_later(
    engines: Engines, store: VolatileStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    put(a, "one", durable=True)
    put(a, "lost")
    put(b, "two", durable=True)
    engines.copy("a", "killed")
    switch = Switch()
    switch.operations, switch.down = ("create",), True
    broken = FaultyStore(store, switch, Clock())
    again = engines(broken, "killed", node="a", clock=Clock(), patience=0.5, staleness=0.0)
    # The file waits beside the restored one; reads go on.
    assert words(again) == ["one", "two"]
    assert len(list((engines.root / "killed").rglob("stray-1-*"))) == 1
    switch.down = False
    assert words(again) == ["one", "two"]
    assert recovered(again) == {"recovered-a-1": ["one", "lost"]}
    assert list((engines.root / "killed").rglob("stray-*")) == []


# Without the folder


def test_the_store_alone_gives_everything_again(engines: Engines, tmp_path: Path) -> None:
    a = engines(DirectoryStore(tmp_path / "objects"))
    fill(a, 3)
    a.checkpoint(P, "here")
    a.fork(P, "other")
    put(a, "there", P._replace(branch="other"))
    put(a, "w3")
    engines.close(a)
    engines.wipe("a")
    again = engines(DirectoryStore(tmp_path / "objects"))
    assert words(again) == ["w0", "w1", "w2", "w3"]
    assert words(again, P._replace(branch="other")) == ["w0", "w1", "w2", "there"]
    assert words_at(again, "here") == ["w0", "w1", "w2"]
    assert put(again, "w4", durable=True) == 5


def test_local_files_that_were_changed_by_somebody_are_not_continued(
    engines: Engines, store: VolatileStore
) -> None:
    """Ours by its epoch, and yet not what was shipped: that file is set aside."""
    a = engines(store)
    fill(a, 2)
    key = key_of(a)
    engines.close(a)
    (file,) = (engines.root / "a" / "hot").rglob("main.db")
    other = apsw.Connection(str(file))
    other.execute("INSERT INTO words (word) VALUES ('smuggled')")
    other.close()
    again = engines(store)
    put(again, "mine", durable=True)
    assert words(again) == ["w0", "w1", "mine"]
    assert again.verify(P).findings == ()
    (found,) = recovered(again).values()
    assert found == ["w0", "w1", "smuggled"]
    assert stored(store, key).txid == put(again, "more", durable=True) - 1


# What is in the store is not what it should be


def test_a_missing_segment_is_named_at_wake(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    fill(a, 3)
    ref = stored(store, key_of(a)).segments[0]
    engines.close(a)
    engines.wipe("a")
    store.delete(ref.key)
    again = engines(store)
    with pytest.raises(Internal) as caught:
        words(again)
    assert ref.key in caught.value.message
    assert "txids 2 to 2" in caught.value.message
    assert caught.value.details["min_txid"] == caught.value.details["max_txid"] == 2
    # Trying again leaves nothing behind on the disk.
    with pytest.raises(Internal):
        words(again)
    assert list((engines.root / "a" / "hot").rglob("main.db")) == []
    # What is damaged can still be looked at.
    (finding,) = again.verify(P).findings
    assert finding.key == ref.key


def test_a_damaged_segment_is_named_at_wake(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    fill(a, 3)
    ref = stored(store, key_of(a)).segments[1]
    engines.close(a)
    engines.wipe("a")
    found = store.get(ref.key)
    assert found is not None
    store.replace(ref.key, found.data[:-1] + b"!", found.version)
    again = engines(store)
    with pytest.raises(Internal) as caught:
        words(again)
    assert ref.key in caught.value.message
    assert "txids 3 to 3" in caught.value.message


def test_a_manifest_that_is_not_json_is_named(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    fill(a, 1)
    key = key_of(a)
    engines.close(a)
    found = store.get(manifest_key(*key))
    assert found is not None
    store.replace(manifest_key(*key), b"{", found.version)
    again = engines(store)
    with pytest.raises(Internal, match="is damaged") as caught:
        words(again)
    assert manifest_key(*key) in caught.value.message


def test_a_manifest_only_newer_releases_may_write_can_be_read(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    fill(a, 1)
    key = key_of(a)
    engines.close(a)
    rewrite(store, key, writer=7, news={"of": "then"})
    again = engines(store)
    assert words(again) == ["w0"]
    with pytest.raises(Unavailable) as caught:
        put(again, "no")
    assert caught.value.details["reason"] == "format"
    assert "releases from 7 on" in caught.value.message
    assert words(again) == ["w0"]
    assert stored(store, key).epoch == 1
    engines.wipe("a")
    assert words(engines(store, "elsewhere")) == ["w0"]


def test_a_manifest_of_a_newer_format_is_refused(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    fill(a, 1)
    key = key_of(a)
    engines.close(a)
    rewrite(store, key, format=9)
    again = engines(store)
    for action in (lambda: words(again), lambda: put(again, "no")):
        with pytest.raises(Unavailable) as caught:
            action()
        assert caught.value.details["reason"] == "format"
        assert "format 9, this release reads up to 1" in caught.value.message


def test_fields_of_a_newer_release_stay(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    fill(a, 1)
    key = key_of(a)
    engines.close(a)
    rewrite(store, key, news={"of": "then"})
    again = engines(store)
    put(again, "more", durable=True)
    assert stored(store, key).extra == {"news": {"of": "then"}}


def test_a_folder_is_of_one_store(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"})
    first, second = VolatileStore(), VolatileStore()
    node = Node(settings, store=first)
    with node.context.engine.use(Address("ns", "p"), create=True) as branch:
        assert branch is not None
        branch.write(lambda connection: connection.execute("CREATE TABLE extra (a)"))
    node.close()
    with pytest.raises(Exception, match="holds local files of another object store") as caught:
        Node(settings, store=second)
    assert "PALIMP_OBJECT_STORE" in str(caught.value)
    Node(settings, store=first).close()
    shutil.rmtree(tmp_path / "m" / "hot")
    (tmp_path / "m" / "hot").mkdir()
    Node(settings, store=second).close()


def test_a_node_whose_disk_is_lost_begins_again_with_what_it_shipped(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"})
    store, clock = VolatileStore(), ManualClock()
    with palimp.Client(Embedded(Node(settings, clock=clock, store=store))) as client:
        client.profile("alice").remember("prefers an aisle seat")
        client.profile("alice").checkpoint("before")
        client.profile("alice").remember("lives in Lisbon")
        client.profile("alice").fork("trip").remember("window, this once")
    shutil.rmtree(tmp_path / "m")
    with palimp.Client(Embedded(Node(settings, clock=clock, store=store))) as client:
        alice = client.profile("alice")

        def texts(profile: Any) -> list[str]:
            return sorted(memory.text for memory in profile.list())

        assert texts(alice) == ["lives in Lisbon", "prefers an aisle seat"]
        assert texts(alice.at("before")) == ["prefers an aisle seat"]
        assert texts(client.profile("alice@trip")) == [*texts(alice), "window, this once"]


def _only_key(store: ObjectStore) -> tuple[str, str]:
    (entry,) = (
        entry for entry in store.list("v1/db/").entries if entry.key.endswith("manifest.json")
    )
    _, _, db_id, branch_id, _ = entry.key.split("/")
    return db_id, branch_id


def test_what_a_killed_process_left_is_shipped_by_a_start_that_does_not_use_it(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, ship_interval=3600)
    put(a, "only here")
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a", clock=Clock())
    engines.close(again)
    assert words(engines(store, "elsewhere")) == ["only here"]
    assert not list((engines.root / "killed" / "hot").glob(".open-*"))


def test_a_branch_that_was_left_open_and_deleted_elsewhere_is_no_obstacle(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "root", durable=True)
    a.fork(P, "trial")
    trial = P._replace(branch="trial")
    put(a, "on it", trial, durable=True)
    engines.copy("a", "killed")
    a.delete_branch(trial)
    again = engines(store, "killed", node="a", clock=Clock())
    engines.close(again)
    assert words(engines(store, "killed", node="a")) == ["root"]


def test_many_branches_that_were_left_open_are_all_shipped(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, ship_interval=3600, hot_cap=1_000)
    names = [f"p{number}" for number in range(40)]
    for name in names:
        put(a, f"of {name}", P._replace(profile=name))
    engines.copy("a", "killed")
    again = engines(store, "killed", node="a", clock=Clock())
    engines.close(again)
    elsewhere = engines(store, "elsewhere")
    for name in names:
        assert words(elsewhere, P._replace(profile=name)) == [f"of {name}"]
