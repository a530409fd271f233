"""Story 8, importance and tier: what is the same for all says nothing; the tier comes first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import House

# Within ten minutes the same text is a repeat, whatever the caller wants.
APART_SECONDS = 601
HALLS = [f"The crane in hall {number} was oiled" for number in range(6)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("rank"), ManualClock(), embed_provider="bundled")
    yield found
    found.close()


def _bulk(house: House, user: str, importance: float | None) -> None:
    items = [memorysync.BulkAddItem(text, importance=importance) for text in HALLS]
    done = house.client(user).bulk_add(items, deduplicate=False)
    assert done.created == len(HALLS)


def test_the_same_importance_on_all_is_no_order(house: House) -> None:
    orders = []
    for user, importance in (("ones", 1.0), ("halves", 0.5), ("unsaid", None)):
        _bulk(house, user, importance)
        house.mem.maintain()
        found = house.client(user).query("Which crane in hall 3 was oiled?", k=6).memories
        orders.append([(one.text, one.score) for one in found])
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == len(HALLS)


def test_a_higher_importance_is_an_order(house: House) -> None:
    """So that the test above can fail."""
    client = house.client("different")
    for tag, importance in (("low", 0.1), ("high", 0.9)):
        item = memorysync.BulkAddItem("The crane was oiled", importance=importance, tags=[tag])
        assert client.bulk_add([item], deduplicate=False).created == 1
        house.clock.sleep(APART_SECONDS)
    house.mem.maintain()
    found = client.query("When was the crane oiled?").memories
    assert [one.tags for one in found] == [["high"], ["low"]]


@pytest.mark.parametrize("depth", ["low", "medium", "high"])
def test_hot_before_cold_whatever_the_importance_is(house: House, depth: str) -> None:
    client, raw = house.client(f"tiers {depth}"), house.raw(f"tiers {depth}")
    text = "The boiler is serviced in May"
    made = []
    for importance in (1.0, 0.4):
        item = memorysync.BulkAddItem(text, importance=importance)
        made += client.bulk_add([item], deduplicate=False).results[0].memory_ids
        house.clock.sleep(APART_SECONDS)
    cold, hot = made
    path = f"/api/v1/lifecycle/memories/{cold}/tier"
    assert raw.post(path, json={"tier": "cold"}).status_code == 200
    house.mem.maintain()
    body: dict[str, Any] = {"query": "When is the boiler serviced?", "computation_tier": depth}
    found = raw.post("/memory/query", json=body).json()
    ids = [one["id"] for one in found["memories"]]
    assert ids[0] == hot
    assert set(ids) <= {hot, cold}
    if depth == "high":
        assert ids == [hot, cold]
    only = client.query("When is the boiler serviced?", filters={"tier": "cold"}).memories
    assert [one.id for one in only] == [cold]


def test_k_is_clamped_and_ties_have_one_order(house: House) -> None:
    client, raw = house.client("clamp"), house.raw("clamp")
    items = [memorysync.BulkAddItem(f"The ladder number {n} leans there") for n in range(50)]
    assert client.bulk_add(items, deduplicate=False).created == 50
    client.add("The ladder number 50 leans there")
    for given, expected in ((0, 1), (-3, 1), (51, 50), (1_000, 50)):
        found = raw.post("/memory/query", json={"query": "ladder", "k": given})
        assert (found.status_code, len(found.json()["memories"])) == (200, expected)
    orders = [[one.id for one in client.query("ladder", k=50).memories] for _ in range(2)]
    assert orders[0] == orders[1]
    assert len(client.query("ladder").memories) == 5


def test_weights_of_a_request_are_renormalised(house: House) -> None:
    _bulk(house, "weights", 0.5)
    raw = house.raw("weights")
    answers = []
    for weights in ({"semantic": 1, "recency": 3}, {"semantic": 0.2, "recency": 0.6}):
        body = {"query": "Which crane was oiled?", "k": 6, "weights": weights}
        found = raw.post("/memory/query", json=body).json()["memories"]
        answers.append([(one["id"], one["score"]) for one in found])
    assert answers[0] == [(i, pytest.approx(score)) for i, score in answers[1]]
    bad = raw.post("/memory/query", json={"query": "q", "weights": {"loudness": 1}})
    assert bad.status_code == 422


def test_where_nothing_matches_nothing_is_answered(house: House) -> None:
    assert house.client("nobody at all").query("anything").memories == []
