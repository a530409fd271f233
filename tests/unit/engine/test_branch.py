"""One branch: what a write costs, when it is shipped, and what goes on while the store is away."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.clock import Clock
from palimp.engine import Engine
from palimp.engine import branch as branch_module
from palimp.engine import files as files_module
from palimp.errors import Conflict, NotFound, Unavailable
from palimp.points import Point
from palimp.store import CountingStore, VolatileStore
from palimp.store.faulty import Fault, FaultyStore, Kind, Script

from .engines import (
    Engines,
    P,
    Switch,
    fill,
    insert,
    key_of,
    objects,
    put,
    recovered,
    repeat,
    stored,
    until,
    using,
    words,
    words_at,
)


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore(weak_versions=True)


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def faulty(store: VolatileStore, switch: Switch) -> FaultyStore:
    return FaultyStore(store, switch, Clock())


def counted(store: CountingStore, work: Callable[[], Any]) -> dict[str, int]:
    """Return how many requests of each kind `work` makes."""
    store.reset()
    work()
    return {name: tally.requests for name, tally in store.tallies().items()}


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run `work` beside; the list gets what it returns or raises."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Unavailable as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


# What it costs


def test_making_a_profile_is_one_conditional_put_and_a_first_write_owns_it(
    engines: Engines, store: VolatileStore
) -> None:
    counting = CountingStore(store)
    a = engines(counting)
    # The name; the manifest, looked for and made. The content waits to be shipped.
    assert counted(counting, lambda: put(a, "one")) == {"create": 2, "get": 2}
    assert counted(counting, lambda: put(a, "two")) == {}
    assert counted(counting, lambda: words(a)) == {}


def test_a_durable_write_is_two_requests(engines: Engines, store: VolatileStore) -> None:
    counting = CountingStore(store)
    a = engines(counting)
    put(a, "one")
    assert counted(counting, lambda: put(a, "two", durable=True)) == {"create": 1, "replace": 1}
    assert counted(counting, lambda: put(a, "three", durable=True)) == {"create": 1, "replace": 1}


def test_a_fork_of_what_is_shipped_is_five_requests(engines: Engines, store: VolatileStore) -> None:
    counting = CountingStore(store)
    a = engines(counting)
    put(a, "one", durable=True)
    costs = counted(counting, lambda: a.fork(P, "other"))
    assert costs == {"get": 2, "create": 2, "replace": 1}


def test_a_cold_wake_is_three_gets_when_it_is_folded(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    fill(a, 12)
    a.maintain(P)
    engines.close(a)
    counting = CountingStore(store)
    b = engines(counting, "b")
    assert counted(counting, lambda: b.wake(P)) == {"get": 3}


def test_names_are_a_request_for_a_thousand(engines: Engines, store: VolatileStore) -> None:
    counting = CountingStore(store)
    a = engines(counting)
    for number in range(1001):
        a._lookup.create(P._replace(profile=f"p{number:04}"))
    assert counted(counting, lambda: a.names("ns")) == {"list": 1}
    assert counted(counting, lambda: list(a.all_names())) == {"list": 2}
    last = [("ns", "p0998"), ("ns", "p0999"), ("ns", "p1000")]
    assert a.names("ns", ("ns", "p0997"), 10) == (last, False)
    assert a.names("ns", ("ns", "p0997"), 2) == (last[:2], True)
    assert a.names("other") == ([], False)


# When it is shipped


def test_commits_are_shipped_after_the_interval(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=0.02)
    txid = [put(a, "one"), put(a, "two")][-1]
    key = key_of(a)
    until(lambda: stored(store, key).txid == txid)
    # One shipment may hold many commits; nothing more happens afterwards.
    manifest = stored(store, key)
    assert len(objects(store, key)) == len(manifest.chain())


def test_much_is_shipped_at_once(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=3600, ship_wal_bytes=100_000)
    put(a, "small", durable=True)
    put(a, "small")
    assert stored(store, key_of(a)).txid == 1
    txid = put(a, "x" * 150_000)
    until(lambda: stored(store, key_of(a)).txid == txid)


def test_closing_ships(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock(), ship_interval=3600)
    put(a, "one")
    key = key_of(a)
    assert stored(store, key).txid == 0
    engines.close(a)
    assert stored(store, key).txid == 1
    assert words(engines(store, "elsewhere")) == ["one"]


def test_a_long_log_is_folded_into_the_file(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, wal_bytes=200_000)
    put(a, "x" * 300_000)
    (log,) = (engines.root / "a" / "hot").rglob("main.db-wal")
    size = log.stat().st_size
    assert size > 200_000
    a.sync(P)
    # It is all in the file; the log keeps its space and is begun anew.
    file = log.with_name("main.db").read_bytes()
    assert b"x" * 2_000 in file
    put(a, "more", durable=True)
    assert log.stat().st_size == size
    assert [len(word) for word in words(a) or ()] == [300_000, 4]
    assert a.verify(P).findings == ()


# What was never written


def test_a_first_write_that_fails_leaves_a_profile_that_was_never_written(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)

    def fails(_: apsw.Connection) -> None:
        raise RuntimeError("on purpose")

    with a.use(P, create=True) as branch:
        assert branch is not None
        with pytest.raises(RuntimeError, match="on purpose"):
            branch.write(fails)
    assert words(a) is None
    for action in (a.sync, a.wake, a.boundaries, a.checkpoints, a.manifest, a.export):
        with pytest.raises(NotFound) as caught:
            action(P)
        assert caught.value.code == "database_not_found"
    with pytest.raises(NotFound):
        a.checkpoint(P, "here")
    with pytest.raises(NotFound):
        a.fork(P, "other")
    engines.close(a)
    again = engines(store)
    assert words(again) is None
    put(again, "one", durable=True)
    assert words(again) == ["one"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_first_write_without_a_store_was_not_written(
    engines: Engines, faulty: FaultyStore, switch: Switch, durable: bool
) -> None:
    a = engines(faulty, clock=Clock(), patience=0.5)
    switch.operations = ("create", "replace")
    with a.use(P, create=True) as branch:
        assert branch is not None
        switch.down = True
        with pytest.raises(Unavailable) as caught:
            branch.write(insert("one"), durable=durable)
        assert caught.value.details["in_doubt"] is False
    switch.down = False
    assert words(a) is None
    assert put(a, "one", durable=True)
    assert words(a) == ["one"]


# The store is away


def test_without_the_store_local_writes_go_on_and_are_shipped_when_it_is_back(
    engines: Engines, store: VolatileStore, faulty: FaultyStore, switch: Switch
) -> None:
    a = engines(faulty, clock=Clock(), ship_interval=0.01)
    put(a, "one", durable=True)
    switch.down = True
    for number in range(5):
        put(a, f"w{number}")
    until(lambda: switch.refused)
    txid = put(a, "last")
    assert words(a) == ["one", *(f"w{n}" for n in range(5)), "last"]
    assert stored(store, key_of(a)).txid == 1
    switch.down = False
    until(lambda: stored(store, key_of(a)).txid == txid)
    assert words(engines(store, "elsewhere")) == words(a)


def test_a_durable_write_that_is_not_answered_is_in_doubt_and_can_be_repeated(
    engines: Engines, store: VolatileStore, faulty: FaultyStore, switch: Switch
) -> None:
    a = engines(faulty, clock=Clock(), ship_interval=3600, patience=0.5)
    put(a, "one", durable=True)
    switch.down = True
    with pytest.raises(Unavailable) as caught:
        put(a, "two", durable=True, request="r2")
    assert (caught.value.details["in_doubt"], caught.value.details["txid"]) == (True, 2)
    # It is committed here, once, whatever becomes of it there.
    assert words(a) == ["one", "two"]
    with pytest.raises(Unavailable) as again:
        put(a, "two", durable=True, request="r2")
    assert (again.value.details["in_doubt"], again.value.details["txid"]) == (True, 2)
    thread, outcome = in_thread(lambda: put(a, "two", durable=True, request="r2"))
    switch.down = False
    thread.join()
    if isinstance(outcome[0], Unavailable):
        outcome[0] = put(a, "two", durable=True, request="r2")
    assert outcome == [2]
    assert stored(store, key_of(a)).txid == 2
    assert words(a) == ["one", "two"]


def test_a_durable_write_on_a_broken_lane_is_refused_before_it_runs(
    engines: Engines, faulty: FaultyStore, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch_module, "_BROKEN_SECONDS", 0.05)
    a = engines(faulty, clock=Clock(), ship_interval=3600, patience=0.5)
    put(a, "one", durable=True)
    switch.down = True
    with pytest.raises(Unavailable):
        put(a, "two", durable=True, request="r2")
    with using(a) as branch:
        until(lambda: branch.is_stuck)
        with pytest.raises(Unavailable) as caught:
            branch.write(insert("three"), durable=True, repeat=repeat("r3"))
        assert "nothing was written" in caught.value.message
        assert "in_doubt" not in caught.value.details
        # One that was committed before is not told so: it waits.
        with pytest.raises(Unavailable) as caught:
            branch.write(insert("two"), durable=True, repeat=repeat("r2"))
        assert (caught.value.details["in_doubt"], caught.value.details["txid"]) == (True, 2)
        assert branch.write(insert("local")).txid == 3
    assert words(a) == ["one", "two", "local"]
    switch.down = False
    with using(a) as branch:
        until(lambda: not branch.is_stuck and not branch.unshipped)
        assert branch.write(insert("three"), durable=True, repeat=repeat("r3")).txid == 4


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.LATE, Kind.ERROR])
@pytest.mark.parametrize("operation", ["create", "replace"])
def test_answers_that_get_lost_cost_nothing(
    engines: Engines, store: VolatileStore, kind: Kind, operation: str
) -> None:
    script = Script([], operation)
    faulty = FaultyStore(store, lambda *asked: script(*asked), Clock())
    a = engines(faulty, clock=Clock())
    put(a, "one", durable=True)
    script = Script([Fault(kind, 0.01)] * 3, operation)
    assert put(a, "two", durable=True) == 2
    faulty.land(everything=True)
    assert put(a, "three", durable=True) == 3
    assert stored(store, key_of(a)).txid == 3
    assert a.verify(P).findings == ()
    assert recovered(a) == {}


def test_too_much_backlog_refuses_writes_until_the_store_has_caught_up(
    engines: Engines, store: VolatileStore, faulty: FaultyStore, switch: Switch
) -> None:
    a = engines(faulty, clock=Clock(), ship_interval=0.01, backlog_bytes=1 << 18)
    put(a, "one", durable=True)
    switch.down = True
    txid = put(a, "x" * (1 << 19))
    until(lambda: switch.refused)
    a._tick()
    with pytest.raises(Unavailable) as caught:
        put(a, "no")
    assert caught.value.code == "overloaded"
    assert f"{1 << 18:,}" in caught.value.message
    assert len(words(a) or ()) == 2
    switch.down = False
    until(lambda: stored(store, key_of(a)).txid == txid)
    a._tick()
    put(a, "yes", durable=True)


def test_a_backlog_does_not_keep_anything_from_being_shipped(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, backlog_bytes=1 << 18)
    put(a, "x" * (1 << 19))
    a._tick()
    with pytest.raises(Unavailable):
        put(a, "no")
    assert a.sync(P).txid == 1
    assert a.checkpoint(P, "here").txid == 1
    a._tick()
    put(a, "yes")


def test_closing_without_the_store_keeps_everything_for_the_next_start(
    engines: Engines, store: VolatileStore, faulty: FaultyStore, switch: Switch
) -> None:
    a = engines(faulty, clock=Clock(), ship_interval=3600)
    put(a, "one", durable=True)
    key = key_of(a)
    switch.down = True
    put(a, "two")
    engines._open.remove(a)
    a.close(0.2)
    assert stored(store, key).txid == 1
    again = engines(store)
    assert words(again) == ["one", "two"]
    assert again.sync(P).txid == 2
    assert words(engines(store, "elsewhere")) == ["one", "two"]
    assert recovered(again) == {}


def test_nothing_can_be_used_after_close(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    put(a, "one")
    with using(a) as branch:
        pass
    engines.close(a)
    with pytest.raises(Unavailable) as caught:
        words(a)
    assert caught.value.details["reason"] == "closed"
    with pytest.raises(Unavailable):
        branch.read(lambda c: c.execute("SELECT 1").get)


def test_reads_without_the_store_see_what_is_here(
    engines: Engines, faulty: FaultyStore, switch: Switch
) -> None:
    a = engines(faulty, clock=Clock(), staleness=0.0, patience=0.5)
    put(a, "one")
    engines.close(a)
    again = engines(faulty, clock=Clock(), staleness=0.0, patience=0.5)
    assert words(again) == ["one"]
    switch.down = True
    assert words(again) == ["one"]
    with pytest.raises(Unavailable) as caught:
        put(again, "two")
    assert caught.value.details["in_doubt"] is False
    switch.down = False
    put(again, "two")
    assert words(again) == ["one", "two"]


# Threads and handles


def test_what_overtakes_the_closing_of_a_handle_is_followed(
    engines: Engines, store: VolatileStore
) -> None:
    """A write between the end of following and the closing of the file is not left out."""
    a = engines(store)
    put(a, "one", durable=True)
    with using(a) as branch:
        close = branch.local.try_close

        def overtaken() -> bool:
            branch.local.try_close = close  # type: ignore[method-assign]
            branch.write(insert("two"))
            return close()

        branch.local.try_close = overtaken  # type: ignore[method-assign]
        branch.park()
        assert branch.write(insert("three"), durable=True).txid == 3
    assert words(engines(store, "elsewhere")) == ["one", "two", "three"]
    assert a.verify(P).findings == ()


def test_a_connection_that_broke_is_replaced_and_its_commits_are_shipped(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store)
    put(a, "one", durable=True)
    put(a, "two")
    with using(a) as branch:
        with branch.local.writers_place():
            # As a rollback that failed leaves it.
            branch.local.writer().close(force=True)
            branch.local._writer = branch.local._rounds = None
        assert branch.write(insert("three"), durable=True).txid == 3
    assert words(engines(store, "elsewhere")) == ["one", "two", "three"]


def test_many_threads_write_durably_at_once(engines: Engines, store: VolatileStore) -> None:
    a = engines(store, clock=Clock())
    found: list[int] = []

    def work(name: str) -> None:
        for number in range(10):
            found.append(put(a, f"{name}{number}", durable=True))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored(store, key_of(a)).txid == max(found)
    assert sorted(words(engines(store, "elsewhere")) or ()) == sorted(
        f"{name}{number}" for name in "abcdefgh" for number in range(10)
    )


def test_a_request_id_is_of_one_request(engines: Engines, store: VolatileStore) -> None:
    a = engines(store)
    assert put(a, "one", request="r") == put(a, "one", request="r", durable=True) == 1
    asked = repeat("r")._replace(digest=b"another")
    with using(a) as branch, pytest.raises(Conflict):
        branch.write(insert("two"), repeat=asked)
    assert words(a) == ["one"]


def test_a_boundary_is_named_for_what_is_not_shipped(
    engines: Engines, store: VolatileStore
) -> None:
    a: Engine = engines(store)
    put(a, "one", durable=True)
    put(a, "two")
    with pytest.raises(ValueError, match="ahead of the branch, whose head is 1"):
        a.fork(P, "other", Point.txid(2))
    a.sync(P)
    assert a.fork(P, "other", Point.txid(2)).txid == 2


def test_a_log_that_somebody_else_folded_is_shipped_as_a_snapshot(
    engines: Engines, store: VolatileStore, caplog: pytest.LogCaptureFixture
) -> None:
    a = engines(store)
    fill(a, 2)
    put(a, "two")
    with using(a) as branch:
        path = branch.files.current()
        assert path is not None
        other = apsw.Connection(str(path))
        other.execute("SELECT count(*) FROM words").fetchall()
        other.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
        other.close()
        assert branch.write(insert("three"), durable=True).txid == 4
    assert "txids 3 to 4 are shipped as a snapshot" in caplog.text
    assert words(engines(store, "elsewhere")) == ["w0", "w1", "two", "three"]
    assert put(a, "four", durable=True) == 5
    assert a.verify(P).findings == ()


def test_a_full_disk_is_said_and_leaves_nothing_half(
    engines: Engines, store: VolatileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = engines(store)
    fill(a, 2)
    b = engines(store, "b")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        actions: list[Callable[[], object]] = [
            lambda: words(b),
            lambda: words_at(a, 1),
            lambda: a.rewind(P, Point.txid(1)),
        ]
        for action in actions:
            with pytest.raises(Unavailable) as caught:
                action()
            assert caught.value.details["reason"] == "disk"
            assert "the disk is full" in caught.value.message
    assert list((engines.root / "b").rglob("main.db")) == []
    assert list((engines.root / "a" / "cache").rglob("*.new")) == []
    assert words(b) == words(a) == ["w0", "w1"]
    assert a.rewind(P, Point.txid(1)).txid == 3
    assert words(a) == ["w0"]


def test_without_notes_beside_the_file_everything_works(
    engines: Engines, store: VolatileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They save reading; a disk that refuses them takes nothing from what was shipped."""
    a = engines(store)
    replace = files_module.replace_file

    def refuses(path: Path, data: bytes, *, durable: bool = True) -> None:
        if not durable:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(path, data, durable=durable)

    monkeypatch.setattr(files_module, "replace_file", refuses)
    fill(a, 2)
    engines.close(a)
    again = engines(store)
    assert words(again) == ["w0", "w1"]
    assert put(again, "w2", durable=True) == 3
    assert recovered(again) == {}


def test_durable_writes_alone_keep_the_manifest_short(
    engines: Engines, store: VolatileStore
) -> None:
    a = engines(store, clock=Clock(), ship_interval=3600)
    for number in range(150):
        put(a, f"n{number}", durable=True)
    until(lambda: len(stored(store, key_of(a)).segments) <= 64)
    assert len(words(a) or ()) == 150
    assert a.verify(P).findings == ()
