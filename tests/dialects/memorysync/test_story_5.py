"""Story 5, the tier: it is a column of the row that the index is joined with, so they never differ.

There is no copy of it in the index to be forgotten: a change is one commit, with the row or without.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock
from palimp.engine import Address
from palimp.operations import reads

from .speaking import DAY, House

QUESTION = "Where is the depot?"


@pytest.fixture
def house(tmp_path: Path, clock: ManualClock) -> Iterator[House]:
    found = House(tmp_path, clock, embed_provider="bundled")
    yield found
    found.close()


def _found(house: House, tier: str | None) -> list[int]:
    filters = None if tier is None else {"tier": tier}
    return sorted(one.id for one in house.client().query(QUESTION, filters=filters).memories)


def _rows(house: House, statement: str) -> list[Any]:
    target = house.profile().target
    address = Address(target.namespace, target.profile)
    with house.node.context.engine.use(address, create=False) as branch:
        assert branch is not None
        return branch.read(lambda c: c.execute(statement).fetchall()).value


def _tiers(house: House) -> list[str]:
    return [one.memory_tier or "hot" for one in house.profile().list()]


def _vectors(house: House) -> list[Any]:
    return _rows(house, "SELECT * FROM __palimp_memories_vectors ORDER BY rowid")


def _add(house: House, count: int) -> list[int]:
    client = house.client()
    made = [client.add(f"The depot {word} is in Basel") for word in "ABCDEF"[:count]]
    house.mem.maintain()
    return [one.id for one in made if type(one) is memorysync.Memory]


def test_one_row_by_hand(house: House) -> None:
    first, second = _add(house, 2)
    before = _vectors(house)
    assert len(before) == 2
    done = house.raw().post(f"/api/v1/lifecycle/memories/{first}/tier", json={"tier": "cold"})
    assert done.status_code == 200, done.text
    assert _found(house, "cold") == [first]
    assert _found(house, "hot") == [second]
    assert house.raw().get(f"/memory/{first}").json()["tier"] == "cold"
    assert _vectors(house) == before
    refused = house.raw().post(f"/api/v1/lifecycle/memories/{first}/tier", json={"tier": "icy"})
    assert refused.status_code == 422


def test_the_job_that_cools_what_nobody_reads(house: House, clock: ManualClock) -> None:
    ids = _add(house, 3)
    before = _vectors(house)
    for days, tier in ((31, "warm"), (181, "cold")):
        clock.advance(days * DAY)
        # Read on the way it is hot again: only the last one is.
        house.client().get(ids[-1])
        house.mem.maintain()
        assert _found(house, tier) == ids[:-1] or tier == "cold"
    assert _vectors(house) == before


def test_a_failure_in_between_changes_nothing_and_the_next_pass_does_it(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _add(house, 3)
    clock.advance(31 * DAY)
    move = reads.set_tiers

    def failing(connection: Any, **given: Any) -> int:
        move(connection, **given)
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(reads, "set_tiers", failing)
        with pytest.raises(Exception, match="disk went away"):
            house.mem.maintain()
    # The column was written, and is not: it is one transaction.
    assert _tiers(house) == ["hot"] * 3
    assert _found(house, "hot") == ids
    clock.advance(31 * DAY)
    house.mem.maintain()
    assert _tiers(house) == ["warm"] * 3
    assert _found(house, "warm") == ids
    assert _found(house, "hot") == []


def test_no_answer_has_another_tier_than_was_asked_for(house: House) -> None:
    ids = _add(house, 6)
    for identity, tier in zip(ids, ("hot", "warm", "cold") * 2, strict=True):
        path = f"/api/v1/lifecycle/memories/{identity}/tier"
        assert house.raw().post(path, json={"tier": tier}).status_code == 200
    for tier in ("hot", "warm", "cold"):
        body = {"query": QUESTION, "k": 50, "filters": {"tier": tier}}
        found = house.raw().post("/memory/query", json=body).json()["memories"]
        assert [one["tier"] for one in found] == [tier] * 2
    assert _found(house, None)
