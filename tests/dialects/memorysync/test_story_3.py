"""Story 3, datetimes: naive is UTC, every answer has an offset, and nothing is compared in vain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from palimp.clock import ManualClock

from .speaking import DAY, House

# 2026-01-01T00:00:00Z is when the clock of tests begins.
SPELLED = ("2026-01-02T12:00:00", "2026-01-02T12:00:00Z", "2026-01-02T14:30:00+02:30")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("times"), ManualClock())
    client = found.client()
    for number in range(4):
        client.add(f"Ferry log of harbour number {number}")
        found.clock.advance(DAY)  # type: ignore[attr-defined]
    yield found
    found.close()


def _found(house: House, **filters: Any) -> list[str]:
    found = house.client().query("ferry log harbour", k=10, filters=filters).memories
    return sorted(one.text[-1] for one in found)


@pytest.mark.parametrize("at", SPELLED)
def test_the_same_instant_however_it_is_spelled(house: House, at: str) -> None:
    assert _found(house, since=at) == ["2", "3"]
    assert _found(house, until=at) == ["0", "1"]
    naive, aware = "2026-01-01T12:00:00", "2026-01-03T12:00:00+00:00"
    assert _found(house, since=naive, until=aware) == ["1", "2"]
    for name, expected in (("before", 2), ("after", 2)):
        dry = house.client().forget(filters={name: at}, dry_run=True)
        assert len(dry) == expected


def test_what_is_no_time_is_refused_by_its_name(house: House) -> None:
    found = house.raw().post("/memory/query", json={"query": "q", "filters": {"since": "soon"}})
    assert found.status_code == 422
    assert "since" in found.json()["detail"]


def test_a_naive_time_ranks_exactly_as_the_same_one_in_utc(house: House) -> None:
    who = {"tenant_id": "org_acme", "source": "lang"}
    raw = house.raw()
    orders = []
    for user, spelled in (("naive", SPELLED[0]), ("aware", SPELLED[1]), ("mixed", None)):
        for number in range(3):
            at = spelled or SPELLED[number]
            turn = {"role": "user", "content": f"turn {number}", "occurred_at": at}
            body = {**who, "user_id": user, "session_id": "s", "turns": [turn], "extract": False}
            assert raw.post("/v1/history/append", json=body).status_code == 200
        body = {**who, "user_id": user, "session_id": "s"}
        items = raw.post("/v1/history/list", json=body).json()["items"]
        orders.append([(one["content"], _instant(one["occurred_at"])) for one in items])
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == 3


def _instant(text: str) -> float:
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None, text
    return found.timestamp()


def test_every_time_that_is_answered_has_an_offset(house: House) -> None:
    raw = house.raw()
    listed = raw.get("/memory/export").json()
    times = [listed["generated_at"]]
    for one in listed["memories"]:
        times += [value for name, value in one.items() if name.endswith("_at") and value]
    history = raw.get(f"/memory/{listed['memories'][0]['id']}/history").json()
    times += [one["created_at"] for one in history["revisions"]]
    assert len(times) >= 10
    for at in times:
        _instant(at)


def test_what_is_written_in_the_future_is_of_age_zero(house: House) -> None:
    """The clock went back by a day: the newest memory is later than now."""
    client = house.client("future")
    client.add("Ferry log of the first day")
    client.add("Ferry log of the second day")
    house.clock.advance(-DAY)  # type: ignore[attr-defined]
    try:
        found = client.query("ferry log of the day")
    finally:
        house.clock.advance(DAY)  # type: ignore[attr-defined]
    # Both of them of age 0: neither is newer, and the first written comes first.
    assert next(one.text for one in found.memories).startswith("Ferry log")
    assert len({one.score for one in found.memories}) == 1
