"""What becomes of memories in use: reads that are counted without a commit, tiers, feedback."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import palimp
from palimp.api import Policy, SetProfilePolicy, to_request
from palimp.clock import ManualClock
from palimp.errors import Invalid, NotFound
from palimp.profile.usage import (
    NEUTRAL,
    SIGNALS,
    Accesses,
    Read,
    Tiers,
    query_mark,
    value_of,
)

DAY = 86_400
DAY_MS = 86_400_000
TIERED = {"lifecycle": {"warm_days": 30, "cold_days": 180}}


def set_policy(profile: palimp.Profile, policy: Any) -> None:
    request = SetProfilePolicy(policy=to_request(Policy, policy, "policy"))
    profile.client.call("policy.set_profile", profile.target, request)


def txid(profile: palimp.Profile) -> int:
    return profile.recall("nothing of that").txid


@pytest.fixture
def alice(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


# -- reads ---------------------------------------------------------------------------------------------


def test_reads_of_a_default_profile_are_neither_counted_nor_written(alice: palimp.Profile) -> None:
    seat = alice.remember("Prefers aisle seats")
    before = txid(alice)
    for _ in range(3):
        assert len(alice.recall("seats")) == 1
        alice.get(seat)
    assert alice.client.maintain().cooled == 0
    assert txid(alice) == before
    assert alice.get(seat).access_count == 0


@pytest.mark.parametrize("policy", [TIERED, {"ranking": {"weights": "memorysync"}}])
def test_reads_are_written_by_maintenance_where_something_asks_for_them(
    alice: palimp.Profile, clock: ManualClock, policy: Any
) -> None:
    set_policy(alice, policy)
    seat, other = alice.remember("Prefers aisle seats"), alice.remember("Likes tea")
    before = txid(alice)
    clock.advance(60)
    alice.recall("aisle seats", k=1)
    alice.get(seat)
    alice.get(seat)
    read_at = clock.now_ms()
    clock.advance(60)
    assert txid(alice) == before
    alice.client.maintain()
    assert txid(alice) == before + 1
    memory = alice.get(seat)
    assert (memory.access_count, memory.last_accessed_at) == (3, read_at)
    assert alice.get(other).access_count == 0
    assert alice.get(other).last_accessed_at is None


def test_weights_of_a_request_count_what_they_weigh(alice: palimp.Profile) -> None:
    seat = alice.remember("Prefers aisle seats")
    alice.recall("seats", weights={"usage": 1, "keyword": 1})
    alice.client.maintain()
    assert alice.get(seat).access_count == 1
    assert alice.recall("seats", weights={"usage": 1}, explain=True)[0].explain is not None


def test_reading_the_past_uses_nothing(alice: palimp.Profile) -> None:
    set_policy(alice, TIERED)
    seat = alice.remember("Prefers aisle seats")
    alice.checkpoint("then")
    alice.at("then").recall("seats")
    alice.at("then").get(seat)
    alice.client.maintain()
    assert alice.get(seat).access_count == 0


def test_a_rewind_forgets_who_was_read_with_what_was_read(alice: palimp.Profile) -> None:
    set_policy(alice, TIERED)
    alice.remember("Likes tea")
    alice.checkpoint("then")
    seat = alice.remember("Prefers aisle seats")
    alice.get(seat)
    alice.rewind("then")
    before = txid(alice)
    alice.client.maintain()
    assert txid(alice) == before


def test_many_threads_count_every_read() -> None:
    accesses = Accesses()

    def read() -> None:
        for moment in range(200):
            accesses.note(["a", "b"], moment)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accesses.take() == {"a": Read(800, 199), "b": Read(800, 199)}
    assert accesses.take() == {}


def test_what_is_collected_is_bounded_and_taken_in_batches() -> None:
    accesses = Accesses()
    accesses.note((f"m{n}" for n in range(10_001)), 1)
    taken = accesses.take()
    assert len(taken) == 500
    accesses.note(["m0"], 9)
    accesses.give_back(taken)
    found = {}
    while batch := accesses.take():
        found.update(batch)
    assert len(found) == 10_000
    assert found["m0"] == Read(2, 9)


# -- tiers ---------------------------------------------------------------------------------------------


def test_what_is_not_used_cools_and_what_is_read_is_hot_again(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    set_policy(alice, TIERED)
    seat = alice.remember("Prefers aisle seats")

    def tier_after(days: float) -> str | None:
        clock.advance(days * DAY)
        alice.client.maintain()
        (memory,) = alice.list()
        return memory.memory_tier

    assert tier_after(29.9) is None
    assert tier_after(0.2) == "warm"
    assert tier_after(179) == "warm"
    assert tier_after(1) == "cold"
    assert tier_after(1_000) == "cold"
    alice.get(seat)
    assert tier_after(0) is None
    assert tier_after(31) == "warm"
    alice.recall("seats")
    assert tier_after(0) is None
    # A listing uses nothing.
    assert tier_after(31) == "warm"


def test_a_clock_that_is_set_back_cools_nothing(alice: palimp.Profile, clock: ManualClock) -> None:
    set_policy(alice, TIERED)
    alice.remember("Prefers aisle seats")
    clock.advance(-1_000 * DAY)
    assert alice.client.maintain().cooled == 0


def test_more_than_a_batch_cools_in_one_pass(alice: palimp.Profile, clock: ManualClock) -> None:
    set_policy(alice, TIERED)
    alice.ingest([{"text": f"island {number}"} for number in range(1_000)])
    alice.ingest([{"text": f"harbour {number}"} for number in range(250)])
    clock.advance(31 * DAY)
    assert alice.client.maintain().cooled == 1_250
    assert alice.client.maintain().cooled == 0
    clock.advance(180 * DAY)
    assert alice.client.maintain().cooled == 1_250
    assert {memory.memory_tier for memory in alice.list()} == {"cold"}


def test_limits_of_tiers() -> None:
    now = 1_000 * DAY_MS
    assert Tiers.of(None, None, now) is None
    both = Tiers.of(30, 180, now)
    assert both == Tiers(warm=970 * DAY_MS, cold=790 * DAY_MS)
    assert [both.tier(day * DAY_MS) for day in (971, 970, 791, 790)] == [
        None,
        "warm",
        "warm",
        "cold",
    ]
    only_cold = Tiers.of(None, 10, now)
    assert only_cold is not None
    assert [only_cold.tier(day * DAY_MS) for day in (991, 990)] == [None, "cold"]
    only_warm = Tiers.of(10, None, now)
    assert only_warm is not None
    assert [only_warm.tier(day * DAY_MS) for day in (991, 990, 1)] == [None, "warm", "warm"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [({"cold_days": 10}, [None, "cold"]), ({"warm_days": 10}, [None, "warm"])],
)
def test_one_of_the_tiers_alone(
    alice: palimp.Profile, clock: ManualClock, rules: Any, expected: list[str | None]
) -> None:
    set_policy(alice, {"lifecycle": rules})
    alice.remember("Prefers aisle seats")
    found = []
    for days in (9, 500):
        clock.advance(days * DAY)
        alice.client.maintain()
        found.append(next(iter(alice.list())).memory_tier)
    assert found == expected


def test_a_change_of_tier_is_seen_by_the_next_search_of_vectors(
    alice: palimp.Profile, clock: ManualClock
) -> None:
    """The index in memory is filled before; vectors carry no tier that could be an old one."""
    set_policy(alice, TIERED)
    old = alice.remember("east", embedding=[1.0, 0.0])
    clock.advance(31 * DAY)
    alice.remember("north", embedding=[0.0, 1.0])

    def found(tier: Any) -> list[str]:
        hits = alice.recall(embedding=[1.0, 0.1], tier=tier)
        assert all(hit.channels == ("vector",) for hit in hits)
        return [hit.text for hit in hits]

    vector = _vectors(alice)
    assert (found("hot"), found("warm")) == (["east", "north"], [])
    # Both were just read; not written down yet, that is lost with a restart.
    alice.client.maintain()
    clock.advance(31 * DAY)
    alice.get(next(m.id for m in alice.list() if m.text == "north"))
    alice.client.maintain()
    assert (found("warm"), found("hot")) == (["east"], ["north"])
    # Reading made it hot, when that is written.
    alice.client.maintain()
    assert found("hot") == ["east", "north"]
    assert alice.get(old).access_count > 0
    assert _vectors(alice) == vector


def _vectors(profile: palimp.Profile) -> Any:
    transport: Any = profile.client._transport
    context = transport._node.context
    with context.engine.use(context.address(profile.target), create=False) as branch:
        return branch.read(
            lambda c: c.execute("SELECT * FROM __palimp_memories_vectors").fetchall()
        ).value


# -- feedback ------------------------------------------------------------------------------------------


def test_feedback_never_leaves_its_bounds() -> None:
    assert value_of({}) == NEUTRAL
    assert value_of({"useful": 1_000}) == 1.0
    for signal in SIGNALS:
        for count in (1, 2, 5, 1_000):
            assert 0.05 <= value_of({signal: count}) <= 1.0
    assert value_of({"wrong": 1_000}) == 0.05
    assert value_of({"useful": 3, "wrong": 1}) == pytest.approx(NEUTRAL)


def test_feedback_moves_a_memory_and_says_why(alice: palimp.Profile) -> None:
    good, bad = alice.remember("Ferry to Pico at nine"), alice.remember("Ferry to Pico at ten")
    plain = [hit.score for hit in alice.recall("ferry Pico", explain=True)]
    assert plain[0] == plain[1]
    done = alice.feedback(bad, "outdated")
    assert (done.counts, done.value) == ({"outdated": 1}, pytest.approx(0.3))
    assert alice.feedback(good.id, "useful").value == pytest.approx(0.6)
    found = alice.recall("ferry Pico", explain=True)
    assert [hit.id for hit in found] == [good.id, bad.id]
    assert found[0].explain is not None
    (feature,) = [one for one in found[0].explain.features if one.name == "feedback"]
    assert (feature.raw, feature.weight) == (pytest.approx(0.6), 0.5)
    for hit in found:
        assert hit.explain is not None
        assert sum(one.share for one in hit.explain.features) == pytest.approx(hit.score)
    alice.feedback(good, "wrong")
    alice.feedback(good, "wrong")
    assert alice.recall("ferry Pico", weights={"feedback": 1})[0].id == bad.id


def test_feedback_about_a_question_counts_for_that_question(alice: palimp.Profile) -> None:
    first, second = alice.remember("Ferry to Pico"), alice.remember("Ferry to Faial")
    alice.feedback(first, "irrelevant", "ferry  to FAIAL")
    assert alice.feedback(first, "irrelevant", "ferry to Faial").value == pytest.approx(0.3)

    def value(query: str) -> float | None:
        hits = alice.recall(query, explain=True)
        hit = next(hit for hit in hits if hit.id == first.id)
        assert hit.explain is not None
        return next((one.raw for one in hit.explain.features if one.name == "feedback"), None)

    assert value("ferry to Faial") == pytest.approx(0.3)
    assert value("which ferry") is None
    # Said in general it counts for all, beside what was said of one.
    alice.feedback(first, "useful")
    assert value("which ferry") == pytest.approx(0.6)
    assert value("ferry to Faial") == pytest.approx(0.4)
    assert alice.feedback(second, "useful").counts == {"useful": 1}


def test_of_questions_the_last_hundred_count(alice: palimp.Profile, clock: ManualClock) -> None:
    seat = alice.remember("Prefers aisle seats")
    for number in range(101):
        clock.advance(1)
        alice.feedback(seat, "irrelevant", f"question {number}")
    assert alice.feedback(seat, "useful").counts == {"irrelevant": 100, "useful": 1}
    assert alice.feedback(seat, "useful", "question 0").value == pytest.approx(0.7)


def test_a_question_is_kept_as_a_keyed_hash() -> None:
    assert query_mark(b"k", None) == b""
    assert query_mark(b"k", " Which\nSEAT ") == query_mark(b"k", "which seat")
    assert query_mark(b"k", "which seat") != query_mark(b"l", "which seat")
    assert len(query_mark(b"k", "x" * 10_000)) == 16


def test_feedback_goes_with_its_memory(alice: palimp.Profile) -> None:
    seat = alice.remember("Prefers aisle seats")
    alice.feedback(seat, "wrong")
    alice.forget(seat)
    again = alice.remember("Prefers aisle seats")
    assert again.id == seat.id
    assert alice.feedback(again, "useful").counts == {"useful": 1}


def test_feedback_of_nothing(alice: palimp.Profile, clock: ManualClock) -> None:
    with pytest.raises(NotFound, match="profile 'alice' is empty"):
        alice.feedback("mem_1", "useful")
    task = alice.remember("Book the ferry", type="task", ttl=10)
    clock.advance(11)
    for identity in (task.id, "mem_1"):
        with pytest.raises(NotFound, match=f"no memory {identity}"):
            alice.feedback(identity, "useful")
    with pytest.raises(Invalid, match="useful, irrelevant, outdated or wrong"):
        alice.feedback(task, "bad")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="query is empty"):
        alice.feedback(task, "wrong", " ")


def test_a_rewind_before_the_first_feedback_takes_its_table(alice: palimp.Profile) -> None:
    seat = alice.remember("Prefers aisle seats")
    alice.checkpoint("then")
    alice.feedback(seat, "wrong")
    alice.rewind("then")
    assert alice.recall("seats", explain=True)[0].id == seat.id
    assert alice.feedback(seat, "useful").counts == {"useful": 1}
