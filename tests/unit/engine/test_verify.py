"""Verification: an untouched history has no findings, every kind of damage has its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from palimp import ltx
from palimp.clock import ManualClock
from palimp.engine.capture import Capture, Segment
from palimp.engine.driver import Outside, drive
from palimp.engine.protocol import (
    Lane,
    Piece,
    add_checkpoint,
    collect,
    condense,
    delete_branch,
    fork,
    rebase,
    ship,
    take_ownership,
)
from palimp.engine.protocol.branches import Wanted
from palimp.engine.protocol.records import (
    History,
    Manifest,
    SegmentRef,
    decode,
    encode,
    manifest_key,
)
from palimp.engine.verify import (
    Finding,
    Verification,
    _in_words,
    verify_database,
)
from palimp.errors import Error, Unavailable
from palimp.store import Stored, VolatileStore

DB = "db_1"
MAIN = manifest_key(DB, "main")


def uncleansed(_timeline: object, _txid: int) -> None:
    raise AssertionError("nothing is being erased")


class Objects(VolatileStore):
    """A store in which objects can be damaged, and which knows how often each was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.before_read: Callable[[str], None] = lambda _: None

    def get(self, key: str) -> Stored | None:
        self.reads.append(key)
        self.before_read(key)
        return super().get(key)

    def data(self, key: str) -> bytes:
        stored = super().get(key)
        assert stored is not None, key
        return stored.data

    def put(self, key: str, data: bytes) -> None:
        self.delete(key)
        self.create(key, data)

    def manifest(self, branch_id: str = "main") -> Manifest:
        key = manifest_key(DB, branch_id)
        return decode(self.data(key), Manifest, key)

    def put_manifest(self, manifest: Manifest, **changes: Any) -> None:
        self.put(MAIN, encode(msgspec.structs.replace(manifest, **changes)))

    def older(self, branch_id: str = "main") -> list[SegmentRef]:
        keys = [one.key for one in self.manifest(branch_id).history]
        return [ref for key in keys for ref in decode(self.data(key), History, key).refs]

    def refs(self, branch_id: str = "main") -> list[SegmentRef]:
        return [*self.older(branch_id), *self.manifest(branch_id).chain()]

    def listing(self, ending: str = "") -> list[str]:
        page = self.list(f"v1/db/{DB}/", limit=10_000)
        return [entry.key for entry in page.entries if entry.key.endswith(ending)]


class Line:
    """A database file, its capture, and the lane it is shipped in."""

    def __init__(self, path: Path, store: Objects) -> None:
        self.outside = Outside(store, ManualClock(), lambda _: None)
        self.lane: Lane = drive(take_ownership(DB, "main", "node"), self.outside).lane
        self.connection = apsw.Connection(str(path))
        assert self.connection.pragma("journal_mode", "wal") == "wal"
        self.connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        self.capture = Capture(self.connection, path)
        self.txid = 0

    def _next(self) -> int:
        self.txid += 1
        self.connection.execute("INSERT INTO t (b) VALUES (randomblob(?))", (500 * self.txid,))
        self.capture.commit_seen()
        return self.txid

    def ship(self, count: int = 1) -> None:
        for _ in range(count):
            txid = self._next()
            if self.capture.needs_snapshot:
                segment = self.capture.snapshot(txid, txid)
            else:
                segment = self.capture.segment(txid, txid, txid)
            drive(ship(self.lane, piece(segment)), self.outside)
            self.capture.shipped(segment)

    def rebase(self) -> None:
        segment = self.capture.snapshot(self._next(), self.txid)
        drive(rebase(self.lane, piece(segment)), self.outside)
        self.capture.shipped(segment)

    def close(self) -> None:
        self.capture.close()
        self.connection.close()


def piece(segment: Segment) -> Piece:
    return Piece(
        max=segment.max_txid,
        pages=segment.pages,
        commit_pages=segment.commit_pages,
        checksum=segment.checksum,
        sha256=hashlib.sha256(segment.data).hexdigest(),
        data=segment.data,
        at=segment.max_txid,
    )


@pytest.fixture
def store() -> Objects:
    return Objects()


@pytest.fixture
def line(store: Objects, tmp_path: Path) -> Iterator[Line]:
    """txids 1 to 22: a snapshot at 11, checkpoints at 4 and 16, 12 and on joined, a fork at 16."""
    made = Line(tmp_path / "main.db", store)
    made.ship(10)
    drive(add_checkpoint(made.lane, "early", 4), made.outside)
    made.rebase()
    made.ship(9)
    drive(add_checkpoint(made.lane, "late", 16), made.outside)
    assert drive(condense(made.lane, 3), made.outside) > 0
    made.ship(2)
    yield made
    made.close()


@pytest.fixture
def side(line: Line) -> str:
    return drive(fork(DB, Wanted("main", "side", 16), uncleansed), line.outside).branch_id


def verify(store: Objects, *others: tuple[str, str]) -> Verification:
    return verify_database(store, DB, [("main", "main"), *others])


def test_an_untouched_history_has_no_findings(store: Objects, line: Line, side: str) -> None:
    drive(collect(line.lane), line.outside)
    store.reads.clear()
    branches = [("main", "main"), ("side", side)]
    found = verify_database(store, DB, branches)
    assert found.findings == ()
    assert (found.branches, found.unnamed) == (2, 0)
    # Everything but the fork's name was read, and that once.
    content = [key for key in store.listing() if "/heads/" not in key]
    assert sorted(store.reads) == content
    assert found.objects == len(content)
    assert found.bytes == sum(len(store.data(key)) for key in content)


def test_what_is_tested_here_has_history_and_joined_segments(store: Objects, line: Line) -> None:
    manifest = store.manifest()
    assert manifest.history
    assert manifest.snapshot is not None
    assert manifest.snapshot.max == 11
    assert len(store.older()) >= 16
    assert manifest.segments[0].min < manifest.segments[0].max


def test_objects_that_nothing_names_are_counted(store: Objects, line: Line) -> None:
    before = verify(store).unnamed
    store.create(f"v1/db/{DB}/main/{1:016x}-{1:016x}-00000001-n.ltx", b"begun")
    store.create(f"v1/db/{DB}/other/history-{1:016x}-{1:016x}-00000001-n.json", b"old")
    found = verify(store)
    assert (found.unnamed, found.findings) == (before + 2, ())


def test_a_branch_that_was_never_written_has_nothing_to_find(store: Objects) -> None:
    assert verify(store) == Verification(1, 0, 0, 0, ())


def test_a_deleted_branch_names_nothing(store: Objects, line: Line) -> None:
    keys = store.listing(".ltx")
    drive(delete_branch(line.lane), line.outside)
    store.delete(keys[0])
    found = verify(store)
    assert found.findings == ()
    assert found.unnamed == len(keys) - 1 + len([k for k in store.listing() if "/history-" in k])


DAMAGE: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "missing": (lambda _: None, "the object is missing"),
    "truncated": (lambda data: data[:-1], "its SHA-256 is"),
    "extended": (lambda data: data + b"\0", "its SHA-256 is"),
    "empty": (lambda _: b"", "its SHA-256 is"),
    "first byte": (lambda data: b"X" + data[1:], "its SHA-256 is"),
    "a byte": (lambda data: flip(data, len(data) // 2), "its SHA-256 is"),
    "last byte": (lambda data: flip(data, len(data) - 1), "its SHA-256 is"),
}


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_segment_is_named_with_its_txids(
    kind: str, store: Objects, line: Line, side: str
) -> None:
    change, words = DAMAGE[kind]
    shared = {ref.key for ref in store.refs(side)}
    for ref in store.refs():
        whole = store.data(ref.key)
        broken = change(whole)
        store.delete(ref.key)
        if broken is not None:
            store.create(ref.key, broken)
        found = verify(store, ("side", side)).findings
        wanted = ["main", "side"] if ref.key in shared else ["main"]
        assert [(one.key, one.branch) for one in found] == [(ref.key, name) for name in wanted]
        for one in found:
            assert (one.min_txid, one.max_txid) == (ref.min, ref.max)
            assert words in one.what
        store.put(ref.key, whole)
    assert verify(store).findings == ()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_history_object_is_named_with_its_txids(
    kind: str, store: Objects, line: Line
) -> None:
    change, words = DAMAGE[kind]
    history = store.manifest().history[-1]
    refs = decode(store.data(history.key), History, history.key).refs
    broken = change(store.data(history.key))
    store.delete(history.key)
    if broken is not None:
        store.create(history.key, broken)
    (found,) = verify(store).findings
    assert (found.key, found.branch) == (history.key, "main")
    assert (found.min_txid, found.max_txid) == (
        min(ref.max for ref in refs),
        max(ref.max for ref in refs),
    )
    assert words in found.what
    assert found.readable.endswith("on")


def test_points_that_only_a_lost_history_object_named_are_not_readable(
    store: Objects, line: Line
) -> None:
    manifest = store.manifest()
    store.put_manifest(manifest, checkpoints={})
    for history in manifest.history:
        store.delete(history.key)
    assert {one.readable for one in verify(store).findings} == {"txids from 11 on"}


@pytest.mark.parametrize("claim", ["refs", "bytes"])
def test_a_history_object_that_holds_something_else_is_found(
    claim: str, store: Objects, line: Line
) -> None:
    manifest = store.manifest()
    wrong = msgspec.structs.replace(manifest.history[0], **{claim: 1})
    store.put_manifest(manifest, history=(wrong, *manifest.history[1:]))
    (found,) = verify(store).findings
    assert found.key == wrong.key
    assert "the manifest says" in found.what


def test_swapped_objects_are_both_named(store: Objects, line: Line) -> None:
    one, other = store.refs()[2], store.refs()[7]
    first, second = store.data(one.key), store.data(other.key)
    store.put(one.key, second)
    store.put(other.key, first)
    found = verify(store).findings
    assert [finding.key for finding in found] == [one.key, other.key]
    for finding, ref, theirs in zip(found, (one, other), (other, one), strict=True):
        assert f"its SHA-256 is {theirs.sha256}, the reference to it says {ref.sha256}" in (
            finding.what
        )
        assert f"its first txid is {theirs.min}" in finding.what


def test_every_missing_object_leaves_readable_what_it_says(store: Objects, line: Line) -> None:
    """Compared with what can be restored when everything is tried."""
    boundaries = sorted({ref.max for ref in store.refs()})
    assert restorable(store, store.refs()) == set(boundaries)
    seen = set()
    for ref in store.refs():
        whole = store.data(ref.key)
        store.delete(ref.key)
        (found,) = verify(store).findings
        assert spoken(found.readable, boundaries) == restorable(store, store.refs())
        seen.add(found.readable)
        store.create(ref.key, whole)
    assert "txids from 11 on" in seen
    assert "txids up to 3 and from 11 on" in seen
    assert "every boundary" in seen


def test_several_findings_agree_on_what_is_readable(store: Objects, line: Line) -> None:
    refs = {ref.max: ref for ref in store.older() if ref.min == ref.max}
    for txid in (3, 7, 14):
        store.delete(refs[txid].key)
    found = verify(store).findings
    assert [(one.min_txid, one.max_txid) for one in found] == [(3, 3), (7, 7), (14, 14)]
    (readable,) = {one.readable for one in found}
    boundaries = sorted({ref.max for ref in store.refs()})
    assert spoken(readable, boundaries) == restorable(store, store.refs())
    assert readable.startswith("txids up to 2, 11 to 13 and from ")


def restorable(store: Objects, refs: list[SegmentRef]) -> set[int]:
    """Return every boundary to which some chain of segments can really be applied."""
    reached: dict[int, bytearray] = {0: bytearray()}
    for ref in sorted(refs, key=lambda ref: (ref.min, ref.max)):
        if ref.min - 1 in reached and ref.key in store.listing():
            image = bytearray(reached[ref.min - 1])
            try:
                ltx.apply(store.data(ref.key), image, txid=None if ref.min == 1 else ref.min - 1)
            except Error:
                continue
            assert reached.setdefault(ref.max, image) == image
    return set(reached) - {0}


def spoken(words: str, boundaries: list[int]) -> set[int]:
    """Return the boundaries that a sentence about what can be read means."""
    if words == "nothing":
        return set()
    if words == "every boundary":
        return set(boundaries)
    found = set()
    for part in re.split(r", | and ", words.removeprefix("txids ")):
        low, high = 1, boundaries[-1]
        if match := re.fullmatch(r"up to (\d+)", part):
            high = int(match[1])
        elif match := re.fullmatch(r"from (\d+) on", part):
            low = int(match[1])
        elif match := re.fullmatch(r"(\d+)(?: to (\d+))?", part):
            low, high = int(match[1]), int(match[2] or match[1])
        else:
            raise AssertionError(part)
        found |= {txid for txid in boundaries if low <= txid <= high}
    return found


def test_a_sentence_has_an_end() -> None:
    words = _in_words(range(1, 101), range(1, 101, 2))
    assert words == "txids up to 1, 3, 5, 7, 9, 11, 13, 15 and 42 more stretches"


def replace_segment(store: Objects, ref: SegmentRef, data: bytes, **claims: Any) -> SegmentRef:
    """Put other bytes under a segment's key and let the manifest say so: a defect, not damage."""
    store.put(ref.key, data)
    digest = hashlib.sha256(data).hexdigest()
    changed = msgspec.structs.replace(ref, bytes=len(data), sha256=digest, **claims)
    manifest = store.manifest()
    segments = tuple(changed if one.key == ref.key else one for one in manifest.segments)
    store.put_manifest(manifest, segments=segments)
    return changed


def test_a_sound_segment_that_continues_something_else_is_found(store: Objects, line: Line) -> None:
    ref = store.manifest().segments[-2]
    segment = ltx.decode(store.data(ref.key))
    header = msgspec.structs.replace(segment.header, pre_apply_checksum=ltx.CHECKSUM_FLAG | 5)
    after = segment.trailer.post_apply_checksum
    replace_segment(store, ref, ltx.encode(header, sorted(segment.pages.items()), after))
    (found,) = verify(store).findings
    assert found.key == ref.key
    assert (found.min_txid, found.max_txid) == (ref.min, ref.max)
    assert "it continues a database of checksum 8000000000000005" in found.what
    before = store.manifest().segments[-3].checksum
    assert found.what.endswith(f"at txid {ref.min - 1} it is {before}")


def test_a_segment_of_another_page_size_is_found(store: Objects, line: Line) -> None:
    ref = store.manifest().segments[-1]
    segment = ltx.decode(store.data(ref.key))
    header = msgspec.structs.replace(segment.header, page_size=512)
    replace_segment(store, ref, ltx.encode(header, [], segment.trailer.post_apply_checksum))
    (found,) = verify(store).findings
    assert (found.key, found.min_txid) == (ref.key, ref.min)
    assert found.what == "its pages have 512 bytes, those before it 4096"


def test_two_segments_that_end_differently_at_one_txid_are_found(
    store: Objects, line: Line
) -> None:
    """The joined segment and the fine ones it was made of have to come to the same."""
    ref = store.manifest().segments[0]
    segment = ltx.decode(store.data(ref.key))
    wrong = ltx.CHECKSUM_FLAG | 7
    data = ltx.encode(segment.header, sorted(segment.pages.items()), wrong)
    replace_segment(store, ref, data, checksum=f"{wrong:016x}")
    (found,) = verify(store).findings
    assert (found.key, found.min_txid, found.max_txid) == (ref.key, ref.min, ref.max)
    assert f"it leaves a database of checksum {wrong:016x}, at txid {ref.max} it is" in found.what


@pytest.mark.parametrize(
    ("claim", "wrong", "words"),
    [
        ("min", 0, "its first txid is"),
        ("commit", 1_000, "its database size in pages is"),
        ("checksum", "8" * 16, "its database checksum is"),
        ("bytes", 1, "its size is"),
        ("sha256", "0" * 64, "its SHA-256 is"),
    ],
)
def test_a_reference_that_says_something_else_is_found(
    claim: str, wrong: object, words: str, store: Objects, line: Line
) -> None:
    manifest = store.manifest()
    ref = msgspec.structs.replace(manifest.segments[1], **{claim: wrong})
    segments = (manifest.segments[0], ref, *manifest.segments[2:])
    store.put_manifest(manifest, segments=segments)
    found = verify(store).findings
    assert (found[0].key, found[0].max_txid) == (ref.key, ref.max)
    assert words in found[0].what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checksum": "8000000000000001"}, "gives checksum 8000000000000001, its last segment"),
        ({"checksum": ""}, "the manifest gives checksum None"),
        ({"txid": 23}, "the manifest gives txid 23, its last segment 22"),
        ({"commit_pages": 3}, "the manifest gives pages 3"),
        ({"checkpoints": {"lost": 99}}, "no segment ends at checkpoint 'lost'"),
    ],
)
def test_a_manifest_that_says_something_else_is_found(
    change: dict[str, Any], words: str, store: Objects, line: Line
) -> None:
    manifest = store.manifest()
    store.put_manifest(manifest, **change)
    (found,) = verify(store).findings
    assert (found.key, found.branch) == (MAIN, "main")
    txid = max(change.get("checkpoints", {}).values(), default=change.get("txid", manifest.txid))
    assert (found.min_txid, found.max_txid) == (txid, txid)
    assert words in found.what


def test_a_gap_in_the_chain_is_named_with_what_is_missing(store: Objects, line: Line) -> None:
    manifest = store.manifest()
    gone, after = manifest.segments[-2], manifest.segments[-1]
    store.put_manifest(manifest, segments=(*manifest.segments[:-2], after))
    (found,) = verify(store).findings
    assert found == Finding(
        after.key,
        "main",
        gone.min,
        gone.max,
        f"nothing before it covers txids {gone.min} to {gone.max}",
        f"txids up to {gone.min - 1}",
    )


def test_a_chain_that_goes_back_is_found(store: Objects, line: Line) -> None:
    manifest = store.manifest()
    store.put_manifest(manifest, segments=(*manifest.segments, manifest.segments[-1]))
    (found,) = verify(store).findings
    assert found.key == manifest.segments[-1].key
    assert found.what == "it begins at txid 22, what is before it ends at 22"


def test_a_chain_without_its_snapshot_is_found(store: Objects, line: Line) -> None:
    manifest = store.manifest()
    store.put_manifest(manifest, snapshot=None)
    found = verify(store).findings
    assert (found[0].key, found[0].min_txid, found[0].max_txid) == (
        manifest.segments[0].key,
        1,
        11,
    )


def test_a_gap_in_older_references_is_found(store: Objects, line: Line) -> None:
    manifest = store.manifest()
    key = manifest.history[-1].key
    old = decode(store.data(key), History, key)
    lost = next(ref for ref in old.refs if ref.min == ref.max == 7)
    refs = tuple(ref for ref in old.refs if ref.key != lost.key)
    data = encode(msgspec.structs.replace(old, refs=refs))
    store.put(key, data)
    ref = msgspec.structs.replace(
        manifest.history[-1],
        refs=len(refs),
        bytes=sum(one.bytes for one in refs),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    store.put_manifest(manifest, history=(*manifest.history[:-1], ref))
    found = verify(store).findings
    assert [(one.min_txid, one.what) for one in found] == [
        (8, "no segment that leads to it ends at txid 7"),
        (9, "no segment that leads to it ends at txid 8"),
        (10, "no segment that leads to it ends at txid 9"),
    ]


@pytest.mark.parametrize("data", [None, b"", b"{}", b'{"format": 1, "epoch": "x"}'])
def test_a_manifest_that_cannot_be_read_is_found(
    data: bytes | None, store: Objects, line: Line
) -> None:
    store.delete(MAIN)
    if data is not None:
        store.create(MAIN, data)
    (found,) = verify(store).findings
    assert (found.key, found.branch, found.readable) == (MAIN, "main", "nothing")
    assert ("missing" if data is None else "damaged") in found.what


def test_a_named_branch_without_a_manifest_is_found(store: Objects) -> None:
    (found,) = verify(store, ("side", "n_1")).findings
    assert (found.key, found.branch) == (manifest_key(DB, "n_1"), "side")
    assert found.what == "the manifest is missing"


def test_a_newer_format_is_no_damage(store: Objects, line: Line) -> None:
    store.put_manifest(store.manifest(), format=99)
    with pytest.raises(Unavailable, match="format 99"):
        verify(store)


def test_what_is_dropped_meanwhile_is_no_damage(store: Objects, line: Line) -> None:
    """The owner drops and collects an object between our reading its name and reading it."""
    manifest = store.manifest()
    key = manifest.history[-1].key
    dropped = store.older()[3].key

    def collected(read: str) -> None:
        if read in (dropped, key):
            store.before_read = lambda _: None
            store.put_manifest(manifest, history=(), checkpoints={}, version=manifest.version + 1)
            for gone in (dropped, key):
                store.delete(gone)

    store.before_read = collected
    assert verify(store).findings == ()
    store.put_manifest(manifest)
    store.reads.clear()
    assert [one.key for one in verify(store).findings] == [key]
    assert store.reads.count(MAIN) == 2
