"""What leaves for a model is denied before it does, and recorded when it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

import palimp
from palimp.api import AuditEvent, Options
from palimp.client.transports.embedded import Embedded
from palimp.engine import Address
from palimp.errors import Denied, Unavailable
from palimp.governance import Policies
from palimp.node import Node, load_settings
from palimp.operations import Context, Principal
from palimp.operations.auditing.actions import SENT
from palimp.operations.egress import outgoing
from palimp.spending import Spending
from palimp.store import VolatileStore
from palimp.store.faulty import NO_FAULT, Fault, FaultyStore, Kind

ALICE = Address("acme", "alice")
BOB = Principal("database", actor="0123456789abcdef", namespace="acme", profile="alice")


class Counted:
    """What counts usage, as far as a call to a model knows it."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, str, int]] = []

    def spend(self, *spent: Any) -> None:
        self.spent.append(spent)


class Place:
    """A node of its own, the context of a call, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.node = Node(load_settings({"data_dir": folder, "embed_provider": "none"}, {}))
        self.client = palimp.Client(Embedded(self.node))
        self.usage = Counted()
        self.context: Context = msgspec.structs.replace(
            self.node.context,
            principal=BOB,
            options=Options(request_id="call-1"),
            usage=self.usage,
        )

    def events(self) -> list[AuditEvent]:
        assert self.node.context.audit is not None
        assert self.node.context.audit.flush(10)
        return list(self.client.audit("acme", action="egress."))

    def metrics(self, name: str) -> dict[str, float]:
        counts = self.node.context.metrics.snapshot()
        return {key: count for key, count in counts.items() if key.startswith(name)}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "m")
    place.client.set_policy("acme", {"audit": {"enabled": True}})
    yield place
    place.client.close()


def call(spending: Spending, host: str = "api.example.com") -> None:
    spending.add(host, texts=3, bytes=400, tokens_in=100, tokens_out=20)


@pytest.mark.parametrize("purpose", ["embed", "extract", "ask"])
def test_what_left_is_recorded_by_counts(
    place: Place, purpose: Literal["embed", "extract", "ask"]
) -> None:
    with outgoing(place.context, ALICE, purpose, "model-1") as spending:
        call(spending)
        call(spending, "a.example.com")
    [event] = place.events()
    assert (event.action, event.outcome, event.profile) == (SENT[purpose], "ok", "alice")
    assert (event.branch, event.actor, event.request_id) == ("main", BOB.actor, "call-1")
    assert (event.host, event.model) == ("a.example.com,api.example.com", "model-1")
    assert event.counts == {
        "calls": 2,
        "texts": 6,
        "bytes": 800,
        "tokens_in": 200,
        "tokens_out": 40,
    }
    assert place.usage.spent == [("acme", "alice", 240)]
    assert list(place.metrics("model_").values()) == [2, 240]
    assert place.client.verify_audit("acme").broken is None


def test_what_stayed_leaves_no_trace(place: Place) -> None:
    with outgoing(place.context, ALICE, "ask", "model-1"):
        pass
    with pytest.raises(Unavailable), outgoing(place.context, ALICE, "ask", "model-1"):
        raise Unavailable("no endpoint is up")
    assert place.events() == []
    assert place.usage.spent == []
    assert place.metrics("model_") == {}


@pytest.mark.parametrize(
    ("raised", "code"), [(Unavailable("not now"), "unavailable"), (KeyboardInterrupt(), None)]
)
def test_work_that_failed_is_recorded_all_the_same(
    place: Place, raised: BaseException, code: str | None
) -> None:
    def work() -> None:
        with outgoing(place.context, ALICE, "extract", "model-1") as spending:
            call(spending)
            raise raised

    with pytest.raises(type(raised)):
        work()
    [event] = place.events()
    assert (event.outcome, event.code, event.counts["calls"]) == ("error", code, 1)
    assert place.usage.spent == [("acme", "alice", 120)]


@pytest.mark.parametrize("purpose", ["extract", "ask"])
def test_what_is_denied_never_begins(place: Place, purpose: Literal["extract", "ask"]) -> None:
    place.client.set_policy("acme", {"ai_egress": {purpose: "deny"}}, "alice")
    with (
        pytest.raises(Denied, match=f"ai_egress.{purpose} = deny for namespace 'acme'") as refused,
        outgoing(place.context, ALICE, purpose, "model-1"),
    ):
        pytest.fail("the work began")
    assert refused.value.details == {"field": f"ai_egress.{purpose}"}
    # Another profile, another purpose.
    with outgoing(place.context, Address("acme", "bob"), purpose, "model-1"):
        pass
    with outgoing(place.context, ALICE, "ask" if purpose == "extract" else "extract", "model-1"):
        pass


def test_without_a_policy_that_could_ever_be_read_nothing_leaves(place: Place) -> None:
    away = FaultyStore(VolatileStore(), lambda *_: Fault(Kind.ERROR), place.node.context.clock)
    context = msgspec.structs.replace(place.context, policies=Policies(away))
    with (
        pytest.raises(Unavailable, match="policy of namespace 'acme' cannot be read") as refused,
        outgoing(context, ALICE, "ask", "model-1"),
    ):
        pytest.fail("the work began")
    assert refused.value.details["reason"] == "policy"


def test_a_policy_that_was_read_holds_while_the_store_is_away(place: Place) -> None:
    inner, down = VolatileStore(), [False]
    faulty = FaultyStore(
        inner,
        lambda *_: Fault(Kind.ERROR) if down[0] else NO_FAULT,
        place.node.context.clock,
    )
    policies = Policies(faulty, cache_seconds=0)
    policies.set_namespace("acme", {"ai_egress.ask": "deny"})
    context = msgspec.structs.replace(place.context, policies=policies)
    down[0] = True
    with pytest.raises(Denied), outgoing(context, ALICE, "ask", "model-1"):
        pytest.fail("the work began")
    with outgoing(context, ALICE, "extract", "model-1"):
        pass


def test_without_an_audit_nothing_is_recorded(place: Place) -> None:
    place.client.set_policy("acme", None)
    with outgoing(place.context, ALICE, "ask", "model-1") as spending:
        call(spending)
    assert place.events() == []
    assert place.usage.spent == [("acme", "alice", 120)]


class Outside:
    """An embedder on another host."""

    name = "far-1"
    dimensions = 2
    local = False
    egress = "outside"

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> Any:
        assert spending is not None
        spending.add("api.example.com", texts=len(texts), bytes=9, tokens_in=5)
        return np.tile(np.array([1.0, 0.0], np.float32), (len(texts), 1))

    def of(self, name: str) -> None:
        return None


def test_what_is_embedded_elsewhere_is_in_the_audit_without_its_words(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "m"}, {})
    node = Node(settings, embedder=Outside())
    with palimp.Client(Embedded(node)) as mem:
        mem.set_policy("acme", {"audit": {"enabled": True, "include_reads": True}})
        alice = mem.profile("alice", namespace="acme")
        alice.remember("the word is zanzibar")
        mem.maintain()
        alice.recall("what is the word: timbuktu")
        mem.set_policy("acme", {"audit": {"enabled": True}, "ai_egress": {"embed": "deny"}})
        alice.remember("the other word is zanzibar")
        mem.maintain()
        alice.recall("what is the other word")
        audit = node.context.audit
        assert audit is not None
        assert audit.flush(10)
        events = list(mem.audit("acme"))
    sent = [event for event in events if event.action == "egress.embed"]
    assert [(event.host, event.model, event.outcome) for event in sent] == [
        ("api.example.com", "far-1", "ok")
    ] * 2
    assert [event.counts["texts"] for event in sent] == [1, 1]
    lines = msgspec.json.encode(events)
    assert b"zanzibar" not in lines
    assert b"timbuktu" not in lines
