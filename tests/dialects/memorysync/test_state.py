"""Values that a framework keeps, through the published client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock
from tests.dialects.memorysync.speaking import TENANT, House

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(
        tmp_path_factory.mktemp("state"),
        ManualClock(1_790_000_000_000),
        embed_provider="bundled",
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(house: House) -> Any:
    return house.client("somebody else")


@pytest.fixture
def who() -> dict[str, str]:
    return {"tenant_id": TENANT, "user_id": f"eve{next(_NUMBERS)}"}


def keys(found: Any) -> list[str]:
    return [one["key"] for one in found["items"]]


def test_a_value_is_put_read_and_replaced(house: House, client: Any, who: Any) -> None:
    there = {**who, "namespace": ["a", "b/c"], "key": "k"}
    assert client.get_state(**there) == {"item": None}
    first = client.put_state(**there, value={"n": 1, "list": [None, "ü"]})
    item = first["item"]
    assert (first["created"], first["status"], first["deleted_fact_ids"]) == (True, "ok", [])
    assert item["id"].startswith("h_")
    assert (item["namespace"], item["key"], item["source"]) == (["a", "b/c"], "k", "api")
    assert item["text"] == '{"n":1,"list":[null,"ü"]}'
    assert client.get_state(**there)["item"] == item
    house.clock.advance(5)
    again = client.put_state(**there, value={"n": 1, "list": [None, "ü"]})
    assert (again["created"], again["item"]) == (False, item)
    other = client.put_state(**there, value={"n": 2}, text="words")
    assert other["created"] is True
    assert (other["item"]["id"], other["item"]["created_at"]) == (item["id"], item["created_at"])
    assert other["item"]["updated_at"] > item["updated_at"]
    assert client.get_state(**there)["item"]["text"] == "words"
    assert client.get_state(**there, source="lang")["item"] is None


def test_twenty_identical_puts_at_once_make_one(client: Any, who: Any) -> None:
    def put(_: int) -> Any:
        return client.put_state(**who, namespace=["a"], key="k", value={"n": 1})

    with ThreadPoolExecutor(5) as threads:
        done = list(threads.map(put, range(20)))
    assert sum(one["created"] for one in done) == 1
    assert len({one["item"]["id"] for one in done}) == 1


def test_a_prefix_is_one_of_segments(house: House, client: Any, who: Any) -> None:
    for namespace in (["a"], ["a", "b"], ["ab"], ["a", "b", "c"], ["b"]):
        client.put_state(**who, namespace=namespace, key="/".join(namespace), value={}, index=False)
        house.clock.advance(1)
    client.put_state(**who, namespace=["a"], key="lang", value={}, source="lang")
    assert keys(client.list_state(**who)) == ["b", "a/b/c", "ab", "a/b", "a"]
    assert keys(client.list_state(**who, namespace_prefix=["a"])) == ["a/b/c", "a/b", "a"]
    assert keys(client.list_state(**who, namespace_prefix=["a", "b"])) == ["a/b/c", "a/b"]
    assert keys(client.list_state(**who, namespace_prefix=["x"])) == []
    page = client.list_state(**who, namespace_prefix=["a"], limit=1, offset=1)
    assert (keys(page), page["total"]) == (["a/b"], 3)
    assert keys(client.list_state(**who, source="lang")) == ["lang"]

    names = client.list_state_namespaces(**who)["namespaces"]
    assert names == [["a"], ["a", "b"], ["a", "b", "c"], ["ab"], ["b"]]
    assert client.list_state_namespaces(**who, max_depth=1)["namespaces"] == [["a"], ["ab"], ["b"]]
    assert client.list_state_namespaces(**who, prefix=["a"], max_depth=2)["namespaces"] == [
        ["a"],
        ["a", "b"],
    ]
    assert client.list_state_namespaces(**who, limit=1, offset=4)["namespaces"] == [["b"]]
    assert client.list_state_namespaces(**who, source="x")["namespaces"] == []


def test_a_search_ranks_by_meaning_and_by_words(client: Any, who: Any) -> None:
    for key, text in (("cat", "the cat sleeps all day"), ("tax", "tax law of the year 1990")):
        client.put_state(**who, namespace=["a"], key=key, value={}, text=text)
    client.put_state(**who, namespace=["a", "b"], key="plain", value={"w": "kitten"}, index=False)
    found = client.search_state(**who, query="a kitten naps")
    scores = {one["key"]: one["score"] for one in found["items"]}
    assert scores["cat"] > scores["tax"]
    assert scores["plain"] == pytest.approx(1 / 3), "of three words one is in it"
    assert found["total"] == 3
    under = client.search_state(**who, query="a kitten naps", namespace_prefix=["a", "b"])
    assert keys(under) == ["plain"]
    assert len(client.search_state(**who, query="kitten", limit=1)["items"]) == 1
    assert client.search_state(**who, query="kitten", source="x")["items"] == []


def test_keys_are_deleted_in_exactly_their_namespace(client: Any, who: Any) -> None:
    ids = {}
    for namespace, key in ((["a"], "1"), (["a"], "2"), (["a"], "3"), (["a", "b"], "1")):
        made = client.put_state(**who, namespace=namespace, key=key, value={}, index=False)
        ids[(*namespace, key)] = made["item"]["id"]
    gone = client.delete_state(**who, namespace=["a"], keys=["2", "none", "2"])
    assert gone == {"deleted_ids": [ids["a", "2"]], "deleted_fact_ids": []}
    assert client.delete_state(**who, namespace=["a"], keys=[])["deleted_ids"] == []
    assert client.delete_state(**who, namespace=["a"], source="x")["deleted_ids"] == []
    gone = client.delete_state(**who, namespace=["a"])
    assert sorted(gone["deleted_ids"]) == sorted([ids["a", "1"], ids["a", "3"]])
    assert client.list_state(**who)["total"] == 1


def test_facts_of_a_value_go_with_it_where_that_is_asked(
    house: House, client: Any, who: Any
) -> None:
    mine = house.client(who["user_id"])
    there = {**who, "namespace": ["a"], "key": "k"}
    done = client.put_state(
        **there, value={"n": 1}, text="Eve sails in June", extract=True, metadata={"app": "x"}
    )
    assert done["request_id"]
    (fact,) = mine.export_all().memories
    assert (fact["text"], fact["metadata"]) == (
        "Eve sails in June",
        {"app": "x", "distilled_from": done["item"]["id"]},
    )
    again = client.put_state(
        **there,
        value={"n": 2},
        text="Eve skis in March",
        extract=True,
        replace_derived_facts=True,
    )
    assert again["deleted_fact_ids"] == [f"m_{fact['id']}"]
    (fact,) = mine.export_all().memories
    assert fact["text"] == "Eve skis in March"
    gone = client.delete_state(**who, namespace=["a"], delete_derived_facts=True)
    assert gone["deleted_fact_ids"] == [f"m_{fact['id']}"]
    assert mine.export_all().memories == []


def test_values_are_no_memories(house: House, client: Any, who: Any) -> None:
    client.put_state(**who, namespace=["a"], key="k", value={"w": "zebra crossing"})
    mine = house.client(who["user_id"])
    assert mine.query("zebra crossing").memories == []
    assert mine.export_all().memories == []
    assert client.recall(**who, prompt="zebra crossing")["context"] == ""
    assert client.list_memories(**who)["total"] == 0
    stranger = house.client("x", key=house.new_key(tenant="org_other"))
    there = {"namespace": ["a"], "key": "k"}
    assert stranger.get_state(**who | {"tenant_id": "org_other"}, **there)["item"] is None


def test_values_outlive_an_embedder_that_is_away(tmp_path: Path) -> None:
    house = House(tmp_path, ManualClock(1_790_000_000_000))
    try:
        client, who = house.client(), {"tenant_id": TENANT, "user_id": "eve"}
        there = {**who, "namespace": ["a"]}
        for key, text in (("cat", "the cat sleeps"), ("dog", "the dog barks")):
            client.put_state(**there, key=key, value={}, text=text)
        found = client.search_state(**who, query="Dog BARKS")
        assert [(one["key"], one["score"]) for one in found["items"]] == [("dog", 1.0), ("cat", 0)]
    finally:
        house.close()


@pytest.mark.parametrize(
    "body",
    [
        {"namespace": []},
        {"namespace": ["a"] * 21},
        {"namespace": [""]},
        {"namespace": "a"},
        {"key": ""},
        {"key": 1},
        {"value": [1]},
        {"value": None},
        {"source": "s" * 65},
    ],
    ids=str,
)
def test_what_cannot_be_kept(house: House, who: Any, body: Any) -> None:
    raw = house.raw(None)
    good = {**who, "namespace": ["a"], "key": "k", "value": {}}
    assert raw.post("/v1/state/put", json={**good, **body}).status_code == 422
    assert raw.post("/v1/state/list", json=who).json() == {"items": [], "total": 0}


def test_refusals(house: House, client: Any, who: Any) -> None:
    with pytest.raises(memorysync.AuthError, match="tenant_id"):
        client.list_state(**who | {"tenant_id": "org_other"})
    reader = house.client("x", key=house.new_key(scopes=["memory:read"]))
    with pytest.raises(memorysync.AuthError, match="memory:delete"):
        reader.delete_state(**who, namespace=["a"])
    answer = house.raw(None).post("/v1/state/search", json={**who, "query": " "})
    assert answer.status_code == 422
