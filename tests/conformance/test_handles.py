"""Memories by number, and filters on a project that also let in what has none."""

from __future__ import annotations

from typing import Any

import pytest

from palimp.errors import Invalid


def test_every_read_gives_the_handle_and_find_takes_it(do: Any, alice: Any) -> None:
    first = do(alice.remember("Likes oolong", topic="tea"))
    second = do(alice.remember("Likes sencha", topic="tea"))
    handles = [do(alice.get(one.id)).handle for one in (first, second)]
    assert handles[0] < handles[1]
    assert [one.handle for one in do.all(alice.list(include_superseded=True))] == handles[::-1]
    assert [one.handle for one in do(alice.history(topic="tea"))] == handles
    assert [hit.handle for hit in do(alice.recall("sencha"))] == handles[1:]
    found = do(alice.find([handles[1], 10**15, handles[0], handles[1]]))
    assert [(one.handle, one.id) for one in found] == [
        (handles[1], second.id),
        (handles[0], first.id),
    ]
    do(alice.forget(second.id))
    third = do(alice.get(do(alice.remember("Likes matcha", topic="tea")).id))
    assert third.handle > handles[1]
    assert [one.id for one in do(alice.find(handles))] == [first.id]


def test_find_shows_deleted_memories_where_it_is_told_to(do: Any, alice: Any) -> None:
    written = do(alice.remember("Likes oolong"))
    handle = do(alice.get(written.id)).handle
    do(alice.lifecycle.archive(written.id))
    assert [one.state for one in do(alice.find([handle]))] == ["archived"]
    do(alice.lifecycle.delete(written.id))
    assert list(do(alice.find([handle]))) == []
    (deleted,) = do(alice.find([handle], deleted=True))
    assert (deleted.handle, deleted.id, deleted.state) == (handle, written.id, "soft_deleted")
    do(alice.lifecycle.restore(written.id))
    assert [one.handle for one in do(alice.find([handle]))] == [handle]


def test_find_says_what_cannot_be_asked(do: Any, client: Any, alice: Any) -> None:
    assert list(do(client.profile("nobody").find([1]))) == []
    with pytest.raises(Invalid, match="handles has 0 entries; give 1 to 1,000"):
        do(alice.find([]))
    with pytest.raises(Invalid, match="handles has 1,001 entries"):
        do(alice.find(range(1_001)))
    with pytest.raises(Invalid, match=r"handles\[1\] is -1"):
        do(alice.find([1, -1]))


def test_a_project_or_none(do: Any, alice: Any) -> None:
    for text, project in (("Tea is red", "red"), ("Tea is blue", "blue"), ("Tea is wet", None)):
        do(alice.remember(text, project=project))
    listed = {one.text for one in do.all(alice.list(project_or_none="red"))}
    assert listed == {"Tea is red", "Tea is wet"}
    assert {hit.text for hit in do(alice.recall("tea", project_or_none="red"))} == listed
    assert {one.text for one in do.all(alice.list(project="red"))} == {"Tea is red"}
    with pytest.raises(Invalid, match="not both"):
        do.all(alice.list(project="red", project_or_none="red"))
    moved = do(alice.lifecycle.move("archive", project_or_none="blue"))
    assert len(moved.ids) == 2
