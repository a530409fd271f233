"""Every error of a node over HTTP, whoever finds it, has one shape; the shape is stated first."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palimp.api.answers import STATUS
from palimp.errors import CODES
from palimp.http import create_app
from palimp.http.api import Limits
from palimp.node import Node, load_settings
from palimp.node.serving import HEADER_BYTES_MAX, Served

MEMORIES = "/v1/memory/default/alice/memories"
RECALL = "/v1/memory/default/alice/recall"
ONE = {"memories": [{"text": "Prefers aisle seats"}]}
# A status that the code alone does not say, and the code it comes with.
OTHER_STATUS = {405: "invalid_request", 415: "invalid_request", 421: "invalid_request"}


class Reply:
    """An answer off the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def check_shape(reply: Reply) -> dict[str, Any]:
    """The one shape: error, code, perhaps retry_after and details; the status follows the code."""
    assert reply.headers["content-type"] == "application/json", reply.body
    body = reply.json
    assert set(body) <= {"error", "code", "retry_after", "details"}
    assert isinstance(body["error"], str)
    assert body["error"]
    assert body["code"] in CODES
    if reply.status in OTHER_STATUS:
        assert body["code"] == OTHER_STATUS[reply.status]
    else:
        assert reply.status == STATUS[body["code"]]
    if "retry_after" in body:
        assert int(reply.headers["retry-after"]) >= 1
    return body


class Server:
    """A node on a loopback port, spoken to byte by byte."""

    def __init__(self, node: Node, port: int, app: Any) -> None:
        self.node, self.port, self.app = node, port, app

    @contextmanager
    def line(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            yield sock

    def raw(self, *pieces: bytes, replies: int = 1) -> list[Reply]:
        """Send bytes; return so many answers, fewer where the connection ends before."""
        with self.line() as sock:
            for piece in pieces:
                sock.sendall(piece)
            return list(read_replies(sock, replies))

    def one(self, *pieces: bytes) -> Reply:
        (reply,) = self.raw(*pieces)
        return reply

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Ask properly."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {"content-type": "application/json"} if body is not None else {}
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        connection.request(method, path, data, {**given, **(headers or {})})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        reply = Reply(response.status, found, response.read())
        connection.close()
        return reply


def read_replies(sock: socket.socket, count: int) -> Iterator[Reply]:
    stream = sock.makefile("rb")
    for _ in range(count):
        first = stream.readline()
        if not first:
            return
        status = int(first.split(b" ")[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            yield Reply(status, headers, b"")
            continue
        yield Reply(status, headers, stream.read(int(headers.get("content-length", 0))))


@contextmanager
def serving(path: Path, limits: dict[str, Any] | None = None, **settings: Any) -> Iterator[Server]:
    node = Node(load_settings({"data_dir": path, "embed_provider": "none", **settings}))
    listener = socket.create_server(("127.0.0.1", 0))
    kept = msgspec.structs.replace(Limits.of(node.settings), **(limits or {}))
    app = create_app(node, limits=kept)
    served = Served(
        app,
        [listener],
        read_seconds=kept.read_seconds,
        write_seconds=kept.write_seconds,
        connections=kept.in_flight * 2,
    )
    try:
        yield Server(node, listener.getsockname()[1], app)
    finally:
        assert served.stop(5)
        node.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("errors") / "m") as one:
        assert one.ask("POST", MEMORIES, ONE).status == 201
        yield one


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node that waits for nobody."""
    limits = {"read_seconds": 0.3, "write_seconds": 0.3, "request_seconds": 0.3, "in_flight": 3}
    with serving(tmp_path_factory.mktemp("hasty") / "m", limits) as one:
        yield one


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"GET {path} HTTP/{version}", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(path: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    if not any(one.lower().startswith(("content-length", "transfer-")) for one in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no route": (get("/nope"), 404, "no route"),
    "no route below v1": (get("/v1/nope"), 404, "no route /v1/nope"),
    "double slash": (get("//v1/node"), 404, "no route"),
    "empty name": (get("/v1/memory/default//memories"), 400, "profile is empty"),
    "dots": (get("/v1/memory/default/../memories"), 400, "'..' is not a valid name"),
    "encoded dots": (get("/v1/memory/default/%2e%2e/memories"), 400, "'..' is not a valid name"),
    "encoded slash": (get("/v1/memory/default/a%2Fb/memories"), 400, "'a/b' is not a valid name"),
    "encoded word of a route": (get("/v1/n%6fde"), 404, "no route"),
    "encoded version": (get("/%761/node"), 404, "no route"),
    "invalid UTF-8 in a path": (get("/v1/memory/default/%ff/memories"), 400, "not percent-encoded"),
    "surrogate in a path": (get("/v1/memory/default/%ed%a0%80/memories"), 400, "not percent-enc"),
    "NUL in a path": (get("/v1/memory/default/a%00b/memories"), 400, "not a valid name"),
    "very long path": (get("/v1/memory/default/" + "a" * 60_000 + "/memories"), 400, "60000 char"),
    "invalid UTF-8 in a query": (get(MEMORIES + "?cursor=%ff"), 400, "cannot be read"),
    "query that is none": (get(MEMORIES + "?limit"), 400, "cannot be read"),
    "unknown query": (get(MEMORIES + "?limits=3"), 400, "did you mean 'limit'"),
    "query twice": (get(MEMORIES + "?limit=1&limit=2"), 400, "given twice"),
    "huge number in a query": (get(MEMORIES + "?limit=" + "9" * 5_000), 400, "limit"),
    "two branches": (get(MEMORIES + "?branch=a", "Palimp-Branch: b"), 400, "several branches"),
    "branch twice": (get(MEMORIES, "Palimp-Branch: a", "Palimp-Branch: b"), 400, "not a valid name"),
    "bad branch": (get(MEMORIES + "?branch=..%2f"), 400, "not a valid name"),
    "bad txid": (get(MEMORIES, "Palimp-Min-Txid: -1"), 400, "whole number"),
    "body of a read": (
        b"GET /v1/node HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 400, "no body"),
    "bad request id": (get("/v1/node", "Palimp-Request-Id: a b"), 400, "request id 'a b'"),
    "long request id": (get("/v1/node", "Palimp-Request-Id: " + "a" * 129), 400, "129 characters"),
    "request id that is no ASCII": (get("/v1/node", "Palimp-Request-Id: \xff"), 400, "visible"),
    "no JSON": (post(MEMORIES, b"{"), 400, "not JSON"),
    "no object": (post(MEMORIES, b"[]"), 400, "must be a JSON object"),
    "invalid UTF-8 in a body": (post(RECALL, b'{"query": "\xff"}'), 400, "not JSON"),
    "lone surrogate in a body": (post(RECALL, rb'{"query": "\ud800"}'), 400, "not JSON"),
    "NaN": (post(RECALL, b'{"query": "a", "min_score": NaN}'), 400, "not JSON"),
    "infinity": (post(RECALL, b'{"query": "a", "min_score": Infinity}'), 400, "not JSON"),
    "a number beyond all": (post(RECALL, b'{"query": "a", "min_score": 1e999}'), 400, ""),
    "huge integer": (post(RECALL, b'{"query": "a", "k": 1' + b"0" * 5_000 + b"}"), 400, ""),
    "deep nesting": (post(RECALL, b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), 400, ""),
    "unknown field": (post(RECALL, b'{"quer": "a"}'), 400, "did you mean 'query'"),
    "path's field in the body": (
        post(MEMORIES + "/mem_1/supersede", b'{"id": "mem_2", "text": "a"}'), 400, "in the path"),
    "not there": (get(MEMORIES + "/mem_" + "0" * 32), 404, "mem_"),
    "branch not there": (get(MEMORIES + "?branch=trial"), 404, "trial"),
    "no type": (post(MEMORIES, b"{}", kind=""), 415, "without a Content-Type"),
    "form": (post(MEMORIES, b"a=b", kind="application/x-www-form-urlencoded"), 415, "json"),
    "text": (post(MEMORIES, b"{}", kind="text/plain"), 415, "text/plain"),
    "other charset": (post(MEMORIES, b"{}", kind="application/json; charset=utf-16"), 415, "UTF-8"),
    "coded": (post(MEMORIES, b"{}", "Content-Encoding: gzip"), 415, "gzip"),
    "JSON for a file": (post("/v1/db/default--bob/import", b"{}"), 415, "vnd.sqlite3"),
    "method of no route": (b"BREW /v1/node HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "GET"),
    "options": (b"OPTIONS /v1/node HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "not OPTIONS"),
    "options beside": (b"OPTIONS /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "OPTIONS"),
    "connect": (b"CONNECT a.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "path here"),
    "whole address": (get("http://localhost/v1/node"), 400, "path here"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "path here"),
    "name of another": (
        b"GET /v1/node HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", 421, "evil.example"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "not HTTP"),
    "no host": (b"GET /v1/node HTTP/1.1\r\n\r\n", 400, "not HTTP"),
    "huge headers": (get("/v1/node", "X: " + "a" * (HEADER_BYTES_MAX * 3)), 400, "262,144 bytes"),
    "NUL in a header": (get("/v1/node", "X: a\0b"), 400, "not HTTP"),
    "two lengths": (post(RECALL, b"{}", "Content-Length: 2", "Content-Length: 3"), 400, "not HTTP"),
    "huge length": (post(RECALL, b"", "Content-Length: " + "9" * 200), 400, "not HTTP"),
    "negative length": (post(RECALL, b"", "Content-Length: -1"), 400, "not HTTP"),
    "two ends": (
        post(RECALL, b"2\r\n{}\r\n0\r\n\r\n", "Content-Length: 2", "Transfer-Encoding: chunked"),
        400, "send one"),
    "chunk that is none": (post(RECALL, b"zz\r\n", "Transfer-Encoding: chunked"), 400, "not HTTP"),
    "too large": (post(MEMORIES, b"", f"Content-Length: {33 << 20}"), 413, "33,554,432"),
    "too large a question": (post(RECALL, b"", f"Content-Length: {2 << 20}"), 413, "1,048,576"),
    "HTTP/1.0": (get("/v1/nope", version="1.0"), 404, "no route"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_in_the_one_shape(server: Server, name: str) -> None:
    sent, status, said = REFUSED[name]
    reply = server.one(sent)
    assert reply.status == status, reply.body
    assert said in check_shape(reply)["error"]
    # None of it disturbed the node.
    assert server.ask("GET", MEMORIES).status == 200


def test_a_method_that_is_not_taken_comes_with_those_that_are(server: Server) -> None:
    assert server.ask("PUT", MEMORIES).headers["allow"] == "GET, POST, HEAD"
    assert server.ask("GET", RECALL).headers["allow"] == "POST"
    assert set(server.ask("POST", "/health").headers["allow"].split(", ")) == {"GET", "HEAD"}
    for path in (MEMORIES, "/health", "/docs", "/openapi.json", "/ready", "/metrics"):
        check_shape(server.ask("PATCH", path))


def test_no_answer_allows_pages_of_other_origins_anything(server: Server) -> None:
    origin = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for method, path in [("OPTIONS", MEMORIES), ("GET", MEMORIES), ("GET", "/openapi.json")]:
        reply = server.ask(method, path, headers=origin)
        assert not [name for name in reply.headers if name.startswith("access-control")]


def test_the_request_id_comes_back_also_with_errors(server: Server) -> None:
    given = {"palimp-request-id": "mine-1"}
    assert server.ask("GET", "/v1/node", headers=given).headers["palimp-request-id"] == "mine-1"
    assert server.ask("GET", "/v1/nope", headers=given).headers["palimp-request-id"] == "mine-1"
    made = [server.ask("GET", "/v1/node").headers["palimp-request-id"] for _ in range(2)]
    assert all(re.fullmatch("req_[0-9a-f]{32}", one) for one in made)
    assert made[0] != made[1]
    bad = server.one(get("/v1/node", "Palimp-Request-Id: a b"))
    assert re.fullmatch("req_[0-9a-f]{32}", bad.headers["palimp-request-id"])


def test_head_is_get_without_the_body(server: Server) -> None:
    whole = server.ask("GET", MEMORIES)
    head = server.ask("HEAD", MEMORIES)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == str(len(whole.body))


def test_bodies_may_be_empty_where_nothing_is_required(server: Server) -> None:
    assert server.ask("POST", "/v1/db/default--alice/sync").status == 200
    assert server.one(post("/v1/db/default--alice/sync", b"", kind="")).status == 200
    assert server.one(post("/v1/db/default--alice/sync", b"{}")).status == 200
    reply = server.ask("POST", MEMORIES)
    assert "'memories' is missing" in check_shape(reply)["error"]


def test_json_may_say_that_it_is_utf8(server: Server) -> None:
    kind = 'Application/JSON; Charset="UTF-8"'
    assert server.one(post(RECALL, b'{"query": "seat"}', kind=kind)).status == 200


def test_a_number_beyond_all_and_a_name_twice_do_not_get_through_as_something_else(
    server: Server,
) -> None:
    twice = server.one(post(RECALL, b'{"query": "seat", "k": 0, "k": 1}'))
    assert twice.status == 200
    assert len(twice.json["memories"]) == 1


def test_a_session_may_have_any_name(server: Server) -> None:
    for name in ("a%2Fb", "%2e%2e", "a%20b", "%C3%A9", "%3F%23"):
        path = f"/v1/memory/default/carol/sessions/{name}/turns"
        reply = server.ask("POST", path, {"turns": [{"role": "user", "content": "hello"}]})
        assert reply.status == 201, reply.body
        assert len(server.ask("GET", path).json["turns"]) == 1
    sessions = server.ask("GET", "/v1/memory/default/carol/sessions").json["sessions"]
    assert {one["id"] for one in sessions} == {"a/b", "..", "a b", "é", "?#"}


def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(server: Server) -> None:
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = post(RECALL, b"", "Transfer-Encoding: chunked")
    reply = server.one(head, *[piece] * 20)
    assert reply.status == 413
    check_shape(reply)


def test_a_client_that_asks_first_is_not_made_to_send_what_is_refused(server: Server) -> None:
    expect = "Expect: 100-continue"
    (reply, *rest) = server.raw(
        post(MEMORIES, b"", expect, f"Content-Length: {64 << 20}"), replies=2
    )
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    assert not rest
    # And is told to go on where it is not.
    body = b'{"query": "seat"}'
    with server.line() as sock:
        sock.sendall(post(RECALL, b"", expect, f"Content-Length: {len(body)}"))
        (first,) = read_replies(sock, 1)
        assert first.status == 100
        sock.sendall(body)
        (second,) = read_replies(sock, 1)
        assert second.status == 200


def test_requests_sent_ahead_are_answered_in_order(server: Server) -> None:
    replies = server.raw(
        get("/v1/node")
        + get("/v1/nope")
        + post(RECALL, b"{")
        + get("/health")
        + b"nonsense\r\n\r\n",
        replies=6,
    )
    assert [one.status for one in replies] == [200, 404, 400, 200, 400]
    check_shape(replies[-1])
    assert replies[-1].headers["connection"] == "close"


def test_a_refused_body_is_read_away_and_the_connection_goes_on(server: Server) -> None:
    body = b"x" * 300_000
    replies = server.raw(post("/v1/nope", body) + get("/v1/node"), replies=2)
    assert [one.status for one in replies] == [404, 200]


def test_headers_that_do_not_come_are_not_waited_for(hasty: Server) -> None:
    for begun in (b"", b"GET /v1/node HT", get("/v1/node")[:-2]):
        reply = hasty.one(begun)
        assert reply.status == 408
        assert "headers did not arrive" in check_shape(reply)["error"]
    # Nor those of a second request.
    with hasty.line() as sock:
        sock.sendall(get("/v1/node"))
        assert next(read_replies(sock, 1)).status == 200
        sock.sendall(b"GET ")
        assert next(read_replies(sock, 1)).status == 408


def test_a_body_that_does_not_come_is_not_waited_for(hasty: Server) -> None:
    reply = hasty.one(post(RECALL, b'{"que', "Content-Length: 100"))
    assert reply.status == 408
    assert "5 bytes did" in check_shape(reply)["error"]


def test_a_refused_body_that_never_ends_is_cut_off(hasty: Server) -> None:
    with hasty.line() as sock:
        sock.sendall(post("/v1/nope", b"x", f"Content-Length: {1 << 40}"))
        assert next(read_replies(sock, 1)).status == 404
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            send_for_ever(sock)


def send_for_ever(sock: socket.socket) -> None:
    while True:
        sock.sendall(b"x" * 1_000)


def test_a_client_that_goes_away_leaves_nothing_behind(server: Server) -> None:
    for _ in range(5):
        with server.line() as sock:
            sock.sendall(post(MEMORIES, b'{"memories": [', "Content-Length: 100"))
    assert len(server.ask("GET", MEMORIES).json["memories"]) == 1
    assert server.ask("GET", "/ready").json["in_flight"] == 0


def test_a_client_that_takes_nothing_is_let_go(hasty: Server) -> None:
    text = "x" * 500_000
    for i in range(8):
        assert hasty.ask("POST", MEMORIES, {"memories": [{"text": f"{i} {text}"}]}).status == 201
    with hasty.line() as sock:
        sock.sendall(get(MEMORIES) * 3)
        while hasty.ask("GET", "/ready").json["in_flight"]:
            pass
        taken = 0
        while piece := sock.recv(1 << 20):
            taken += len(piece)
    # It ended in the middle.
    assert taken < len(hasty.ask("GET", MEMORIES).body)


def test_too_many_connections_are_refused(hasty: Server) -> None:
    idle = [socket.create_connection(("127.0.0.1", hasty.port)) for _ in range(6)]
    try:
        with hasty.line() as sock:
            (reply,) = read_replies(sock, 1)
        assert reply.status == 429
        assert "6 connections" in check_shape(reply)["error"]
    finally:
        for sock in idle:
            sock.close()


def test_an_operation_that_takes_too_long_may_have_been_done(
    hasty: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, call = threading.Event(), hasty.node.call

    def slow(*arguments: Any, **more: Any) -> Any:
        going.wait(20)
        return call(*arguments, **more)

    monkeypatch.setattr(hasty.node, "call", slow)
    body = {"memories": [{"text": "late"}]}
    wrote = hasty.ask("POST", "/v1/memory/default/late/memories", body)
    read = hasty.ask("GET", "/v1/node")
    going.set()
    assert (wrote.status, read.status) == (408, 408)
    assert check_shape(wrote)["details"] == {"in_doubt": True}
    assert check_shape(read).get("details", {}).get("in_doubt") is not True


def test_a_crash_is_an_error_with_an_id_and_a_log_entry(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    with monkeypatch.context() as patched:
        patched.setattr(server.node, "call", crash)
        reply = server.ask("GET", "/v1/node", headers={"palimp-request-id": "crash-1"})
    assert reply.status == 500
    body = check_shape(reply)
    assert "crash-1" in body["error"]
    assert "secret" not in body["error"]
    (entry,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert entry.request == "crash-1"  # type: ignore[attr-defined]
    assert entry.exc_info is not None
    assert server.ask("GET", "/v1/node").status == 200


def test_a_draining_node_says_so_and_finishes_what_it_has(tmp_path: Path) -> None:
    with serving(tmp_path / "m") as server:
        begun, going, call = threading.Event(), threading.Event(), server.node.call

        def slow(*arguments: Any, **more: Any) -> Any:
            begun.set()
            going.wait(20)
            return call(*arguments, **more)

        server.node.call = slow  # type: ignore[method-assign]
        replies: list[Reply] = []
        writer = threading.Thread(target=lambda: replies.append(server.ask("POST", MEMORIES, ONE)))
        writer.start()
        begun.wait(20)
        assert server.ask("GET", "/ready").json["in_flight"] == 1
        server.app.api.drain()
        ready = server.ask("GET", "/ready")
        assert (ready.status, ready.json["status"]) == (503, "draining")
        refused = server.ask("GET", "/v1/node")
        assert refused.status == 503
        assert refused.headers["connection"] == "close"
        assert check_shape(refused)["details"] == {"reason": "closed"}
        assert server.ask("GET", "/health").body == b"ok"
        going.set()
        writer.join(20)
        assert replies[0].status == 201
