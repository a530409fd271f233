"""Story 2, dedup: one meaning is one row, by a key that the text's spelling does not change."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import House

SPELLINGS = ("Alice is the CTO", "alice is  the CTO.", "Alice serves as CTO")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("dedup"), ManualClock())
    yield found
    found.close()


def _live(house: House, user: str) -> list[dict[str, object]]:
    return house.client(user).export_all().memories


def test_three_spellings_are_one_row_and_the_history_says_so(house: House) -> None:
    client = house.client("spelling")
    first = client.add(SPELLINGS[0])
    assert type(first) is memorysync.Memory
    for text in SPELLINGS[1:]:
        again = client.add(text)
        if type(again) is memorysync.Memory:
            assert again.id == first.id
        else:
            assert (again.reason, again.memory_ids) == ("duplicate", [first.id])
    (row,) = _live(house, "spelling")
    assert row["id"] == first.id
    assert row["extracted_key"]
    assert client.history(first.id).total > 1


def test_another_value_supersedes(house: House) -> None:
    client = house.client("value")
    first = client.add("Alice is the CTO")
    second = client.add("Alice is the CEO")
    assert type(first) is type(second) is memorysync.Memory
    assert [row["id"] for row in _live(house, "value")] == [second.id]
    assert [one.id for one in client.query("What is Alice?").memories] == [second.id]
    assert client.history(first.id).revisions[-1].event == "superseded"


def test_each_project_environment_and_user_has_its_own(house: House) -> None:
    projects = [house.control().create_project(name)["id"] for name in ("A", "B")]
    text = "Alice is the CTO"
    made = [
        house.client("scopes", project=projects[0]).add(text),
        house.client("scopes", project=projects[1]).add(text),
        house.client("scopes", key=house.new_key(environment="staging")).add(text),
        house.client("scopes of another").add(text),
    ]
    assert all(type(one) is memorysync.Memory for one in made)
    rows = _live(house, "scopes")
    assert len(rows) == 2
    assert len({row["extracted_key"] for row in rows}) == 1
    assert len(_live(house, "scopes of another")) == 1


@pytest.mark.parametrize("texts", [SPELLINGS[:1], SPELLINGS[:2]], ids=["identical", "spelled"])
def test_twenty_at_once_give_one_row(house: House, texts: tuple[str, ...]) -> None:
    user = f"twenty {len(texts)}"
    client = house.client(user)
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(client.add, [texts[n % len(texts)] for n in range(20)]))
    (row,) = _live(house, user)
    named = {one.id for one in done if type(one) is memorysync.Memory}
    named |= {i for one in done if type(one) is not memorysync.Memory for i in one.memory_ids}
    assert named == {row["id"]}


def test_a_reference_of_the_caller_is_known_again_whatever_the_text_is(house: House) -> None:
    client = house.client("reference")
    first = client.add("The invoice came on Monday", client_ref="r")
    again = client.add("An entirely different sentence about whales", client_ref="r")
    assert type(first) is memorysync.Memory
    assert (again.reason, again.memory_ids) == ("already_ingested", [first.id])
    assert house.client("reference 2").add("The invoice came on Monday", client_ref="r").id


def test_without_deduplication_the_caller_gets_both(house: House) -> None:
    items = [memorysync.BulkAddItem(text) for text in SPELLINGS[::2]]
    done = house.client("both").bulk_add(items, deduplicate=False)
    assert (done.created, len(_live(house, "both"))) == (2, 2)
