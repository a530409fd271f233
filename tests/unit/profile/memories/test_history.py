"""History: every version of a memory or a topic, oldest first, from either end."""

import pytest

import palimp
from palimp.api import History
from palimp.clock import ManualClock


@pytest.fixture
def versions(profile: palimp.Profile) -> list[str]:
    """Three versions of one fact and something beside it."""
    done = profile.ingest(
        [
            {"text": "Rome", "topic": "home"},
            {"text": "Oslo", "topic": "home"},
            {"text": "Bern", "topic": "home"},
            {"text": "Likes tea", "topic": "drink"},
            {"text": "No topic"},
        ]
    )
    return [result.id for result in done[:3]]


def ids(history: History) -> list[str]:
    return [memory.id for memory in history]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_version_leads_to_all(
    profile: palimp.Profile, versions: list[str], version: int
) -> None:
    assert ids(profile.history(versions[version])) == versions


def test_a_topic_leads_to_all_and_to_nothing_else(
    profile: palimp.Profile, versions: list[str]
) -> None:
    assert ids(profile.history(topic="home")) == versions


def test_each_version_says_what_it_replaced(profile: palimp.Profile, versions: list[str]) -> None:
    rome, oslo, bern = profile.history(topic="home")
    assert (rome.supersedes, rome.superseded_by) == ((), oslo.id)
    assert (oslo.supersedes, oslo.superseded_by) == ((rome.id,), bern.id)
    assert (bern.supersedes, bern.superseded_by) == ((oslo.id,), None)


def test_history_is_a_sequence_with_a_txid(timed: palimp.Client) -> None:
    profile = timed.profile("alice")
    for text in ("Rome", "Oslo", "Bern"):
        written = profile.remember(text, topic="home")
    history = profile.history(topic="home")
    assert len(history) == 3
    assert history[0].text == "Rome"
    assert [memory.text for memory in history[1:]] == ["Oslo", "Bern"]
    assert history.txid == written.txid


def test_a_memory_of_its_own_is_its_whole_history(
    profile: palimp.Profile, versions: list[str]
) -> None:
    alone = profile.remember("alone")
    assert ids(profile.history(alone)) == [alone.id]


def test_a_topic_s_types_can_be_told_apart(profile: palimp.Profile) -> None:
    fact = profile.remember("short answers", topic="style")
    rule = profile.remember("answer briefly", topic="style", type="instruction")
    assert set(ids(profile.history(topic="style"))) == {fact.id, rule.id}
    assert ids(profile.history(topic="style", type="fact")) == [fact.id]
    assert ids(profile.history(topic="style", type="instruction")) == [rule.id]
    with pytest.raises(palimp.NotFound):
        profile.history(topic="style", type="event")


def test_several_predecessors_are_all_there(profile: palimp.Profile) -> None:
    one, two = profile.remember("a", topic="one"), profile.remember("b", topic="two")
    three = profile.supersede(one, "c", topic="two")
    four = profile.supersede(three, "d")
    expected = [one.id, two.id, three.id, four.id]
    for memory in (one, two, three, four):
        assert ids(profile.history(memory)) == expected


def test_after_one_in_the_middle_is_forgotten_the_ends_still_meet(
    profile: palimp.Profile, versions: list[str]
) -> None:
    rome, oslo, bern = versions
    profile.forget(oslo)
    for start in (rome, bern):
        assert ids(profile.history(start)) == [rome, bern]
    assert ids(profile.history(topic="home")) == [rome, bern]
    assert profile.get(rome).superseded_by == bern
    assert profile.get(bern).supersedes == (rome,)
    with pytest.raises(palimp.NotFound, match=oslo):
        profile.history(oslo)


def test_after_the_newest_is_forgotten_nothing_older_holds_again(
    profile: palimp.Profile, versions: list[str]
) -> None:
    rome, oslo, bern = versions
    profile.forget(bern)
    assert list(profile.list(topic="home")) == []
    assert ids(profile.history(topic="home")) == [rome, oslo]
    last = profile.get(oslo)
    assert last.superseded_by is None
    assert last.superseded_at is not None


def test_after_the_oldest_is_forgotten_the_rest_is_there(
    profile: palimp.Profile, versions: list[str]
) -> None:
    profile.forget(versions[0])
    assert ids(profile.history(versions[2])) == versions[1:]
    assert profile.get(versions[1]).supersedes == ()


def test_a_revived_memory_stands_where_it_holds(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    for text in ("Rome", "Oslo", "Rome", "Bern"):
        profile.remember(text, topic="home")
        clock.advance(1)
    history = profile.history(topic="home")
    assert [memory.text for memory in history] == ["Oslo", "Rome", "Bern"]


def test_each_stands_before_the_one_that_superseded_it(profile: palimp.Profile) -> None:
    """Also where all of it happened in one batch, and so in the same millisecond."""
    profile.ingest([{"text": text, "topic": "home"} for text in ("Rome", "Oslo", "Rome", "Bern")])
    history = profile.history(topic="home")
    assert [memory.text for memory in history] == ["Oslo", "Rome", "Bern"]
    assert [memory.text for memory in profile.history(history[0])] == ["Oslo", "Rome", "Bern"]


def test_a_clock_that_was_set_back_does_not_turn_history_around(
    timed: palimp.Client, clock: ManualClock
) -> None:
    profile = timed.profile("alice")
    for text in ("Rome", "Oslo", "Bern"):
        profile.remember(text, topic="home")
        clock.advance(-3_600)
    assert [memory.text for memory in profile.history(topic="home")] == ["Rome", "Oslo", "Bern"]


def test_an_expired_task_has_no_history(timed: palimp.Client, clock: ManualClock) -> None:
    profile = timed.profile("alice")
    task = profile.remember("call back", type="task", ttl=60)
    assert ids(profile.history(task)) == [task.id]
    clock.advance(60)
    with pytest.raises(palimp.NotFound):
        profile.history(task)


def test_what_never_was_has_no_history(profile: palimp.Profile, versions: list[str]) -> None:
    with pytest.raises(palimp.NotFound, match="mem_nothing"):
        profile.history("mem_nothing")
    with pytest.raises(palimp.NotFound, match="'hom'"):
        profile.history(topic="hom")


def test_history_takes_an_id_or_a_topic(profile: palimp.Profile, versions: list[str]) -> None:
    for arguments in ({}, {"memory": versions[0], "topic": "home"}):
        with pytest.raises(palimp.Invalid, match="either an id or a topic"):
            profile.history(**arguments)
    with pytest.raises(palimp.Invalid, match="type goes with a topic"):
        profile.history(versions[0], type="fact")
    with pytest.raises(palimp.Invalid, match="topic is empty"):
        profile.history(topic=" ")
