"""What can be said and asked of memories beside their words, through every transport."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound

KEY = base64.b64encode(b"k" * 32).decode()
SAID: list[tuple[str, dict[str, Any] | None]] = [
    ("the first step", {"step": 2, "done": True, "who": None}),
    ("the second step", {"step": 2.0, "done": False}),
    ("the third step", {"step": "2", "done": 1, "who": "ann"}),
    ("the fourth step", {"step": {"of": 2}, "who": "ann"}),
    ("the fifth step", None),
]
FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"step": 2}, ["first", "second"]),
    ({"step": 2.0}, ["first", "second"]),
    ({"step": "2"}, ["third"]),
    ({"step": 2, "done": True}, ["first"]),
    ({"done": 1}, ["third"]),
    ({"who": None}, ["first"]),
    ({"who": "ann"}, ["third", "fourth"]),
    ({"nothing": None}, []),
    ({}, ["first", "second", "third", "fourth", "fifth"]),
]


@pytest.fixture(params=["plain", "sealed"])
def steps(request: Any, do: Any, tmp_path: Path) -> Iterator[Any]:
    """A profile with metadata, as it is and sealed."""
    keyed = {"master_key": KEY} if request.param == "sealed" else {}
    client = do.open(tmp_path / "memory", embed_provider="none", **keyed)
    if keyed:
        do(client.set_policy("default", {"encryption": {"fields": True}}))
    profile = client.profile("ann")
    for text, metadata in SAID:
        do(profile.remember(text, metadata=metadata))
    yield profile
    do(client.close())


def _words(found: Any) -> list[str]:
    return [memory.text.split()[1] for memory in found]


def test_memories_are_found_by_their_metadata(do: Any, steps: Any) -> None:
    for wanted, words in FILTERS:
        listed = _words(do.all(steps.list(metadata=wanted)))
        assert listed == words[::-1], wanted
        recalled = _words(do(steps.recall("step", metadata=wanted)))
        assert sorted(recalled) == sorted(words), wanted
    moved = do(steps.lifecycle.move("archive", metadata={"step": 2}, dry_run=True))
    assert len(moved.ids) == 2
    moved = do(steps.lifecycle.move("archive", metadata={"step": 2}))
    assert len(moved.ids) == 2
    assert _words(do.all(steps.list(metadata={"step": 2}, state="archived"))) == ["second", "first"]
    do(steps.lifecycle.move("delete", metadata={"step": "2"}))
    assert _words(do.all(steps.list(metadata={"step": "2"}, state="soft_deleted"))) == ["third"]
    with pytest.raises(Invalid, match="needs a filter"):
        do(steps.lifecycle.move("archive", metadata={}))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({f"k{place}": 1 for place in range(17)}, "metadata has 17 keys, at most 16"),
        ({"a-b": 1}, "cannot be filtered by 'a-b'"),
        ({"a.b": 1}, "cannot be filtered by 'a.b'"),
        ({"2b": 1}, "cannot be filtered by '2b'"),
        ({"": 1}, "cannot be filtered by ''"),
        ({"k\n": 1}, "cannot be filtered by"),
        ({"k" * 65: 1}, "give 1 to 64 letters"),
        ({"k": "x" * 1_023}, "1,025 bytes as JSON, at most 1,024"),
        ({"k": [2]}, "metadata"),
        ({"k": {"of": 2}}, "metadata"),
        ({"k": float("nan")}, "metadata.k contains nan"),
        ("k=2", "metadata"),
    ],
)
def test_a_filter_of_metadata_that_cannot_be_is_refused(
    do: Any, alice: Any, wanted: Any, message: str
) -> None:
    for asked in (
        lambda: do.all(alice.list(metadata=wanted)),
        lambda: do(alice.recall("step", metadata=wanted)),
    ):
        with pytest.raises(Invalid, match=message):
            asked()


def test_only_the_channels_that_are_named_are_asked(do: Any, tmp_path: Path) -> None:
    client = do.open(tmp_path / "memory")
    alice = client.profile("alice")
    for text in ("I drive a blue automobile", "The car is in the garage"):
        do(alice.remember(text, topic=text.split()[-1]))
    do(alice.reembed())
    asked = {"query": "car", "topic": "automobile", "explain": True}
    by_all = do(alice.recall(**asked))
    assert {name for hit in by_all for name in hit.channels} == {"topic", "keyword", "vector"}
    for name, first in (("keyword", "garage"), ("vector", "automobile"), ("topic", "automobile")):
        found = do(alice.recall(**asked, channels=[name]))
        assert found[0].text.endswith(first)
        assert {hit.channels for hit in found} == {(name,)}
        signals = {feature.name for hit in found for feature in hit.explain.features}
        assert signals & {"topic", "keyword", "vector"} == {name}
        left = {"topic", "keyword", "vector", "relation"} - {name}
        dropped = {one.what: one.reason for one in found.dropped}
        assert dropped == dict.fromkeys(
            (f"channel {one}" for one in left), f"not asked: channels are {name}"
        )
    both = do(alice.recall(**asked, channels=["keyword", "topic"]))
    assert [hit.channels for hit in both] == [("topic",), ("keyword",)]
    do(client.close())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"query": "car", "channels": ["smell"]}, "smell|topic"),
        ({"query": "car", "channels": ["topic"]}, "topic needs a topic"),
        ({"topic": "car", "channels": ["keyword", "vector"]}, "keyword and relation a query"),
        ({"embedding": [1.0], "channels": ["keyword"]}, "vector a query or an embedding"),
    ],
)
def test_channels_that_cannot_be_asked_are_refused(
    do: Any, alice: Any, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        do(alice.recall(**asked))


def test_what_is_said_about_a_memory_changes_and_nothing_else(do: Any, alice: Any) -> None:
    written = do(alice.remember("Likes oolong", topic="tea", tags=["drink"], metadata={"a": 1}))
    before = do(alice.get(written.id))
    said = {"metadata": {"b": 2}, "tags": ["hot", "hot"], "importance": 0.4}
    done = do(alice.annotate(written, **said, confidence=0.7, trust="T2"))
    after = done.memory
    assert (done.changed, done.txid > written.txid) == (True, True)
    assert (after.id, after.text, after.topic) == (before.id, before.text, before.topic)
    assert (after.created_at, after.activated_at) == (before.created_at, before.activated_at)
    assert (after.metadata, after.tags) == ({"b": 2}, ("hot",))
    assert (after.importance, after.confidence, after.trust) == (0.4, 0.7, "T2")
    assert do(alice.get(written.id)) == after
    assert [one.id for one in do(alice.history(topic="tea"))] == [written.id]
    again = do(alice.annotate(written, **said))
    assert (again.changed, again.memory) == (False, after)
    # What is left out stays; what is empty clears.
    cleared = do(alice.annotate(written, metadata={}, tags=[])).memory
    assert (cleared.metadata, cleared.tags, cleared.trust) == (None, (), "T2")
    events = do.all(alice.lifecycle.events(written.id))
    assert [(one.event, one.reason) for one in events] == [
        ("created", None),
        ("annotated", "metadata, tags, importance, confidence, trust"),
        ("annotated", "metadata, tags"),
    ]
    # The same memory again is the same memory still.
    assert do(alice.remember("Likes oolong", topic="tea")).status == "duplicate"


def test_tags_that_are_said_later_are_searched(do: Any, alice: Any) -> None:
    written = do(alice.remember("Likes oolong", tags=["beverage"]))
    do(alice.annotate(written, tags=["refreshment"]))
    assert [hit.id for hit in do(alice.recall("refreshment", channels=["keyword"]))] == [written.id]
    assert list(do(alice.recall("beverage", channels=["keyword"]))) == []
    assert do(alice.forget(written)) is True
    assert list(do(alice.recall("refreshment oolong"))) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "nothing is said about"),
        ({"importance": 1.5}, "importance is 1.5; give a number from 0 to 1"),
        ({"confidence": float("nan")}, "confidence"),
        ({"trust": ""}, "trust is empty"),
        ({"tags": [""]}, r"tags\[0\] is empty"),
        ({"tags": ["t"] * 1_000}, "tags has 1,000 entries"),
        ({"tags": "hot"}, "tags"),
        ({"metadata": {"long": "x" * 70_000}}, "metadata has"),
        ({"metadata": {"half": "\ud800"}}, "half a surrogate pair"),
        ({"text": "Likes sencha"}, "unknown field 'text'"),
    ],
)
def test_what_cannot_be_said_is_refused(
    do: Any, alice: Any, said: dict[str, Any], message: str
) -> None:
    written = do(alice.remember("Likes oolong"))
    with pytest.raises(Invalid, match=message):
        do(alice.annotate(written, **said))
    assert do(alice.get(written.id)).metadata is None


def test_nothing_is_said_about_what_is_not_active(do: Any, alice: Any) -> None:
    with pytest.raises(NotFound, match="profile 'alice' is empty"):
        do(alice.annotate("mem_" + "0" * 32, trust="T1"))
    written = do(alice.remember("Likes oolong", metadata={"a": 1}))
    with pytest.raises(NotFound, match="no memory mem_0"):
        do(alice.annotate("mem_" + "0" * 32, trust="T1"))
    do(alice.lifecycle.archive(written.id))
    with pytest.raises(Conflict, match="is archived and cannot be changed"):
        do(alice.annotate(written, trust="T1"))
    do(alice.lifecycle.restore(written.id))
    do(alice.lifecycle.hold(written.id))
    with pytest.raises(Conflict, match="under legal hold"):
        do(alice.annotate(written, metadata={}))
    do(alice.lifecycle.release(written.id))
    do(alice.lifecycle.delete(written.id))
    with pytest.raises(NotFound, match="forgotten or deleted"):
        do(alice.annotate(written, trust="T1"))


def test_a_policy_looks_at_what_is_said(do: Any, steps: Any) -> None:
    do(steps.client.set_policy("default", {"redaction": {"personal": "redact"}}))
    (last, *_) = do.all(steps.list())
    said = {"from": "ann@example.org", "n": 1}
    done = do(steps.annotate(last, metadata=said, request_id="a-1"))
    assert done.memory.metadata == {"from": "[email]", "n": 1}
    assert done.note == "redacted: email (1)"
    assert do(steps.annotate(last, metadata=said, request_id="a-1")).txid == done.txid
    with pytest.raises(Invalid, match="email"):
        do(steps.annotate(last, tags=["ann@example.org"]))
    do(steps.client.set_policy("default", {"redaction": {"personal": "flag"}}))
    flagged = do(steps.annotate(last, metadata=said)).memory
    assert (flagged.metadata, flagged.flags) == (said, ("email",))


def test_a_profile_in_numbers(do: Any, alice: Any) -> None:
    nothing = do(alice.stats())
    assert (nothing.by_state, nothing.all.count, nothing.oldest) == ({}, 0, None)
    given = [
        {"text": "four", "kind": "note", "trust": "T1", "confidence": 0.5, "importance": 1.0},
        {"text": "fives", "kind": "note", "trust": "T2", "confidence": 1.0, "embedding": [1.0]},
        {"text": "six", "type": "event", "session": "s", "project": "A"},
        {"text": "seven", "topic": "n", "trust": "T1", "embedding": [1.0]},
        {"text": "eight", "topic": "n", "trust": "T1"},
        {"text": "nine", "kind": "other", "project": "B"},
        {"text": "ten", "kind": "other"},
        {"text": "long ago", "expires_at": 1},
    ]
    written = do(alice.ingest(given))
    do(alice.lifecycle.archive(written[5].id))
    do(alice.lifecycle.delete(written[6].id))
    found = do(alice.stats())
    assert found.by_state == {"active": 5, "archived": 1, "soft_deleted": 1}
    assert (found.superseded, found.all.count, found.embedded, found.last_30_days) == (1, 4, 1, 4)
    assert (found.all.importance, found.all.confidence) == (1.0, 0.75)
    assert {name: group.count for name, group in found.by_type.items()} == {"fact": 3, "event": 1}
    kinds = {name: (one.count, one.confidence) for name, one in found.by_kind.items()}
    assert kinds == {"note": (2, 0.75), "": (2, None)}
    assert {name: one.count for name, one in found.by_trust.items()} == {"T1": 2, "T2": 1, "": 1}
    assert {name: one.count for name, one in found.by_project.items()} == {"": 3, "A": 1}
    assert found.text_bytes == (4 + 5 + 3 + 5) / 4
    (newest, *_, oldest) = do.all(alice.list())
    assert (found.oldest, found.newest) == (oldest.created_at, newest.created_at)
    assert found.txid >= written.txid


def test_of_many_kinds_the_largest_are_shown(do: Any, alice: Any) -> None:
    kinds = [f"k{n}" for n in range(101)]
    do(alice.ingest([{"text": kind, "kind": kind} for kind in ("most", *kinds)]))
    do(alice.remember("again", kind="most"))
    found = do(alice.stats())
    assert (found.all.count, len(found.by_kind)) == (103, 100)
    assert next(iter(found.by_kind.items())) == ("most", found.by_kind["most"])


def test_feedback_is_summed(do: Any, alice: Any) -> None:
    none = dict.fromkeys(("useful", "irrelevant", "outdated", "wrong"), 0)
    empty = do(alice.feedback_summary())
    assert (empty.total, empty.by_signal, empty.by_trust) == (0, none, {})
    first, second = (
        do(alice.remember(text, **said)).id for text, said in (("a", {"trust": "T1"}), ("b", {}))
    )
    for identity, signal, query in (
        (first, "useful", None), (first, "useful", "which?"), (second, "useful", None),
        (second, "wrong", None),
    ):  # fmt: skip
        do(alice.feedback(identity, signal, query))
    found = do(alice.feedback_summary())
    assert (found.total, found.by_signal) == (4, none | {"useful": 3, "wrong": 1})
    assert found.by_trust == {"": none | {"useful": 1, "wrong": 1}, "T1": none | {"useful": 2}}
    do(alice.forget(second))
    assert do(alice.feedback_summary()).by_trust == {"T1": none | {"useful": 2}}


def test_many_are_annotated_in_one_transaction(do: Any, alice: Any) -> None:
    first = do(alice.remember("Lives in Lyon"))
    second = do(alice.remember("Likes tea"))
    gone = "mem_" + "0" * 32
    done = do(
        alice.annotate_all(
            {first.id: {"trust": "T1"}, second.id: {"tags": ["drink"]}, gone: {"trust": "T2"}}
        )
    )
    assert [(one.id, one.status) for one in done] == [
        (first.id, "changed"),
        (second.id, "changed"),
        (gone, "skipped"),
    ]
    assert done.txid == second.txid + 1
    assert do(alice.get(second)).tags == ("drink",)
    assert [one.status for one in do(alice.annotate_all({first.id: {"trust": "T1"}}))] == ["same"]
    with pytest.raises(Invalid, match=r"items\[1\]"):
        do(alice.annotate_all({first.id: {"trust": "T3"}, second.id: {"importance": 2}}))
    assert do(alice.get(first)).trust == "T1"
    with pytest.raises(Invalid, match="1 to 1,000"):
        do(alice.annotate_all({}))
