"""One suite over every object store: the sentences of `palimp.store.protocol`, one by one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import ManualClock
from palimp.errors import Invalid, Unavailable
from palimp.store import (
    AlreadyThere,
    CountingStore,
    ObjectStore,
    Version,
    VersionMismatch,
    self_test,
)
from palimp.store.directory import DirectoryStore
from palimp.store.protocol import KEY_BYTES_MAX, LIST_LIMIT_MAX, OBJECT_BYTES_MAX

from .store_backends import BACKENDS, S3Proxy, listed_size, make_store, need, s3_service, s3_store

THREADS = 16


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Proxy]:
    need("moto", "moto[s3,server]")
    with s3_service() as proxy:
        yield proxy


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    store = make_store(request.param, tmp_path, request)
    yield store
    store.close()


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Run `call(0..count-1)` in threads that start together; return results or exceptions."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = call(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def keys(store: ObjectStore, prefix: str = "", limit: int = 1000) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = store.list(prefix, after, limit)
        assert len(page.entries) <= limit
        found += [entry.key for entry in page.entries]
        if page.after is None:
            return found
        after = page.after


# Writing and reading


@pytest.mark.parametrize("size", [0, 1, 4096, 5 * 1024 * 1024 + 1])
def test_an_object_comes_back_whole(store: ObjectStore, size: int) -> None:
    data = bytes(index * 7 % 251 for index in range(min(size, 4096))) * (size // 4096 + 1)
    data = data[:size]
    version = store.create("v1/db/a/object.ltx", data)
    assert store.get("v1/db/a/object.ltx") == (data, version)
    listed = listed_size(store, "v1/db/a/object.ltx", size)
    assert store.list().entries[0][:2] == ("v1/db/a/object.ltx", listed)


def test_what_is_not_there_is_none(store: ObjectStore) -> None:
    store.create("a/b", b"1")
    assert store.get("a/c") is None
    assert store.get("nothing") is None
    assert store.get("a/b/c") is None
    assert store.get_range("a/c", 0, 5) is None
    assert store.get_range("a/c", 0, 0) is None


def test_a_second_create_is_refused_and_changes_nothing(store: ObjectStore) -> None:
    version = store.create("k", b"first")
    for data in (b"second", b"first"):
        with pytest.raises(AlreadyThere) as caught:
            store.create("k", data)
        assert caught.value.key == "k"
    assert store.get("k") == (b"first", version)


def test_replace_needs_the_current_version(store: ObjectStore) -> None:
    first = store.create("k", b"1")
    second = store.replace("k", b"2", first)
    assert second != first
    with pytest.raises(VersionMismatch):
        store.replace("k", b"3", first)
    assert store.get("k") == (b"2", second)
    stored = store.get("k")
    assert stored is not None
    third = store.replace("k", b"3", stored.version)
    assert store.get("k") == (b"3", third)


def test_replace_of_nothing_is_a_mismatch(store: ObjectStore) -> None:
    version = store.create("k", b"1")
    with pytest.raises(VersionMismatch):
        store.replace("other", b"2", version)
    store.delete("k")
    with pytest.raises(VersionMismatch):
        store.replace("k", b"2", version)
    assert keys(store) == []


def test_a_repeated_replace_is_a_mismatch_and_shows_its_own_nonce(store: ObjectStore) -> None:
    first = store.create("k", b"nonce 1")
    store.replace("k", b"nonce 2", first)
    with pytest.raises(VersionMismatch):
        store.replace("k", b"nonce 2", first)
    stored = store.get("k")
    assert stored is not None
    assert stored.data == b"nonce 2"


def test_versions_of_different_bytes_differ(store: ObjectStore) -> None:
    # Of equal bytes they may be equal: callers put a nonce into what they replace.
    version = store.create("k", b"0")
    seen = {version}
    for number in range(1, 20):
        version = store.replace("k", str(number).encode(), version)
        seen.add(version)
    assert len(seen) == 20


def test_delete_may_be_repeated(store: ObjectStore) -> None:
    store.delete("never/was")
    store.create("a/file", b"")
    store.delete("a")
    store.delete("a/file/under")
    store.delete("a/file")
    store.create("a/k", b"1")
    store.delete("a/k")
    store.delete("a/k")
    assert store.get("a/k") is None
    assert keys(store) == []
    store.create("a/k", b"2")
    assert keys(store) == ["a/k"]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 3, b"012"), (7, 3, b"789"), (8, 50, b"89"), (10, 1, b""), (99, 5, b""), (3, 0, b"")],
)
def test_a_range_ends_where_the_object_ends(
    store: ObjectStore, offset: int, length: int, expected: bytes
) -> None:
    store.create("k", b"0123456789")
    store.create("empty", b"")
    assert store.get_range("k", offset, length) == expected
    assert store.get_range("empty", offset, length) == b""


# Rules


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.hidden", ".stripes/00", "A", "a b", "é",
     "e\u0301", "a\\b", "a\0b", "a\n", "a%2fb", "a?b", "\U0001f600", "\ud800", "a" * 256,
     "/".join(["abcd"] * 205) + "x"],
)  # fmt: skip
def test_a_key_that_breaks_the_rules_is_invalid_everywhere(store: ObjectStore, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", Version('"1"')),
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.delete(key),
        lambda: store.list("", key),
    ]
    for call in calls:
        with pytest.raises(Invalid, match=r"is not valid: a key is 1 to 1,024"):
            call()


def test_a_long_key_is_a_key(store: ObjectStore) -> None:
    key = "/".join(["a" * 150] * 5) + "/" + "b" * 200
    assert len(key) < KEY_BYTES_MAX
    version = store.create(key, b"1")
    assert store.get(key) == (b"1", version)
    assert keys(store) == [key]


def test_ranges_pages_and_sizes_are_checked(store: ObjectStore) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return OBJECT_BYTES_MAX + 1

    for call in (
        lambda: store.get_range("k", -1, 5),
        lambda: store.get_range("k", 0, -5),
        lambda: store.list("a"),
        lambda: store.list("/"),
        lambda: store.list("a//"),
        lambda: store.list("", None, 0),
        lambda: store.list("", None, LIST_LIMIT_MAX + 1),
    ):
        with pytest.raises(Invalid):
            call()
    with pytest.raises(Invalid) as caught:
        store.create("k", Huge())
    assert caught.value.code == "payload_too_large"


# Listing

HOSTILE = [
    "-", "-a", "0", "a", "a-", "a-b", "a.b", "a.ltx", "a0", "a_", "a_b", "aa", "b-c/x", "b.c/x",
    "b/-", "b/0", "b/a", "b/a-b/c", "b/a.json", "b/a/c", "b/a0", "b0", "b_/x", "bb", "c/d/e/f/g",
    "z", "zz/a", "zz/b",
]  # fmt: skip


def hostile(store: ObjectStore) -> list[str]:
    """Keys whose order differs by locale, by path and by byte, without a key that is a folder."""
    chosen = [key for key in HOSTILE if not any(o.startswith(f"{key}/") for o in HOSTILE)]
    for key in reversed(chosen):
        store.create(key, key.encode())
    return sorted(chosen, key=str.encode)


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_a_listing_is_in_the_order_of_bytes(store: ObjectStore, limit: int) -> None:
    ordered = hostile(store)
    assert keys(store, limit=limit) == ordered
    assert keys(store, "b/", limit) == [key for key in ordered if key.startswith("b/")]
    assert keys(store, "b/a/", limit) == [key for key in ordered if key.startswith("b/a/")]


def test_a_prefix_is_a_folder_and_may_be_empty(store: ObjectStore) -> None:
    store.create("names/acme/x.json", b"1")
    store.create("names/acme-x/y.json", b"22")
    assert keys(store, "names/acme/") == ["names/acme/x.json"]
    assert keys(store, "names/ac/") == []
    assert keys(store, "nothing/") == []
    sizes = [listed_size(store, "names/acme-x/y.json", size) for size in (2, 1)]
    assert [entry.size for entry in store.list("names/").entries] == sizes


def test_after_need_not_exist_and_may_lie_outside(store: ObjectStore) -> None:
    for key in ("b/1", "b/3", "b/5/x", "b/7"):
        store.create(key, b"")

    def after(key: str) -> list[str]:
        return [entry.key for entry in store.list("b/", key).entries]

    assert after("b/1") == ["b/3", "b/5/x", "b/7"]
    assert after("b/2") == ["b/3", "b/5/x", "b/7"]
    assert after("b/5") == ["b/5/x", "b/7"]
    assert after("b/5/x") == ["b/7"]
    assert after("b/5-") == ["b/5/x", "b/7"]
    assert after("b/50") == ["b/7"]
    assert after("a") == ["b/1", "b/3", "b/5/x", "b/7"]
    assert after("b/7") == after("c") == after("b0") == []


def test_what_stays_during_a_walk_is_in_it_once(store: ObjectStore) -> None:
    for number in range(10):
        store.create(f"w/{number}", b"")
    page = store.list("w/", None, 4)
    store.delete("w/3")
    store.delete("w/5")
    store.create("w/0-late", b"")
    store.create("w/8-late", b"")
    rest = store.list("w/", page.after, 100)
    assert [entry.key[2:] for entry in page.entries] == ["0", "1", "2", "3"]
    assert [entry.key[2:] for entry in rest.entries] == ["4", "6", "7", "8", "8-late", "9"]


def test_a_version_of_a_listing_can_be_replaced(store: ObjectStore) -> None:
    store.create("k", b"1")
    version = store.list().entries[0].version
    if version is not None:
        store.replace("k", b"2", version)
        assert store.get("k")[0] == b"2"  # type: ignore[index]


# Races


def test_of_many_creates_one_wins(store: ObjectStore) -> None:
    for round_ in range(4):
        key = f"race/{round_}"
        results = at_once(THREADS, lambda index, key=key: store.create(key, f"by {index}".encode()))
        winners = [index for index, got in enumerate(results) if isinstance(got, Version)]
        assert len(winners) == 1, results
        assert all(isinstance(got, (Version, AlreadyThere)) for got in results), results
        assert store.get(key) == (f"by {winners[0]}".encode(), results[winners[0]])


def test_of_many_replaces_one_wins(store: ObjectStore) -> None:
    version = store.create("k", b"start")
    for round_ in range(4):
        results = at_once(
            2 * THREADS,
            lambda index, version=version, round_=round_: store.replace(
                "k", f"{round_} by {index}".encode(), version
            ),
        )
        winners = [index for index, got in enumerate(results) if isinstance(got, Version)]
        assert len(winners) == 1, results
        assert all(isinstance(got, (Version, VersionMismatch)) for got in results), results
        version = results[winners[0]]
        assert store.get("k") == (f"{round_} by {winners[0]}".encode(), version)


def test_no_increment_is_lost(store: ObjectStore) -> None:
    store.create("counter", b"0 start")

    def add(index: int) -> None:
        for step in range(5):
            while True:
                stored = store.get("counter")
                assert stored is not None
                value = int(stored.data.split()[0]) + 1
                try:
                    store.replace("counter", f"{value} {index} {step}".encode(), stored.version)
                    break
                except VersionMismatch:
                    continue

    assert at_once(4, add) == [None] * 4
    assert store.get("counter").data.split()[0] == b"20"  # type: ignore[union-attr]


def test_a_reader_never_sees_half_an_object(store: ObjectStore) -> None:
    version = store.create("k", b"\0" * 100_000)
    done = threading.Event()

    def run(index: int) -> None:
        nonlocal version
        if index == 0:
            try:
                for number in range(1, 30):
                    version = store.replace("k", bytes([number]) * 100_000, version)
            finally:
                done.set()
            return
        while not done.is_set():
            stored = store.get("k")
            assert stored is not None
            assert len(stored.data) == 100_000
            assert len(set(stored.data)) == 1

    assert at_once(3, run) == [None] * 3


# The self-test, and counting


def test_the_self_test_passes_and_leaves_nothing(store: ObjectStore) -> None:
    self_test(store)
    assert keys(store) == []


def test_self_tests_at_once_do_not_meet(store: ObjectStore) -> None:
    assert at_once(4, lambda _: self_test(store)) == [None] * 4
    assert keys(store) == []


# The directory store, from several processes

WRITER = """
import sys, zlib
from palimp.store.directory import DirectoryStore
from palimp.store import VersionMismatch, AlreadyThere
store = DirectoryStore(sys.argv[1])
who, count = sys.argv[2], int(sys.argv[3])
won = 0
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    try:
        store.create(f"race/{n}", who.encode()); won += 1
    except AlreadyThere: pass
done = 0
while done < count:
    stored = store.get("counter")
    try:
        store.replace("counter", b"%d %s %d" % (int(stored.data.split()[0]) + 1, who.encode(), done), stored.version)
        done += 1
    except VersionMismatch: pass
print(won, flush=True)
"""

KILLED = """
import sys, zlib, itertools
from palimp.store.directory import DirectoryStore
from palimp.store import VersionMismatch, AlreadyThere
store = DirectoryStore(sys.argv[1])
run = sys.argv[2]
def whole(text):
    body = text.encode() * 3000
    return b"%08x" % zlib.crc32(body) + body
print("ready", flush=True)
for n in itertools.count():
    store.create(f"made/{run}-{n}", whole(f"{run} {n} "))
    print(f"made/{run}-{n}", flush=True)
    stored = store.get("manifest")
    if stored is None: store.create("manifest", whole(f"{run} {n} "))
    else: store.replace("manifest", whole(f"{run} {n} "), stored.version)
    print(f"manifest {run} {n} ", flush=True)
"""


def spawn(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "objects")
    store.create("counter", b"0")
    running = [spawn(WRITER, str(tmp_path / "objects"), who, "150") for who in ("a", "b")]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    won = [int(process.communicate("go\n", timeout=60)[0]) for process in running]
    assert sum(won) == 150
    assert store.get("counter").data.split()[0] == b"300"  # type: ignore[union-attr]


def is_whole(data: bytes) -> bool:
    import zlib

    return len(data) > 8 and int(data[:8], 16) == zlib.crc32(data[8:])


def test_a_killed_writer_leaves_only_whole_objects(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    store = DirectoryStore(root)
    acknowledged: set[str] = set()
    for run in range(12):
        process = spawn(KILLED, str(root), str(run))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # Killed wherever it is after so many answers: no clock, no chance.
        last = ["", ""]
        for _ in range(3 + run):
            last.append(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        # Not by `communicate`: it passes over the lines that were read ahead.
        last += process.stdout.read().splitlines(keepends=True)
        process.communicate()
        acknowledged |= {line.strip() for line in last if line.startswith("made/")}
        found = keys(store)
        assert acknowledged <= set(found)
        for key in found:
            assert is_whole(store.get(key).data), key  # type: ignore[union-attr]
        manifests = [line for line in last if line.startswith("manifest") and line[-1] == "\n"]
        stored = store.get("manifest")
        assert stored is not None
        expected = int(manifests[-1].split()[2]) if manifests else -1
        current_run, current = stored.data[8:].split()[:2]
        # The last answered one, or the one after it.
        assert (int(current_run), int(current)) in {(run, expected), (run, expected + 1)} or (
            expected == -1
        )
        store.create(f"made/after-{run}", stored.data)
        store.replace("manifest", stored.data, stored.version)
    assert [path for path in root.rglob("*.new") if ".stripes" not in path.parts] == []


# Remote stores: what a lost answer, 409 and 5xx come to


def test_a_lost_answer_is_in_doubt_and_the_write_happened(s3: S3Proxy) -> None:
    store = s3_store(s3)
    s3.faults[:] = ["lose"]
    with pytest.raises(Unavailable) as caught:
        store.create("k", b"1")
    assert caught.value.details["in_doubt"] is True
    stored = store.get("k")
    assert stored is not None
    assert stored.data == b"1"
    s3.faults[:] = ["lose"]
    with pytest.raises(Unavailable):
        store.replace("k", b"2", stored.version)
    with pytest.raises(VersionMismatch):
        store.replace("k", b"2", stored.version)
    assert store.get("k").data == b"2"  # type: ignore[union-attr]


def test_a_conflict_409_is_repeated_and_never_taken_for_already_there(s3: S3Proxy) -> None:
    clock = ManualClock()
    store = s3_store(s3, clock)
    s3.faults[:] = [409, 409]
    version = store.create("k", b"1")
    s3.faults[:] = [409]
    store.replace("k", b"2", version)
    s3.faults[:] = [409] * 6
    with pytest.raises(Unavailable, match="409") as caught:
        store.create("other", b"1")
    assert caught.value.details["in_doubt"] is False
    assert store.get("other") is None
    assert clock.monotonic() > 1


def test_a_write_is_sent_once_whatever_the_server_says(s3: S3Proxy) -> None:
    store = s3_store(s3)
    for status in (500, 503, 429):
        before = s3.requests["PUT"]
        s3.faults[:] = [status]
        with pytest.raises(Unavailable, match=str(status)) as caught:
            store.create("k", b"1")
        assert caught.value.details["in_doubt"] is True
        assert s3.requests["PUT"] == before + 1


def test_requests_are_what_the_budget_says(s3: S3Proxy) -> None:
    store = CountingStore(s3_store(s3))
    s3.requests.clear()
    version = store.create("l/0000", b"0")
    store.replace("l/0000", b"1", version)
    for number in range(1, 1001):
        store.store.create(f"l/{number:04}", b"")
    assert s3.requests == {"PUT": 1002}
    s3.requests.clear()
    page = store.list("l/")
    assert (len(page.entries), page.after) == (1000, "l/0999")
    assert store.list("l/", page.after).entries[0].key == "l/1000"
    store.get("l/0001")
    store.get_range("l/0000", 0, 1)
    assert s3.requests == {"GET": 4}
    assert {name: tally.requests for name, tally in store.tallies().items()} == {
        "create": 1, "replace": 1, "list": 2, "get": 1, "get_range": 1
    }  # fmt: skip
