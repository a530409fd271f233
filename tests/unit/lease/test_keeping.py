"""The arithmetic of deadlines, with a lease store in memory whose answers come when a test says."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from palimp.clock import ManualClock
from palimp.errors import Unavailable
from palimp.lease import Peer
from palimp.lease.keeping import KeptLeases, LeaseGoneError
from palimp.lease.known import Known
from palimp.lease.records import NodeRecord
from palimp.observe import Metrics

# Long enough that no thread renews by itself.
TTL = 3_000.0
SAFE = 2_400.0


class VolatileStore:
    """Keeps leases in memory; `before` is called before every answer."""

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None
        self.lease = ""
        self.count = 0
        self.left: list[str] = []
        self.records: list[NodeRecord] = []

    def enter(self, record: NodeRecord, *, first: bool) -> str | NodeRecord:
        self.before()
        self.count += 1
        self.lease = f"lease {self.count}"
        self.records.append(record)
        return self.lease

    def renew(self, lease: str) -> bool:
        held = lease == self.lease
        self.before()
        return held

    def rewrite(self, lease: str, record: NodeRecord) -> None:
        self.records.append(record)

    def claim(self, lease: str, name: str) -> Peer | None:
        if lease != self.lease:
            raise LeaseGoneError
        return None

    def release(self, lease: str, names: Sequence[str]) -> None:
        pass

    def leave(self, lease: str) -> None:
        self.left.append(lease)


class Nowhere:
    """Follows nothing."""

    def __init__(self) -> None:
        self.known = Known()
        self.closed = False

    def start(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.known, name)


PEER = Peer("a", "http://a", "0.1.0", 1, "p1", "home")


@pytest.fixture
def store() -> VolatileStore:
    return VolatileStore()


@pytest.fixture
def kept(store: VolatileStore, clock: ManualClock) -> Iterator[KeptLeases]:
    where: Any = Nowhere()
    kept = KeptLeases(store, where, node="a", ttl=TTL, clock=clock, metrics=Metrics())
    yield kept
    store.before = lambda: None
    kept.close()


def test_a_lease_holds_from_when_it_was_asked_for(
    kept: KeptLeases, store: VolatileStore, clock: ManualClock
) -> None:
    assert (kept.grant, kept.deadline) == (0, -math.inf)
    store.before = lambda: clock.advance(5)
    kept.start(PEER)
    assert (kept.grant, kept.deadline) == (1, SAFE)
    kept._keep()
    # Sent at 5, answered at 10.
    assert (kept.grant, kept.deadline) == (1, 5 + SAFE)


def test_an_answer_that_comes_after_the_loss_gives_nothing(
    kept: KeptLeases, store: VolatileStore, clock: ManualClock
) -> None:
    kept.start(PEER)
    asked, answered, over = threading.Event(), threading.Event(), threading.Event()

    def late() -> None:
        if threading.current_thread() is renewal:
            asked.set()
            assert answered.wait(30)
        else:
            # The next lease, which the thread of the node asks for.
            assert over.wait(30)

    renewal = threading.Thread(target=kept._keep)
    store.before = late
    clock.advance(100)
    renewal.start()
    assert asked.wait(30)
    kept._lose(1)
    answered.set()
    renewal.join(30)
    assert (kept.grant, kept.deadline) == (0, -math.inf)
    over.set()


def test_an_older_answer_takes_nothing_away(kept: KeptLeases, clock: ManualClock) -> None:
    kept.start(PEER)
    kept._renewed(1, 100.0)
    kept._renewed(1, 50.0)
    assert kept.deadline == 100 + SAFE


def test_after_its_deadline_nothing_is_claimed(kept: KeptLeases, clock: ManualClock) -> None:
    kept.start(PEER)
    assert kept.claim("acme--a") is None
    clock.advance(SAFE - 1)
    assert kept.claim("acme--b") is None
    clock.advance(1)
    with pytest.raises(Unavailable, match="acme--c cannot be claimed: this node has no lease"):
        kept.claim("acme--c")
    # It is the same lease if it is renewed after all.
    kept._keep()
    assert (kept.grant, kept.deadline) == (1, 2 * SAFE)


def test_a_claim_on_a_lease_that_is_gone_ends_it_at_once(
    kept: KeptLeases, store: VolatileStore
) -> None:
    kept.start(PEER)
    going = threading.Event()
    store.before = lambda: going.wait(30) and None
    store.lease = "another"
    with pytest.raises(Unavailable) as caught:
        kept.claim("acme--a")
    assert caught.value.details == {"reason": "lease"}
    assert (kept.grant, kept.deadline) == (0, -math.inf)
    going.set()


def test_the_next_lease_has_a_higher_number_and_the_record_as_it_is_now(
    kept: KeptLeases, store: VolatileStore
) -> None:
    kept.start(PEER)
    kept.drain()
    kept._wake = threading.Event()
    kept._lose(1)
    kept._keep()
    assert kept.grant >= 2
    assert [record.peer.draining for record in store.records][:3] == [False, True, True]


def test_close_gives_the_lease_back_once(kept: KeptLeases, store: VolatileStore) -> None:
    kept.start(PEER)
    kept.close()
    kept.close()
    assert store.left == ["lease 1"]
    assert (kept.grant, kept.deadline) == (0, -math.inf)
    # One that was given meanwhile is given back.
    kept._enter(first=False)
    assert store.left == ["lease 1", "lease 2"]
    assert kept.grant == 0


def test_a_defect_in_the_store_does_not_end_the_renewals(
    store: VolatileStore, caplog: pytest.LogCaptureFixture
) -> None:
    from palimp.clock import Clock

    metrics, where = Metrics(), Nowhere()
    kept = KeptLeases(store, where, node="a", ttl=2.0, clock=Clock(), metrics=metrics)  # type: ignore[arg-type]
    kept.start(PEER)
    again = threading.Event()

    def fail() -> None:
        if metrics.count("lease_requests_failed") >= 2:
            again.set()
            return
        raise ZeroDivisionError("of a store")

    store.before = fail
    kept._wake.set()
    assert again.wait(30)
    store.before = lambda: None
    kept.close()
    assert where.closed
    assert [record.exc_info is not None for record in caplog.records][:1] == [True]
    assert sum("of a store" in record.message for record in caplog.records) == 1
