"""Of several nodes each does by itself only what is due of its own profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import palimp
from palimp.api import Maintain, Maintained, Policy, Target, to_request
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.node import Node, load_settings
from palimp.operations import dispatch
from palimp.operations.context import Context
from palimp.operations.duties import Duties
from palimp.store import VolatileStore

HOUR = 3_600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore()


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock, store: VolatileStore) -> Iterator[Node]:
    made = opened(tmp_path / "memory", clock, store)
    yield made
    made.close()


def opened(path: Path, clock: ManualClock, store: Any) -> Node:
    given = {"data_dir": path, "embed_provider": "none", "maintenance_secs": 0}
    return Node(load_settings(given, {}), clock=clock, store=store)


def alices(context: Context) -> Context:
    """Return the context of a node that has the profile alice, and no other."""

    def mine(namespace: str, profile: str) -> bool:
        assert namespace == "default"
        return profile == "alice"

    return msgspec.structs.replace(context, mine=mine)


@pytest.fixture
def mem(node: Node) -> palimp.Client:
    mem = palimp.Client(Embedded(node))
    for name in ("alice", "bob"):
        mem.profile(name).ingest([{"type": "task", "text": "call", "ttl": 60}])
        mem.profile(name).ingest([{"type": "event", "text": "long ago"}])
    return mem


def left(node: Node, profile: str) -> int:
    """Count the rows of a profile, expired ones too."""
    with node.context.engine.use(Address("default", profile), create=False) as branch:
        assert branch is not None
        query = "SELECT count(*) FROM __palimp_memories"
        return int(branch.read(lambda c: c.execute(query).get).value)


def test_what_is_in_use_here_and_another_nodes_is_left_to_that(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    duties = Duties(alices(node.context))
    assert duties.once(lambda: True) == []
    clock.advance(HOUR + 1)
    assert duties.once(lambda: True) == []
    assert (left(node, "alice"), left(node, "bob")) == (1, 2)


def test_of_what_a_policy_asks_for_each_does_its_own(
    node: Node, mem: palimp.Client, clock: ManualClock, store: VolatileStore, tmp_path: Path
) -> None:
    for name in ("alice", "bob"):
        mem.profile(name).sync()
    rules = to_request(Policy, {"memory": {"event_max_age_secs": HOUR}}, "policy")
    mem.set_policy("default", rules)
    clock.advance(2 * HOUR)
    other = opened(tmp_path / "other", clock, store)
    try:
        assert Duties(alices(other.context)).once(lambda: True) == []
        assert {one.profile for one, _ in other.context.engine.used()} == {"alice"}
        assert other.context.metrics.snapshot()["memories_swept"] == 1
    finally:
        other.close()


def test_erasures_go_on_at_the_node_of_their_profile(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    jobs = {}
    for name in ("alice", "bob"):
        profile = mem.profile(name)
        jobs[name] = profile.erase(profile.remember("a secret").id, grace=60)
    clock.advance(61)
    assert Duties(alices(node.context)).once(lambda: True) == []
    assert {name: job.refresh().status for name, job in jobs.items()} == {
        "alice": "done",
        "bob": "waiting",
    }
    assert maintained(node.context).erased == 1, "where every profile is this node's"


def test_maintenance_is_of_this_nodes_profiles(
    node: Node, mem: palimp.Client, clock: ManualClock
) -> None:
    profile = mem.profile("bob")
    job = profile.erase(profile.remember("a secret").id, grace=60)
    clock.advance(HOUR)
    done = maintained(alices(node.context))
    assert (done.profiles, done.expired, done.erased) == (1, 1, 0)
    assert (left(node, "alice"), left(node, "bob")) == (1, 2)
    assert job.refresh().status == "waiting"
    done = maintained(node.context)
    assert (done.profiles, done.expired, done.erased) == (2, 1, 1)


def maintained(context: Context) -> Maintained:
    done = dispatch(context, "maintain", Target(), Maintain())
    assert isinstance(done, Maintained)
    return done


def test_audits_are_retired_by_one_of_the_nodes(
    node: Node, mem: palimp.Client, clock: ManualClock, tmp_path: Path
) -> None:
    pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")
    from palimp.catalog import start_catalog
    from palimp.node.task_runner import TaskRunner

    rules = {"audit": {"enabled": True, "retention_secs": 86_400}}
    mem.set_policy("default", to_request(Policy, rules, "policy"))
    mem.profile("alice").remember("recorded")
    assert node.context.audit is not None
    node.context.audit.flush(10)
    clock.advance(3 * 86_400)
    catalog = start_catalog(f"sqlite:///{tmp_path}/catalog.db", clock)
    parts = (node.context.engine.names, node.context.metrics)
    ours, others = (TaskRunner(catalog, name, node.call, *parts) for name in ("one", "two"))
    context = msgspec.structs.replace(node.context, tasks=ours)
    with others.locks.hold("audit.retire") as held:
        assert held is not None
        assert maintained(context).audit_objects_deleted == 0
    assert maintained(context).audit_objects_deleted > 0
    catalog.close()
