"""Tasks: they live for a while, are gone the moment it is over, and can be set again."""

from datetime import timedelta
from typing import Any

import pytest

import palimp
from palimp.api.limits import TTL_SECONDS_MAX
from palimp.clock import ManualClock

DAY = 86_400


@pytest.fixture
def profile(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


def texts(profile: palimp.Profile, **filters: Any) -> list[str]:
    return [memory.text for memory in profile.list(**filters)]


def test_a_task_lives_for_a_day(profile: palimp.Profile, clock: ManualClock) -> None:
    task = profile.remember("call back", type="task")
    assert profile.get(task).expires_at == clock.now_ms() + DAY * 1000
    clock.advance(DAY - 0.001)
    assert texts(profile) == ["call back"]
    clock.advance(0.001)
    assert texts(profile) == []


@pytest.mark.parametrize("ttl", [90, 90.0, timedelta(seconds=90)])
def test_a_task_may_live_longer_or_shorter(
    profile: palimp.Profile, clock: ManualClock, ttl: Any
) -> None:
    task = profile.remember("call back", type="task", ttl=ttl)
    assert profile.get(task).expires_at == clock.now_ms() + 90_000


def test_only_tasks_expire(profile: palimp.Profile, clock: ManualClock) -> None:
    for type_ in ("fact", "event", "instruction"):
        with pytest.raises(palimp.Invalid, match="only tasks have one"):
            profile.remember("x", type=type_, ttl=60)
        assert profile.get(profile.remember("x", type=type_)).expires_at is None
    clock.advance(100 * 365 * DAY)
    assert texts(profile) == ["x"] * 3


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), TTL_SECONDS_MAX + 1])
def test_a_lifetime_has_limits(profile: palimp.Profile, ttl: float) -> None:
    with pytest.raises(palimp.Invalid, match="ttl is "):
        profile.remember("x", type="task", ttl=ttl)


def test_the_longest_lifetime_is_allowed(profile: palimp.Profile) -> None:
    assert profile.remember("x", type="task", ttl=TTL_SECONDS_MAX).status == "created"


def test_an_expired_task_is_invisible_at_once(profile: palimp.Profile, clock: ManualClock) -> None:
    task = profile.remember("call the bank", type="task", session="s", ttl=60)
    assert [hit.text for hit in profile.recall("bank")] == ["call the bank"]
    clock.advance(60)
    assert texts(profile) == texts(profile, include_superseded=True) == []
    assert list(profile.recall("bank")) == []
    with pytest.raises(palimp.NotFound, match="expired"):
        profile.get(task)


def test_forgetting_an_expired_task_says_there_was_none(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    task = profile.remember("call back", type="task", ttl=60)
    clock.advance(60)
    assert profile.forget(task) is False


def test_an_expired_task_is_not_counted(profile: palimp.Profile, clock: ManualClock) -> None:
    profile.ingest([{"text": text, "type": "task", "session": "s", "ttl": 60} for text in "ab"])
    profile.remember("stays", session="s")
    assert [session.memories for session in profile.sessions()] == [3]
    clock.advance(60)
    assert [session.memories for session in profile.sessions()] == [1]


def test_the_same_task_while_it_lives_is_a_duplicate_and_keeps_its_end(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    task = profile.remember("call back", type="task", ttl=60)
    end = profile.get(task).expires_at
    clock.advance(30)
    assert profile.remember("call back", type="task", ttl=600).status == "duplicate"
    assert profile.get(task).expires_at == end


@pytest.mark.parametrize("removed", [False, True], ids=["waiting", "removed"])
def test_an_expired_task_can_be_set_again(
    timed: palimp.Client, profile: palimp.Profile, clock: ManualClock, removed: bool
) -> None:
    task = profile.remember("call back", type="task", ttl=60)
    clock.advance(60)
    if removed:
        timed.maintain()
    again = profile.remember("call back", type="task", ttl=120)
    assert again.id == task.id
    assert again.status == ("created" if removed else "revived")
    assert profile.get(task).expires_at == clock.now_ms() + 120_000
    assert texts(profile) == ["call back"]


def test_maintain_removes_what_has_expired_and_counts_it(
    timed: palimp.Client, profile: palimp.Profile, clock: ManualClock
) -> None:
    other = timed.profile("bob")
    for place, where in enumerate((profile, profile, other)):
        where.remember(f"task {place}", type="task", ttl=60)
    profile.remember("later", type="task", ttl=61)
    profile.remember("a fact")
    assert timed.maintain().expired == 0
    clock.advance(60)
    done = timed.maintain()
    assert (done.expired, done.profiles) == (3, 2)
    assert timed.maintain().expired == 0
    assert sorted(texts(profile)) == ["a fact", "later"]
    clock.advance(1)
    assert timed.maintain().expired == 1


def test_maintain_removes_more_than_one_batch(
    timed: palimp.Client, profile: palimp.Profile, clock: ManualClock
) -> None:
    profile.ingest([{"text": f"task {n}", "type": "task"} for n in range(1_000)])
    profile.ingest([{"text": f"more {n}", "type": "task"} for n in range(200)])
    clock.advance(DAY)
    assert timed.maintain().expired == 1_200


def test_tasks_have_no_topic(profile: palimp.Profile) -> None:
    with pytest.raises(palimp.Invalid, match="topic 'todo' on a task"):
        profile.remember("call back", type="task", topic="todo")


def test_tasks_are_found_by_words_and_never_by_vector(profile_with_vectors: palimp.Profile) -> None:
    found = profile_with_vectors.recall("telephone the bank", k=5)
    assert {hit.type: "vector" in hit.channels for hit in found} == {"fact": True, "task": False}


@pytest.fixture
def profile_with_vectors(mem: palimp.Client) -> palimp.Profile:
    profile = mem.profile("bob")
    profile.remember("telephone the bank", type="task")
    profile.remember("telephone the bank")
    assert mem.maintain().profiles == 1
    return profile
