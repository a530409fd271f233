"""The versioned engine: create, fork, capture, wake, requests, rewind, restore, durability.

What many profiles and many threads cost is in `fleet.py`; its rows are in the same table.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import math
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import engine_floor
import fleet
from corpus import Corpus, corpus
from engine_floor import WORDS_QUERY
from harness import Row, Times, in_turn, quiet, timed
from machine import filesystem, folder, fsync_us
from msgspec import json

import palimp
from palimp.api import Durability
from palimp.client.inputs import ingest_request
from palimp.clock import Clock
from palimp.engine import Address, Branch, Engine, Options
from palimp.engine.capture import Capture
from palimp.engine.local_database import LocalDatabase, Template, Terms
from palimp.ids import PUBLIC_ID_KEY
from palimp.points import Point
from palimp.profile import PlainSealer, check_schema, memories, prepare
from palimp.profile.indexing import MEMORIES
from palimp.profile.vectors import store_given
from palimp.store import CountingStore, ObjectStore, VolatileStore, open_store

_TXIDS_MAX = 1 << 40
_WAL_BYTES = 4 << 20
_WAKE_PAGES_MAX = 64
_WAKE_MEMORIES = 140
_LISTED = 2_500
_READS = ("point-in-time read, first", "point-in-time read, second")
_REPEATS = 5
_BUCKET = "palimp-bench"
_Write = Callable[[apsw.Connection], object]


def measure(*, quick: bool) -> list[Row]:
    """Measure one profile's costs, then those of many."""
    return [
        _create(500 if quick else 5_000),
        *(_fork(100 if quick else 1_000, references) for references in (1, 64)),
        _capture(200 if quick else 1_500),
        *_wakes(30 if quick else 200),
        *_requests(),
        *_sizes((1, 10) if quick else (1, 10, 100)),
        *_durability(50 if quick else 400),
        *fleet.measure(quick=quick),
    ]


@contextlib.contextmanager
def _engine(store: ObjectStore, path: Path, options: Options | None = None) -> Iterator[Engine]:
    (path / "hot").mkdir(parents=True)
    engine = Engine(
        path / "hot",
        path / "cache",
        store,
        prepare=prepare,
        check=check_schema,
        node="bench",
        clock=Clock(),
        options=options,
    )
    try:
        yield engine
    finally:
        engine.close()


def _memory_write(stored: Corpus, start: int, stop: int, *, vectors: bool = True) -> _Write:
    """Return the operation that writes some memories; they are checked before."""
    items = stored.items(start, stop, vectors=False)
    drafts = [memories.draft(given) for given in ingest_request(items, None).memories]
    given = stored.vectors[start:stop].tolist()
    writer = memories.Writer(Clock().now_ms(), PUBLIC_ID_KEY, PlainSealer())

    def write(connection: apsw.Connection) -> None:
        outcome = memories.ingest(connection, drafts, writer)
        if vectors:
            for handle, vector in zip(outcome.handles, given, strict=True):
                store_given(connection, MEMORIES, handle, vector)

    return write


# -- create and fork ------------------------------------------------------------------------------


def _create(count: int) -> Row:
    ours_in, by_hand_in = VolatileStore(), VolatileStore()
    with folder() as path, _engine(ours_in, path) as engine:
        ours, floor = in_turn(
            [
                lambda number: engine._lookup.create(Address("bench", f"p{number}")),
                lambda number: engine_floor.create(by_hand_in, f"p{number}"),
            ],
            count,
            count // 10,
        )
    _check_alike(ours_in, by_hand_in, engine_floor.name_key("p0"))
    return Row(
        "create a profile, in-memory store",
        ours.median,
        "us",
        floor.median,
        "the same object encoded and put by hand",
        2,
        "ratio",
        f"p95 {ours.p95:.0f} us; no disk is involved",
        {"ours": ours.as_json(), "by_hand": floor.as_json()},
    )


def _fork(count: int, references: int) -> Row:
    ours_in, by_hand_in = VolatileStore(), VolatileStore()
    address = Address("bench", "parent")
    with folder() as path, _engine(ours_in, path) as engine:
        with engine.use(address, create=True) as branch:
            assert branch is not None
            db_id = branch.key[0]
            for number in range(references):
                branch.write(_touch(number), durable=True)
        key = engine_floor.manifest_key(db_id, "main")
        parent = ours_in.get(key)
        assert parent is not None
        by_hand_in.create(key, parent.data)
        by_hand_in.create("v1/parent", parent.data)
        ours, floor, bare = in_turn(
            [
                lambda number: engine.fork(address, f"f{number}"),
                lambda number: engine_floor.fork(by_hand_in, db_id, f"f{number}"),
                lambda n: engine_floor.fork_requests_only(by_hand_in, parent.data, f"f{n}"),
            ],
            count,
            count // 10,
        )
    _check_alike(ours_in, by_hand_in, f"v1/db/{db_id}/heads/f0.json", db_id)
    return Row(
        f"fork, in-memory store, {references} references",
        ours.median,
        "us",
        floor.median,
        "two gets and three conditional puts by hand, decoded and encoded",
        4 if references == 1 else None,
        "ratio",
        f"p95 {ours.p95:.0f} us; the five requests alone {bare.median:.1f} us; no disk is involved",
        {"ours": ours.as_json(), "by_hand": floor.as_json(), "requests": bare.as_json()},
    )


def _check_alike(ours: ObjectStore, by_hand: ObjectStore, key: str, db_id: str = "") -> None:
    """Make sure that by hand the same is written: objects of the same fields."""
    keys = [[key, key]]
    if db_id:
        children = [json.decode(_data(store, key))["branch_id"] for store in (ours, by_hand)]
        keys.append([engine_floor.manifest_key(db_id, child) for child in children])
    for mine, theirs in keys:
        fields = json.decode(_data(ours, mine)).keys(), json.decode(_data(by_hand, theirs)).keys()
        assert fields[0] == fields[1], f"{mine}: {fields[0] ^ fields[1]} on one side only"


def _data(store: ObjectStore, key: str) -> bytes:
    found = store.get(key)
    assert found is not None, key
    return found.data


def _touch(number: int) -> _Write:
    return lambda c: c.execute(
        "INSERT OR REPLACE INTO __palimp_meta VALUES ('bench', ?)", (number,)
    ).fetchall()


# -- capture --------------------------------------------------------------------------------------


def _capture(count: int) -> Row:
    warmup = count // 10
    stored = corpus(2_000)
    writes = [_memory_write(stored, at, at + 1) for at in range(count + warmup)]
    committing, commits, capturing, sizes = [], [], [], []
    clock = time.perf_counter_ns
    with folder() as path, _local(path) as local, local.writers_place(), quiet():
        writer = local.writer()
        capture = Capture(writer, path / "main.db")
        capture.start_from_image()
        for number, write in enumerate(writes):
            begun = clock()
            writer.execute("BEGIN IMMEDIATE")
            write(writer)
            written = clock()
            writer.execute("COMMIT")
            committed = clock()
            capture.commit_seen()
            segment = capture.segment(number + 2, number + 2, 0)
            captured = clock()
            capture.shipped(segment)
            committing.append((committed - begun) / 1_000)
            commits.append((committed - written) / 1_000)
            capturing.append((captured - committed) / 1_000)
            sizes.append((segment.pages, len(segment.data)))
            if capture.wal_bytes > _WAL_BYTES:
                capture.fold_wal()
        capture.close()
        place = filesystem(path)
    ours, floor, commit = (Times(found[warmup:]) for found in (capturing, committing, commits))
    pages, size = (statistics.median(column) for column in zip(*sizes, strict=True))
    return Row(
        "capture and encode a commit, alone",
        ours.median,
        "us",
        floor.median,
        "the transaction it captures: one memory row with its vector, by our own write",
        1.2,
        "ratio",
        f"{place}, {pages:.0f} pages become {size:,.0f} bytes; p95 {ours.p95:.0f} us; the "
        f"statement COMMIT alone {commit.median:.0f} us",
        {"capture": ours.as_json(), "transaction": floor.as_json(), "commit": commit.as_json()},
    )


@contextlib.contextmanager
def _local(path: Path) -> Iterator[LocalDatabase]:
    """Yield a database as the engine opens it, with no engine around it."""
    Template(prepare).write_to(path / "main.db")
    local = LocalDatabase(
        "bench",
        check=check_schema,
        gate=lambda: Terms(1, _TXIDS_MAX),
        committed=lambda _: None,
        clock=Clock(),
    )
    local.switch(path / "main.db")
    try:
        yield local
    finally:
        local.close()


# -- cold wake ------------------------------------------------------------------------------------


def _wakes(count: int) -> list[Row]:
    return [
        _wake("in-memory store", count, budget=2),
        _wake("directory store", count, budget=2, directory=True),
        _wake("directory store", count, directory=True, disk=True),
    ]


def _wake(
    what: str,
    count: int,
    *,
    directory: bool = False,
    disk: bool = False,
    budget: float | None = None,
) -> Row:
    """Wake each of many profiles once, in a node that knows none of them."""
    warmup = max(5, count // 10)
    stored = corpus(1_000)
    words = stored.memories[0].text.split()[-1].strip(".")
    connections = []
    with folder(disk=disk) as path:
        store = open_store((path / "objects").as_uri()) if directory else VolatileStore()
        pages = _fill(store, path / "writer", count + warmup, stored, path / "plain.db")
        for number in range(count + warmup):
            shutil.copyfile(path / "plain.db", path / f"{number}.db")
        with _engine(store, path / "node", Options(hot_cap=10_000, hot_idle=3_600)) as engine:

            def wake(number: int) -> None:
                with engine.use(Address("bench", f"p{number}"), create=False) as branch:
                    assert branch is not None
                    assert branch.read(lambda c: c.execute(WORDS_QUERY, (words,)).fetchall()).value

            def by_hand(number: int) -> None:
                connections.append(engine_floor.open_and_query(path / f"{number}.db", words))

            ours, floor = in_turn([wake, by_hand], count, warmup)
            for connection in connections:
                connection.close()
        place, fsync = filesystem(path), fsync_us(path)
    return Row(
        f"cold wake and first query, folded, {what} ({place})",
        ours.median,
        "us",
        floor.median,
        "opening a local file and the same query",
        budget,
        "ratio",
        f"{pages} pages, p95 {ours.p95:,.0f} us, an fsync takes {fsync:,.0f} us",
        {"ours": ours.as_json(), "by_hand": floor.as_json()},
    )


def _fill(store: ObjectStore, path: Path, count: int, stored: Corpus, copy: Path) -> int:
    """Write profiles of one snapshot each; copy one's file, and return how many pages it has."""
    write = _memory_write(stored, 0, _WAKE_MEMORIES, vectors=False)
    with _engine(store, path) as engine:
        for number in range(count):
            with engine.use(Address("bench", f"p{number}"), create=True) as branch:
                assert branch is not None
                branch.write(write, durable=True)
                pages = branch.read(lambda c: c.pragma("page_count")).value
                manifest = branch.manifest
        assert manifest is not None
        assert len(manifest.chain()) == 1
        assert branch.in_lane(branch.close, "closing it")
        current = branch.files.current()
        assert current is not None
        shutil.copyfile(current, copy)
    assert pages <= _WAKE_PAGES_MAX, f"{pages} pages; write fewer memories"
    return int(pages)


# -- requests -------------------------------------------------------------------------------------


def _requests() -> list[Row]:
    store = CountingStore(VolatileStore())
    address = Address("bench", "alice")

    def row(what: str, budget: float, note: str = "", measured: float | None = None) -> Row:
        counted = {name: tally.requests for name, tally in store.tallies().items()}
        found = store.requests if measured is None else measured
        return Row(f"store requests: {what}", found, "", budget=budget, note=note, detail=counted)

    with folder() as path:
        with _engine(store, path / "a") as engine:
            engine._lookup.create(address)
            created = row("create a profile", 1)
            with engine.use(address, create=True) as branch:
                assert branch is not None
                branch.write(_touch(0), durable=True)
                first = store.requests
                store.reset()
                branch.write(_touch(1), durable=True)
                durable = row("durable write", 2, f"the first one, with the name, {first}")
                branch.in_lane(branch.fold, "folding it")
            store.reset()
            engine.fork(address, "trial")
            forked = row("fork", 5)
        with _engine(store, path / "b") as engine:
            store.reset()
            with engine.use(address, create=False) as branch:
                assert branch is not None
                branch.read(lambda c: c.execute("SELECT count(*) FROM __palimp_memories").get)
            woken = row("cold wake, folded, in sequence", 3)
    return [created, durable, forked, woken, _listing()]


def _listing() -> Row:
    store = CountingStore(VolatileStore())
    for number in range(_LISTED):
        engine_floor.create(store, f"p{number}")
    with folder() as path, fleet.opened(path / "listing", store) as client:
        store.reset()
        assert sum(1 for _ in client.profiles(namespace="bench")) == _LISTED
        through_client = store.requests
    with folder() as path, _engine(store, path) as engine:
        store.reset()
        assert sum(1 for _ in engine.all_names()) == _LISTED
        by_engine = store.requests
    thousands = math.ceil(_LISTED / 1_000)
    return Row(
        "store requests: listing profiles, for each 1,000 begun",
        through_client / thousands,
        "",
        budget=1,
        note=f"{_LISTED:,} profiles: {through_client} requests through the client, {by_engine} "
        "by the engine's own walk",
    )


# -- databases by size ----------------------------------------------------------------------------


def _sizes(sizes_mb: tuple[int, ...]) -> list[Row]:
    return [row for size_mb in sizes_mb for row in _size(size_mb)]


def _size(size_mb: int) -> list[Row]:
    """Grow a profile, name a point, change a hundredth of it, and go back and forth."""
    address, before = Address("bench", "sized"), Point.checkpoint("before")
    seconds: dict[str, list[float]] = {name: [] for name in (*_READS, "rewind", "restore")}
    with folder() as path, _engine(VolatileStore(), path) as engine:
        with engine.use(address, create=True) as branch:
            assert branch is not None
            key, size = branch.key, _grow(branch, size_mb)
            branch.in_lane(branch.fold, "folding it")
            engine.checkpoint(address, "before")
            branch.write(_change, durable=True)
            pages = branch.read(lambda c: c.pragma("page_count")).value

        def look() -> None:
            with engine.past(address, before) as past:
                assert not past.read(_is_changed).value

        def restore() -> None:
            with engine.use(address, create=False) as branch:
                assert branch is not None
                assert not branch.read(_is_changed).value

        for _ in range(_REPEATS):
            engine._past.purge()
            for name in _READS:
                seconds[name].append(timed(look))
            done = []
            seconds["rewind"].append(
                timed(lambda done=done: done.append(engine.rewind(address, before)))
            )
            with engine.use(address, create=False) as branch:
                assert branch is not None
                branch.in_lane(branch.fold, "folding it")
            assert engine._residents.cool(key, lambda _: None)
            seconds["restore"].append(timed(restore))
            engine.rewind(address, Point.txid(done[0].before))
        place = filesystem(path)
    rows = []
    for name, all_of_it in seconds.items():
        took = statistics.median(all_of_it)
        speed = "" if name == _READS[1] else f", {size / 1e6 / took:,.0f} MB/s"
        note = f"{place}, in-memory store, {pages:,} pages{speed}"
        detail = {"least_ms": min(all_of_it) * 1_000, "most_ms": max(all_of_it) * 1_000}
        what = f"{name}, {size_mb} MB database"
        rows.append(Row(what, took * 1_000, "ms", note=note, detail=detail))
    return rows


def _change(connection: apsw.Connection) -> None:
    connection.execute("UPDATE filler SET body = body || '!' WHERE id % 100 = 0").fetchall()


def _is_changed(connection: apsw.Connection) -> bool:
    body: str = connection.execute("SELECT body FROM filler WHERE id = 100").get
    return body.endswith("!")


def _grow(branch: Branch, size_mb: int) -> int:
    """Fill a table of text in small commits until the database is so large."""
    texts = [memory.text for memory in corpus(1_000).memories]
    branch.write(lambda c: c.execute("CREATE TABLE filler (id INTEGER PRIMARY KEY, body TEXT)"))
    number = size = 0
    while size < size_mb * 1_000_000:
        bodies = []
        for _ in range(50):
            number += 1
            # Neighbours in a page never repeat each other: a page is compressed by itself.
            bodies.append(" ".join(texts[(number * 9 + place) % 1_000] for place in range(9)))
        branch.write(
            lambda c, bodies=bodies: c.executemany(
                "INSERT INTO filler (body) VALUES (?)", ((body,) for body in bodies)
            )
        )
        if number % 10_000 == 0:
            branch.sync()
        size = branch.read(lambda c: c.pragma("page_count") * c.pragma("page_size")).value
    branch.sync()
    return int(size)


# -- durable against local ------------------------------------------------------------------------


def _durability(count: int) -> list[Row]:
    rows = []
    with folder() as path:
        rows.append(_durable("in-memory store", path, VolatileStore(), count))
    with folder() as path:
        rows.append(_durable("directory store", path, None, count))
    with folder(disk=True) as path:
        rows.append(_durable("directory store", path, None, count))
    what = "durable write, moto's S3 server"
    if any(importlib.util.find_spec(name) is None for name in ("moto", "obstore")):
        return [*rows, Row(what, None, "us", note="not measured: moto or obstore is missing")]
    with folder() as path, _moto() as store:
        return [*rows, _durable("moto's S3 server", path, store, count // 4)]


def _durable(what: str, path: Path, store: ObjectStore | None, count: int) -> Row:
    """Write to two profiles of one node in turn: what one ships is not the other's backlog."""
    warmup = max(5, count // 20)
    stored = corpus(2_000)
    with fleet.opened(path / "memory", store) as client:
        durable, local = in_turn(
            [_remember(client, stored, kind) for kind in ("durable", "local")], count, warmup
        )
    place, fsync = filesystem(path), fsync_us(path)
    return Row(
        f"durable write, {what} ({place})",
        durable.median,
        "us",
        local.median,
        "the same write with durability local",
        note=f"p95 {durable.p95:,.0f} us, the local one {local.p95:,.0f} us; "
        f"an fsync takes {fsync:,.0f} us",
        detail={"durable": durable.as_json(), "local": local.as_json()},
    )


def _remember(
    client: palimp.Client, stored: Corpus, durability: Durability
) -> Callable[[int], None]:
    profile = client.profile(durability)

    def write(number: int) -> None:
        done = profile.remember(stored.memories[number].text, durability=durability)
        assert done.status == "created"

    return write


@contextlib.contextmanager
def _moto() -> Iterator[ObjectStore]:
    """Yield a store on moto's S3 server in a process of its own; it keeps objects in memory."""
    from palimp.store.connecting import connect

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(port)
        yield connect(
            "s3",
            _BUCKET,
            "",
            clock=Clock(),
            config={
                "endpoint": f"http://127.0.0.1:{port}",
                "access_key_id": "bench",
                "secret_access_key": "bench",
                "region": "us-east-1",
            },
            client_options={"allow_http": "true"},
        )
    finally:
        server.kill()
        server.wait()


def _make_bucket(port: int) -> None:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("PUT", f"/{_BUCKET}")
            assert connection.getresponse().status == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError("moto's server did not come up within 30 s")
