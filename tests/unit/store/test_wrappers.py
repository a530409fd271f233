"""The wrappers, the self-test against stores that lie, and URLs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from palimp.clock import ManualClock
from palimp.errors import Invalid, Unavailable, Unconfigured
from palimp.store import (
    AlreadyThere,
    CountingStore,
    Page,
    Stored,
    Version,
    VersionMismatch,
    VolatileStore,
    open_store,
    self_test,
)
from palimp.store.faulty import Chance, Fault, FaultyStore, Kind, Script


@pytest.fixture
def inner() -> VolatileStore:
    return VolatileStore()


def scripted(
    inner: VolatileStore, clock: ManualClock, *faults: Fault, operation: str = ""
) -> FaultyStore:
    return FaultyStore(inner, Script(faults, operation), clock)


# Faults


def test_an_error_did_not_happen(inner: VolatileStore, clock: ManualClock) -> None:
    store = scripted(inner, clock, Fault(Kind.ERROR))
    with pytest.raises(Unavailable) as caught:
        store.create("k", b"1")
    assert caught.value.details["in_doubt"] is False
    assert inner.get("k") is None
    store.create("k", b"1")


def test_a_lost_answer_did_happen(inner: VolatileStore, clock: ManualClock) -> None:
    store = scripted(inner, clock, Fault(Kind.LOST), operation="replace")
    version = store.create("k", b"1")
    with pytest.raises(Unavailable) as caught:
        store.replace("k", b"2", version)
    assert caught.value.details["in_doubt"] is True
    with pytest.raises(VersionMismatch):
        store.replace("k", b"2", version)
    assert inner.get("k").data == b"2"  # type: ignore[union-attr]


def test_a_late_write_lands_after_its_time_out(inner: VolatileStore, clock: ManualClock) -> None:
    store = scripted(inner, clock, Fault(Kind.LATE, 10), operation="replace")
    version = store.create("k", b"1")
    with pytest.raises(Unavailable):
        store.replace("k", b"late", version)
    assert store.pending == 1
    assert store.get("k").data == b"1"  # type: ignore[union-attr]
    clock.advance(11)
    assert store.get("k").data == b"late"  # type: ignore[union-attr]
    assert store.pending == 0


def test_a_late_write_that_is_overtaken_does_nothing(
    inner: VolatileStore, clock: ManualClock
) -> None:
    store = scripted(inner, clock, Fault(Kind.LATE, 10), operation="replace")
    version = store.create("k", b"1")
    with pytest.raises(Unavailable):
        store.replace("k", b"late", version)
    store.replace("k", b"in time", version)
    assert store.land(everything=True) == 1
    assert store.get("k").data == b"in time"  # type: ignore[union-attr]


def test_late_writes_land_in_their_order_and_at_close(
    inner: VolatileStore, clock: ManualClock
) -> None:
    faults = [Fault(Kind.LATE, 20), Fault(Kind.LATE, 10), Fault(Kind.LATE, 30)]
    store = scripted(inner, clock, *faults, operation="create")
    for data in (b"second", b"first"):
        with pytest.raises(Unavailable):
            store.create("k", data)
    with pytest.raises(Unavailable):
        store.create("other", b"at close")
    clock.advance(25)
    assert store.land() == 2
    assert inner.get("k").data == b"first"  # type: ignore[union-attr]
    store.close()
    assert inner.get("other") is not None


def test_a_delay_passes_on_the_injected_clock(inner: VolatileStore, clock: ManualClock) -> None:
    store = scripted(inner, clock, Fault(Kind.DELAY, 7))
    store.create("k", b"1")
    assert clock.monotonic() == 7
    assert inner.get("k") is not None


def test_a_seed_gives_the_same_faults_again(clock: ManualClock) -> None:
    def run() -> list[str]:
        rates = {"errors": 0.2, "delays": 0.1, "lost": 0.2, "late": 0.2}
        store = FaultyStore(VolatileStore(), Chance(Random(7), **rates), ManualClock())
        outcomes = []
        for number in range(200):
            try:
                store.create(f"k/{number % 50}", b"%d" % number)
                outcomes.append("done")
            except AlreadyThere:
                outcomes.append("there")
            except Unavailable as error:
                outcomes.append(str(error.details["in_doubt"]))
        return [*outcomes, str(store.pending)]

    assert run() == run()
    assert set(run()) >= {"done", "there", "True", "False"}


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.LOST, Kind.LATE])
def test_a_read_that_fails_is_never_in_doubt(
    inner: VolatileStore, clock: ManualClock, kind: Kind
) -> None:
    store = scripted(inner, clock, *[Fault(kind)] * 3)
    for call in (lambda: store.get("k"), lambda: store.get_range("k", 0, 1), store.list):
        with pytest.raises(Unavailable) as caught:
            call()
        assert caught.value.details["in_doubt"] is False


# Counting


def test_requests_are_counted(inner: VolatileStore, clock: ManualClock) -> None:
    faulty = scripted(inner, clock, Fault(Kind.DELAY, 2), Fault(Kind.ERROR))
    store = CountingStore(faulty, clock)
    version = store.create("k", b"123")
    with pytest.raises(Unavailable):
        store.get("k")
    store.get("k")
    store.get_range("k", 0, 2)
    with pytest.raises(AlreadyThere):
        store.create("k", b"4567")
    store.replace("k", b"5", version)
    store.list()
    store.delete("k")
    tallies = store.tallies()
    create = tallies["create"]
    assert (create.requests, create.lost_races, create.bytes_sent) == (2, 1, 7)
    assert create.seconds == 2
    assert (tallies["get"].requests, tallies["get"].errors, tallies["get"].bytes_received) == (
        2,
        1,
        3,
    )
    assert tallies["get_range"].bytes_received == 2
    assert store.requests == 8
    store.reset()
    assert store.requests == 0


# Stores that must be refused


class Lying(VolatileStore):
    """A store whose `lie` is not kept."""

    def __init__(self, lie: str) -> None:
        super().__init__()
        self.lie = lie

    def create(self, key: str, data: bytes) -> Version:
        if self.lie == "create" and (stored := self.get(key)):
            return super().replace(key, data, stored.version)
        return super().create(key, data)

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        stored = super().get(key)
        if self.lie == "stale" and stored:
            return super().replace(key, data, stored.version)
        if self.lie == "nothing" and not stored:
            return super().create(key, data)
        return super().replace(key, data, version)

    def get(self, key: str) -> Stored | None:
        stored = super().get(key)
        if stored and self.lie == "version":
            return Stored(stored.data, Version("other"))
        if stored and self.lie == "data":
            return Stored(b"other", stored.version)
        return stored

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        return super().get_range(key, 0 if self.lie == "range" else offset, length)

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        return Page([], None) if self.lie == "list" else super().list(prefix, after, limit)

    def delete(self, key: str) -> None:
        if self.lie != "delete":
            super().delete(key)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("create", "second create of one key succeeded"),
        ("stale", "replace with a stale version succeeded"),
        ("nothing", "replace of a missing object succeeded"),
        ("version", "a read gives version"),
        ("data", "did not see it"),
        ("range", "range read returned other bytes"),
        ("list", "did not show it"),
        ("delete", "still there after it was deleted"),
    ],
)
def test_a_store_that_lies_is_refused(lie: str, said: str) -> None:
    store = Lying(lie)
    with pytest.raises(Unconfigured, match=said) as caught:
        self_test(store)
    assert "mem://" in str(caught.value)
    if lie != "delete":
        assert VolatileStore.list(store).entries == []


def test_the_self_test_passes_on_what_the_store_says(
    inner: VolatileStore, clock: ManualClock
) -> None:
    store = scripted(inner, clock, *[Fault(Kind.ERROR)] * 3, operation="replace")
    with pytest.raises(Unavailable):
        self_test(store, clock)
    assert inner.list().entries == []


@pytest.mark.parametrize("operation", ["create", "replace", "get", "list", "delete"])
def test_one_answer_that_is_lost_does_not_fail_the_self_test(
    inner: VolatileStore, clock: ManualClock, operation: str
) -> None:
    faults = [Fault(Kind.LOST), Fault(Kind.LOST)]
    self_test(scripted(inner, clock, *faults, operation=operation), clock)


def test_weak_versions_of_equal_bytes_are_equal() -> None:
    weak, strong = VolatileStore(weak_versions=True), VolatileStore()
    for store, equal in ((weak, True), (strong, False)):
        first = store.create("k", b"same")
        store.replace("k", b"same", first)
        assert (store.get("k").version == first) is equal  # type: ignore[union-attr]


# URLs


def test_urls_open_their_stores(tmp_path: Path) -> None:
    assert open_store("mem://").name == "mem://"
    (tmp_path / "a b").mkdir()
    store = open_store(f"file://{tmp_path}/a%20b/objects")
    self_test(store)
    assert (tmp_path / "a b" / "objects").is_dir()
    assert store.name == f"file://{tmp_path}/a b/objects"


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "", "memory", "/a/path", "s3://", "gs:///", "mem://x", "http://h", "S3://b",
     "s3://bucket?x=1", "s3://bucket#x"],
)  # fmt: skip
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_store(url)
    assert str(caught.value) == (
        f"unsupported PALIMP_OBJECT_STORE: {url!r}; give file://, s3://, gs://, az:// or mem://"
    )


def test_a_refused_url_shows_no_password() -> None:
    with pytest.raises(Invalid) as caught:
        open_store("ftp://user:secret@host/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["file://relative", "file://", "file://host/path", "file:///a%00b"])
def test_a_file_url_needs_an_absolute_path(url: str) -> None:
    with pytest.raises(Invalid, match="file:///path"):
        open_store(url)
