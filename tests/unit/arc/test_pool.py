"""From an append to Arc: batches, doubts, poison, outages, and what is told of them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.api.events import (
    AppendEvents,
    Event,
    EventInput,
    EventsAppended,
    GetTimelineStats,
    ListTimeline,
)
from palimp.arc import ArcBinding, ArcEvents, ArcOptions, ArcPool, Import
from palimp.arc.drain import WORKERS
from palimp.clock import Clock
from palimp.errors import Invalid, NotFound, Unavailable
from palimp.observe import METRICS, Metrics

from ...arc_double import ArcDouble, Fault

TOKEN = "token-of-arc"
SETTLE = 0.4
# So long that nothing goes before somebody asks.
LATER = ArcOptions(flush_interval_ms=60_000, settle_seconds=SETTLE, connect_timeout=0.5)
SOON = LATER._replace(flush_interval_ms=10)


class World:
    """A node's pool and an Arc, and one organisation in it."""

    def __init__(self, folder: Path, arc: ArcDouble) -> None:
        self.folder = folder
        self.arc = arc
        self.metrics = Metrics()
        self.pools: list[ArcPool] = []

    def pool(self, options: ArcOptions = SOON, **more: Any) -> ArcPool:
        made = ArcPool(self.folder, options, Clock(), self.metrics)
        self.pools.append(made)
        made.start()
        if more.get("bound", True):
            made.bind(self.binding())
            # What is bound is looked into once: later it waits for its time.
            until(lambda: _is_idle(made))
        return made

    def binding(self, org: str = "o") -> ArcBinding:
        return ArcBinding(org, self.arc.url, TOKEN, "db")

    def texts(self) -> list[str]:
        return [row["content"] for row in self.arc.rows()]


def _is_idle(pool: ArcPool) -> bool:
    assert pool._drain is not None
    return all(not one.busy and one.due == float("inf") for one in pool._drain._lanes.values())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ArcDouble(tmp_path / "arc.duckdb", token=TOKEN) as arc:
        made = World(tmp_path, arc)
        yield made
        for pool in made.pools:
            pool.close(0.1)


def store_of(pool: ArcPool, org: str = "o") -> ArcEvents:
    found = pool.of(org)
    assert found is not None
    return found


def append(pool: ArcPool, *texts: str, org: str = "o", **more: Any) -> EventsAppended:
    events = tuple(EventInput(agent="a", text=text, **more) for text in texts)
    return store_of(pool, org).append(AppendEvents(events=events))


def once(pool: ArcPool, key: str) -> str:
    event = EventInput(agent="a", text="t", dedup_key=key)
    request = AppendEvents(events=(event,), dedup_window=3_600.0)
    return store_of(pool).append(request)[0].status


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


def test_a_full_batch_goes_at_once_and_others_when_their_time_is_over(world: World) -> None:
    pool = world.pool(LATER._replace(batch_size=5))
    append(pool, *"abcd")
    assert pool.pending() == {"o": 4}
    append(pool, "e")
    until(lambda: not pool.pending())
    assert world.arc.writes == [5]
    pool.close()
    pool = world.pool()
    append(pool, "f")
    until(lambda: not pool.pending())
    assert world.texts() == list("abcdef")


def test_reads_come_behind_what_was_appended(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a", "b")
    page = store_of(pool).list(ListTimeline(limit=1), Clock().now_ms())
    assert ([event.text for event in page], page.more) == (["b"], True)
    append(pool, "c", event="error")
    stats = store_of(pool).stats(GetTimelineStats(agent="a"), Clock().now_ms())
    assert (stats.count, stats.errors_24h) == (3, 1)


@pytest.mark.parametrize("after", [True, False], ids=["applied", "not applied"])
def test_an_answer_that_was_lost_is_settled_by_asking(world: World, after: bool) -> None:
    pool = world.pool()
    world.arc.faults.append(Fault("write", cut=True, after=after))
    append(pool, "a", "b")
    append(pool, "c")
    until(lambda: not pool.pending())
    assert world.texts() == ["a", "b", "c"]
    assert world.metrics.count("arc_events_settled") >= 2


def test_what_arc_shows_late_is_not_sent_twice(world: World) -> None:
    world.arc.delay = SETTLE / 2
    pool = world.pool()
    world.arc.faults.append(Fault("write", cut=True, after=True))
    append(pool, "a")
    until(lambda: not pool.pending())
    assert world.texts() == ["a"]


def test_a_crash_before_the_answer_is_settled_by_asking(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a", "b")
    spool = pool._spool
    assert spool is not None
    spool.mark(spool.take("o", 1, 1 << 20))
    # As a kill leaves it: nobody said what became of the first.
    assert pool._drain is not None
    pool._drain.stop(5)
    spool.close()
    pool = ArcPool(world.folder, SOON, Clock(), world.metrics)
    world.pools.append(pool)
    pool.start()
    pool.bind(world.binding())
    until(lambda: not pool.pending())
    assert world.texts() == ["a", "b"]
    assert world.metrics.count("arc_events_settled") == 1


def test_a_clock_that_was_set_back_does_not_hold_up_what_is_in_doubt(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a")
    spool = pool._spool
    assert spool is not None
    spool.mark(spool.take("o", 1, 1 << 20))
    spool._db.execute("UPDATE rows SET since_ms = since_ms + 3600000")
    append(pool, "b")
    pool.flush("o", 1)
    until(lambda: not pool.pending())
    assert world.texts() == ["a", "b"]


def test_what_was_accepted_is_not_an_error_when_the_disk_fails_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = world.pool(LATER)

    def fail(*_: object, **__: object) -> int:
        raise Unavailable("the disk refused a read", reason="disk")

    monkeypatch.setattr(pool._spool, "waiting", fail)
    assert append(pool, "a")[0].status == "created"
    monkeypatch.setattr(pool._spool, "last_id", fail)
    # A read is of Arc, also when the spool cannot be read.
    assert len(store_of(pool).list(ListTimeline(), Clock().now_ms())) == 0
    monkeypatch.undo()
    assert pool.flush("o", 20)


def test_poison_is_parked_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.arc.poison = "bad"
    pool = world.pool(LATER)
    append(pool, "a", "bad one", "b", "c", "bad two", "d")
    assert pool.flush("o", 20)
    assert world.texts() == ["a", "b", "c", "d"]
    first, second = pool.parked("o")
    assert [first.event.text, second.event.text] == ["bad one", "bad two"]
    assert "content is not taken" in first.error
    assert pool.pending() == {}
    assert pool.gauges()["arc_spool_parked"] == 2
    assert world.metrics.snapshot()['arc_batches_failed{reason="400"}'] == 2
    # No log line holds what Arc said of a text.
    assert "parked" in caplog.text
    assert "not taken" not in caplog.text
    world.arc.poison = ""
    assert pool.retry_parked("o", [first.id]) == 1
    assert pool.flush("o", 20)
    assert world.texts()[-1] == "bad one"
    assert pool.drop_parked("o") == 1
    assert pool.gauges()["arc_spool_events"] == 0


def test_what_is_too_large_is_sent_in_parts(world: World) -> None:
    pool = world.pool(LATER)
    world.arc.faults.append(Fault("write", status=413))
    append(pool, *"abcd")
    assert pool.flush("o", 20)
    assert world.texts() == list("abcd")
    assert world.arc.writes == [2, 2]


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_what_no_event_is_to_blame_for_parks_none(world: World, status: int) -> None:
    pool = world.pool()
    world.arc.faults.append(Fault("write", status=status, times=3, retry_after="0"))
    append(pool, "a", "b")
    until(lambda: not pool.pending())
    assert world.texts() == ["a", "b"]
    assert pool.parked() == []


def test_a_key_that_was_replaced_takes_effect_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.pool(bound=False)
    pool.bind(world.binding()._replace(api_key="wrong-key-of-arc"))
    append(pool, "a")
    until(lambda: "refuses the key of o (401)" in caplog.text)
    with pytest.raises(Unavailable, match="add-arc") as caught:
        store_of(pool).list(ListTimeline(), Clock().now_ms())
    assert "wrong-key" not in str(caught.value) + caplog.text
    pool.bind(world.binding())
    until(lambda: not pool.pending())
    assert world.texts() == ["a"]


def test_an_organisation_whose_arc_is_away_keeps_no_other_waiting(world: World) -> None:
    pool = world.pool()
    with ArcDouble(world.folder / "other.duckdb", token=TOKEN) as other:
        for number in range(8):
            pool.bind(ArcBinding(f"p{number}", other.url, TOKEN, "db"))
        other.stop()
        for number in range(8):
            append(pool, "x", org=f"p{number}")
        append(pool, "a")
        until(lambda: "o" not in pool.pending())
        assert world.texts() == ["a"]
        assert len(pool.pending()) == 8


def test_arcs_that_hang_do_not_have_all_threads(world: World) -> None:
    pool = world.pool(SOON._replace(query_timeout=120.0))
    drain = pool._drain
    assert drain is not None
    # Takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        for number in range(WORKERS + 1):
            org = f"p{number}"
            pool.bind(ArcBinding(org, f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN, "db"))
            drain._lanes[org].failures = 1
            append(pool, "x", org=org)
        append(pool, "a")
        until(lambda: "o" not in pool.pending())
        until(lambda: sum(one.busy for one in drain._lanes.values()) == WORKERS - 1)
    assert world.texts() == ["a"]


def test_unbinding_keeps_what_is_pending(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a")
    pool.unbind("o")
    pool.unbind("o")
    assert pool.of("o") is None
    assert pool.bound() == frozenset()
    assert pool.pending() == {"o": 1}
    assert not pool.flush("o", 0.1)
    with pytest.raises(NotFound, match="add-arc"):
        pool.ping("o")
    pool.close()
    pool = world.pool(bound=False)
    assert pool.pending() == {"o": 1}
    pool.bind(world.binding())
    until(lambda: not pool.pending())
    assert world.texts() == ["a"]
    append(pool, "b")
    pool.flush("o", 20)
    world.arc.stop()
    append(pool, "c")
    assert pool.forget("o") == 1
    assert pool.pending() == {}


def test_closing_sends_what_there_is(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a", "b")
    pool.close()
    assert world.texts() == ["a", "b"]
    pool.close()
    with pytest.raises(Unavailable):
        pool.bind(world.binding("p"))


def test_closing_does_not_wait_for_an_arc_that_is_away(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.pool(LATER)
    append(pool, "a")
    world.arc.stop()
    pool.close(5.0)
    assert "events for o stay in the spool" in caplog.text
    world.arc.start()
    pool = world.pool()
    until(lambda: not pool.pending())
    assert world.texts() == ["a"]


def test_health_is_told_and_losses_are_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "palimp.arc")
    pool = world.pool(LATER._replace(connect_timeout=0.1))
    pool.bind(world.binding("p"))
    until(lambda: pool.health() == {"o": True, "p": True})
    assert pool.ping("o")
    world.arc.stop()
    until(lambda: pool.health() == {"o": False, "p": False})
    time.sleep(0.3)
    world.arc.start()
    until(lambda: pool.health() == {"o": True, "p": True})
    until(lambda: "reached again" in caplog.text)
    said = [record.message for record in caplog.records if "reached" in record.message]
    assert [line.rpartition(" is ")[2] for line in said] == [
        "reached",
        "not reached",
        "reached again",
    ]
    # A ping carries no key.
    pings = [headers for _, path, headers, _ in world.arc.seen if path == "/health"]
    assert all("x-api-key" not in headers for headers in pings)


def test_a_key_in_arc_or_on_its_way_is_a_duplicate(world: World) -> None:
    world.arc.delay = 30.0
    pool = world.pool(LATER)
    assert [once(pool, "k"), once(pool, "k")] == ["created", "duplicate"]
    assert pool.flush("o", 20)
    # It is there and not shown yet.
    assert once(pool, "k") == "duplicate"
    world.arc.store.show_all()
    pool.close()
    (world.folder / "spool" / "arc.db").unlink()
    # Only Arc knows it now.
    pool = world.pool(LATER)
    assert once(pool, "k") == "duplicate"
    assert once(pool, "k\\'") == "created"


def test_of_twenty_at_once_one_is_accepted(world: World) -> None:
    pool = world.pool()
    found: list[str] = []
    barrier = threading.Barrier(20)

    def add() -> None:
        barrier.wait()
        found.append(once(pool, "k"))

    threads = [threading.Thread(target=add) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["created"] + ["duplicate"] * 19
    assert pool.flush("o", 20)
    assert world.texts() == ["t"]


@pytest.mark.parametrize("how", ["away", "failing"])
def test_where_arc_cannot_be_asked_a_key_is_new(
    world: World, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.pool(LATER)
    if how == "away":
        world.arc.stop()
    else:
        world.arc.faults.append(Fault("query", status=500, times=-1))
    assert [once(pool, "k"), once(pool, "l"), once(pool, "k")] == [
        "created",
        "created",
        "duplicate",
    ]
    assert caplog.text.count("cannot be asked for dedup keys") == 1
    assert world.metrics.count("arc_dedup_unasked") == 2


def test_a_read_while_arc_is_away_says_so_and_keeps_what_is_spooled(world: World) -> None:
    pool = world.pool(LATER)
    append(pool, "a")
    world.arc.stop()
    for read in (
        lambda: store_of(pool).list(ListTimeline(), Clock().now_ms()),
        lambda: store_of(pool).stats(GetTimelineStats(), Clock().now_ms()),
    ):
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            read()
        assert "instance" not in str(caught.value)
        assert caught.value.retry_after
    assert pool.pending() == {"o": 1}


def fields(more: Any) -> dict[str, Any]:
    return {"agent": "a", "text": "b", **more}


def test_limits_are_those_of_memories_and_of_the_columns(world: World) -> None:
    pool = world.pool()
    for more, words in [
        ({"text": " "}, "text is empty"),
        ({"text": "x" * 1_048_577}, "at most 1,048,576"),
        ({"text": "\ud800"}, "surrogate"),
        ({"dedup_key": "k" * 513}, "dedup_key has 513 bytes"),
        ({"importance": 1.5}, "importance is 1.5"),
        ({"importance": float("nan")}, "importance is nan"),
        ({"tags": ("a,b",)}, "comma"),
        ({"tags": ("t",) * 65}, "at most 64"),
        ({"metadata": {"a": float("inf")}}, "metadata.a contains inf"),
        ({"metadata": {"a": "x" * 65_536}}, "as JSON"),
    ]:
        good = EventInput(agent="a", text="good")
        bad = EventInput(**fields(more))
        with pytest.raises(Invalid, match=words) as caught:
            store_of(pool).append(AppendEvents(events=(good, bad)))
        assert caught.value.details["index"] == 1
    deep: Any = 1
    for _ in range(33):
        deep = [deep]
    with pytest.raises(Invalid, match="32 levels"):
        append(pool, "b", metadata={"a": deep})
    assert pool.pending() == {}


def test_imports_go_in_their_order_with_their_times(world: World) -> None:
    pool = world.pool(LATER, bound=False)
    at_us = 1_767_225_600_000_000
    imports = [Import(f"m{n}", Event(agent="a", text=str(n), at_us=at_us + n)) for n in range(5)]
    assert pool.import_events("o", imports[:3]) == 3
    assert pool.import_events("o", imports) == 2
    pool.bind(world.binding())
    until(lambda: not pool.pending())
    assert [(row["content"], row["at_us"] - at_us) for row in world.arc.rows()] == [
        (str(n), n) for n in range(5)
    ]
    assert pool.import_events("o", imports) == 0
    pool.forget_imports("o")


def test_every_metric_that_is_counted_is_known(world: World) -> None:
    pool = world.pool()
    append(pool, "a")
    assert pool.flush("o", 20)
    names = {name.partition("{")[0] for name in world.metrics.snapshot()}
    assert names == {"arc_batches_sent", "arc_events_sent"}
    assert names | set(pool.gauges()) <= set(METRICS)
    assert {METRICS[name].kind for name in pool.gauges()} == {"gauge"}
