"""A write that waits until it was compared with what is near to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.models.choose import bundled
from palimp.node import Node, load_settings

from ...embedders import open_with

ON = {"memory": {"near_duplicates": "supersede", "near_duplicate_min": 0.95}}


class Plain:
    """An embedder for which all texts are the same."""

    name = "plain-1"
    dimensions = 2
    local = True
    egress = "none"
    failing: palimp.Error | None = None

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        if self.failing is not None:
            raise self.failing
        return np.tile(np.array([1.0, 0.0], np.float32), (len(texts), 1))

    def of(self, name: str) -> None:
        return None


@pytest.fixture
def embedder() -> Plain:
    return Plain()


@pytest.fixture
def alice(tmp_path: Path, embedder: Plain) -> Iterator[palimp.Profile]:
    node = Node(load_settings({"data_dir": tmp_path / "m"}, {}), embedder=embedder)
    # No background works: what is seen was done by the write.
    node._background.wake = lambda address: None  # type: ignore[method-assign]
    with palimp.Client(Embedded(node)) as mem:
        mem.set_policy("default", ON)
        yield mem.profile("alice")


def _held(alice: palimp.Profile) -> list[str]:
    return sorted(memory.text for memory in alice.list())


def test_the_newer_takes_the_older_ones_place_before_the_answer(alice: palimp.Profile) -> None:
    older = alice.remember("the ferry leaves at noon", wait="related")
    assert (older.embedded, older.superseded, older.note) == (True, (), None)
    newer = alice.remember("at noon the ferry leaves", wait="related", request_id="r-1")
    assert (newer.embedded, newer.superseded) == (True, (older.id,))
    assert alice.get(older).superseded_by == newer.id
    # What comes by later finds it done.
    assert alice.client.maintain().paired == 0
    third = alice.supersede(newer, "when it is noon the ferry leaves", wait="related")
    assert (third.embedded, third.superseded) == (True, (newer.id,))
    assert _held(alice) == ["when it is noon the ferry leaves"]


def test_a_batch_says_of_each_what_it_took_the_place_of(alice: palimp.Profile) -> None:
    older = alice.remember("the ferry leaves at noon", wait="related")
    done = alice.ingest(
        [{"text": "at noon the ferry leaves"}, {"text": "the bill is 7"}], wait="related"
    )
    assert (done.embedded, done.note) == (True, None)
    assert [one.superseded for one in done.results] == [(older.id,), ()]


@pytest.mark.parametrize(
    "said",
    [
        ({"text": "working mem 1"}, {"text": "working mem 2"}),
        ({"text": "it is mem_0a1b"}, {"text": "it is mem_0a1c"}),
        ({"text": "noon", "kind": "working"}, {"text": "at noon", "kind": "working"}),
        ({"text": "noon", "project": "a"}, {"text": "at noon", "project": "b"}),
        ({"text": "noon"}, {"text": "at noon", "project": "b"}),
        ({"text": "noon", "kind": "profile"}, {"text": "at noon", "kind": "semantic"}),
        ({"text": "noon", "type": "event"}, {"text": "at noon", "type": "event"}),
    ],
)
def test_what_is_not_the_same_stays(alice: palimp.Profile, said: Sequence[dict[str, Any]]) -> None:
    """For this embedder all of these are the same."""
    for one in said:
        assert alice.remember(**one, wait="related").superseded == ()
    assert len(_held(alice)) == 2


def test_of_one_project_the_newer_takes_the_older_ones_place(alice: palimp.Profile) -> None:
    older = alice.remember("noon", project="b", wait="related")
    assert alice.remember("at noon", project="b", wait="related").superseded == (older.id,)


@pytest.mark.parametrize("make", [Plain, bundled])
def test_two_numbered_working_memories_stay_with_every_embedder(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    with open_with(tmp_path / "m", make()) as mem:
        mem.set_policy("default", ON)
        alice = mem.profile("alice")
        for kind in ("working", "semantic"):
            for number in (1, 2):
                text = f"working mem {number}"
                alice.remember(text, kind=kind, session="s", dedup_key=kind, wait="related")
        assert len(_held(alice)) == 4


def test_without_the_policy_it_is_only_noted(alice: palimp.Profile) -> None:
    alice.client.set_policy("default", None)
    alice.remember("the ferry leaves at noon", wait="related")
    newer = alice.remember("at noon the ferry leaves", wait="related")
    assert newer.superseded == ()
    [pair] = alice.proposals()
    assert (pair.kind, pair.decision, pair.memory) == ("duplicate", "pending", newer.id)


def test_where_nothing_is_embedded_nothing_is_compared_and_the_write_holds(
    alice: palimp.Profile, embedder: Plain
) -> None:
    alice.remember("the ferry leaves at noon", wait="related")
    embedder.failing = palimp.Unavailable("no model")
    done = alice.remember("at noon the ferry leaves", wait="related")
    assert (done.embedded, done.superseded) == (False, ())
    assert done.note == "not embedded yet: no model"
    embedder.failing = None
    alice.client.maintain()
    assert _held(alice) == ["at noon the ferry leaves"]


def test_it_waits_for_nothing_else(alice: palimp.Profile) -> None:
    with pytest.raises(palimp.Invalid, match="wait is 'seen'"):
        alice.remember("x", wait="seen")  # type: ignore[arg-type]
