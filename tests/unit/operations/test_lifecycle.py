"""The pass that moves what is due: windows, clocks that go back, passes that end in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import FindMemories, ListMemories, Target
from palimp.api.lifecycle import (
    ArchiveMemory,
    DeleteMemory,
    GetEvents,
    HoldMemory,
    ListEvents,
    MoveMemories,
    RestoreMemory,
)
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.errors import Conflict, Denied, NotFound
from palimp.governance.windows import Windows, due, move_due
from palimp.node import Node, load_settings
from palimp.operations import lifecycle
from palimp.operations.access import Principal
from palimp.operations.dispatch import dispatch
from palimp.operations.lifecycle import Passed
from palimp.profile.memories.states import Act

DAY = 86_400
WINDOWS = {"lifecycle": {"active_days": 90, "archived_days": 60, "grace_days": 7}}
ALICE = Address("acme", "alice")


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock) -> Node:
    settings = load_settings({"data_dir": tmp_path / "timed", "embed_provider": "none"})
    return Node(settings, clock=clock)


@pytest.fixture
def timed(node: Node) -> Iterator[palimp.Client]:
    with palimp.Client(Embedded(node)) as client:
        yield client


@pytest.fixture
def alice(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice", namespace="acme")


def states(profile: palimp.Profile) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for state in ("active", "archived", "soft_deleted", "hard_delete_pending"):
        texts = sorted(one.text for one in profile.list(state=state, include_superseded=True))
        if texts:
            found[state] = texts
    return found


def passed(client: palimp.Client) -> Passed:
    done = client.maintain()
    return Passed(done.archived, done.soft_deleted, done.purged)


def test_memories_live_for_ever_unless_a_policy_says_otherwise(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    alice.remember("Oolong")
    clock.advance(10_000 * DAY)
    assert passed(timed) == Passed()
    assert states(alice) == {"active": ["Oolong"]}


def test_ninety_sixty_and_seven_days(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock, node: Node
) -> None:
    timed.set_policy("acme", WINDOWS)
    written = alice.remember("Oolong", topic="tea")
    clock.advance(90 * DAY - 1)
    assert passed(timed) == Passed()
    clock.advance(1)
    assert passed(timed) == Passed(archived=1)
    assert alice.get(written.id).state == "archived"
    clock.advance(60 * DAY - 1)
    assert passed(timed) == Passed()
    clock.advance(1)
    assert passed(timed) == Passed(soft_deleted=1)
    assert alice.lifecycle.status(written.id).method == "retention_policy"
    clock.advance(7 * DAY - 1)
    assert passed(timed) == Passed()
    assert states(alice) == {"soft_deleted": ["Oolong"]}
    clock.advance(1)
    assert passed(timed) == Passed(purged=1)
    assert states(alice) == {}
    events = list(alice.lifecycle.events(written.id))
    assert [one.event for one in events] == [
        "archived", "soft_deleted", "hard_delete_pending", "purged",
    ]  # fmt: skip
    assert {one.actor for one in events} == {None}
    assert node.context.metrics.snapshot()['memories_moved{state="purged"}'] == 1


def test_a_policy_without_archives_deletes(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", {"lifecycle": {"active_days": 1, "archive": False}})
    with pytest.raises(Conflict, match=r"lifecycle\.archive true"):
        timed.set_policy("acme", {"lifecycle": {"archive": True}}, "alice")
    alice.remember("Oolong")
    clock.advance(DAY)
    assert passed(timed) == Passed(soft_deleted=1)


def test_a_restored_memory_has_all_its_days_again(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", WINDOWS)
    written = alice.remember("Oolong")
    clock.advance(90 * DAY)
    assert passed(timed) == Passed(archived=1)
    alice.lifecycle.restore(written.id)
    clock.advance(90 * DAY - 1)
    assert passed(timed) == Passed()
    clock.advance(1)
    assert passed(timed) == Passed(archived=1)
    # To write it again is to restore it.
    assert alice.remember("Oolong").status == "revived"
    clock.advance(60 * DAY)
    assert passed(timed) == Passed()


def test_restore_on_day_six_and_not_on_day_eight(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    written = alice.remember("Oolong")
    alice.lifecycle.delete(written.id)
    clock.advance(6 * DAY)
    assert alice.lifecycle.restore(written.id).state == "active"
    alice.lifecycle.delete(written.id)
    clock.advance(8 * DAY)
    # Although no pass has come by.
    with pytest.raises(Conflict, match="is hard_delete_pending; only one that is"):
        alice.lifecycle.restore(written.id)
    assert passed(timed) == Passed(purged=1)
    with pytest.raises(Conflict, match="is purged; only one that is archived or soft_deleted"):
        alice.lifecycle.restore(written.id)
    with pytest.raises(Conflict, match="is purged"):
        alice.lifecycle.delete(written.id)


def test_a_clock_that_goes_back_shortens_no_window(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", WINDOWS)
    first = alice.remember("Oolong")
    clock.advance(10 * DAY)
    second = alice.remember("Sencha")
    clock.advance(-5 * DAY)
    moved = alice.lifecycle.delete(second.id)
    assert moved.deleted_at == moved.hard_delete_at - 7 * DAY * 1000  # type: ignore[operator]
    # Not before it was written, whatever the clock says.
    clock.advance(5 * DAY)
    assert moved.deleted_at == clock.now_ms()
    deleted = alice.lifecycle.delete(first.id)
    clock.advance(-30 * DAY)
    assert passed(timed) == Passed()
    with pytest.raises(Conflict, match="is soft_deleted; only one that is active"):
        alice.lifecycle.delete(first.id)
    clock.advance(30 * DAY + 7 * DAY - 1)
    assert passed(timed) == Passed()
    assert alice.lifecycle.status(first.id).hard_delete_at == deleted.hard_delete_at
    clock.advance(1)
    assert passed(timed) == Passed(purged=2)


def test_a_hold_past_day_seven_and_its_release(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    kept, soon = alice.remember("Kept"), alice.remember("Soon")
    for one in (kept, soon):
        alice.lifecycle.delete(one.id)
        alice.lifecycle.hold(one.id)
    clock.advance(3 * DAY)
    alice.lifecycle.release(soon.id)
    # Never before the grace that was set first.
    assert passed(timed) == Passed()
    clock.advance(4 * DAY)
    assert passed(timed) == Passed(purged=1)
    clock.advance(100 * DAY)
    assert passed(timed) == Passed()
    assert alice.lifecycle.status(kept.id).state == "soft_deleted"
    assert alice.lifecycle.release(kept.id).method == "legal_hold_release"
    assert passed(timed) == Passed(purged=1)


def test_a_hold_on_what_is_about_to_be_purged_stops_that(
    timed: palimp.Client,
    alice: palimp.Profile,
    clock: ManualClock,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = alice.remember("Oolong")
    alice.lifecycle.delete(written.id)
    clock.advance(7 * DAY)
    monkeypatch.setattr(lifecycle, "STAGES", ("expire",))
    lifecycle.run(node.context, ALICE)
    assert states(alice) == {"hard_delete_pending": ["Oolong"]}
    monkeypatch.undo()
    assert alice.lifecycle.hold(written.id).state == "hard_delete_pending"
    assert passed(timed) == Passed()
    alice.lifecycle.release(written.id)
    assert passed(timed) == Passed(purged=1)


def test_policies_and_times_leave_alone_what_is_held(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    rules = {"event_max_age_secs": 60, "superseded_max_count": 1, "superseded_max_age_secs": 60}
    timed.set_policy("acme", {"memory": rules})
    written = [alice.remember(f"Seat {place}", topic="seat") for place in range(4)]
    event = alice.remember("Boarded", type="event")
    task = alice.remember("Check in", type="task", ttl=60)
    for one in (written[0], event, task):
        alice.lifecycle.hold(one.id)
    clock.advance(DAY)
    done = timed.maintain()
    assert (done.swept, done.expired) == (2, 0)
    assert states(alice) == {"active": ["Boarded", "Seat 0", "Seat 3"]}
    alice.lifecycle.release(event.id)
    assert timed.maintain().swept == 1


def test_a_pass_that_ends_in_between_goes_on_and_moves_each_row_once(
    timed: palimp.Client,
    alice: palimp.Profile,
    clock: ManualClock,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed.set_policy("acme", WINDOWS)
    ids = [one.id for one in alice.ingest({"text": f"Tea {n}"} for n in range(7))]
    clock.advance(90 * DAY)
    monkeypatch.setitem(lifecycle.BATCHES, "archive", 2)

    class Ended(Exception):
        pass

    def after(times: int, real: Callable[..., int]) -> Callable[..., int]:
        left = iter(range(times))

        def move(*given: Any) -> int:
            if next(left, None) is None:
                raise Ended
            return real(*given)

        return move

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(lifecycle, "_moved", after(1, lifecycle._moved))
            with pytest.raises(Ended):
                lifecycle.run(node.context, ALICE)
    # The oldest first.
    assert states(alice)["active"] == ["Tea 6"]
    assert lifecycle.run(node.context, ALICE) == Passed(archived=1)
    assert lifecycle.run(node.context, ALICE) == Passed()
    for identity in ids:
        assert [one.event for one in alice.lifecycle.events(identity)] == ["created", "archived"]


def test_two_passes_at_once_move_a_row_once(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock, node: Node
) -> None:
    timed.set_policy("acme", WINDOWS)
    alice.ingest({"text": f"Tea {n}"} for n in range(5))
    clock.advance(90 * DAY)
    context = node.context
    windows = Windows.of(context.policies.effective("acme", "alice"))
    act, sealer = Act(clock.now_ms()), context.sealer_of(ALICE)
    with context.engine.use(ALICE, create=False) as branch:
        assert branch is not None
        looked_up = branch.read(lambda c: due(c, windows, "archive", act.now_ms, 10)).value
        assert len(looked_up) == 5
        # Between that and the transaction of the one pass comes the other.
        assert lifecycle.run(context, ALICE) == Passed(archived=5)
        moved = branch.write(lambda c: move_due(c, windows, "archive", looked_up, act, sealer))
    assert moved.value == 0


def test_a_pass_can_be_bounded(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock, node: Node
) -> None:
    timed.set_policy("acme", WINDOWS)
    alice.ingest({"text": f"Tea {n}"} for n in range(5))
    trial = alice.fork("trial")
    clock.advance(90 * DAY)
    assert lifecycle.run(node.context, ALICE, 2) == Passed(archived=4)
    assert lifecycle.run(node.context, ALICE) == Passed(archived=6)
    assert len(states(trial)["archived"]) == 5


def test_what_is_purged_is_erased_where_the_policy_says_so(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    erasure = {"purge_on_forget": True, "grace_secs": 0}
    timed.set_policy("acme", {"lifecycle": {"soft_delete": True}, "erasure": erasure})
    written = alice.remember("Oolong")
    alice.checkpoint("before")
    alice.remember("Sencha")
    assert alice.forget(written.id)
    assert [one.text for one in alice.at("before").list()] == ["Oolong"]
    clock.advance(7 * DAY)
    timed.maintain()
    assert [job.status for job in alice.erasures()] == ["done"]
    assert list(alice.at("before").list()) == []
    with pytest.raises(NotFound):
        alice.lifecycle.status(written.id)


def test_what_is_deleted_is_hidden_from_who_may_only_write(
    timed: palimp.Client, alice: palimp.Profile, node: Node
) -> None:
    written, other = alice.remember("Oolong"), alice.remember("Sencha")
    # In the second in which a profile was made no token holds yet.
    writer = Principal("namespace", "write", "acme", issued_ms=node.context.clock.now_ms() + 1)
    target = Target("acme", "alice")

    def ask(operation: str, request: Any) -> Any:
        return dispatch(node.context, operation, target, request, principal=writer)

    assert ask("memories.delete", DeleteMemory(id=written.id)).state == "soft_deleted"
    for operation, request in (
        ("memories.delete", DeleteMemory(id=written.id)),
        ("memories.archive", ArchiveMemory(id=written.id)),
        ("memories.events", GetEvents(id=written.id)),
    ):
        with pytest.raises(NotFound, match=f"no memory {written.id}"):
            ask(operation, request)
    for operation, request in (
        ("memories.restore", RestoreMemory(id=written.id)),
        ("memories.hold", HoldMemory(id=other.id)),
        ("memories.move", MoveMemories(move="archive", source="crm")),
        ("memories.list", ListMemories(state="soft_deleted")),
        ("memories.find", FindMemories(handles=(1,), deleted=True)),
    ):
        with pytest.raises(Denied, match="needs scope admin"):
            ask(operation, request)
    (handle,) = [memory.handle for memory in alice.list(state="soft_deleted")]
    assert list(ask("memories.find", FindMemories(handles=(handle,)))) == []
    assert {event.id for event in ask("events.list", ListEvents())} == {other.id}
    assert {event.id for event in alice.lifecycle.history()} == {written.id, other.id}
    assert states(alice) == {"active": ["Sencha"], "soft_deleted": ["Oolong"]}
    assert alice.lifecycle.status(written.id).events[1].actor == writer.actor
