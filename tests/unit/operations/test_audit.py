"""The audit: what is recorded, what never is, the chain, and what happens when things go wrong."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import palimp
from palimp.api import OPERATIONS, AuditEvent, QueryAudit, Target
from palimp.api.base import Request
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.errors import Error, Invalid
from palimp.governance import Policies
from palimp.node import Node, load_settings
from palimp.observe import Metrics
from palimp.operations import Principal
from palimp.operations.auditing import ACTIONS, EXEMPT, Audit
from palimp.operations.auditing.chain import BATCH_MAX, digest, places, prepare
from palimp.operations.auditing.reading import query
from palimp.operations.auditing.retiring import retire
from palimp.operations.auditing.stream import QUEUE_MAX
from palimp.operations.auditing.verifying import verify
from palimp.store import VolatileStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore, Kind

DAY_MS = 86_400_000
ON = {"audit": {"enabled": True}}
ALL = {"audit": {"enabled": True, "include_reads": True}}


class World:
    """Nodes' audits on one store, with a switch for its faults."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inner = VolatileStore()
        self.fault: Callable[[str, str], Fault] = lambda operation, key: NO_FAULT
        self.store = FaultyStore(
            self.inner, lambda operation, key: self.fault(operation, key), self.clock
        )
        self.metrics = Metrics()
        self.policies = Policies(self.inner, self.clock)
        self.policies.set_namespace("acme", {"audit.enabled": True})
        self.audits: list[Audit] = []

    def start(self, node: str = "one", **options: Any) -> Audit:
        given = {"flush_seconds": 0.01, **options}
        audit = Audit(self.store, self.clock, self.policies, self.metrics, node, **given)
        self.audits.append(audit)
        return audit

    def events(self, namespace: str = "acme", **fields: Any) -> list[AuditEvent]:
        found: list[AuditEvent] = []
        cursor = None
        while True:
            page = query(self.inner, namespace, QueryAudit(**fields, cursor=cursor))
            found += page.events
            cursor = page.next_cursor
            assert page.complete == (cursor is None)
            if cursor is None:
                return found

    def broken(self) -> str | None:
        cursor = None
        while True:
            found = verify(self.inner, "acme", cursor)
            cursor = found.next_cursor
            if cursor is None:
                return None if found.broken is None else found.broken.what

    def stored(self) -> list[str]:
        return [place.key for place in places(self.inner, "acme")]

    def lines(self, key: str) -> list[bytes]:
        stored = self.inner.get(key)
        assert stored is not None
        return stored.data.splitlines()

    def put(self, key: str, lines: list[bytes]) -> None:
        self.inner.delete(key)
        self.inner.create(key, b"".join(line + b"\n" for line in lines))

    def written(self, objects: int, events: int = 3, node: str = "one") -> Audit:
        """Write so many objects of so many events."""
        audit = self.start(node, flush_seconds=60)
        for _ in range(objects):
            for number in range(events):
                audit.record("acme", "test.event", "alice", number=number)
            assert audit.flush(5)
            self.clock.advance(1)
        return audit


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.fault = lambda operation, key: NO_FAULT
    for audit in world.audits:
        audit.close(5)


def actions(events: list[AuditEvent]) -> list[str]:
    return [event.action for event in events]


# -- what is recorded ------------------------------------------------------------------------------


def test_every_operation_is_recorded_or_says_why_not() -> None:
    assert set(ACTIONS) | set(EXEMPT) == set(OPERATIONS)
    assert not set(ACTIONS) & set(EXEMPT)
    for name, action in ACTIONS.items():
        # What changes something is always recorded, and so is what takes everything along.
        assert not (action.read and OPERATIONS[name].writes), name
    assert not ACTIONS["export"].read


def test_nothing_is_recorded_where_nobody_asked_for_it(timed: palimp.Client) -> None:
    # Nodes of other tests may be there still.
    before = set(threading.enumerate())
    timed.profile("alice", namespace="acme").remember("x")
    assert list(timed.audit("acme")) == []
    assert "palimp-audit" not in [one.name for one in set(threading.enumerate()) - before]


def test_writes_are_recorded_and_reads_where_the_policy_says(timed: palimp.Client) -> None:
    timed.set_policy("acme", ON)
    alice = timed.profile("alice", namespace="acme")
    done = alice.remember("x", request_id="r-1")
    alice.recall("x")
    timed.profile("bob", namespace="other").remember("x")
    events = list(timed.audit("acme"))
    assert actions(events) == ["policy.update", "memory.ingest"]
    written = events[1]
    assert (written.profile, written.branch, written.txid) == ("alice", "main", done.txid)
    assert (written.outcome, written.code, written.counts) == ("ok", None, {"items": 1})
    assert (written.kind, written.scope, written.request_id) == ("owner", "admin", "r-1")
    timed.set_policy("acme", ALL)
    alice.recall("x")
    list(timed.audit("acme"))
    assert actions(list(timed.audit("acme")))[2:] == [
        "policy.update",
        "memory.recall",
        "audit.query",
    ]


def test_turning_it_off_is_recorded(timed: palimp.Client) -> None:
    timed.set_policy("acme", ON)
    timed.set_policy("acme", None)
    timed.profile("alice", namespace="acme").remember("x")
    assert actions(list(timed.audit("acme"))) == ["policy.update"] * 2


def test_failures_and_denials_are_recorded(timed: palimp.Client, tmp_path: Path) -> None:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}))
    reader = Principal("database", "read", "acme", "alice", 1, "a1b2")
    with palimp.Client(Embedded(node)) as mem:
        mem.set_policy("acme", ON)
        alice = mem.profile("alice", namespace="acme")
        with pytest.raises(Error):
            alice.supersede("mem_none", "x")
        for profile in ("alice", "bob"):
            target = Target("acme", profile)
            with pytest.raises(palimp.Denied):
                node.call("memories.ingest", target, _ingest("x"), principal=reader)
        # Denials of reads too, also where reads are not recorded.
        with pytest.raises(palimp.Denied):
            node.call("memories.list", Target("acme", "bob"), _list(), principal=reader)
        found = [
            (event.action, event.outcome, event.code, event.profile, event.actor)
            for event in mem.audit("acme")
        ][1:]
    assert found == [
        ("memory.supersede", "error", "not_found", "alice", "owner"),
        ("memory.ingest", "denied", "forbidden", "alice", "a1b2"),
        ("memory.ingest", "denied", "forbidden", "bob", "a1b2"),
        ("memory.list", "denied", "forbidden", "bob", "a1b2"),
    ]


def _ingest(text: str) -> Request:
    return OPERATIONS["memories.ingest"].request(memories=(palimp.MemoryInput(text=text),))


def _list() -> Request:
    return OPERATIONS["memories.list"].request()


@pytest.mark.parametrize(
    ("kind", "scope", "namespace", "may"),
    [
        ("platform", "admin", None, True),
        ("namespace", "admin", "acme", True),
        ("namespace", "write", "acme", False),
        ("namespace", "admin", "acme-x", False),
        ("database", "admin", "acme", False),
    ],
)
def test_it_is_read_by_an_admin_of_its_namespace(
    tmp_path: Path, kind: Any, scope: Any, namespace: str | None, may: bool
) -> None:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}))
    profile = "alice" if kind == "database" else None
    caller = Principal(kind, scope, namespace, profile, 1, "a1b2")
    with palimp.Client(Embedded(node)) as mem:
        mem.set_policy("acme", ON)
        for name in ("audit.query", "audit.verify"):
            request = OPERATIONS[name].request()
            if may:
                assert node.call(name, Target("acme"), request, principal=caller)
            else:
                with pytest.raises(palimp.Denied):
                    node.call(name, Target("acme"), request, principal=caller)
        for name in ("policy.get_namespace", "policy.set_namespace"):
            fields = {"policy": None} if "set" in name else {}
            request = OPERATIONS[name].request(**fields)
            if kind == "platform":
                node.call(name, Target("acme"), request, principal=caller)
            else:
                with pytest.raises(palimp.Denied):
                    node.call(name, Target("acme"), request, principal=caller)


def test_no_words_of_anybody_are_in_it(timed: palimp.Client) -> None:
    secret = "zanzibar"
    timed.set_policy("acme", ALL)
    alice = timed.profile("alice", namespace="acme")
    done = alice.remember(secret, topic=secret, session=secret, source=secret, tags=[secret])
    alice.session(secret).append("user", secret)
    alice.recall(secret, topic=secret)
    alice.get(done.id)
    alice.forget(done.id)
    alice.session(secret).end(turns=True)
    for call in (
        lambda: alice.remember(secret, type=secret),  # type: ignore[arg-type]
        lambda: alice.get(secret),
        lambda: alice.checkpoint(secret + " " + secret),
        lambda: timed.call("recall", Target("acme", secret + " x"), _recall(secret)),
        lambda: timed.call("recall", Target("acme", "alice", secret + " x"), _recall(secret)),
        lambda: alice.remember("x", request_id=secret + " x"),
    ):
        with pytest.raises(Error):
            call()
    events = list(timed.audit("acme"))
    assert len(events) >= 10
    assert secret not in msgspec.json.encode(events).decode()


def _recall(query_: str) -> Request:
    return OPERATIONS["recall"].request(query=query_)


def test_databases_are_recorded_in_the_namespace_they_are_of(timed: palimp.Client) -> None:
    timed.set_policy("acme", ON)
    timed.call("databases.create", Target(), _named("acme--alice"))
    with pytest.raises(Error):
        timed.call("databases.create", Target(), _named("nonsense"))
    timed.call(
        "databases.delete", Target("acme", "alice"), OPERATIONS["databases.delete"].request()
    )
    events = list(timed.audit("acme"))
    found = [(event.action, event.profile) for event in events]
    assert found[1:] == [("db.create", "alice"), ("db.delete", "alice")]


def _named(name: str) -> Request:
    return OPERATIONS["databases.create"].request(name=name)


# -- queries ---------------------------------------------------------------------------------------


def test_events_are_found_by_time_action_profile_and_outcome(world: World) -> None:
    audit = world.start(flush_seconds=60)
    begin = world.clock.now_ms()
    for number in range(6):
        audit.record("acme", f"test.{'even' if number % 2 == 0 else 'odd'}", f"p{number}")
        world.clock.advance(40)
        audit.flush(5)
    seconds = [(event.ts - begin) // 1000 for event in world.events()]
    assert seconds == [0, 40, 80, 120, 160, 200]
    assert [e.profile for e in world.events(from_=begin + 40_000)] == ["p1", "p2", "p3", "p4", "p5"]
    found = world.events(from_=begin + 40_000, to=begin + 160_000)
    assert [event.profile for event in found] == ["p1", "p2", "p3"]
    assert [event.profile for event in world.events(action="test.odd")] == ["p1", "p3", "p5"]
    assert len(world.events(action="test.")) == 6
    assert world.events(action="test") == world.events(action="tes.") == []
    assert [event.action for event in world.events(profile="p3")] == ["test.odd"]
    assert world.events(outcome="denied") == []
    # An object has events of a minute at most, however late it is stored.
    for _ in range(3):
        audit.record("acme", "test.late")
        world.clock.advance(50)
    audit.flush(5)
    sizes = [len(world.lines(key)) for key in world.stored()]
    assert sizes == [1] * 6 + [2, 1]
    assert len(world.events(to=begin + 241_000, action="test.late")) == 1


def test_pages_end_anywhere_and_go_on_there(world: World) -> None:
    world.written(objects=5, events=7)
    whole = world.events()
    assert len(whole) == 35
    for limit in (1, 4, 7, 10):
        assert world.events(limit=limit) == whole


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"from_": 2, "to": 1},
        {"cursor": "x"},
        {"cursor": "x:99999999999"},
        {"action": ""},
        {"profile": "no name"},
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(world: World, fields: Any) -> None:
    with pytest.raises(Invalid):
        query(world.inner, "acme", QueryAudit(**fields))


# -- the chain -------------------------------------------------------------------------------------


def test_a_chain_goes_on_after_a_restart_and_a_crash(world: World) -> None:
    world.written(objects=2).close(5)
    # A node that is killed leaves a head that is behind.
    world.written(objects=2)
    third = world.start()
    third.record("acme", "test.event")
    assert third.flush(5)
    assert [event.seq for event in world.events()] == list(range(1, 14))
    assert world.broken() is None
    assert {event.node for event in world.events()} == {"one"}


def test_nodes_have_chains_of_their_own(world: World) -> None:
    world.written(objects=2, node="one")
    world.written(objects=2, node="two-2")
    found = verify(world.inner, "acme", None)
    assert [(chain.node, chain.seq) for chain in found.chains] == [("one", 6), ("two-2", 6)]
    assert (found.objects, found.events, found.broken) == (4, 12, None)
    last = digest(world.lines(world.stored()[-1])[-1])
    assert last in [chain.hash for chain in found.chains]


def test_times_of_a_node_never_run_backwards(world: World) -> None:
    world.written(objects=1)
    world.clock._now_ms -= DAY_MS
    world.written(objects=1)
    times = [event.ts for event in world.events()]
    assert times == sorted(times)
    assert world.broken() is None


def _first(world: World, change: Callable[[list[bytes]], list[bytes]], place: int) -> None:
    key = world.stored()[place]
    world.put(key, change(world.lines(key)))


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0].replace(b"alice", b"carol"), *lines[1:]],
        lambda lines: [lines[0], lines[1].replace(b"test.event", b"test.evnet"), lines[2]],
        lambda lines: [*lines[:2], lines[2].replace(b'"number":2', b'"number":3')],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: lines[:2],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [b"not an event"],
        lambda lines: [],
    ],
    ids=[
        "alter",
        "alter-2",
        "alter-3",
        "cut-1",
        "cut-2",
        "cut-3",
        "swap",
        "twice",
        "junk",
        "empty",
    ],
)
def test_what_is_altered_in_a_closed_chain_is_found(
    world: World, change: Callable[[list[bytes]], list[bytes]], place: int
) -> None:
    world.written(objects=3).close(5)
    assert world.broken() is None
    _first(world, change, place)
    assert world.broken() is not None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_object_that_is_missing_is_found(world: World, place: int) -> None:
    world.written(objects=3).close(5)
    world.inner.delete(world.stored()[place])
    assert "missing" in (world.broken() or "") or "follows" in (world.broken() or "")


def test_an_object_of_another_place_is_found(world: World) -> None:
    world.written(objects=2).close(5)
    second = world.stored()[1]
    lines = world.lines(second)
    world.inner.delete(second)
    world.put(second.replace("-one-", "-two-"), lines)
    assert "the chain of node two begins with line 4" in (world.broken() or "")
    # Nor does it pass for the beginning of that chain.
    world.inner.delete(world.stored()[1])
    world.put(world.stored()[0].replace("-one-", "-two-"), world.lines(world.stored()[0]))
    assert "is of node 'one', its object of 'two'" in (world.broken() or "")


def test_a_chain_that_begins_again_is_found(world: World) -> None:
    world.written(objects=2).close(5)
    world.inner.delete("v1/audit/acme/heads/one.json")
    world.written(objects=1)
    assert world.broken() == "line 1 follows line 6 of node one"


def test_what_is_cut_off_an_open_chain_cannot_be_found(world: World) -> None:
    world.written(objects=3)
    world.inner.delete(world.stored()[2])
    assert world.broken() is None


def test_checking_goes_on_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimp.operations.auditing.verifying.OBJECTS_MAX", 2)
    world.written(objects=3)
    world.written(objects=2, node="two").close(5)
    assert verify(world.inner, "acme", None).next_cursor is not None
    assert world.broken() is None
    _first(world, lambda lines: lines[1:], 4)
    assert world.broken() is not None
    with pytest.raises(Invalid):
        verify(world.inner, "acme", "nonsense")


def test_an_object_holds_a_minute_of_one_day() -> None:
    base = 10 * DAY_MS
    events = [
        {"ts": base + at, "action": "a", "outcome": "ok", "actor": "", "kind": "", "scope": ""}
        for at in (-1_000, -1, 0, 59_999, 60_000)
    ]
    from palimp.operations.auditing.chain import Link

    link, sizes = Link(), []
    while events:
        made = prepare("acme", "one", link, events)
        link, events = made.link, events[made.events :]
        sizes.append(made.events)
    assert sizes == [2, 2, 1]
    assert link.seq == 5


# -- faults ----------------------------------------------------------------------------------------


def test_a_store_that_is_away_delays_and_loses_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    audit = world.start()
    world.fault = lambda operation, key: Fault(Kind.ERROR)
    for number in range(BATCH_MAX + 5):
        audit.record("acme", "test.event", number=number)
    with caplog.at_level(logging.WARNING):
        assert not audit.flush(0.2)
    assert "wait, storing them failed" in caplog.text
    world.fault = lambda operation, key: NO_FAULT
    assert audit.flush(5)
    assert [event.counts["number"] for event in world.events()] == list(range(BATCH_MAX + 5))
    assert world.broken() is None


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.LATE, Kind.ERROR])
def test_an_answer_that_is_lost_makes_no_second_line(world: World, kind: Kind) -> None:
    audit = world.start()
    left = [3]

    def fault(operation: str, key: str) -> Fault:
        if operation == "create" and key.endswith(".jsonl") and left[0]:
            left[0] -= 1
            return Fault(kind)
        return NO_FAULT

    world.fault = fault
    for number in range(20):
        audit.record("acme", "test.event", number=number)
    assert audit.flush(10)
    assert left == [0]
    assert [event.counts["number"] for event in world.events()] == list(range(20))
    assert world.broken() is None


def test_what_does_not_fit_is_counted_and_the_count_recorded(world: World) -> None:
    audit = world.start()
    world.fault = lambda operation, key: Fault(Kind.ERROR)
    for _ in range(QUEUE_MAX + 100):
        audit.record("acme", "test.event")
    world.fault = lambda operation, key: NO_FAULT
    assert audit.flush(20)
    audit.record("acme", "test.event")
    assert audit.flush(5)
    events = world.events(limit=1_000)
    dropped = [event for event in events if event.action == "audit.dropped"]
    assert sum(event.counts["events"] for event in dropped) == 100
    assert actions(events).count("test.event") == QUEUE_MAX + 1
    assert world.metrics.snapshot()["audit_events_dropped"] == 100
    assert world.broken() is None


def test_two_nodes_of_one_name_are_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first, second = world.start(), world.start()
    for audit in (first, second):
        audit.record("acme", "test.event", number=1)
        assert audit.flush(5)
    with caplog.at_level(logging.WARNING):
        first.record("acme", "test.event", number=2)
        assert first.flush(5)
    assert "node_id of its own" in caplog.text
    assert len(world.events()) == 3


def test_closing_waits_no_longer_than_it_may(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    audit = world.start()
    world.fault = lambda operation, key: Fault(Kind.ERROR)
    audit.record("acme", "test.event")
    with caplog.at_level(logging.ERROR):
        audit.close(0.2)
    assert "1 events of the audit could not be stored" in caplog.text


def test_closing_stores_what_was_recorded(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "m", audit_flush_ms=3_600_000, embed_provider="none") as mem:
        mem.set_policy("acme", ON)
        mem.profile("alice", namespace="acme").remember("x")
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        assert actions(list(mem.audit("acme"))) == ["policy.update", "memory.ingest"]
        assert mem.verify_audit("acme").broken is None


def test_a_killed_process_loses_one_window_and_its_chain_goes_on(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, palimp\n"
        "mem = palimp.open(sys.argv[1], audit_flush_ms=50, embed_provider='none')\n"
        "mem.set_policy('acme', {'audit': {'enabled': True}})\n"
        "alice = mem.profile('alice', namespace='acme')\n"
        "for n in range(40): alice.remember(f'number {n}')\n"
        "print(len(list(mem.audit('acme'))), flush=True)\n"
        "alice.remember('the last one')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = str(tmp_path / "m")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PALIMP_")}
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, env=clean, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.strip() == "41"
    with palimp.open(folder, embed_provider="none") as mem:
        mem.profile("alice", namespace="acme").remember("after")
        events = list(mem.audit("acme"))
        assert len(events) in (42, 43)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert mem.verify_audit("acme").broken is None


# -- retention -------------------------------------------------------------------------------------


def days(world: World, count: int, node: str = "one") -> Audit:
    audit = world.start(node, flush_seconds=60)
    for _ in range(count):
        for _ in range(2):
            audit.record("acme", "test.event")
            assert audit.flush(5)
        world.clock.advance(86_400)
    return audit


def test_whole_days_go_and_the_chain_stays_sound(world: World) -> None:
    audit = days(world, 5)
    now = world.clock.now_ms()
    assert retire(world.inner, audit, "acme", 2 * 86_400, now) == 6
    assert world.broken() is None
    events = world.events()
    assert [event.seq for event in events][:4] == [7, 8, 9, 10]
    assert events[-1].action == "audit.expire"
    assert events[-1].counts == {"objects": 6}
    assert retire(world.inner, audit, "acme", 2 * 86_400, now) == 0
    # What goes beyond it is found.
    world.inner.delete(world.stored()[0])
    assert "those between are missing" in (world.broken() or "")


def test_a_node_that_slept_through_it_goes_on_with_its_chain(world: World) -> None:
    days(world, 3, "sleeper")
    audit = world.start("keeper")
    world.clock.advance(60)
    assert retire(world.inner, audit, "acme", 60, world.clock.now_ms()) == 6
    again = world.start("sleeper")
    again.record("acme", "test.event")
    assert again.flush(5)
    assert [e.seq for e in world.events() if e.node == "sleeper"] == [7]
    assert world.broken() is None


def test_a_removal_that_was_interrupted_is_no_break(world: World) -> None:
    audit = days(world, 4)
    left = [3]

    class Interrupted(Exception):
        pass

    def fault(operation: str, key: str) -> Fault:
        if operation == "delete":
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
        return NO_FAULT

    world.fault = fault
    with pytest.raises(Interrupted):
        retire(world.store, audit, "acme", 86_400, world.clock.now_ms())
    world.fault = lambda operation, key: NO_FAULT
    assert world.broken() is None
    assert retire(world.store, audit, "acme", 86_400, world.clock.now_ms()) == 3
    assert world.broken() is None


def test_maintenance_removes_by_policy(timed: palimp.Client, clock: ManualClock) -> None:
    timed.set_policy("acme", {"audit": {"enabled": True, "retention_secs": 86_400}})
    alice = timed.profile("alice", namespace="acme")
    alice.remember("x")
    list(timed.audit("acme"))
    clock.advance(3 * 86_400)
    alice.remember("y")
    done = timed.maintain()
    assert done.audit_objects_deleted == 1
    assert actions(list(timed.audit("acme"))) == ["memory.ingest", "audit.expire"]
    assert timed.verify_audit("acme").broken is None


def test_a_line_is_as_small_as_it_can_be(world: World) -> None:
    world.written(objects=1, events=1)
    line = json.loads(world.lines(world.stored()[0])[0])
    assert set(line) == {
        "ts", "seq", "node", "action", "outcome", "actor", "kind", "scope", "prev", "profile",
        "counts",
    }  # fmt: skip
