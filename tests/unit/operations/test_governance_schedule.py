"""Governance by itself: when it is due, of which profiles, and by which of several nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import palimp
from palimp.api import Target
from palimp.api.tasks import CreateTask
from palimp.client.transports.embedded import Embedded
from palimp.clock import Clock, ManualClock
from palimp.errors import Invalid
from palimp.ids import DatabaseName
from palimp.node import Node, load_settings
from palimp.operations.context import Context
from palimp.operations.duties import Duties
from palimp.operations.fleet import Work
from palimp.operations.governance_schedule import Schedule
from palimp.operations.governing import PERIODS, Governing

DAY = 86_400_000
HOUR = 3_600
ON = {"governance": {"enabled": True}}


def opened(path: Path, clock: ManualClock, **settings: Any) -> Node:
    given = {"data_dir": path, "embed_provider": "none", "maintenance_secs": 0, **settings}
    return Node(load_settings(given), clock=clock)


def stale(mem: palimp.Client, name: str, clock: ManualClock, namespace: str = "default") -> None:
    profile = mem.profile(name, namespace=namespace)
    profile.remember("short", kind="working", observed_at=clock.now_ms() - 2 * DAY)


def left(mem: palimp.Client, name: str, namespace: str = "default") -> int:
    return len(list(mem.profile(name, namespace=namespace).list()))


def tick(context: Context, duties: Duties | None = None) -> Duties:
    made = duties or Duties(context)
    assert made.once(lambda: True) == []
    return made


# -- without a catalog ------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    made = opened(tmp_path / "m", clock, governance_enabled=True)
    yield made
    made.close()


@pytest.fixture
def mem(node: Node) -> palimp.Client:
    return palimp.Client(Embedded(node))


def test_the_first_tick_is_skipped_and_then_an_hour_passes(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    mem.set_policy("default", ON)
    stale(mem, "alice", clock)
    duties = tick(node.context)
    clock.advance(HOUR - 1)
    tick(node.context, duties)
    assert left(mem, "alice") == 1
    clock.advance(1)
    tick(node.context, duties)
    assert left(mem, "alice") == 0
    (report,) = mem.profile("alice").governance.reports()
    assert report.task == "hourly"
    # What it did to whom is nobody's doing.
    found = list(mem.profile("alice").list(state="archived"))
    assert [event.actor for event in mem.profile("alice").lifecycle.events(found[0])][-1] is None
    stale(mem, "alice", clock)
    tick(node.context, duties)
    assert left(mem, "alice") == 1


def test_only_profiles_whose_policy_asks_and_which_are_this_nodes(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    mem.set_policy("acme", ON)
    mem.set_policy("default", ON, profile="bob")
    mem.set_policy("other", {"memory": {"superseded_max_count": 5}})
    places = [("acme", "alice"), ("acme", "theirs"), ("default", "bob"), ("default", "carl")]
    places.append(("other", "dora"))
    for namespace, name in places:
        stale(mem, name, clock, namespace)
    mine = msgspec.structs.replace(node.context, mine=lambda _, name: name != "theirs")
    duties = tick(mine)
    clock.advance(HOUR)
    tick(mine, duties)
    assert [name for namespace, name in places if left(mem, name, namespace) == 0] == [
        "alice", "bob"
    ]  # fmt: skip


def test_a_node_that_does_not_govern_does_not(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    mem.set_policy("default", ON)
    stale(mem, "alice", clock)
    off = msgspec.structs.replace(node.context, governing=Governing())
    duties = tick(off)
    clock.advance(30 * 86_400)
    tick(off, duties)
    assert left(mem, "alice") == 1


def test_the_settings_say_whether_it_is_on(tmp_path: Path, clock: ManualClock) -> None:
    for name, given, on in (
        ("a", {}, False),
        ("b", {"governance_enabled": True, "governance_lock_ttl": 7}, True),
        ("c", {"governance_enabled": True, "read_only": True}, False),
    ):
        opened(tmp_path / name, clock).close()
        node = opened(tmp_path / name, clock, **given)
        governing = node.context.governing
        assert governing.enabled is on
        if "governance_lock_ttl" in given:
            assert governing.seconds == 7
        node.close()


# -- with one ---------------------------------------------------------------------------------


class Quiet:
    """The tasks of a node that carries none out; `holder` is who takes its locks."""

    def __init__(self, node: Node, holder: str) -> None:
        from palimp.catalog.locks import Locks

        tasks = node.context.tasks
        self.table = tasks.table
        self.locks = Locks(tasks.locks._table, holder, Clock())

    def wake(self) -> None:
        pass


@pytest.fixture
def shared(tmp_path: Path, clock: ManualClock) -> Iterator[Node]:
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path}/catalog.db"
    made = opened(tmp_path / "m", clock, governance_enabled=True, catalog_url=url)
    yield made
    made.close()


def node_of(shared: Node, holder: str) -> Context:
    """Return the context of another node of the same catalog."""
    quiet: Any = Quiet(shared, holder)
    return msgspec.structs.replace(shared.context, tasks=quiet, governing=Governing(enabled=True))


def begin(context: Context) -> None:
    for _, _, work in Schedule(context).due():
        work()


def kinds(context: Context) -> list[str]:
    found = context.tasks.table.page(None, None, 100)
    return sorted(msgspec.json.decode(one.spec)["governance"] for one in found)


def test_one_of_two_nodes_begins_a_task(shared: Node, clock: ManualClock) -> None:
    mem = palimp.Client(Embedded(shared))
    mem.set_policy("acme", ON)
    one, other = node_of(shared, "one"), node_of(shared, "other")
    begin(one)
    begin(other)
    clock.advance(HOUR)
    with other.tasks.locks.hold("governance:hourly", 120):
        begin(one)
        assert kinds(one) == []
    begin(one)
    begin(other)
    begin(one)
    assert kinds(one) == ["hourly"]
    (task,) = mem.tasks()
    assert (task.kind, task.spec["namespaces"]) == ("governance", ["acme"])
    # As long as it has not ended there is no second one.
    clock.advance(5 * HOUR)
    begin(other)
    assert kinds(one) == ["hourly"]
    one.tasks.table.cancel(task.id)
    begin(other)
    assert kinds(one) == ["hourly", "hourly"]
    clock.advance(PERIODS["weekly"])
    for found in mem.tasks():
        one.tasks.table.cancel(found.id)
    begin(one)
    assert kinds(one) == ["daily", "hourly", "hourly", "hourly", "weekly"]


def test_where_no_policy_asks_there_is_no_task(shared: Node, clock: ManualClock) -> None:
    context = node_of(shared, "one")
    begin(context)
    clock.advance(HOUR)
    begin(context)
    assert kinds(context) == []


def test_a_task_does_it_to_each_profile(shared: Node, clock: ManualClock) -> None:
    mem = palimp.Client(Embedded(shared))
    stale(mem, "alice", clock, "acme")

    def work(**fields: Any) -> dict[str, int]:
        spec = CreateTask(kind="governance", all=True, governance="all", **fields)
        call: Any = shared.call
        return Work("task_1", spec, call).do(DatabaseName("acme", "alice"))

    assert work(if_enabled=True) == {"skipped": 1}
    assert work(dry_run=True) == {"working": 1}
    assert left(mem, "alice", "acme") == 1
    assert work() == {"working": 1}
    assert left(mem, "alice", "acme") == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "governance"}, "needs 'governance'"),
        ({"kind": "verify", "governance": "all"}, "takes no 'governance'"),
        ({"kind": "verify", "if_enabled": True}, "takes no 'if_enabled'"),
    ],
)
def test_tasks_that_cannot_be(shared: Node, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        shared.call("tasks.create", Target(), CreateTask(all=True, **fields))
