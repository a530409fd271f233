"""The gateway in front of nodes that refuse, break off, hang or say what is no HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gateway_house import (
    BODY,
    DATABASE,
    JSON,
    LIMITS,
    MEMORIES,
    PROFILE,
    House,
    Node,
    Raw,
    Seen,
    hang_up,
    head_of,
    refusing,
    say,
    saying,
    until,
)


@pytest.fixture
def house() -> Iterator[House]:
    found = House()
    yield found
    found.close()


def test_a_node_that_cannot_be_reached_is_passed_over(house: House) -> None:
    house.dead("a")
    house.dead("b")
    node = house.add("c", Node())
    house.table.cached[DATABASE] = "a"
    house.open()
    assert house.ask("POST", MEMORIES, BODY, JSON)[0] == 200
    assert (len(node.seen), node.seen[0].body) == (1, BODY)
    assert house.count('gateway_failures{reason="refused"}') == 2
    # It is left alone for a while.
    assert house.ask("POST", MEMORIES, BODY, JSON)[0] == 200
    assert house.count('gateway_failures{reason="refused"}') == 2


@pytest.mark.parametrize("reason", ["owned", "moving", "closed", "fenced", "lease"])
def test_a_node_that_did_not_begin_is_passed_over_once(house: House, reason: str) -> None:
    first, second = house.add("a", Node(refusing(reason=reason))), house.add("b", Node())
    house.table.cached[DATABASE], house.table.now[DATABASE] = "a", "b"
    house.open()
    assert house.ask("POST", MEMORIES, BODY, JSON)[2] == BODY
    ids = [one.seen[0].all("palimp-request-id") for one in (first, second)]
    assert ids[0] == ids[1]
    assert house.table.asked == [DATABASE]
    assert house.count(f'gateway_retries{{reason="{reason}"}}') == 1


def test_a_refusal_stands_where_another_node_would_not_help(house: House) -> None:
    first = house.add("a", Node(refusing(reason="owned", node="b")))
    house.table.cached[DATABASE] = "a"
    house.open()
    answer = house.error("POST", MEMORIES, BODY, JSON)
    assert answer["details"] == {"reason": "owned", "node": "b"}
    second = house.add("b", Node(refusing(reason="moving")))
    assert house.error("POST", MEMORIES, BODY, JSON)["details"] == {"reason": "moving"}
    assert (len(first.seen), len(second.seen)) == (2, 1)


@pytest.mark.parametrize("details", [{"reason": "fenced", "in_doubt": True}, {"reason": "disk"}])
def test_what_may_have_been_done_or_would_fail_there_too_is_not_sent_again(
    house: House, details: dict[str, Any]
) -> None:
    house.add("a", Node(refusing(**details)))
    other = house.add("b", Node())
    house.table.cached[DATABASE] = "a"
    house.open()
    assert house.error("POST", MEMORIES, BODY, JSON)["details"] == details
    assert not other.seen


LOSSES = {
    "closed": hang_up,
    "half a head": saying(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "no http": saying(b"220 mail.example ESMTP\r\n\r\n"),
    "a header in a header": saying(b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\n\r\n"),
}


@pytest.mark.parametrize("how", LOSSES)
def test_an_answer_that_is_lost_is_asked_for_again(house: House, how: str) -> None:
    lost, node = house.add("a", Raw(LOSSES[how])), house.add("b", Node())
    house.table.cached[DATABASE], house.table.now[DATABASE] = "a", "b"
    house.open()
    assert house.ask("POST", MEMORIES, BODY, {"palimp-request-id": "mine"})[2] == BODY
    assert node.seen[0].all("palimp-request-id") == ["mine"]
    assert house.ask("GET", MEMORIES)[0] == 200
    assert (lost.connections, len(node.seen)) == (2, 2)


def test_a_connection_that_was_idle_and_closed_costs_one_more(house: House) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def one_then_hang_up(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(ok)
        head_of(connection)

    raw = house.add("a", Raw(one_then_hang_up, saying(ok)))
    house.open()
    assert house.ask("GET", MEMORIES)[2] == b"ok"
    assert house.ask("GET", MEMORIES)[2] == b"ok"
    assert raw.connections == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{PROFILE}/ask"),
        ("POST", "/v1/databases"),
        ("POST", "/mcp"),
        ("POST", "/v1/nothing"),
    ],
)
def test_what_a_node_would_do_twice_is_not_sent_twice(house: House, method: str, path: str) -> None:
    lost = [house.add(name, Raw(hang_up)) for name in ("a", "b")]
    house.open()
    status, _, body = house.ask(method, path, b"{}", JSON)
    assert status == 503
    error = json.loads(body)
    assert error["details"].get("in_doubt", False) is (not path.endswith("/ask"))
    assert "request id" not in error["error"]
    assert sum(one.connections for one in lost) == 1


def test_a_body_that_was_not_kept_is_not_sent_twice(house: House) -> None:
    lost, node = house.add("a", Raw(hang_up)), house.add("b", Node())
    house.table.cached[DATABASE] = "a"
    house.open()
    given = {**JSON, "palimp-request-id": "mine"}
    error = house.error("POST", MEMORIES, b"x" * 200_000, given)
    assert error["details"]["in_doubt"] is True
    assert "request id mine" in error["error"]
    assert (lost.connections, node.seen) == (1, [])


def test_after_a_lost_answer_a_refusal_does_not_say_that_nothing_was_done(house: House) -> None:
    house.add("a", Raw(hang_up))
    house.table.cached[DATABASE], house.table.now[DATABASE] = "a", "b"
    house.add("b", Node(refusing(reason="moving")))
    house.open()
    assert house.error("POST", MEMORIES, BODY, JSON)["details"] == {
        "reason": "moving",
        "in_doubt": True,
    }
    # It looked, and says what it found.
    house.add("b", Node(refusing(409)))
    assert "in_doubt" not in house.error("POST", MEMORIES, BODY, JSON).get("details", {})
    # A read did nothing.
    assert "in_doubt" not in house.error("GET", MEMORIES).get("details", {})
    house.dead("b")
    assert house.error("POST", MEMORIES, BODY, JSON)["details"]["in_doubt"] is True


def test_an_answer_that_breaks_off_is_not_passed_on_as_whole(house: House) -> None:
    broken = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ]
    house.add("a", Raw(*map(saying, broken)))
    house.open()
    for _ in broken:
        with pytest.raises(http.client.IncompleteRead) as caught:
            house.ask("GET", MEMORIES)
        assert caught.value.partial == b"half"


def test_a_node_that_is_too_slow_is_given_up(house: House, monkeypatch: Any) -> None:
    monkeypatch.setattr("palimp.http.gateway._BESIDE_SECONDS", 0.1)
    stuck = threading.Event()

    def silent(connection: socket.socket) -> None:
        head_of(connection)
        stuck.wait(20)

    house.add("a", Raw(silent))
    house.open(msgspec.structs.replace(LIMITS, request_seconds=0.1))
    status, _, body = house.ask("POST", MEMORIES, BODY, JSON)
    error = json.loads(body)
    assert (status, error["code"], error["details"]) == (408, "request_timeout", {"in_doubt": True})
    assert house.error("GET", MEMORIES)["details"] == {"in_doubt": False}
    stuck.set()


def test_a_node_that_stopped_is_given_up_once_its_lease_is_over(house: House) -> None:
    stuck, came = threading.Event(), threading.Event()

    def silent(connection: socket.socket) -> None:
        head_of(connection)
        came.set()
        stuck.wait(20)

    house.add("a", Raw(silent))
    node = house.add("b", Node())
    house.table.cached[DATABASE] = "a"
    house.open()
    answers: list[Any] = []
    ask = threading.Thread(
        target=lambda: answers.append(house.ask("POST", MEMORIES, BODY, JSON)), daemon=True
    )
    ask.start()
    assert came.wait(20)
    del house.table.known["a"]
    ask.join(20)
    assert answers[0][2] == BODY == node.seen[0].body
    stuck.set()


def test_a_client_that_is_too_slow_is_given_up(house: House) -> None:
    node = house.add("a", Node())
    house.open(msgspec.structs.replace(LIMITS, read_seconds=0.2))
    for length in (b"10", b"100000"):
        with socket.create_connection(("127.0.0.1", house.port), timeout=20) as client:
            client.sendall(
                b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\nabc"
                % (MEMORIES.encode(), length)
            )
            assert client.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert len(node.seen) <= 1


def test_more_requests_than_it_may_have_are_shed(house: House) -> None:
    wait = threading.Event()

    async def answer(receive: Any, send: Any, _seen: Seen) -> None:
        import asyncio

        await asyncio.to_thread(wait.wait, 20)
        await say(send, 200, b"ok")

    node = house.add("a", Node(answer))
    house.open(msgspec.structs.replace(LIMITS, in_flight=1))
    first = threading.Thread(target=house.ask, args=("GET", MEMORIES))
    first.start()
    until(lambda: bool(node.seen))
    status, headers, body = house.ask("GET", MEMORIES)
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (429, "overloaded", "1")
    assert house.ask("GET", "/health")[0] == 200
    wait.set()
    first.join(20)
