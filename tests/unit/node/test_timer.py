"""What a node does without being asked: when it begins, that it goes on, and that it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import Policy, to_request
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.errors import NotFound, Unavailable
from palimp.node import Node, load_settings
from palimp.node.timer import Timer
from palimp.observe import Metrics
from palimp.operations import erasing
from palimp.operations.duties import Duties, Trouble
from palimp.store import CountingStore, VolatileStore

GoesOn = Callable[[], bool]


class Passes:
    """Stands for what is due; says how often it was looked at, and by how many at once."""

    def __init__(self, troubles: list[list[Trouble]] | None = None) -> None:
        self.made = 0
        self.done = 0
        self.at_once = 0
        self.most = 0
        self.enough = threading.Event()
        self.wanted = 3
        self._troubles = troubles or []

    def make(self) -> Callable[[GoesOn], list[Trouble]]:
        self.made += 1
        return self.once

    def once(self, goes_on: GoesOn) -> list[Trouble]:
        assert goes_on()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        found = self._troubles[self.done] if self.done < len(self._troubles) else []
        self.done += 1
        self.at_once -= 1
        if self.done == self.wanted:
            self.enough.set()
        return found


@pytest.fixture(autouse=True)
def _others() -> None:
    """Take note of threads of nodes that other tests have left open."""
    OTHERS[:] = threading.enumerate()


OTHERS: list[threading.Thread] = []


def timer_threads() -> list[str]:
    found = [one for one in threading.enumerate() if one not in OTHERS]
    return [one.name for one in found if one.name == "palimp-timer"]


def test_it_begins_when_it_is_told_to_and_goes_on() -> None:
    passes = Passes()
    timer = Timer(passes.make, 0.001, Metrics())
    assert (passes.made, timer_threads(), timer.started) == (0, [], False)
    for _ in range(3):
        timer.start()
    assert timer.started
    assert passes.enough.wait(10)
    assert timer_threads() == ["palimp-timer"]
    timer.close()
    assert (passes.made, passes.most, timer_threads()) == (1, 1, [])
    done = passes.done
    timer.start()
    assert (passes.done, timer_threads()) == (done, [])


def test_with_no_seconds_it_never_begins() -> None:
    timer = Timer(Passes().make, 0, Metrics())
    assert timer.started
    timer.start()
    assert timer_threads() == []
    timer.close()


def test_closing_ends_a_pass_early() -> None:
    begun, told = threading.Event(), []

    def once(goes_on: GoesOn) -> list[Trouble]:
        begun.set()
        while goes_on():
            pass
        told.append("ended")
        return []

    timer = Timer(lambda: once, 0.001, Metrics())
    timer.start()
    assert begun.wait(10)
    timer.close()
    assert told == ["ended"]


def test_of_each_kind_of_failure_one_line_until_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    lost = Trouble("profile", "alice", Unavailable("no answer"))
    other = Trouble("erasure", "e1", Unavailable("no answer"))
    passes = Passes([[lost, lost], [lost, other], [], [lost]])
    passes.wanted, metrics = 5, Metrics()
    timer = Timer(passes.make, 0.001, metrics)
    with caplog.at_level(logging.WARNING, "palimp"):
        timer.start()
        assert passes.enough.wait(10)
        timer.close()
    lines = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert lines == ["profile alice", "erasure e1", "profile alice"]
    counts = metrics.snapshot()
    assert counts["maintenance_passes"] >= 5
    failed = {name: n for name, n in counts.items() if name.startswith("maintenance_failed")}
    assert sorted(failed.values()) == [1, 4]


# -- what is due -----------------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    given = {"data_dir": tmp_path / "memory", "embed_provider": "none", "maintenance_secs": 0}
    made = Node(load_settings(given, {}), clock=clock, store=VolatileStore())
    yield made
    made.close()


@pytest.fixture
def mem(node: Node) -> palimp.Client:
    return palimp.Client(Embedded(node))


def always() -> bool:
    return True


def texts(profile: Any) -> list[str]:
    return sorted(one.text for one in profile.list())


def test_an_erasure_is_completed_when_its_grace_has_ended(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    alice, duties = mem.profile("alice"), Duties(node.context)
    told = alice.remember("a secret")
    alice.checkpoint("before")
    alice.remember("later")
    job = alice.erase(told.id, grace=60)
    assert duties.once(always) == []
    assert job.refresh().status == "waiting"
    clock.advance(59.999)
    assert duties.once(always) == []
    assert job.refresh().status == "waiting"
    clock.advance(0.001)
    assert duties.once(always) == []
    assert job.refresh().status == "done"
    # That it is completed is read once.
    assert duties.once(always) == []
    counting = node.context.engine.store
    assert isinstance(counting, CountingStore)
    counting.reset()
    assert duties.once(always) == []
    assert set(counting.tallies()) == {"list"}


def test_what_is_called_off_by_a_process_that_ended_is_seen_to(
    node: Node, mem: palimp.Client
) -> None:
    alice = mem.profile("alice")
    told = alice.remember("a secret")
    alice.checkpoint("before")
    job = alice.erase(told.id, grace=60)
    assert texts(alice.at("before")) == []
    store = node.context.engine.store
    (record,) = erasing.records(store)
    erasing._save(store, record, state="cancelled")
    assert texts(alice.at("before")) == []
    assert Duties(node.context).once(always) == []
    assert texts(alice.at("before")) == ["a secret"]
    assert job.refresh().status == "cancelled"


def test_what_is_in_use_is_looked_at_an_hour_later_and_then_left_alone(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    alice, duties = mem.profile("alice"), Duties(node.context)
    alice.ingest([{"type": "task", "text": "call", "ttl": 60}])
    engine = node.context.engine

    def rows() -> int:
        with engine.use(engine.used()[0][0], create=False) as branch:
            assert branch is not None
            return int(branch.local.read(_count).value)

    assert duties.once(always) == []
    assert rows() == 1
    clock.advance(3_601)
    assert duties.once(always) == []
    before = engine.used()
    clock.advance(3_601)
    assert duties.once(always) == []
    # Its own look was the last use, and does not keep it open.
    assert engine.used() == before
    assert rows() == 0


def _count(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM __palimp_memories").get)


def test_elsewhere_only_what_a_policy_asks_for_is_woken(
    node: Node, mem: palimp.Client, clock: ManualClock, tmp_path: Path
) -> None:
    events = [{"type": "event", "text": "long ago"}]
    for namespace in ("default", "tidy"):
        mem.profile("alice", namespace=namespace).ingest(events)
        mem.profile("alice", namespace=namespace).sync()
    rules = {"memory": {"event_max_age_secs": 3_600}}
    mem.set_policy("tidy", to_request(Policy, rules, "policy"))
    clock.advance(2 * 3_600)
    # Another node, in whose folder nothing is.
    given = {"data_dir": tmp_path / "other", "embed_provider": "none", "maintenance_secs": 0}
    other = Node(load_settings(given, {}), clock=clock, store=node.context.engine.store)
    try:
        duties, engine = Duties(other.context), other.context.engine
        assert duties.once(always) == []
        assert {address.namespace for address, _ in engine.used()} == {"tidy"}
        assert other.context.metrics.snapshot()["memories_swept"] == 1
        assert duties.once(always) == []
        assert len(engine.used()) == 1
    finally:
        other.close()


def test_what_fails_stops_nothing_else(node: Node, mem: palimp.Client, clock: ManualClock) -> None:
    duties, done = Duties(node.context), []

    def fails() -> None:
        raise Unavailable("no answer")

    def is_gone() -> None:
        raise NotFound("gone")

    duties._erasures = lambda: iter(  # type: ignore[method-assign]
        [("erasure", "e1", fails), ("erasure", "e2", is_gone)]
    )
    duties._in_use = lambda: iter(  # type: ignore[method-assign]
        [("profile", "alice", lambda: done.append("alice"))]
    )
    (trouble,) = duties.once(always)
    assert (trouble.duty, trouble.what, trouble.error.code) == ("erasure", "e1", "unavailable")
    assert done == ["alice"]
    assert duties.once(lambda: False) == []


def test_a_folder_begins_with_its_first_write(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        assert timer_threads() == []
        assert mem.profile("alice").recall("anything").memories == ()
        assert timer_threads() == []
        mem.profile("alice").remember("hello")
        assert timer_threads() == ["palimp-timer"]
    assert timer_threads() == []
