"""Calls of several threads that go out together: what is joined, shared, and kept apart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.models import joining
from palimp.models.endpoint import EndpointEmbedder
from palimp.models.joining import TEXTS_JOINED_MAX, Joining
from palimp.models.pool import Endpoint, Pool
from palimp.observe import Metrics
from palimp.spending import Spending

from ...model_server import ModelServer, broken, vectors


class World:
    """A joining embedder whose server can hold every request."""

    def __init__(self) -> None:
        self.server = ModelServer()
        self.pool = Pool([Endpoint(self.server.url)], Clock(), Metrics(), timeout=20, what="embed")
        self.inner = EndpointEmbedder(
            self.pool, Clock(), Metrics(), provider="openai", model="m", dimensions=256
        )
        self.embedder = Joining(self.inner)
        self.threads = ThreadPoolExecutor(40)

    def call(self, texts: Sequence[str], **given: Any) -> Future[Any]:
        return self.threads.submit(self.embedder.embed, texts, **given)

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2_000):
            if condition():
                return
            threading.Event().wait(0.005)
        raise AssertionError("it never came to that")

    def held(self) -> Future[Any]:
        """Hold a request at the server, so that all others wait."""
        self.server.open.clear()
        call = self.call(["held"])
        self.until(lambda: len(self.server.seen) == 1)
        return call

    def waiting(self, query: bool = False) -> int:
        return len(self.embedder._lines[query].waiting)

    def close(self) -> None:
        self.server.open.set()
        self.threads.shutdown()
        self.pool.close()
        self.server.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """With one request at a time, so that it is certain who is joined with whom."""
    monkeypatch.setattr("palimp.models.joining._UNDER_WAY_MAX", 1)
    made = World()
    yield made
    made.close()


def right(rows: Any, texts: list[str]) -> bool:
    return np.allclose(rows, np.array(vectors(texts, "m", 256)) / 3, atol=1e-6)


def test_who_comes_alone_waits_for_nobody(world: World) -> None:
    for number in range(3):
        assert right(world.embedder.embed([f"text {number}"]), [f"text {number}"])
    assert [len(seen.json["input"]) for seen in world.server.seen] == [1, 1, 1]


def test_twenty_threads_are_a_few_requests_and_each_has_its_own(world: World) -> None:
    held = world.held()
    texts = [[f"text {number}", f"more {number}"] for number in range(20)]
    calls = [world.call(one) for one in texts]
    world.until(lambda: world.waiting() == 20)
    world.server.open.set()
    for call, one in zip(calls, texts, strict=True):
        assert right(call.result(), one)
    assert right(held.result(), ["held"])
    assert [len(seen.json["input"]) for seen in world.server.seen] == [1, 40]


def test_some_requests_are_under_way_at_once() -> None:
    world = World()
    try:
        world.server.open.clear()
        calls = [world.call([f"text {number}"]) for number in range(20)]
        world.until(lambda: len(world.server.seen) + world.waiting() == 20)
        assert len(world.server.seen) == 2
        world.server.open.set()
        for number, call in enumerate(calls):
            assert right(call.result(), [f"text {number}"])
        # Each of the two is followed by one at most: what waits is taken along.
        assert len(world.server.seen) <= 4
    finally:
        world.close()


def test_what_goes_together_is_bounded(world: World) -> None:
    held = world.held()
    half = TEXTS_JOINED_MAX // 2
    calls = [world.call([f"{number} {n}" for n in range(half)]) for number in range(5)]
    world.until(lambda: world.waiting() == 5)
    world.server.open.set()
    for call in [*calls, held]:
        call.result()
    sizes = [len(seen.json["input"]) for seen in world.server.seen]
    assert sorted(sizes) == [1, half, 2 * half, 2 * half]


def test_a_large_call_goes_alone_and_at_once(world: World) -> None:
    world.held()
    many = [f"text {number}" for number in range(TEXTS_JOINED_MAX + 1)]
    call = world.call(many)
    world.until(lambda: len(world.server.seen) == 2)
    world.server.open.set()
    assert right(call.result(), many)


def test_a_question_does_not_wait_for_what_is_embedded(world: World) -> None:
    world.held()
    question = world.call(["where"], query=True)
    world.until(lambda: len(world.server.seen) == 2)
    world.server.open.set()
    assert right(question.result(), ["where"])


def test_what_left_is_shared_and_adds_up(world: World) -> None:
    held = world.held()
    spent = [Spending() for _ in range(3)]
    texts = [["short"], ["a longer text than that", "and one more"], ["the longest of all " * 20]]
    calls = [world.call(one, spending=s) for one, s in zip(texts, spent, strict=True)]
    world.until(lambda: world.waiting() == 3)
    world.server.open.set()
    for call in [*calls, held]:
        call.result()
    (joined,) = [seen for seen in world.server.seen if len(seen.json["input"]) == 4]
    assert sum(s.bytes for s in spent) == len(joined.body)
    assert sum(s.tokens_in for s in spent) == sum(len(t) for one in texts for t in one) // 4
    assert [s.texts for s in spent] == [1, 2, 1]
    # Each text was in one call, whoever else was in it.
    assert [s.calls for s in spent] == [1, 1, 1]
    assert spent[0].bytes < spent[1].bytes < spent[2].bytes
    assert all(s.hosts == {"127.0.0.1"} for s in spent)


def test_a_text_that_is_too_long_is_not_the_fault_of_the_others(world: World) -> None:
    held = world.held()
    world.server.text_chars_max = 30
    calls = {text: world.call([text]) for text in ("one", "far too long " * 2_000, "two")}
    world.until(lambda: world.waiting() == 3)
    world.server.open.set()
    for text, call in calls.items():
        rows = call.result()
        assert right(rows, [text]) if len(text) < 30 else not rows.any()
    held.result()


def test_an_outage_is_told_to_each_by_an_error_of_its_own(world: World) -> None:
    held = world.held()
    calls = [world.call([f"text {number}"]) for number in range(3)]
    world.until(lambda: world.waiting() == 3)
    world.server.standing = broken(500)
    world.server.open.set()
    errors = [call.exception() for call in calls]
    assert all(isinstance(error, Unavailable) for error in errors)
    assert len({id(error) for error in errors}) == 3
    held.exception()
    world.server.standing = None
    assert right(world.embedder.embed(["after"]), ["after"])


class Faulty:
    """An embedder in which the thread of one call ends otherwise than by an error of ours."""

    name, dimensions, local, egress = "faulty", 1, False, "outside"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[str]] = []

    def embed(self, texts: Sequence[str], **_: Any) -> Any:
        self.batches.append(list(texts))
        self.open.wait(20)
        if texts[0] == "bad" and len(self.batches) < 3:
            raise KeyboardInterrupt
        return np.full((len(texts), 1), len(texts), np.float32)

    def of(self, name: str) -> None:
        return None


def test_an_interrupt_of_who_leads_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("palimp.models.joining._UNDER_WAY_MAX", 1)
    inner = Faulty()
    embedder = Joining(inner)  # type: ignore[arg-type]
    found: dict[str, Any] = {}

    def call(text: str) -> None:
        try:
            found[text] = embedder.embed([text]).tolist()
        except KeyboardInterrupt:
            found[text] = "interrupted"

    threads = []
    for number, text in enumerate(("a", "bad", "c", "d")):
        threads.append(threading.Thread(target=call, args=(text,)))
        threads[-1].start()
        for _ in range(2_000):
            if len(inner.batches) + len(embedder._lines[False].waiting) == number + 1:
                break
            threading.Event().wait(0.005)
    inner.open.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert found["bad"] == "interrupted"
    assert found["c"] == found["d"] == [[2.0]]
    assert inner.batches[1:] == [["bad", "c", "d"], ["c", "d"]]
    assert embedder._lines[False].under_way == 0


def test_it_is_the_embedder_otherwise(world: World) -> None:
    joining = world.embedder
    assert (joining.name, joining.dimensions) == ("openai:m/256", 256)
    assert (joining.local, joining.egress) == (False, "outside")
    assert joining.embed([]).shape == (0, 256)
    assert joining.of("openai:m/256") is joining
    other = joining.of("openai:other/256")
    assert other is not None
    assert other.name == "openai:other/256"
    assert joining.of("voyage:other/256") is None


class Interrupted(threading.Event):
    """Ends a wait as a person at the keyboard does, after `first`."""

    def __init__(self, first: Callable[[], object]) -> None:
        super().__init__()
        self._first = first

    def wait(self, timeout: float | None = None) -> bool:
        self._first()
        raise KeyboardInterrupt


@pytest.mark.parametrize("turn_came", [False, True])
def test_nobody_waits_for_who_is_gone(world: World, turn_came: bool) -> None:
    line = world.embedder._lines[False]
    line.under_way = 1
    call = joining._Call(["text"], None)
    call.turn = Interrupted(lambda: turn_came and joining._next(line))
    with pytest.raises(KeyboardInterrupt):
        world.embedder._wait(line, call)
    assert not line.waiting
    # The one under way goes on; where its place was given to this one, it is free again.
    assert line.under_way == (0 if turn_came else 1)
