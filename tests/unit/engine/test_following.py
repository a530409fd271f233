"""A branch that is read here and written elsewhere: always a state of its owner's, never an older one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from palimp import ltx
from palimp.clock import ManualClock
from palimp.engine.following import apply_pushed
from palimp.engine.protocol import Manifest
from palimp.engine.protocol.records import encode, manifest_key
from palimp.engine.pushed import Pushed
from palimp.engine.restore import Held, advance, continuation
from palimp.errors import Internal, Invalid, NotFound, Unavailable
from palimp.points import Point
from palimp.store import ObjectStore, VolatileStore
from palimp.store.directory import DirectoryStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore, Kind

from .engines import Engines, P, fill, key_of, put, select, stored, until, using, words
from .followers import followed, listen, take


@pytest.fixture
def store() -> ObjectStore:
    return VolatileStore(weak_versions=True)


# -- by looking ---------------------------------------------------------------------------------------


def test_a_reader_follows_by_the_segments_it_lacks(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    assert words(b) == ["w0", "w1", "w2"]
    with using(b) as branch:
        before = branch.copy._provisional
    for word in ("x", "y"):
        put(a, word, durable=True)
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x", "y"]
    assert (followed(b, "segments"), followed(b, "whole")) == (1, 0)
    assert b._parts.metrics.count("branches_restored") == 1
    with using(b) as branch:
        assert branch.copy._provisional != before
        assert before is not None
        assert not before.exists()


def test_only_what_is_lacked_is_read_from_the_store(engines: Engines, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    put(a, "x", durable=True)
    manifest = stored(store, key_of(a))
    for ref in manifest.chain()[:-1]:
        store.delete(ref.key)
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x"]


def test_a_read_that_runs_keeps_its_file(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    with using(b) as branch:
        path = branch.copy._provisional
        assert path is not None
        reader = apsw.Connection(
            f"{path.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
    rows = reader.execute("SELECT word FROM words ORDER BY id")
    assert next(rows) == ("w0",)
    put(a, "x", durable=True)
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x"]
    assert list(rows) == [("w1",), ("w2",)]
    reader.close()


def test_what_was_folded_meanwhile_is_restored(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    put(a, "x", durable=True)
    with using(a) as branch:
        branch.in_lane(branch.fold, "folding")
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x"]
    assert (followed(b, "segments"), followed(b, "whole")) == (0, 1)


def test_a_fold_of_what_is_here_changes_nothing(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    with using(b) as branch:
        before = branch.copy._provisional, branch.local.lineage
    with using(a) as branch:
        branch.in_lane(branch.fold, "folding")
    clock.advance(6)
    words(b)
    with using(b) as branch:
        assert (branch.copy._provisional, branch.local.lineage) == before
    put(a, "x", durable=True)
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x"]
    assert followed(b, "segments") == 1


def test_a_rewind_is_followed_as_any_commit(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    txids = fill(a, 4)
    words(b)
    a.rewind(P, Point("txid", txids[1]))
    clock.advance(6)
    assert words(b) == ["w0", "w1"]
    assert followed(b, "segments") == 1


def test_the_own_file_of_an_owner_before_is_what_it_follows_from(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    fill(a, 3)
    engines.close(a)
    # Before there was a change of owner it was closed in order, so its file is known.
    put(b, "x", durable=True)
    again = engines(store, "a")
    with using(again) as branch:
        assert branch.read(select).value == ["w0", "w1", "w2", "x"]
        assert branch.files.current() is None
    assert followed(again, "segments") == 1
    assert again._parts.metrics.count("branches_restored") == 0
    assert put(again, "y", durable=True) > 0
    assert words(again) == ["w0", "w1", "w2", "x", "y"]
    assert again.verify(P).findings == ()


def test_a_file_that_follows_becomes_the_owners(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    put(a, "x", durable=True)
    clock.advance(6)
    words(b)
    put(b, "y", durable=True)
    assert b._parts.metrics.count("branches_restored") == 1
    c = engines(store, "c")
    assert words(c) == ["w0", "w1", "w2", "x", "y"]
    assert c.verify(P).findings == ()


def test_a_damaged_file_is_not_followed_from(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    with using(b) as branch:
        path = branch.copy._provisional
        assert path is not None
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    put(a, "x", durable=True)
    clock.advance(6)
    assert words(b) == ["w0", "w1", "w2", "x"]
    assert (followed(b, "segments"), followed(b, "whole")) == (0, 1)


def test_a_history_that_was_another_is_not_followed(engines: Engines, tmp_path: Path) -> None:
    """A bucket that was put back to an earlier state: the same txids mean something else by now."""
    store = DirectoryStore(tmp_path / "objects")
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 2)
    key = key_of(a)
    found = store.get(manifest_key(*key))
    assert found is not None
    put(a, "gone", durable=True)
    assert words(b) == ["w0", "w1", "gone"]
    now = store.get(manifest_key(*key))
    assert now is not None
    store.replace(manifest_key(*key), found.data, now.version)
    engines.wipe("a")
    other = engines(store, "a2", node="a")
    with using(other) as branch:
        branch.own()
        branch._first_txid = 3
    put(other, "else", durable=True)
    put(other, "more", durable=True)
    # Its segments continue txid 3, of a database that is not the one b holds.
    assert [ref.min for ref in stored(store, key).segments][-2:] == [3, 4]
    clock.advance(6)
    assert words(b) == ["w0", "w1", "else", "more"]
    assert (followed(b, "segments"), followed(b, "whole")) == (0, 1)


def test_a_deleted_branch_goes_with_its_file(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 3)
    words(b)
    with using(b) as branch:
        copy, path = branch.copy, branch.copy._provisional
        assert path is not None
    a.delete_profile(P)
    clock.advance(6)
    with pytest.raises(NotFound):
        words(b)
    assert not path.exists()
    assert copy.opened is False
    assert words(b) is None


def test_what_goes_with_the_content_goes_with_a_switch(
    engines: Engines, store: ObjectStore
) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    fill(a, 1)
    words(b)
    with using(b) as branch:
        lineage, cache = branch.local.lineage, branch.attachment(list, lambda: ["of w0"])
    put(a, "x", durable=True)
    clock.advance(6)
    words(b)
    with using(b) as branch:
        assert branch.local.lineage != lineage
        assert branch.attachment(list, list) is not cache


# -- by being told ------------------------------------------------------------------------------------


def test_a_push_is_applied_without_a_request(engines: Engines, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    a, b = engines(store, "a"), engines(store, "b")
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    for ref in stored(store, key_of(a)).chain():
        store.delete(ref.key)
    assert take(b, told[-1]) is None
    assert words(b) == ["w0", "x"]
    assert followed(b, "segments") == 1


def test_a_push_is_applied_beside_the_readers(engines: Engines, store: ObjectStore) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    key, manifest, data = told[-1]
    assert b.following.take(key, encode(manifest), [data]) is None
    until(lambda: words(b) == ["w0", "x"])


def test_what_is_refused(engines: Engines, store: ObjectStore) -> None:
    a, b, c = engines(store, "a"), engines(store, "b"), engines(store, "c")
    told = listen(a)
    fill(a, 3)
    (key, manifest, data), first = told[-1], told[0]
    offer = partial(b.following.take, key)
    assert offer(encode(manifest), [data]) == "unknown"
    words(b)
    assert offer(encode(manifest), [data]) == "old"
    assert offer(encode(first.manifest), [first.data]) == "old"
    put(a, "x", durable=True)
    key, manifest, data = told[-1]
    assert offer(encode(manifest), [data + b"x"]) == "digest"
    lower = msgspec.structs.replace(manifest, epoch=0)
    assert offer(encode(lower), [data]) == "epoch"
    newer = encode(manifest).replace(b'"format":1', b'"format":2')
    assert offer(newer, [data]) == "format"
    assert offer(b"{", [data]) == "format"
    assert words(b) == ["w0", "w1", "w2"]
    put(c, "y", durable=True)
    assert c.following.take(key, encode(manifest), [data]) == "owner"
    assert words(c) == ["w0", "w1", "w2", "x", "y"]


def test_what_an_earlier_owner_tells_late_is_not_believed(
    engines: Engines, store: ObjectStore
) -> None:
    a, b, c = engines(store, "a"), engines(store, "b"), engines(store, "c")
    told, tells = listen(a), listen(c)
    fill(a, 2)
    words(b)
    put(a, "late", durable=True)
    put(c, "now", durable=True)
    assert take(b, tells[-1]) is None
    assert words(b) == ["w0", "w1", "late", "now"]
    assert take(b, told[-1]) == "epoch"
    assert words(b) == ["w0", "w1", "late", "now"]


def test_a_gap_is_filled_from_the_store(engines: Engines, store: ObjectStore) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    told = listen(a)
    fill(a, 1)
    words(b)
    fill(a, 3)
    assert take(b, told[-1]) is None
    assert words(b) == ["w0", "w0", "w1", "w2"]
    assert (followed(b, "segments"), followed(b, "whole")) == (1, 0)


def test_what_was_told_bridges_a_fold(engines: Engines, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    a, b = engines(store, "a"), engines(store, "b")
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    key, manifest, data = told[-1]
    with using(b) as branch:
        # It rests: what it is told waits.
        branch.copy.rests_until = float("inf")
    assert b.following.take(key, encode(manifest), [data]) is None
    with using(a) as branch:
        branch.in_lane(branch.fold, "folding")
    put(a, "y", durable=True)
    assert words(b) == ["w0"]
    assert take(b, told[-1]) is None
    assert words(b) == ["w0", "x", "y"]
    assert (followed(b, "segments"), followed(b, "whole")) == (1, 0)


def test_what_waits_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimp.engine.pushed._WAITING_BYTES", 100)
    pushed = Pushed()
    known = Manifest(version=1, nonce="n", epoch=1, owner=None)
    refs: tuple[Any, ...] = ()
    for n in range(1, 5):
        data = bytes([n]) * 40
        refs = (*refs, _ref(n + 1, n + 1, sha256=hashlib.sha256(data).hexdigest()))
        newer = msgspec.structs.replace(known, version=n + 1, txid=n + 1, segments=refs)
        assert pushed.take(newer, [data], None, known) is None
    assert sorted(pushed.refs()) == [4, 5]
    assert pushed.data(refs[0]) is None
    assert pushed.data(refs[-1]) == bytes([4]) * 40
    pushed.drop(4)
    assert sorted(pushed.refs()) == [5]
    assert pushed.newest is not None
    pushed.drop(5)
    assert (dict(pushed.refs()), pushed.newest) == ({}, None)


def test_following_takes_a_tenth_of_the_time(engines: Engines, store: ObjectStore) -> None:
    clock = _Slow()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    clock.pace = 0.5
    assert take(b, told[-1]) is None
    clock.pace = 0.0
    with using(b) as branch:
        rests, now = branch.copy.rests_until, clock.monotonic()
    assert rests - now >= 9 * 0.5
    put(a, "y", durable=True)
    key, manifest, data = told[-1]
    assert b.following.take(key, encode(manifest), [data]) is None
    assert key not in b.following._due
    b.following.apply_waiting()
    assert key not in b.following._due
    assert words(b) == ["w0", "x"]
    clock.advance(rests - now)
    b.following.apply_waiting()
    with b._residents.use(key, P) as branch:
        until(lambda: branch.read(select).value == ["w0", "x", "y"])
    assert b.following._waiting == set()


class _Slow(ManualClock):
    """Every look at it takes some time."""

    pace = 0.0

    def monotonic(self) -> float:
        self.advance(self.pace)
        return super().monotonic()


def test_a_push_counts_as_a_look_of_the_time_it_was_asked_for(
    engines: Engines, store: ObjectStore
) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    told = listen(a)
    fill(a, 1)
    words(b)
    clock.advance(4)
    asked = clock.monotonic()
    put(a, "x", durable=True)
    assert take(b, told[-1], asked) is None
    put(a, "y", durable=True)
    clock.advance(4)
    assert words(b) == ["w0", "x"]
    clock.advance(2)
    assert words(b) == ["w0", "x", "y"]


def test_a_push_without_that_is_no_look(engines: Engines, store: ObjectStore) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    clock.advance(4)
    assert take(b, told[-1]) is None
    put(a, "y", durable=True)
    clock.advance(2)
    assert words(b) == ["w0", "x", "y"]


def test_looking_anew_is_not_answered_by_what_was_asked_before(
    engines: Engines, store: ObjectStore
) -> None:
    clock = ManualClock()
    a, b = engines(store, "a"), engines(store, "b", clock=clock)
    told = listen(a)
    fill(a, 1)
    words(b)
    clock.advance(1)
    asked = clock.monotonic()
    put(a, "x", durable=True)
    clock.advance(1)
    b.look_anew(P)
    assert take(b, told[-1], asked) is None
    put(a, "y", durable=True)
    assert words(b) == ["w0", "x", "y"]


def test_what_waits_is_nothing_to_an_owner_nor_to_who_was_one(
    engines: Engines, store: ObjectStore
) -> None:
    a, b = engines(store, "a"), engines(store, "b")
    told = listen(a)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    _, manifest, data = told[-1]
    with using(b) as branch:
        put(b, "mine")
        # Taken just before it became the owner; and of one that followed it, of which it will hear.
        for version in (manifest.version, manifest.version + 9):
            newer = msgspec.structs.replace(manifest, version=version)
            branch.copy.pushed = Pushed()
            assert branch.copy.pushed.take(newer, [data], None, told[0].manifest) is None
            apply_pushed(branch, 5.0)
        branch.copy.pushed = Pushed()
        assert branch.copy.pushed.take(manifest, [data], None, told[0].manifest) is None
        assert branch.read(select).value == ["w0", "x", "mine"]
        branch.sync()
        branch.in_lane(branch.leave, "leaving")
        assert not branch.owned
        apply_pushed(branch, 5.0)
        assert branch.read(select).value == ["w0", "x", "mine"]
    assert [info.name for info in b.branches(P)] == ["main"]


def test_following_that_fails_half_way_leaves_what_was(
    engines: Engines, store: ObjectStore
) -> None:
    away: set[str] = set()

    def decide(_operation: str, key: str) -> Fault:
        return Fault(Kind.ERROR) if key in away else NO_FAULT

    clock = ManualClock()
    faulty = FaultyStore(store, decide, clock)
    a, b = engines(store, "a"), engines(faulty, "b", clock=clock)
    fill(a, 1)
    words(b)
    put(a, "x", durable=True)
    clock.advance(6)
    words(b)
    fill(a, 2)
    away.add(stored(store, key_of(a)).segments[-1].key)
    clock.advance(6)
    with pytest.raises(Unavailable):
        words(b)
    with using(a) as branch, b._residents.use(branch.key, P) as behind:
        assert behind.read(select).value == ["w0", "x"]
        assert len(list(behind.files.folder.glob("provisional-*"))) == 1
    away.clear()
    assert words(b) == ["w0", "x", "w0", "w1"]
    assert (followed(b, "segments"), followed(b, "whole")) == (2, 0)


# -- the rules, one by one ----------------------------------------------------------------------------


def _ref(low: int, high: int, epoch: int = 1, **fields: Any) -> Any:
    from palimp.engine.protocol.records import SegmentRef

    base = {"pages": 1, "bytes": 1, "sha256": "", "key": f"{low}-{high}", "checksum": f"c{high}"}
    return SegmentRef(min=low, max=high, epoch=epoch, **{**base, **fields})


def _manifest(*refs: Any, epoch: int = 2, **fields: Any) -> Manifest:
    base = {"txid": refs[-1].max, "checksum": refs[-1].checksum}
    return Manifest(
        version=9, nonce="n", epoch=epoch, owner=None, segments=refs, **{**base, **fields}
    )


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (_manifest(_ref(3, 5), _ref(6, 6)), [6]),
        (_manifest(_ref(3, 5), _ref(6, 6), _ref(7, 9)), [6, 9]),
        # A gap, an overlap, an end that is another.
        (_manifest(_ref(3, 5), _ref(7, 9)), []),
        (_manifest(_ref(3, 4), _ref(5, 9)), []),
        (_manifest(_ref(6, 7), txid=8), []),
        (_manifest(_ref(6, 7), txid=6), []),
        (_manifest(_ref(6, 7), checksum="c8"), []),
        # Epochs: of an owner before, falling, above the manifest's.
        (_manifest(_ref(6, 6, 2), _ref(7, 7, 3), epoch=3), [6, 7]),
        (_manifest(_ref(6, 6, 0), epoch=3), []),
        (_manifest(_ref(6, 6, 3), _ref(7, 7, 2), epoch=3), []),
        (_manifest(_ref(6, 6, 3), epoch=2), []),
        # Nothing to do, or behind.
        (_manifest(_ref(3, 5)), []),
        (_manifest(_ref(3, 4)), []),
    ],
)
def test_what_continues(manifest: Manifest, expected: list[int]) -> None:
    held = Held(Path("x"), 5, "c5", 1)
    assert [ref.max for ref in continuation(held, manifest, {})] == expected


def test_what_was_pushed_continues_too() -> None:
    held, manifest = Held(Path("x"), 5, "c5", 1), _manifest(_ref(8, 9))
    assert continuation(held, manifest, {}) == ()
    pushed = {6: _ref(6, 7)}
    assert [ref.max for ref in continuation(held, manifest, pushed)] == [7, 9]


def _segment(image: bytes, pages: dict[int, bytes], txids: tuple[int, int], **said: int) -> bytes:
    """Return a segment of these pages; what is `said` stands in it instead of what is true."""
    before = ltx.PageChecksums.of(image, 512)
    after = before.copy()
    for pgno, page in pages.items():
        after.write(pgno, page)
    header = ltx.Header(
        page_size=512,
        commit=len(after),
        min_txid=txids[0],
        max_txid=txids[1],
        pre_apply_checksum=said.get("before", before.checksum),
    )
    return ltx.encode(header, sorted(pages.items()), said.get("after", after.checksum))


@pytest.mark.parametrize("wrong", ["", "before", "after", "txids", "held", "reference"])
def test_every_checksum_is_compared(tmp_path: Path, wrong: str) -> None:
    image = bytes(range(256)) * 6
    path, target = tmp_path / "held", tmp_path / "target"
    path.write_bytes(image)
    pages = {2: b"x" * 512, 4: b"y" * 512}
    said = {wrong: 1 << 63 | 5} if wrong in ("before", "after") else {}
    txids = (8, 9) if wrong == "txids" else (7, 9)
    data = _segment(image, pages, txids, **said)
    wanted = image[:512] + pages[2] + image[1024:] + pages[4]
    checksum = ltx.database_checksum(image, 512) ^ (wrong == "held")
    reached = ltx.database_checksum(wanted, 512) ^ (wrong == "reference")
    held = Held(path, 6, f"{checksum:016x}", 1)
    refs = [_ref(7, 9, checksum=f"{reached:016x}")]
    make: Callable[[], Any] = lambda: advance(held, refs, lambda _: data, target)  # noqa: E731
    if wrong:
        with pytest.raises((Internal, Invalid)):
            make()
    else:
        assert make().checksum == reached
        assert target.read_bytes() == wanted
    assert path.read_bytes() == image


def test_a_database_that_shrank_is_cut_off(tmp_path: Path) -> None:
    image = bytes(range(256)) * 6
    (tmp_path / "held").write_bytes(image)
    after = ltx.PageChecksums.of(b"x" * 512, 512)
    before = ltx.database_checksum(image, 512)
    header = ltx.Header(page_size=512, commit=1, min_txid=2, max_txid=2, pre_apply_checksum=before)
    data = ltx.encode(header, [(1, b"x" * 512)], after.checksum)
    held = Held(tmp_path / "held", 1, f"{before:016x}", 1)
    refs = [_ref(2, 2, checksum=f"{after.checksum:016x}")]
    advance(held, refs, lambda _: data, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"x" * 512


def test_a_file_system_that_copies_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from palimp.engine import restore

    def refuse(*_args: Any) -> int:
        raise OSError(18, "another file system")

    monkeypatch.setattr(restore.os, "copy_file_range", refuse)
    test_a_database_that_shrank_is_cut_off(tmp_path)
