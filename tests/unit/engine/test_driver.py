"""The protocol on real stores: threads contend, answers get lost, histories stay whole."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp import ltx
from palimp.clock import Clock
from palimp.engine.driver import Outside, _answer, drive
from palimp.engine.protocol import (
    Fenced,
    Keep,
    Lane,
    Piece,
    Wanted,
    add_checkpoint,
    collect,
    condense,
    find_profile,
    fork,
    list_branches,
    locate,
    read_timeline,
    rebase,
    retain,
    ship,
    stop_cleanly,
    take_ownership,
)
from palimp.engine.protocol.records import Manifest, decode, manifest_key
from palimp.engine.protocol.requests import RecordEpoch, Replace, Sleep
from palimp.errors import Conflict, Internal, Invalid, NotFound, Unavailable
from palimp.store import CountingStore, ObjectStore, VolatileStore, open_store
from palimp.store.faulty import Chance, FaultyStore

PAGE = 512
DB = "db_1"
# A store that loses one answer in ten lets some of these through.
TRIES = 20


def uncleansed(_timeline: object, _txid: int) -> None:
    raise AssertionError("nothing is being erased")


class Pages:
    """A tiny database of pages, shipped as real segments."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []
        self.checksums = ltx.PageChecksums(PAGE)

    def piece(self, lane: Lane, txid: int, words: list[bytes]) -> Piece:
        """Append a page a word and return the segment that says so."""
        before = self.checksums.checksum if self.pages else 0
        changed = {}
        for word in words:
            page = word.ljust(PAGE, b".")
            self.pages.append(page)
            self.checksums.resize(len(self.pages))
            self.checksums.write(len(self.pages), page)
            changed[len(self.pages)] = page
        header = ltx.Header(
            page_size=PAGE,
            commit=len(self.pages),
            min_txid=lane.manifest.txid + 1,
            max_txid=txid,
            timestamp_ms=1,
            pre_apply_checksum=before,
        )
        data = ltx.encode(header, sorted(changed.items()), self.checksums.checksum)
        digest = hashlib.sha256(data).hexdigest()
        checksum = f"{self.checksums.checksum:016x}"
        return Piece(txid, len(changed), len(self.pages), checksum, digest, data, txid * 1_000)

    def snapshot(self, txid: int) -> Piece:
        """Return the whole database as one segment."""
        parts: list[bytes] = []
        ltx.encode_snapshot(
            self.pages,
            parts.append,
            page_size=PAGE,
            commit=len(self.pages),
            max_txid=txid,
            timestamp_ms=1,
        )
        data = b"".join(parts)
        digest = hashlib.sha256(data).hexdigest()
        checksum = f"{self.checksums.checksum:016x}"
        return Piece(txid, len(self.pages), len(self.pages), checksum, digest, data, txid * 1_000)


@pytest.fixture(params=["volatile", "directory", "faulty"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "directory":
        made: ObjectStore = open_store(f"file://{tmp_path}/objects")
    elif request.param == "faulty":
        chance = Chance(random.Random(7), errors=0.05, lost=0.05, late=0.02, seconds_max=0.01)
        made = FaultyStore(VolatileStore(weak_versions=True), chance, Clock())
    else:
        made = VolatileStore(weak_versions=True)
    yield made
    made.close()


def outside(store: ObjectStore) -> Outside:
    return Outside(store, Clock(), lambda _: None)


def manifest(store: ObjectStore, branch: str = "main") -> Manifest:
    while True:
        try:
            found = store.get(manifest_key(DB, branch))
        except Unavailable:
            continue
        assert found is not None
        return decode(found.data, Manifest, branch)


def test_epochs_are_recorded_before_they_are_taken(store: ObjectStore) -> None:
    recorded: list[RecordEpoch] = []

    def record(request: RecordEpoch) -> None:
        seen = None
        while True:
            try:
                seen = store.get(manifest_key(DB, "main"))
            except Unavailable:
                continue
            break
        held = decode(seen.data, Manifest, "main").epoch if seen else 0
        assert held < request.epoch
        recorded.append(request)

    out = Outside(store, Clock(), record)
    first = drive(take_ownership(DB, "main", "a"), out)
    second = drive(take_ownership(DB, "main", "b"), out)
    assert second.lane.manifest.epoch > first.lane.manifest.epoch
    owner = manifest(store).owner
    assert owner is not None
    assert (owner.node, owner.nonce) == ("b", recorded[-1].nonce)


def test_a_fenced_owner_cannot_link_anything(store: ObjectStore) -> None:
    out = outside(store)
    old = drive(take_ownership(DB, "main", "a"), out).lane
    pages = Pages()
    drive(ship(old, pages.piece(old, 1, [b"one"])), out)
    taken = drive(take_ownership(DB, "main", "b"), out)
    with pytest.raises(Fenced) as caught:
        drive(ship(old, pages.piece(old, 2, [b"two"])), out)
    assert caught.value.manifest.owner is not None
    assert caught.value.manifest.owner.node == "b"
    assert manifest(store).txid == 1
    assert taken.first_txid > old.manifest.limit - 1


def image_at(store: ObjectStore, txid: int) -> bytes:
    """Return the database as of a boundary, made of what the store holds."""
    timeline = drive(read_timeline(DB, "main"), outside(store))
    parts = [store_bytes(store, ref.key) for ref in timeline.path(txid)]
    assert [ltx.verify(part).header.max_txid for part in parts][-1] == txid
    image = bytearray()
    for part in parts:
        ltx.apply(part, image)
    return bytes(image)


def test_what_is_joined_thinned_and_collected_reads_as_before(store: ObjectStore) -> None:
    out = outside(store)
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    pages = Pages()
    images = {}
    for txid in range(1, 13):
        drive(ship(lane, pages.piece(lane, txid, [b"page %d" % txid])), out)
        images[txid] = b"".join(pages.pages)
        if txid == 6:
            drive(add_checkpoint(lane, "half", 6), out)
    for _ in range(TRIES):
        # Where a segment cannot be read, nothing is changed; the next pass tries again.
        drive(condense(lane, 2), out)
    assert [(ref.min, ref.max) for ref in lane.manifest.chain()] == [
        (1, 1), (2, 10), (11, 11), (12, 12),
    ]  # fmt: skip
    drive(rebase(lane, pages.snapshot(12)), out)
    assert [(ref.min, ref.max) for ref in lane.manifest.chain()] == [(1, 12)]
    assert {txid: image_at(store, txid) for txid in images} == images

    for _ in range(TRIES):
        drive(retain(lane, Keep(fine_ms=0, snapshots_ms=0), 10**9), out)
    left = drive(read_timeline(DB, "main"), out)
    assert left.boundaries() == (1, 6, 12)
    assert [(ref.min, ref.max) for ref in left.path(6)] == [(1, 1), (2, 6)]
    assert drive(retain(lane, Keep(fine_ms=0, snapshots_ms=0), 10**9), out) == 0
    freed = [drive(collect(lane), out) for _ in range(5)]
    assert freed[-1] == 0
    left = drive(read_timeline(DB, "main"), out)
    assert objects(store) == left.keys()
    assert {txid: image_at(store, txid) for txid in (1, 6, 12)} == {
        txid: images[txid] for txid in (1, 6, 12)
    }


def objects(store: ObjectStore) -> set[str]:
    while True:
        try:
            found = {entry.key for entry in store.list(f"v1/db/{DB}/main/").entries}
        except Unavailable:
            continue
        return found - {manifest_key(DB, "main")}


def store_bytes(store: ObjectStore, key: str) -> bytes:
    while True:
        try:
            found = store.get(key)
        except Unavailable:
            continue
        assert found is not None
        return found.data


def test_a_damaged_segment_is_named_and_nothing_is_joined(tmp_path: Path) -> None:
    store = VolatileStore()
    out = outside(store)
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    pages = Pages()
    for txid in (1, 2, 3):
        drive(ship(lane, pages.piece(lane, txid, [b"page"])), out)
    key = lane.manifest.segments[0].key
    found = store.get(key)
    assert found is not None
    store.replace(key, found.data[:-1] + b"?", found.version)
    with pytest.raises(Internal, match="is damaged") as caught:
        drive(condense(lane, 0), out)
    assert caught.value.details["key"] == key
    assert len(manifest(store).chain()) == 3


def test_forks_by_name_and_point(store: ObjectStore) -> None:
    out = outside(store)
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    pages = Pages()
    drive(ship(lane, pages.piece(lane, 3, [b"a", b"b"])), out)
    drive(ship(lane, pages.piece(lane, 5, [b"c"])), out)
    early = drive(fork(DB, Wanted("main", "early", 3), uncleansed), out)
    late = drive(fork(DB, Wanted("main", "late"), uncleansed), out)
    assert (early.txid, late.txid) == (3, 5)
    assert [found[:2] for found in drive(list_branches(DB), out)] == [
        ("main", "main"),
        ("early", early.branch_id),
        ("late", late.branch_id),
    ]
    held = lane.manifest.chain()[0]
    made = manifest(store, early.branch_id)
    assert (made.commit_pages, made.checksum) == (held.commit, held.checksum)
    with pytest.raises(Conflict, match="'late' exists"):
        drive(fork(DB, Wanted("main", "late"), uncleansed), out)
    with pytest.raises(Invalid, match="txid 4 is no boundary; the nearest are 3 and 5"):
        drive(fork(DB, Wanted("main", "between", 4), uncleansed), out)
    with pytest.raises(NotFound, match="never written"):
        drive(fork(DB, Wanted("nobody", "x"), uncleansed), out)
    child = drive(take_ownership(DB, early.branch_id, "b"), out)
    assert child.first_txid == 4
    assert "between" not in [name for name, *_ in drive(list_branches(DB), out)]


def test_a_clean_stop_skips_no_numbers(store: ObjectStore) -> None:
    out = outside(store)
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    drive(ship(lane, Pages().piece(lane, 4, [b"x"])), out)
    drive(stop_cleanly(lane), out)
    assert drive(take_ownership(DB, "main", "b"), out).first_txid == 5


def test_threads_that_contend_lose_nothing_they_were_told_is_durable(store: ObjectStore) -> None:
    durable: list[tuple[int, str]] = []
    problems: list[BaseException] = []

    def work(name: str) -> None:
        out = outside(store)
        chooser = random.Random(name)
        try:
            for turn in range(4):
                taken = drive(take_ownership(DB, "main", name), out)
                txid = taken.first_txid
                for step in range(chooser.randrange(1, 6)):
                    word = f"{name} {turn} {step}"
                    data = word.encode()
                    digest = hashlib.sha256(data).hexdigest()
                    try:
                        drive(ship(taken.lane, Piece(txid, 1, 1, "", digest, data, txid)), out)
                    except Fenced as fenced:
                        if digest in {ref.sha256 for ref in fenced.manifest.chain()}:
                            durable.append((txid, digest))
                        break
                    durable.append((txid, digest))
                    txid += 1
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    chain = {(ref.max, ref.sha256) for ref in manifest(store).chain()}
    assert set(durable) <= chain
    assert len({txid for txid, _ in chain}) == len(chain)


def test_stopping_ends_a_wait_for_a_store_that_is_away() -> None:
    class Away(VolatileStore):
        def get(self, key: str) -> Any:
            raise Unavailable("the store is away", in_doubt=False)

    out = outside(Away())
    threading.Timer(0.2, out.stopping.set).start()
    with pytest.raises(Unavailable, match="did not answer before") as caught:
        drive(take_ownership(DB, "main", "a"), out)
    assert caught.value.details == {"reason": "stopping", "in_doubt": True}


def test_a_lane_whose_change_was_abandoned_is_of_no_more_use() -> None:
    store = VolatileStore()
    out = outside(store)
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    steps = ship(lane, Pages().piece(lane, 1, [b"x"]))
    request = next(steps)
    while not lane.unsettled:
        request = steps.send(_answer(request, out))
    assert isinstance(request, Replace)
    steps.close()
    for late in (ship(lane, Pages().piece(lane, 1, [b"y"])), collect(lane), stop_cleanly(lane)):
        with pytest.raises(Unavailable, match="own the branch again"):
            drive(late, out)
    # The abandoned change lands; whoever owns the branch next builds on it.
    store.replace(request.key, request.data, request.version)
    assert drive(take_ownership(DB, "main", "a"), out).lane.manifest.txid == 1


class Ticking(Clock):
    """A clock that every look moves on, so that no test has to wait."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 0.4
        return self.seconds


def test_patience_ends_a_wait_and_the_lane_is_of_no_more_use() -> None:
    store = VolatileStore()
    lane = drive(take_ownership(DB, "main", "a"), outside(store)).lane

    def away(key: str, data: bytes, version: Any) -> Any:
        raise Unavailable("the store is away", in_doubt=True)

    store.replace = away  # type: ignore[method-assign]
    patient = Outside(store, Ticking(), lambda _: None)
    with pytest.raises(Unavailable, match=r"did not answer for 1\.5 s") as caught:
        drive(ship(lane, Pages().piece(lane, 1, [b"x"])), patient, seconds=1.5)
    assert caught.value.details == {"reason": "store", "in_doubt": True}
    assert caught.value.retry_after == 1.0
    assert lane.unsettled


def test_a_store_that_answers_is_not_hurried() -> None:
    patient = Outside(VolatileStore(), Ticking(), lambda _: None)
    assert drive(take_ownership(DB, "main", "a"), patient, seconds=0).first_txid == 1


def test_sleep_waits_and_goes_on() -> None:
    def steps() -> Any:
        yield Sleep(0.01)
        return "woken"

    assert drive(steps(), outside(VolatileStore())) == "woken"


def test_requests_an_operation_costs() -> None:
    """A durable write is one segment and one manifest; a fork is a name, a child, and two looks."""
    store = CountingStore(VolatileStore(), Clock())
    out = outside(store)

    def cost(steps: Any) -> int:
        before = store.requests
        drive(steps, out)
        return store.requests - before

    assert cost(find_profile("ns", "p", create=True)) == 1
    assert cost(locate("ns", "p", "main")) == 2
    lane = drive(take_ownership(DB, "main", "a"), out).lane
    pages = Pages()
    assert cost(ship(lane, pages.piece(lane, 1, [b"x"]))) == 2
    assert cost(fork(DB, Wanted("main", "f"), uncleansed)) == 5
    for txid in (2, 3):
        assert cost(ship(lane, pages.piece(lane, txid, [b"y"]))) == 2
    # The snapshot, the history object, the manifest.
    assert cost(rebase(lane, pages.snapshot(3))) == 3
    assert cost(fork(DB, Wanted("main", "g"), uncleansed)) == 5
    # An old point: the history is read once, because it does not change meanwhile.
    assert cost(fork(DB, Wanted("main", "h", 2), uncleansed)) == 6
