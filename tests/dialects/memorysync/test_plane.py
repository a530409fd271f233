"""The v1 plane: turns that become memories, recall, lists; through the published client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock
from tests.dialects.memorysync.speaking import DAY, TENANT, House

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("plane"), ManualClock(1_790_000_000_000))
    yield made
    made.close()


@pytest.fixture
def who() -> dict[str, str]:
    return {"tenant_id": TENANT, "user_id": f"eve/{next(_NUMBERS)}@example.com"}


@pytest.fixture(scope="module")
def client(house: House) -> Any:
    return house.client("somebody else")


def texts(client: Any, who: dict[str, str]) -> list[str]:
    where = {"tenant_id": who["tenant_id"], "user_id": who["user_id"].replace("/", "%2F")}
    return [one["raw_text"] for one in client.list_memories(**where)["memories"]]


def test_what_a_user_says_is_remembered_and_recalled(client: Any, who: Any) -> None:
    done = client.add_turn(**who, text="user: I sail to Faial every June", session_id="s1")
    assert (done["memory_id"], done["status"]) == (None, "processing")
    assert (done["processing_status"], done["already_exists"]) == ("completed", False)
    assert done["request_id"]
    assert texts(client, who) == ["I sail to Faial every June"], "without the name of the role"
    found = client.recall(**who, prompt="Where does she sail?")
    assert "I sail to Faial every June" in found["context"]
    assert "not instructions" in found["context"]
    (item,) = found["memories"]
    assert item["source"] == "chat"
    assert item["metadata"] == {
        "session_id": "s1",
        "write_origin": "turn-extraction",
        "turn_role": "user",
    }
    assert found["used_fallback"] is False


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        ({"role": "assistant"}, "skipped_non_user_turn"),
        ({"role": "Tool"}, "skipped_non_user_turn"),
        ({"text": "AI: the boat leaves at nine"}, "skipped_non_user_turn"),
        ({"speaker": "agent@desk"}, "skipped_non_user_turn"),
        ({"metadata": {"role": "system"}}, "skipped_non_user_turn"),
        ({"role": "customer", "speaker": "bot@desk"}, "completed"),
        ({"role": "user", "text": "bot: the boat leaves at nine"}, "completed"),
        ({"text": "caller: the boat leaves at nine", "speaker": "bot@desk"}, "completed"),
        ({"speaker": "user@desk", "metadata": {"role": "assistant"}}, "completed"),
        ({"speaker": "Anna"}, "completed"),
        ({"text": "ok thanks"}, "skipped_low_value"),
        ({"text": "user: hello"}, "skipped_low_value"),
    ],
)
def test_who_spoke(client: Any, who: Any, turn: Any, status: str) -> None:
    done = client.add_turn(**who, **{"text": "the boat leaves at nine", **turn})
    assert done["processing_status"] == status
    assert done["status"] == ("processing" if status == "completed" else "ok")
    kept = ["the boat leaves at nine"] if status == "completed" else []
    assert texts(client, who) == kept


def test_a_turn_that_comes_again_is_known_for_thirty_days(
    house: House, client: Any, who: Any
) -> None:
    turn = {"text": "the boat leaves at nine", "speaker": "user@1", "occurred_at": "2026-01-02"}
    assert client.add_turn(**who, **turn)["already_exists"] is False
    again = client.add_turn(**who, **turn)
    assert (again["processing_status"], again["already_exists"]) == ("skipped_replay", True)
    other = client.add_turn(**who, **turn | {"speaker": "user@2"})
    assert other["already_exists"] is False
    assert client.add_turn(**who | {"user_id": "other"}, **turn)["already_exists"] is False
    house.clock.advance(30 * DAY - 1)
    assert client.add_turn(**who, **turn)["already_exists"] is True
    house.clock.advance(1)
    assert client.add_turn(**who, **turn)["already_exists"] is False


def test_facts_take_over_scalars_and_nothing_that_is_reserved(client: Any, who: Any) -> None:
    metadata = {"app": "x", "n": 1, "on": True, "list": [1], "episodic": True, "history_id": "h_1"}
    client.add_turn(**who, text="the boat leaves at nine", metadata=metadata)
    ((item,),) = [client.recall(**who, prompt="boat")["memories"]]
    assert item["metadata"] == {
        "app": "x",
        "n": 1,
        "on": True,
        "write_origin": "turn-extraction",
        "turn_role": "user",
    }


def test_types_narrow_and_unknown_ones_are_dropped(client: Any, who: Any) -> None:
    for text in ("I prefer tea over coffee", "the boat leaves at nine from Horta"):
        client.add_turn(**who, text=text)
    both = client.recall(**who, prompt="tea or boat", k=9)["memories"]
    assert len(both) == 2
    kinds = {one["raw_text"]: one["memory_type"] for one in both}
    wanted = [kinds["I prefer tea over coffee"], "no such type"]
    found = client.recall(**who, prompt="tea or boat", types=wanted)["memories"]
    assert "I prefer tea over coffee" in [one["raw_text"] for one in found]
    assert not client.recall(**who, prompt="tea or boat", types=["no such type"])["memories"]
    assert len(client.recall(**who, prompt="tea or boat", k=1)["memories"]) == 1


def test_lists_are_paged_and_counted_newest_first(house: House, client: Any) -> None:
    who = {"tenant_id": TENANT, "user_id": f"lister{next(_NUMBERS)}"}
    assert client.list_memories(**who) == {"memories": [], "total": 0}
    for number in range(5):
        client.add_turn(**who, text=f"boat number {number} leaves at nine")
        house.clock.advance(1)
    page = client.list_memories(**who, limit=2, offset=1)
    assert page["total"] == 5
    assert [one["raw_text"][12] for one in page["memories"]] == ["3", "2"]
    assert len(client.list_memories(**who, limit=0)["memories"]) == 5
    (first,) = client.list_memories(**who, limit=1)["memories"]
    assert first["memory_id"].startswith("m_")
    mine = house.client(who["user_id"])
    found = mine.status(int(first["memory_id"][2:]))
    assert (found["status"], found["retention_status"]) == ("completed", "active")
    with pytest.raises(memorysync.NotFoundError):
        mine.status(10**6)


def test_adapters_query(house: House, client: Any, who: Any) -> None:
    client.add_turn(**who, text="the boat leaves at nine")
    answer = house.raw(None).post("/v1/memory/query", json={**who, "prompt": "boat", "k": 3})
    ((item,),) = [answer.json()["memories"]]
    assert item["raw_text"] == "the boat leaves at nine"
    assert 0 < item["score"] <= 1
    assert item["created_at"].endswith("+00:00")


def test_a_project_is_a_filter_here_too(house: House, who: Any) -> None:
    made = [house.control().create_project(name) for name in ("one", "two")]
    one, two = (house.client("x", project=project["id"]) for project in made)
    one.add_turn(**who, text="the boat leaves at nine")
    house.client("x").add_turn(**who, text="the bus leaves at ten")
    assert len(texts(one, who)) == 2
    assert texts(two, who) == ["the bus leaves at ten"]
    assert len(texts(house.client("x"), who)) == 2


def test_refusals(house: House, client: Any, who: Any) -> None:
    with pytest.raises(memorysync.AuthError, match="tenant_id"):
        client.recall(**who | {"tenant_id": "org_other"}, prompt="boat")
    with pytest.raises(memorysync.AuthError, match="tenant_id"):
        client.list_memories(tenant_id="org_other", user_id="eve")
    # Of a key that may not list projects adapters know no tenant.
    assert client.recall(**who | {"tenant_id": "default"}, prompt="boat")["context"] == ""
    for body in (
        {**who, "text": "  "},
        {**who, "text": "user: "},
        {"tenant_id": TENANT, "text": "the boat"},
        {**who, "user_id": "", "text": "the boat"},
        {**who, "text": "the boat leaves at nine", "occurred_at": "nine"},
        {**who},
    ):
        answer = house.raw(None).post("/v1/memory/add_turn", json=body)
        assert answer.status_code == 422, body
    reader = house.client("x", key=house.new_key(scopes=["memory:read"]))
    with pytest.raises(memorysync.AuthError, match="memory:add"):
        reader.add_turn(**who, text="the boat leaves at nine")
    assert not texts(client, who)


def test_another_tenant_and_environment_are_not_reached(
    house: House, client: Any, who: Any
) -> None:
    client.add_turn(**who, text="the boat leaves at nine")
    key = house.new_key(tenant="org_other")
    other = house.client("x", key=key)
    assert other.recall(**who | {"tenant_id": "org_other"}, prompt="boat")["memories"] == []
    staged = house.client("x", key=house.new_key(environment="staging"))
    assert staged.recall(**who, prompt="boat")["memories"] == []


def test_where_the_embedder_is_away_words_find_and_that_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    settings = {"embed_provider": "openai", "embed_model": "m", "embed_base_url": url}
    house = House(tmp_path, ManualClock(1_790_000_000_000), **settings)
    try:
        client = house.client()
        who = {"tenant_id": TENANT, "user_id": "eve"}
        client.add_turn(**who, text="My cat is called Miso and sleeps all day")
        found = client.recall(**who, prompt="the cat's name")
        assert found["used_fallback"] is True
        assert len(found["memories"]) == 1
    finally:
        house.close()
