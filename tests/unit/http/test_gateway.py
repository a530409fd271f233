"""The gateway in front of nodes that behave: what passes, where to, and what it says."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
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
    head_of,
    say,
    take,
    until,
)

from palimp.http.gateway_headers import backward, onward
from palimp.http.gateway_target import Aims
from palimp.lease import preferred


@pytest.fixture
def house() -> Iterator[House]:
    found = House()
    yield found
    found.close()


# -- what passes ----------------------------------------------------------------------------------


def test_a_request_and_its_answer_pass_as_they_are(house: House) -> None:
    async def answer(receive: Any, send: Any, seen: Seen) -> None:
        await take(receive, seen)
        headers = [
            (b"content-length", b"3"), (b"x-one", b"a"), (b"x-one", b"b"), (b"palimp-txid", b"7"),
            (b"set-cookie", b"k=v"), (b"keep-alive", b"9"), (b"connection", b"x-hop"),
            (b"x-hop", b"1"), (b"palimp-request-id", dict(seen.headers)["palimp-request-id"].encode()),
        ]  # fmt: skip
        await say(send, 207, b"abc", headers)

    node = house.add("a", Node(answer))
    house.open()
    path = "/v1/memory/acme/alice/../a%2Fb%20c/%e4%b8%ad|{}?q=%20a+b&&x=\"'"
    given = {**JSON, "authorization": "Bearer s3cret", "x-odd": "caf\xe9", "palimp-request-id": "r"}
    hop = {"connection": "x-mine, keep-alive", "x-mine": "1", "te": "trailers", "upgrade": "h2c"}
    status, headers, body = house.ask("PUT", path, BODY, {**given, **hop})
    assert (status, body) == (207, b"abc")
    assert headers["x-one"] == "b"
    assert (headers["palimp-txid"], headers["palimp-request-id"]) == ("7", "r")
    assert headers["set-cookie"] == "k=v"
    assert not {"keep-alive", "x-hop", "connection"} & set(headers)
    (seen,) = node.seen
    assert (seen.method, seen.target, seen.body) == ("PUT", path, BODY)
    for name, value in given.items():
        assert seen.all(name) == [value]
    assert not {"x-mine", "te", "upgrade", "connection"} & {name for name, _ in seen.headers}
    assert seen.all("host") == [f"127.0.0.1:{house.port}"]
    # Nothing of one client reaches another.
    house.ask("GET", MEMORIES)
    assert node.seen[-1].all("cookie") == node.seen[-1].all("authorization") == []


def test_an_id_is_made_where_the_client_sent_none_and_shown(house: House) -> None:
    node = house.add("a", Node())
    house.open(dialect="memoturn")
    _, headers, _ = house.ask("POST", MEMORIES, BODY, JSON)
    made = headers["palimp-request-id"]
    assert node.seen[-1].all("palimp-request-id") == [made]
    _, headers, _ = house.ask("POST", f"/memoturn{MEMORIES}", BODY, JSON)
    assert node.seen[-1].all("memoturn-request-id") == [headers["memoturn-request-id"]]
    assert not node.seen[-1].all("palimp-request-id")
    house.ask("POST", "/mcp", b"{}", JSON)
    assert not node.seen[-1].all("palimp-request-id")
    assert house.error("POST", MEMORIES, BODY, {"palimp-request-id": "a b"})["code"] == (
        "invalid_request"
    )
    assert len(node.seen) == 3


def test_a_port_of_a_dialect_is_its_root(house: House) -> None:
    node = house.add("a", Node())
    house.open(dialect="memoturn")
    house.port = house.dialect_port
    house.ask("GET", MEMORIES + "/m?x=1")
    house.ask("GET", "/health")
    assert [seen.target for seen in node.seen] == [
        f"/memoturn{MEMORIES}/m?x=1",
        "/memoturn/health",
    ]


def test_who_asks_is_said_and_no_lie_before_it_wins(house: House) -> None:
    node = house.add("a", Node())
    house.open()
    lie = {"x-forwarded-for": "9.9.9.9", "x-forwarded-proto": "https"}
    house.ask("GET", MEMORIES, None, lie)
    (seen,) = node.seen
    assert seen.all("x-forwarded-for") == ["9.9.9.9, 127.0.0.1"]
    assert seen.all("x-forwarded-proto") == ["http"]
    assert seen.all("x-forwarded-host") == [f"127.0.0.1:{house.port}"]


def test_without_credentials_only_names_of_this_machine_are_answered(house: House) -> None:
    node = house.add("a", Node())
    house.open()
    status, _, _ = house.ask("GET", MEMORIES, None, {"host": "evil.example"})
    assert status == 421
    assert house.ask("GET", "/ready", None, {"host": "evil.example:80"})[0] == 421
    assert not node.seen
    assert house.ask("GET", MEMORIES, None, {"host": "localhost:1"})[0] == 200
    assert node.seen[0].all("host") == ["localhost:1"]


def test_with_credentials_no_node_is_told_a_name_of_its_own_machine(house: House) -> None:
    node = house.add("a", Node())
    house.open(open_to_all=False)
    for host in ("memories.example", "localhost", "127.0.0.1:80", "[::1]:80"):
        assert house.ask("GET", MEMORIES, None, {"host": host})[0] == 200
    hosts = [seen.all("host")[0] for seen in node.seen]
    assert hosts == ["memories.example"] + 3 * ["palimp-gateway"]


@pytest.mark.parametrize("coded", [False, True])
def test_large_bodies_pass_in_both_directions(house: House, coded: bool) -> None:
    body = bytes(range(256)) * (3 << 12)

    async def answer(receive: Any, send: Any, seen: Seen) -> None:
        await take(receive, seen)
        headers = [] if coded else [(b"content-length", str(len(body)).encode())]
        await say(send, 200, seen.body, headers)

    node = house.add("a", Node(answer))
    house.open()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    pieces = iter([body[:70_000], body[70_000:]])
    connection.request("PUT", PROFILE, pieces if coded else body, JSON, encode_chunked=coded)
    answered = connection.getresponse()
    assert answered.read() == body == node.seen[0].body
    assert answered.getheader("transfer-encoding") == ("chunked" if coded else None)
    assert node.seen[0].all("transfer-encoding") == (["chunked"] if coded else [])
    connection.close()


def test_a_body_that_is_too_large_is_refused_and_its_node_let_go(house: House) -> None:
    node = house.add("a", Node())
    house.open(msgspec.structs.replace(LIMITS, body_bytes=100_000))
    status, _, body = house.ask("POST", MEMORIES, b"x" * 100_001, JSON)
    assert (status, json.loads(body)["code"]) == (413, "payload_too_large")
    assert not node.seen
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    connection.request("POST", MEMORIES, iter([b"x" * 60_000] * 2), JSON, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "payload_too_large")
    connection.close()


def test_two_lengths_of_one_body_are_refused(house: House) -> None:
    node = house.add("a", Node())
    house.open()
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as client:
        client.sendall(
            b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert not node.seen


def test_head_and_no_content_have_no_body(house: House) -> None:
    async def answer(receive: Any, send: Any, seen: Seen) -> None:
        if seen.method == "DELETE":
            await say(send, 204, b"", [])
        else:
            await say(send, 200, b"12345")

    node = house.add("a", Node(answer))
    house.open()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    for method, status, length in (("HEAD", 200, "5"), ("DELETE", 204, None), ("HEAD", 200, "5")):
        connection.request(method, MEMORIES + "/m")
        got = connection.getresponse()
        assert (got.status, got.getheader("content-length"), got.read()) == (status, length, b"")
    connection.close()
    assert [seen.method for seen in node.seen] == ["HEAD", "DELETE", "HEAD"]


def test_the_body_is_asked_for_when_the_node_asks_for_it(house: House) -> None:
    async def answer(receive: Any, send: Any, seen: Seen) -> None:
        if "refuse" in seen.target:
            await say(send, 401, b"no", [(b"content-length", b"2"), (b"connection", b"close")])
            return
        await take(receive, seen)
        await say(send, 200, seen.body)

    node = house.add("a", Node(answer))
    house.open()
    head = (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as client:
        client.sendall(head % b"/v1/refuse")
        said = b""
        while piece := client.recv(65536):
            said += piece
        assert said.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in said
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as client:
        client.sendall(head % MEMORIES.encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        said = client.recv(65536)
        while not said.endswith(b"hello"):
            said += client.recv(65536)
    assert node.seen[1].body == b"hello"


def test_an_answer_that_comes_before_the_body_is_passed_on(house: House) -> None:
    async def answer(receive: Any, send: Any, _seen: Seen) -> None:
        await receive()
        await say(send, 413, b"too much")

    house.add("a", Node(answer))
    house.open()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    connection.putrequest("PUT", PROFILE)
    connection.putheader("content-length", str(1 << 20))
    connection.endheaders()
    connection.send(b"x" * 70_000)
    # The rest never comes.
    assert connection.getresponse().status == 413
    connection.close()


def test_lines_pass_as_they_come(house: House) -> None:
    more = threading.Event()

    async def answer(receive: Any, send: Any, _seen: Seen) -> None:
        import asyncio

        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
        await asyncio.to_thread(more.wait, 20)
        await send({"type": "http.response.body", "body": b"two\n"})

    house.add("a", Node(answer))
    house.open()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
    connection.request("GET", MEMORIES)
    got = connection.getresponse()
    assert got.readline() == b"one\n"
    more.set()
    assert got.read() == b"two\n"
    connection.close()


def test_a_client_that_goes_away_ends_the_request_at_its_node(house: House) -> None:
    gone = threading.Event()

    async def answer(receive: Any, send: Any, _seen: Seen) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    node = house.add("a", Node(answer))
    gateway = house.open()
    for body in (None, b"x" * 10):
        gone.clear()
        connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=20)
        connection.request("POST", MEMORIES, body, JSON)
        until(lambda: bool(node.seen))
        connection.close()
        assert gone.wait(20)
        node.seen.clear()
    until(lambda: gateway.in_flight == 0)
    assert not house.table.asked


def test_a_slow_reader_holds_its_node_back(house: House) -> None:
    sent = 0
    piece = b"x" * (1 << 16)

    async def answer(receive: Any, send: Any, _seen: Seen) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 4_000:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})

    house.add("a", Node(answer))
    gateway = house.open()
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as client:
        client.sendall(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            time.sleep(0.1)
        # 256 MB do not fit between the two.
        assert sent < 1_000
    until(lambda: gateway.in_flight == 0)


# -- which node -----------------------------------------------------------------------------------


def test_paths_say_the_database() -> None:
    aims = Aims()
    for method, path in (
        ("POST", MEMORIES),
        ("HEAD", MEMORIES),
        ("DELETE", "/v1/databases/acme--alice"),
        ("POST", "/memoturn/v1/memory/acme/alice/recall"),
        ("GET", "/memoturn/v1/db/acme--alice@other/kv/a"),
        ("POST", "/mcp/acme/alice"),
    ):
        assert aims.of(method, path.encode()).database == DATABASE, path
    for path in ("/v1/databases", "/docs", "/", "/v1/memory/acme", "/v1/%ff", "/mcp", "/mcp/a/b/c"):
        assert aims.of("GET", path.encode()).database is None, path


def test_the_holder_is_asked_else_the_one_that_should_have_it(house: House) -> None:
    nodes = {name: house.add(name, Node()) for name in ("a", "b", "c")}
    house.open()
    wanted = preferred(house.table.peers(), DATABASE)
    assert wanted is not None
    other = next(name for name in nodes if name != wanted.node)
    house.ask("GET", MEMORIES)
    house.table.cached[DATABASE] = other
    house.ask("GET", MEMORIES)
    assert len(nodes[wanted.node].seen) == len(nodes[other].seen) == 1
    for _ in range(6):
        house.ask("GET", "/openapi.json")
    assert {len(node.seen) for node in nodes.values()} == {2, 3}


def test_a_node_that_drains_is_given_nothing_new(house: House) -> None:
    leaving, staying = house.add("a", Node(), draining=True), house.add("b", Node())
    house.open()
    for i in range(6):
        house.ask("GET", f"/v1/memory/acme/alice{i}/memories")
        house.ask("GET", "/openapi.json")
    assert (len(leaving.seen), len(staying.seen)) == (0, 12)


def test_connections_to_nodes_are_kept(house: House) -> None:
    def many(connection: socket.socket) -> None:
        while head_of(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    raw = house.add("a", Raw(many))
    house.open()
    for _ in range(5):
        assert house.ask("GET", MEMORIES)[2] == b"ok"
    assert raw.connections == 1


# -- what it says of itself -----------------------------------------------------------------------


def test_without_a_node_it_is_not_ready(house: House) -> None:
    house.open()
    status, headers, body = house.ask("POST", MEMORIES, BODY, JSON)
    assert (status, headers["retry-after"]) == (503, "1")
    assert "no node is alive" in json.loads(body)["error"]
    status, _, body = house.ask("GET", "/ready")
    assert (status, json.loads(body)["status"]) == (503, "no nodes")
    assert house.ask("GET", "/health")[:3:2] == (200, b"ok")
    house.add("a", Node())
    status, _, body = house.ask("GET", "/ready")
    assert (status, json.loads(body)["status"], json.loads(body)["nodes"]) == (200, "ready", 1)


def test_without_a_lease_store_it_goes_on_and_says_so(house: House) -> None:
    house.add("a", Node())
    house.dead("b")
    house.table.cached[DATABASE] = "b"
    house.table.down = True
    house.open()
    assert house.ask("POST", MEMORIES, BODY, JSON)[0] == 200
    found = json.loads(house.ask("GET", "/ready")[2])
    assert (found["status"], found["heard_seconds"]) == ("ready", None)
    assert "the lease store does not answer" in found["warnings"][0]
    assert "the lease store is away" in found["warnings"][0]


def test_it_stops_taking_requests_when_told(house: House) -> None:
    node = house.add("a", Node())
    gateway = house.open()
    gateway.drain()
    status, headers, body = house.ask("GET", MEMORIES)
    assert (status, json.loads(body)["details"]) == (503, {"reason": "closed"})
    assert headers["connection"] == "close"
    assert house.ask("GET", "/ready")[0] == 503
    assert not node.seen


def test_metrics_are_for_the_platform_where_nodes_ask(house: House) -> None:
    pytest.importorskip("prometheus_client")
    house.add("a", Node())
    house.open(open_to_all=False, platform_key="p" * 16)
    house.ask("GET", MEMORIES)
    assert house.ask("GET", "/metrics")[0] == 401
    assert house.ask("GET", "/metrics", None, {"authorization": "Bearer " + "q" * 16})[0] == 401
    status, _, body = house.ask("GET", "/metrics", None, {"authorization": "Bearer " + "p" * 16})
    assert status == 200
    assert b'palimp_gateway_requests_total{operation="memories.list",status="200"} 1.0' in body
    assert b'palimp_gateway_holds{what="nodes"} 1.0' in body
    house.open(open_to_all=False)
    assert house.ask("GET", "/metrics", None, {"authorization": "Bearer "})[0] == 503
    house.open()
    assert house.ask("GET", "/metrics")[0] == 200


def test_headers_of_a_connection_stay_with_it() -> None:
    given = [(b"connection", b"close, X-Own, Authorization"), (b"x-own", b"1"), (b"date", b"d")]
    scope = {
        "headers": [*given, (b"authorization", b"k"), (b"host", b"localhost")],
        "client": ("::1", 1),
        "scheme": "https",
    }
    sent = dict(onward(scope, {}, open_to_all=True))
    # Nobody may have a credential dropped on the way.
    assert sent[b"authorization"] == b"k"
    assert (sent[b"x-forwarded-for"], sent[b"x-forwarded-proto"]) == (b"::1", b"https")
    assert not {b"connection", b"x-own", b"date"} & set(sent)
    assert dict(backward(given, {"x-id": "1"})) == {b"x-id": b"1"}
