"""Story 1, the empty vector: what embeds is away, and nobody who writes or reads by id notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import memorysync
import pytest

from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.operations import vectors
from palimp.profile.generations import count_missing
from palimp.profile.indexing import CORPORA

from .embedder import Embedder
from .speaking import House

# As long as the breaker rests, and a little.
REST_SECONDS = 61


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    found = Embedder()
    yield found
    found.kill()


@pytest.fixture
def house(tmp_path: Path, clock: ManualClock, embedder: Embedder) -> Iterator[House]:
    settings = {"embed_provider": "openai", "embed_model": "m", "embed_base_url": embedder.url}
    found = House(tmp_path, clock, **settings)
    # One pass of the worker is one that the test asks for.
    found.node._background.wake = lambda address: None  # type: ignore[method-assign]
    yield found
    found.close()


def _address(house: House) -> Address:
    target = house.profile().target
    return Address(target.namespace, target.profile)


def _missing(house: House) -> int:
    """Return how many rows have no vector."""
    with house.node.context.engine.use(_address(house), create=False) as branch:
        assert branch is not None
        return sum(branch.read(lambda c, one=one: count_missing(c, one)).value for one in CORPORA)


def _passes(house: House, clock: ManualClock, embedder: Embedder) -> None:
    """Let the worker come by once what embeds is there again."""
    embedder.start()
    clock.advance(REST_SECONDS)
    house.mem.maintain()


def test_an_outage_is_seen_by_nobody_and_made_good_in_one_pass(
    house: House, clock: ManualClock, embedder: Embedder
) -> None:
    client = house.client()
    before = client.add("Ravi moved to Lisbon in the spring of 2024")
    house.mem.maintain()
    assert _missing(house) == 0
    embedder.kill()
    lost = client.add("His new flat has a view of the river Tagus")
    gone = client.add("The old contract is in the green folder")
    assert type(lost) is type(gone) is memorysync.Memory
    house.mem.maintain()
    assert _missing(house) == 2
    assert client.get(lost.id).text == lost.text
    assert [one["id"] for one in client.export_all().memories] == [before.id, lost.id, gone.id]
    assert client.history(lost.id).total == 1
    # By its words, and it is said that these were all.
    found = house.raw().post("/memory/query", json={"query": "river Tagus view"})
    assert (found.status_code, found.json()["degraded"]) == (200, True)
    assert lost.id in [one["id"] for one in found.json()["memories"]]
    assert client.forget([gone.id]) == [gone.id]
    _passes(house, clock, embedder)
    assert _missing(house) == 0
    answer = house.raw().post("/memory/query", json={"query": "apartment overlooking water"}).json()
    assert not answer.get("degraded")
    assert lost.id in [one["id"] for one in answer["memories"]]
    assert gone.id not in [one["id"] for one in answer["memories"]]


def test_writes_stay_fast_and_the_breaker_opens(
    house: House, embedder: Embedder, clock: ManualClock
) -> None:
    embedder.kill()
    client = house.client()
    for number in range(8):
        client.add(f"Crate number {number} stands in hall {number * 7}")
        house.mem.maintain()
    # Open: no call goes out. A server that would answer is not asked before the rest is over.
    embedder.start()
    house.mem.maintain()
    assert _missing(house) == 8
    clock.advance(REST_SECONDS)
    house.mem.maintain()
    assert _missing(house) == 0


def test_a_vector_and_its_row_are_one_transaction(
    house: House, clock: ManualClock, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the story calls a crash between the vector and the index: here it is one commit."""
    client = house.client()
    made = client.add("The spare key hangs behind the stove")

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        # The last thing that is done in the transaction which stores vectors.
        patch.setattr(vectors, "advance", failing)
        with pytest.raises(Exception, match="disk"):
            house.mem.maintain()
    assert _missing(house) == 1
    house.mem.maintain()
    assert _missing(house) == 0
    assert [one.id for one in client.query("key behind the stove").memories] == [made.id]


def test_a_row_that_changes_before_the_pass_is_embedded_as_it_is_then(house: House) -> None:
    client = house.client()
    old = client.add("Alice is the CTO")
    new = client.add("Alice is the CEO")
    assert type(old) is type(new) is memorysync.Memory
    refreshed = house.raw().post("/memory/refresh")
    assert refreshed.status_code == httpx.codes.ACCEPTED
    house.mem.maintain()
    assert [one["id"] for one in client.export_all().memories] == [new.id]
    assert _missing(house) == 0
