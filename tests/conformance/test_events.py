"""What happened to the memories of a profile: all of them, and what annotations changed."""

from __future__ import annotations

from typing import Any

import pytest

import palimp
from palimp.api.lifecycle import ListEvents
from palimp.errors import Invalid


def _told(do: Any, profile: Any) -> list[tuple[str, str]]:
    return [(one.id, one.event) for one in do.all(profile.lifecycle.history())]


def test_events_of_all_memories_newest_first(do: Any, client: Any, alice: Any) -> None:
    tea = do(alice.remember("Likes oolong", topic="tea")).id
    rice = do(alice.remember("Likes rice")).id
    do(alice.annotate(rice, importance=0.5))
    sencha = do(alice.remember("Likes sencha", topic="tea")).id
    do(alice.lifecycle.archive(rice, reason="old"))
    do(alice.lifecycle.delete(sencha))
    told = _told(do, alice)
    assert sorted(told) == sorted(
        [
            (tea, "created"),
            (rice, "created"),
            (rice, "annotated"),
            (sencha, "created"),
            (tea, "superseded"),
            (rice, "archived"),
            (sencha, "soft_deleted"),
        ]
    )
    of_rice = [event for identity, event in told if identity == rice]
    assert of_rice == ["archived", "annotated", "created"]
    assert {one.actor for one in do.all(alice.lifecycle.history())} == {"owner"}
    times = [one.at for one in do.all(alice.lifecycle.history())]
    assert times == sorted(times, reverse=True)
    assert do.all(client.profile("nobody").lifecycle.history()) == []


def test_pages_of_events_leave_nothing_out(do: Any, client: Any, alice: Any) -> None:
    ids = [do(alice.remember(f"Tea {number}")).id for number in range(5)]
    for identity in ids:
        do(alice.lifecycle.archive(identity))
        do(alice.lifecycle.restore(identity))
    found, cursor = [], None
    for _ in range(10):
        page = do(client.call("events.list", alice.target, ListEvents(limit=4, cursor=cursor)))
        found += [(one.id, one.event) for one in page]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == _told(do, alice)
    assert len(found) == len(set(found)) == 15
    for cursor in ("1.9.1", "x", "1.2"):
        with pytest.raises(Invalid, match="did not come from an earlier page"):
            do(client.call("events.list", alice.target, ListEvents(cursor=cursor)))


def test_annotations_say_what_they_changed(do: Any, alice: Any) -> None:
    written = do(alice.remember("Likes oolong", tags=["tea"], metadata={"step": 1}, importance=0.5))
    do(alice.annotate(written.id, tags=["tea", "hot"], metadata={"step": 2}, importance=0.0))
    do(alice.annotate(written.id, metadata={}, importance=0.0))
    do(alice.lifecycle.archive(written.id))
    expected = [
        None,
        {
            "tags": (["tea"], ["tea", "hot"]),
            "metadata": ({"step": 1}, {"step": 2}),
            "importance": (0.5, 0.0),
        },
        {"metadata": ({"step": 2}, None)},
        None,
    ]
    assert [one.changes for one in do.all(alice.lifecycle.events(written.id))] == expected
    assert [one.changes for one in do.all(alice.lifecycle.history())] == expected[::-1]
    actors = [one.actor for one in do.all(alice.lifecycle.events(written.id))]
    assert actors[0] == "owner"
    assert len(set(actors[1:])) == 1
    assert actors[1] is not None
    do(alice.forget(written.id))
    assert _told(do, alice) == []


def test_a_change_may_expect_the_metadata_it_goes_by(do: Any, alice: Any) -> None:
    tea = do(alice.remember("Likes tea", metadata={"n": 1}))
    plain = do(alice.remember("Likes rice"))
    do(alice.annotate(tea, metadata={"n": 2}, expect_metadata={"n": 1}))
    with pytest.raises(palimp.Conflict, match="others by now") as caught:
        do(alice.annotate(tea, metadata={"n": 3}, importance=0.1, expect_metadata={"n": 1}))
    assert caught.value.details["reason"] == "metadata"
    found = do(alice.get(tea))
    assert (found.metadata, found.importance) == ({"n": 2}, None)
    do(alice.annotate(plain, metadata={"a": [1, "ä"]}, expect_metadata={}))
    with pytest.raises(palimp.Conflict):
        do(alice.annotate(plain, tags=["food"], expect_metadata={}))
    do(alice.annotate(plain, tags=["food"], expect_metadata={"a": [1, "ä"]}))
    done = do(alice.annotate_all({tea.id: {"importance": 0.2, "expect_metadata": {}}}))
    assert [one.status for one in done.results] == ["skipped"]
    with pytest.raises(palimp.Invalid):
        do(alice.annotate(tea, metadata={}, expect_metadata=["n"]))
