"""Policies as a node sees them: how old, how dear, and what holds when the store is away."""

import json
import logging
import threading
from typing import Literal

import pytest

from palimp.clock import ManualClock
from palimp.errors import Conflict, Invalid, Unavailable
from palimp.governance import Policies
from palimp.store import CountingStore, VolatileStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore, Kind

KEY = "v1/policy/acme.json"
STRICT = {"memory.event_max_age_secs": 100}


class World:
    """A store with a switch, and nodes on it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inner = VolatileStore()
        self.away = False
        faulty = FaultyStore(self.inner, self._fault, self.clock)
        self.store = CountingStore(faulty)

    def _fault(self, _operation: str, _key: str) -> Fault:
        return Fault(Kind.ERROR) if self.away else NO_FAULT

    def node(self, seconds: float = 30.0, **ceiling: int) -> Policies:
        limits = {f"retention.{name}": value for name, value in ceiling.items()}
        return Policies(self.store, self.clock, ceiling=limits, cache_seconds=seconds)


@pytest.fixture
def world() -> World:
    return World()


def age(policies: Policies, profile: str = "alice") -> int | None:
    return policies.effective("acme", profile).memory_event_max_age_secs


def test_asked_often_it_is_read_once(world: World) -> None:
    policies = world.node()
    for _ in range(1_000):
        assert age(policies) is None
    assert world.store.requests == 1


def test_another_node_follows_within_the_time(world: World) -> None:
    one, other = world.node(), world.node()
    assert age(other) is None
    one.set_namespace("acme", STRICT)
    assert age(one) == 100
    world.clock.advance(14)
    assert age(other) is None
    # From half of the time on it is read beside whoever asks.
    world.clock.advance(6)
    age(other)
    other.close()
    assert age(other) == 100


def test_one_that_was_not_used_for_long_asks_first(world: World) -> None:
    one, other = world.node(), world.node()
    assert age(other) is None
    one.set_namespace("acme", STRICT)
    world.clock.advance(31)
    assert age(other) == 100


def test_without_a_cache_every_question_asks(world: World) -> None:
    one, other = world.node(), world.node(0)
    assert age(other) is None
    one.set_namespace("acme", STRICT)
    world.clock.advance(0.001)
    assert age(other) == 100


def test_an_override_is_of_one_profile_and_may_come_before_it(world: World) -> None:
    policies = world.node()
    policies.set_namespace("acme", STRICT)
    policies.set_profile("acme", "alice", {"memory.event_max_age_secs": 70})
    assert (age(policies, "alice"), age(policies, "bob")) == (70, 100)
    # A namespace that becomes stricter later holds for all.
    policies.set_namespace("acme", {"memory.event_max_age_secs": 60})
    assert (age(policies, "alice"), age(policies, "bob")) == (60, 60)
    policies.set_namespace("acme", None)
    assert (age(policies, "alice"), age(policies, "bob")) == (70, None)


def test_looser_than_above_is_a_conflict_that_names_every_field(world: World) -> None:
    policies = world.node(pitr_secs=1_000)
    policies.set_namespace("acme", {**STRICT, "audit.enabled": True})
    wanted = {
        "memory.event_max_age_secs": 101,
        "audit.enabled": False,
        "retention.pitr_secs": 2_000,
        "memory.task_ttl_max_secs": 60,
    }
    with pytest.raises(Conflict) as caught:
        policies.set_profile("acme", "alice", wanted)
    named = ["memory.event_max_age_secs", "audit.enabled", "retention.pitr_secs"]
    assert caught.value.code == "conflict"
    assert caught.value.details["fields"] == named
    assert all(name in str(caught.value) for name in named)
    with pytest.raises(Conflict, match=r"retention\.pitr_secs 2,000 \(it is 1,000 there\)"):
        policies.set_namespace("acme", {"retention.pitr_secs": 2_000})
    assert policies.document("acme").profiles == {}


def test_the_nodes_own_limits_hold_without_any_policy(world: World) -> None:
    policies = world.node(pitr_secs=1_000, pitr_snapshot_secs=5_000)
    assert policies.history("acme", "alice") == (1_000_000, 5_000_000)
    policies.set_profile("acme", "alice", {"retention.pitr_snapshot_secs": 600})
    assert policies.history("acme", "alice") == (600_000, 600_000)
    assert policies.history("acme", "bob") == (1_000_000, 5_000_000)


def test_what_was_read_before_holds_on_while_the_store_is_away(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    policies = world.node()
    policies.set_namespace("acme", STRICT)
    world.away = True
    world.clock.advance(3_600)
    with caplog.at_level(logging.WARNING):
        assert age(policies) == 100
    assert "the one read before holds on" in caplog.text
    asked = world.store.requests
    world.clock.advance(3_600)
    # From then on nobody waits for it.
    assert age(policies) == 100
    policies.close()
    assert world.store.requests == asked + 1
    world.away = False
    Policies(world.inner).set_namespace("acme", {"memory.event_max_age_secs": 80})
    world.clock.advance(20)
    age(policies)
    policies.close()
    assert age(policies) == 80


def test_never_read_it_lets_nothing_out_and_removes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    policies = world.node(pitr_secs=1_000)
    world.away = True
    with pytest.raises(Unavailable):
        policies.effective("acme", "alice")
    with caplog.at_level(logging.ERROR):
        assert not policies.may_embed("acme", "alice", egress="none")
        assert policies.history("acme", "alice") == (1_000_000, None)
        assert policies.lenient("acme", "alice").memory_event_max_age_secs is None
    assert caplog.text.count("cannot be read") == 3


def test_a_damaged_policy_is_as_one_that_cannot_be_read(world: World) -> None:
    policies = world.node()
    policies.set_namespace("acme", {"ai_egress.embed": "allow"})
    found = world.inner.get(KEY)
    assert found is not None
    world.inner.replace(KEY, b"{", found.version)
    world.clock.advance(31)
    assert policies.may_embed("acme", "alice", egress="outside")
    assert not world.node().may_embed("acme", "alice", egress="none")


@pytest.mark.parametrize(
    ("word", "egress", "may"),
    [
        ("allow", "outside", True),
        ("self_hosted_only", "none", True),
        ("self_hosted_only", "self_hosted", True),
        ("self_hosted_only", "outside", False),
        ("deny", "none", False),
    ],
)
def test_what_may_be_embedded(
    world: World, word: str, egress: Literal["none", "self_hosted", "outside"], may: bool
) -> None:
    policies = world.node()
    policies.set_namespace("acme", {"ai_egress.embed": word})
    assert policies.may_embed("acme", "alice", egress=egress) is may


def test_changes_at_once_lose_none(world: World) -> None:
    nodes = [world.node() for _ in range(4)]

    def change(number: int) -> None:
        for place in range(5):
            nodes[number].set_profile("acme", f"p{number}-{place}", STRICT)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    document = world.node().document("acme")
    assert len(document.profiles) == 20
    assert document.version == 20
    found = world.inner.get(KEY)
    assert found is not None
    assert json.loads(found.data)["format"] == 1


def test_a_namespace_is_a_name(world: World) -> None:
    policies = world.node()
    for name in ("../other", "a/b", "", "a--b"):
        with pytest.raises(Invalid):
            policies.effective(name, "alice")
    assert world.store.requests == 0


def test_namespaces_with_a_policy_are_listed(world: World) -> None:
    policies = world.node()
    for name in ("b", "a", "a-1"):
        policies.set_namespace(name, STRICT)
    assert sorted(policies.namespaces()) == ["a", "a-1", "b"]
