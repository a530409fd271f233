"""Transcripts: turns as they were given, through the published client."""

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
from tests.model_server import ModelServer, refused

_NUMBERS = count(1)
PROPOSED = {
    "memories": [
        {
            "category": "identity",
            "type": "fact",
            "text": "Eve's boat is red.",
            "confidence": 0.9,
            "turn": 1,
            "quote": "mine is red",
        }
    ]
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("history"), ManualClock(1_790_000_000_000))
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(house: House) -> Any:
    return house.client("somebody else")


@pytest.fixture
def who() -> dict[str, str]:
    return {"tenant_id": TENANT, "user_id": f"eve{next(_NUMBERS)}"}


@pytest.fixture
def session(who: dict[str, str]) -> dict[str, str]:
    return {**who, "session_id": "s/1"}


def said(*texts: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text, **fields} for text in texts]


def contents(client: Any, session: Any, **how: Any) -> list[str]:
    return [one["content"] for one in client.list_history(**session, **how)["items"]]


def test_a_turn_comes_back_as_it_was_given(client: Any, session: Any) -> None:
    turn = {
        "role": "Human",
        "content": "  as given\n",
        "seq": 0,
        "occurred_at": "2026-01-02T03:04:05+01:00",
        "payload": {"tool": [1, None, {"x": "ü"}]},
    }
    done = client.append_history(**session, turns=[turn, {"role": "ai", "content": ""}])
    assert done["status"] == "ok"
    found = client.list_history(**session)
    first, second = found["items"]
    assert (first["role"], second["role"]) == ("user", "assistant")
    assert (first["content"], second["content"]) == ("  as given\n", "")
    assert first["payload"] == turn["payload"]
    assert (first["seq"], second["seq"], second["payload"]) == (0, None, None)
    assert first["occurred_at"] == "2026-01-02T02:04:05+00:00"
    assert (first["source"], first["session_id"]) == ("api", "s/1")
    assert first["id"].startswith("h_")
    assert [{k: v for k, v in one.items() if k != "created"} for one in done["items"]] == [
        first,
        second,
    ]


def test_a_retry_returns_the_stored_turn(client: Any, session: Any) -> None:
    turns = [
        {"role": "user", "content": "by its key", "idempotency_key": "k"},
        {"role": "user", "content": "by its place", "seq": 4},
        {"role": "user", "content": "by neither"},
    ]
    first = client.append_history(**session, turns=turns, extract=False)["items"]
    again = client.append_history(**session, turns=turns, extract=False)["items"]
    assert [one["created"] for one in first] == [True, True, True]
    assert [one["created"] for one in again] == [False, False, True]
    assert [one["id"] for one in again[:2]] == [one["id"] for one in first[:2]]
    changed = {"role": "user", "content": "other words", "idempotency_key": "k"}
    (kept,) = client.append_history(**session, turns=[changed], extract=False)["items"]
    assert (kept["content"], kept["created"]) == ("by its key", False)
    moved = {"role": "user", "content": "by its place", "seq": 5}
    (new,) = client.append_history(**session, turns=[moved], extract=False)["items"]
    assert new["created"] is True
    # What was sent with its key and its place is known by either.
    both = {"role": "user", "content": "both", "idempotency_key": "b", "seq": 9}
    client.append_history(**session, turns=[both], extract=False)
    del both["idempotency_key"]
    (known,) = client.append_history(**session, turns=[both], extract=False)["items"]
    assert known["created"] is False
    # A source's turns are its own.
    (own,) = client.append_history(**session, turns=[changed], source="x", extract=False)["items"]
    assert own["created"] is True


def test_twenty_at_once_append_one(client: Any, session: Any) -> None:
    turns = said("once", idempotency_key="k")

    def append(_: int) -> Any:
        return client.append_history(**session, turns=turns, extract=False)["items"][0]

    with ThreadPoolExecutor(5) as threads:
        done = list(threads.map(append, range(20)))
    assert sum(one["created"] for one in done) == 1
    assert len({one["id"] for one in done}) == 1
    assert contents(client, session) == ["once"]


def test_turns_are_in_the_order_of_their_seq_where_one_has_it(client: Any, session: Any) -> None:
    client.append_history(**session, turns=said("c", "a"), extract=False)
    assert contents(client, session) == ["c", "a"]
    turns = [{"role": "user", "content": f"seq {n}", "seq": n} for n in (7, 2)]
    client.append_history(**session, turns=turns, source="x", extract=False)
    assert contents(client, session) == ["seq 2", "seq 7", "c", "a"]
    assert contents(client, session, source="api") == ["c", "a"]
    found = client.list_history(**session, limit=3)
    assert [one["content"] for one in found["items"]] == ["seq 7", "c", "a"], "the latest"
    assert found["total"] == 4
    assert contents(client, {**session, "session_id": "other"}) == []


def test_a_long_transcript_is_read_whole(house: House, client: Any, session: Any) -> None:
    for start in range(0, 1_100, 100):
        texts = [str(number) for number in range(start, start + 100)]
        client.append_history(**session, turns=said(*texts), extract=False)
    assert contents(client, session) == [str(number) for number in range(1_100)]
    gone = client.delete_history(**session)
    assert len(gone["deleted_ids"]) == 1_100
    assert contents(client, session) == []


def test_turns_are_deleted_by_id_by_session_and_by_source(client: Any, who: Any) -> None:
    session = {**who, "session_id": "s"}
    ours = client.append_history(**session, turns=said("a", "b", "c"), extract=False)["items"]
    theirs = client.append_history(**session, turns=said("d"), source="x", extract=False)["items"]
    ids = [ours[0]["id"], int(theirs[0]["id"][2:]), "h_999999"]
    assert client.delete_history(**who, ids=ids, source="x")["deleted_ids"] == [theirs[0]["id"]]
    assert client.delete_history(**who, ids=ids)["deleted_ids"] == [ours[0]["id"]]
    assert client.delete_history(**session, source="x")["deleted_ids"] == []
    assert len(client.delete_history(**session)["deleted_ids"]) == 2
    assert client.delete_history(**session) == {"deleted_ids": [], "deleted_fact_ids": []}


def test_what_users_said_is_learned_and_can_be_unlearned(
    house: House, client: Any, who: Any
) -> None:
    mine = house.client(who["user_id"])
    turns = [
        {"role": "user", "content": "I sail to Faial every June"},
        {"role": "assistant", "content": "The ferry leaves at nine"},
        {"role": "user", "content": "ok thanks"},
    ]
    session = {**who, "session_id": "s"}
    done = client.append_history(**session, turns=turns, metadata={"app": "x", "deep": [1]})
    assert len(done["request_ids"]) == 1
    (fact,) = mine.export_all().memories
    assert fact["text"] == "I sail to Faial every June"
    assert fact["metadata"] == {
        "app": "x",
        "session_id": "s",
        "write_origin": "turn-extraction",
        "turn_role": "user",
        "history_id": done["items"][0]["id"],
    }
    client.append_history(**who, session_id="t", turns=said("My cat is called Miso"))
    client.append_history(
        **who, session_id="t", turns=said("a quiet one by the sea"), extract=False
    )
    assert len(mine.export_all().memories) == 2
    gone = client.delete_history(**session, delete_derived_facts=True)
    assert gone["deleted_fact_ids"] == [f"m_{fact['id']}"]
    assert [one["text"] for one in mine.export_all().memories] == ["My cat is called Miso"]
    client.delete_history(**who, session_id="t")
    assert len(mine.export_all().memories) == 1, "facts stay unless asked for"


def test_turns_are_no_memories(house: House, client: Any, session: Any) -> None:
    client.append_history(**session, turns=said("zebra crossing in the fog"), extract=False)
    mine = house.client(session["user_id"])
    assert mine.query("zebra crossing").memories == []
    assert mine.export_all().memories == []
    who = {name: session[name] for name in ("tenant_id", "user_id")}
    assert client.list_memories(**who)["total"] == 0
    assert client.recall(**who, prompt="zebra crossing")["context"] == ""
    stranger = house.client("x", key=house.new_key(tenant="org_other"))
    assert contents(stranger, {**session, "tenant_id": "org_other"}) == []


@pytest.mark.parametrize(
    "body",
    [
        {"turns": []},
        {"turns": [{"content": "no role"}]},
        {"turns": [{"role": "r" * 65, "content": ""}]},
        {"turns": [{"role": "user"}]},
        {"turns": [{"role": "user", "content": "x", "seq": -1}]},
        {"turns": [{"role": "user", "content": "x", "seq": True}]},
        {"turns": [{"role": "user", "content": "x", "occurred_at": "soon"}]},
        {"turns": [{"role": "user", "content": "x", "idempotency_key": ""}]},
        {"turns": [{"role": "user", "content": "x"}] * 101},
        {"turns": [{"role": "user", "content": "x"}], "session_id": ""},
        {"turns": [{"role": "user", "content": "x"}], "session_id": "s" * 513},
        {"turns": [{"role": "user", "content": "x"}], "source": ""},
    ],
    ids=str,
)
def test_what_cannot_be_stored_stores_nothing(house: House, session: Any, body: Any) -> None:
    raw = house.raw(None)
    answer = raw.post("/v1/history/append", json={**session, **body})
    assert answer.status_code == 422, answer.text
    assert raw.post("/v1/history/list", json=session).json() == {"items": [], "total": 0}


def test_refusals(house: House, client: Any, session: Any) -> None:
    raw = house.raw(None)
    for body in ({}, {"ids": []}, {"ids": ["x_1"]}, {"ids": [0]}, {"ids": [1], "session_id": "s"}):
        where = {name: session[name] for name in ("tenant_id", "user_id")}
        assert raw.post("/v1/history/delete", json={**where, **body}).status_code == 422, body
    with pytest.raises(memorysync.AuthError, match="tenant_id"):
        client.list_history(**session | {"tenant_id": "org_other"})
    large = {"metadata": {"x": "y" * 20_000}, "turns": said("a quiet one by the sea")}
    answer = raw.post("/v1/history/append", json={**session, **large})
    assert answer.status_code == 413
    assert contents(client, session) == []


def test_a_model_says_what_is_learned_and_the_words_are_where_it_is_away(tmp_path: Path) -> None:
    with ModelServer() as server:
        settings = {"extract_provider": "openai", "extract_base_url": server.url}
        house = House(tmp_path, ManualClock(1_790_000_000_000), **settings)
        try:
            client, who = house.client("eve"), {"tenant_id": TENANT, "user_id": "eve"}
            session = {**who, "session_id": "s"}
            server.say(PROPOSED)
            turns = said("hello", "As to boats, mine is red, or so I am told")
            done = client.append_history(**session, turns=turns, metadata={"app": "x"})
            (fact,) = client.export_all().memories
            assert fact["text"] == "Eve's boat is red."
            assert fact["metadata"]["history_id"] == done["items"][1]["id"]
            assert (fact["metadata"]["app"], fact["metadata"]["session_id"]) == ("x", "s")
            server.fail(*[refused(400)] * 5)
            client.append_history(**who, session_id="t", turns=said("My cat is called Miso"))
            assert {one["text"] for one in client.export_all().memories} == {
                "My cat is called Miso",
                "Eve's boat is red.",
            }
        finally:
            house.close()
