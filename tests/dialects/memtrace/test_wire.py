"""What the TypeScript client sends, and what else is said on the wire: keys, routes, bodies."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from .conftest import Org, new_org, refused
from .speaking import House
from .test_agents import register

UNKNOWN = "mtk_" + "A" * 43 + "="


def typescript(
    org: Org, method: str, path: str, body: Any = None, url: str | None = None
) -> httpx.Response:
    """Send what that client does: its key, and a type only where there is a body."""
    headers = {"x-api-key": org.key, "accept": "*/*", "user-agent": "node"}
    content = None
    if body is not None:
        headers["content-type"] = "application/json"
        content = json.dumps(body)
    with httpx.Client(headers=headers) as client:
        request = client.build_request(method, (url or org.house.url) + path, content=content)
        assert ("content-type" in request.headers) == (body is not None)
        return client.send(request)


# -- the TypeScript client -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["url", "mounted"])
def test_the_typescript_client(org: Org, where: str) -> None:
    url = getattr(org.house, where)

    def send(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = typescript(org, method, f"/api/v1{path}", body, url)
        assert answer.status_code == status, answer.text
        # It takes the body of every success for JSON.
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    memory = {
        "agent_id": "agent_1", "content": "User prefers dark mode", "memory_type": "episodic",
        "event_type": "general",
    }  # fmt: skip
    made = send("POST", "/memories", memory, 201)
    assert made["content"] == memory["content"]
    decision = {**memory, "content": "SQLite", "memory_type": "decision", "event_type": "decision",
                "metadata": {"reasoning": "one file"}}  # fmt: skip
    assert send("POST", "/memories", decision, 201)["metadata"] == {"reasoning": "one file"}
    batch = send("POST", "/memories", {"memories": [{**memory, "content": "b"}]}, 201)
    assert batch["count"] == 1
    listed = send("GET", "/memories?agent_id=agent_1&since=24h&order=desc&limit=100")
    assert (listed["count"], listed["has_more"]) == (3, False)
    assert send("GET", "/memories")["count"] == 3
    assert send("POST", "/search", {"agent_id": "agent_1"})["count"] == 3
    agent = send("POST", "/agents", {"name": "a/b c"}, 201)
    assert send("GET", f"/agents/{quote('a/b c', safe='')}") == agent
    assert send("GET", "/agents/agent_1/stats")["memory_count"] == 3
    session = send("POST", "/sessions", {"agent_id": agent["id"]}, 201)
    assert send("GET", f"/sessions/{session['id']}") == session
    assert send("GET", "/sessions")["count"] == 1
    assert send("GET", f"/sessions?agent_id={quote('a/b c', safe='')}")["count"] == 1
    context = send("POST", f"/sessions/{session['id']}/context", {})
    assert context["memory_count"] == 0
    assert send("PUT", f"/sessions/{session['id']}", {"status": "closed"})["status"] == "closed"
    for path in ("/agents/..%2Fadmin", "/sessions/sess%20with%20space", "/sessions/a%2Fb%2Fc"):
        assert "not found" in send("GET", path, status=404)["error"]


def test_what_the_go_client_sends(org: Org) -> None:
    org.add("there")
    # A question mark behind every path.
    for path in ("/api/v1/memories?", "/api/v1/sessions?", "/api/v1/agents/agent_1/memories?"):
        assert typescript(org, "GET", path).status_code == 200


# -- keys ----------------------------------------------------------------------------------------


def test_where_a_key_is_shown(org: Org, other: Org) -> None:
    for headers in (
        {"x-api-key": org.key},
        {"authorization": f"Bearer {org.key}"},
        {"authorization": f"bearer  {org.key}"},
        {"authorization": org.key},
        {"x-api-key": org.key, "authorization": f"Bearer {UNKNOWN}"},
        {"x-api-key": "", "authorization": org.key},
    ):
        answer = httpx.get(f"{org.house.url}/api/v1/agents", headers=headers)
        assert answer.status_code == 200, headers
    org.add("mine")
    both = {"x-api-key": other.key, "authorization": f"Bearer {org.key}"}
    found = httpx.get(f"{org.house.url}/api/v1/memories", headers=both).json()
    assert found["memories"] == []


def test_who_shows_no_key(org: Org) -> None:
    for headers in ({}, {"x-api-key": ""}, {"authorization": ""}, {"authorization": "Bearer"}):
        answer = httpx.get(f"{org.house.url}/api/v1/agents", headers=headers)
        refused(answer, 401, "missing API key")


def test_what_is_no_key(org: Org) -> None:
    revoked = org.house.new_key(org.id)
    known = list(org.house.mem.credentials(dialect="memtrace", subject=org.id))
    (newest,) = (one for one in known if one.prefix == revoked[: len(one.prefix)])
    assert org.house.raw(revoked).get("/api/v1/agents").status_code == 200
    org.house.mem.revoke_credential(newest.id)
    expires_at = org.house.clock.now_ms() + 10_000
    expired = org.house.new_key(org.id, expires_at=expires_at)
    assert org.house.raw(expired).get("/api/v1/agents").status_code == 200
    org.house.clock.sleep(11)
    for headers in (
        {"x-api-key": UNKNOWN},
        {"x-api-key": "x"},
        {"x-api-key": revoked},
        {"x-api-key": expired},
        {"x-api-key": org.key[:-1]},
        {"x-api-key": f"{org.key}, {org.key}"},
        {"authorization": f"Basic {org.key}"},
        {"authorization": f"Token {org.key}"},
        {"x-api-key": UNKNOWN, "authorization": f"Bearer {org.key}"},
    ):
        answer = httpx.get(f"{org.house.url}/api/v1/agents", headers=headers)
        refused(answer, 401, "invalid API key")


def test_what_a_key_may(org: Org) -> None:
    reads, writes, admin = (
        org.house.raw(org.house.new_key(org.id, *given))
        for given in (("read",), ("write",), ("admin",))
    )
    memory = {"agent_id": "a", "content": "x"}
    answer = reads.post("/api/v1/memories", json=memory)
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("this API key may read, and this needs write")
    assert writes.post("/api/v1/memories", json=memory).status_code == 201
    assert admin.post("/api/v1/agents", json={"name": "n"}).status_code == 201
    assert reads.post("/api/v1/search", json={}).json()["count"] == 1
    assert reads.post("/api/v1/sessions/s/context").status_code == 200
    answer = writes.get("/api/v1/memories")
    assert answer.status_code == 403
    assert "needs read" in answer.json()["error"]
    assert admin.get("/api/v1/memories").json()["count"] == 1


def test_a_key_reaches_nothing_of_our_own_api(speaks: Callable[..., House]) -> None:
    master = "platform-key-of-the-tests"
    house = speaks(auth="on", platform_key=master)
    org = new_org(house)
    headers = {"authorization": f"Bearer {org.key}"}
    place = house.profile(org.id).target
    for path in (f"/v1/memory/{place.namespace}/{place.profile}/memories", "/metrics"):
        assert httpx.get(house.ours + path, headers=headers).status_code == 401, path
    # Nor does the platform's reach anything here.
    for url in (house.url, house.mounted):
        shown = {"x-api-key": master}
        refused(httpx.get(f"{url}/api/v1/memories", headers=shown), 401, "invalid API key")
        refused(httpx.get(f"{url}/api/v1/memories"), 401, "missing API key")


# -- an open node --------------------------------------------------------------------------------


def test_an_open_node_serves_the_default_organisation(speaks: Callable[..., House]) -> None:
    house = speaks()
    nobody = house.raw(None, house.mounted)
    made = nobody.post("/api/v1/memories", json={"agent_id": "a", "content": "of nobody"})
    assert made.status_code == 201
    assert made.json()["org_id"] == "org_default"
    assert nobody.post("/api/v1/agents", json={"name": "n"}).status_code == 201
    assert house.client("", house.mounted).recall("a").count == 1
    # Whoever shows a key means its organisation.
    shown = house.raw(UNKNOWN, house.mounted).get("/api/v1/memories")
    refused(shown, 401, "invalid API key")
    # At the port a key is asked for all the same.
    refused(house.raw(None).get("/api/v1/memories"), 401, "missing API key")
    # No page of another origin may look, as nobody would be asked.
    origin = {"origin": "https://example.com"}
    for method in ("GET", "OPTIONS"):
        answer = nobody.request(method, "/api/v1/memories", headers=origin)
        assert "access-control-allow-origin" not in answer.headers
    away = nobody.get("/api/v1/memories", headers={"host": "example.com"})
    assert away.status_code == 421
    org = new_org(house)
    refused(nobody.get("/api/v1/memories"), 401, "missing API key")
    assert org.contents() == []


def test_without_a_catalog_there_are_memories_alone(speaks: Callable[..., House]) -> None:
    house = speaks(catalog_url=None)
    nobody = house.raw(None, house.mounted)
    memory = {"agent_id": "a", "content": "of nobody"}
    assert nobody.post("/api/v1/memories", json=memory).status_code == 201
    assert nobody.get("/api/v1/memories").json()["count"] == 1
    assert nobody.post("/api/v1/sessions/s/context").json()["memory_count"] == 0
    for answer in (nobody.get("/api/v1/agents"), nobody.get("/api/v1/agents/a/stats")):
        assert answer.status_code == 503
        assert "PALIMP_CATALOG_URL" in answer.json()["error"]
        assert "arc instance" not in answer.json()["error"].lower()
    assert nobody.get("/health").json()["status"] == "ok"
    assert nobody.get("/ready").json() == {"status": "ready", "arc": {}}
    refused(house.raw(UNKNOWN).get("/api/v1/memories"), 401, "invalid API key")


def test_where_it_is_set_that_nobody_is_asked(speaks: Callable[..., House]) -> None:
    house = speaks(memtrace_auth=False)
    org = new_org(house)
    org.add("of an organisation")
    for url in (house.url, house.mounted):
        for key in (None, "", "anything", UNKNOWN):
            answer = house.raw(key, url).get("/api/v1/memories")
            assert answer.json() == {"memories": [], "count": 0, "has_more": False}
            assert "access-control-allow-origin" not in answer.headers
    made = house.raw("x").post("/api/v1/memories", json={"agent_id": "a", "content": "y"})
    assert made.json()["org_id"] == "org_default"
    assert org.contents() == ["of an organisation"]


def test_where_it_is_set_that_keys_are_asked_for(speaks: Callable[..., House]) -> None:
    house = speaks(memtrace_auth=True)
    for url in (house.url, house.mounted):
        refused(house.raw(None, url).get("/api/v1/memories"), 401, "missing API key")


def test_a_platform_key_shuts_it(speaks: Callable[..., House]) -> None:
    house = speaks(platform_key="platform-key-of-the-tests")
    refused(house.raw(None, house.mounted).get("/api/v1/memories"), 401, "missing API key")


# -- routes and bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v2/memories", "/api/v1/nothing", "/x", "/api/v1/memories/a/b"]
)
def test_unknown_routes_are_told_in_plain_text(org: Org, path: str) -> None:
    for url in (org.house.url, org.house.mounted):
        answer = httpx.get(url + path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"].startswith("text/plain")
        assert "error" not in answer.text


def test_a_method_that_a_route_does_not_take(org: Org) -> None:
    answer = org.raw.patch("/api/v1/memories", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, OPTIONS, POST"
    assert answer.headers["content-type"].startswith("text/plain")


def raw_path(org: Org, method: str, path: str) -> tuple[int, str]:
    """Send a path as it is, which no client would."""
    where = urlsplit(org.house.url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 0)) as connection:
        head = f"{method} {path} HTTP/1.1\r\nhost: {where.netloc}\r\nx-api-key: {org.key}\r\n"
        connection.sendall(f"{head}connection: close\r\n\r\n".encode())
        pieces = b""
        while piece := connection.recv(65_536):
            pieces += piece
    head, _, body = pieces.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_paths_as_they_come(org: Org) -> None:
    made = register(org, "../admin")
    assert raw_path(org, "GET", "/api/v1/agents/..%2Fadmin") == (
        200,
        json.dumps(made, separators=(",", ":")),
    )
    assert raw_path(org, "GET", "/api/v1/agents/..%2fadmin")[0] == 200
    for path in ("/api/v1/agents/../admin", "/api/v1/agents/x/../../sessions"):
        assert raw_path(org, "GET", path)[0] == 404
    # Decoded once.
    register(org, "%2F")
    assert raw_path(org, "GET", "/api/v1/agents/%252F")[0] == 200
    status, body = raw_path(org, "GET", "/api/v1/agents/%2F")
    assert (status, body) == (404, '{"error":"agent not found"}')
    status, body = raw_path(org, "GET", "/api/v1/agents/%FF")
    assert status == 400
    assert "error" in json.loads(body)
    status, body = raw_path(org, "GET", "/api/v1/memories?agent_id=%FF")
    assert status == 400
    assert "error" in json.loads(body)


def test_bodies_of_more_than_four_mebibytes(org: Org) -> None:
    body = b'{"agent_id": "a", "content": "' + b"x" * (4 << 20) + b'"}'
    headers = {"content-type": "application/json"}
    answer = org.raw.post("/api/v1/memories", content=body, headers=headers)
    assert answer.status_code == 413
    assert "4,194,304" in answer.json()["error"]
    assert org.contents() == []


def test_bodies_that_say_they_are_something_else(org: Org) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"content-type": kind} if kind else {}
        answer = org.raw.post("/api/v1/memories", content=b"{}", headers=headers)
        assert answer.status_code == 415
        assert "application/json" in answer.json()["error"]
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = org.raw.post("/api/v1/search", content=b"{}", headers=headers)
    assert answer.status_code == 200


def test_head_is_get_without_its_body(org: Org) -> None:
    answer = org.raw.head("/api/v1/memories")
    assert (answer.status_code, answer.content) == (200, b"")


# -- pages of other origins ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["memories", "agents/a%2Fb", "sessions/x/context", "search"])
def test_a_page_may_ask_with_a_key(org: Org, path: str) -> None:
    asks = {
        "origin": "https://example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    for url in (org.house.url, org.house.mounted):
        answer = httpx.options(f"{url}/api/v1/{path}", headers=asks)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "x-api-key" in answer.headers["access-control-allow-headers"]
        allowed = answer.headers["access-control-allow-methods"].split(", ")
        assert {"GET", "POST", "PUT", "DELETE"} == set(allowed)
    assert httpx.options(f"{org.house.url}/nothing", headers=asks).status_code == 404


def test_a_page_reads_errors_too(org: Org) -> None:
    origin = {"origin": "https://example.com"}
    for answer in (
        org.raw.get("/api/v1/memories", headers=origin),
        org.raw.get("/api/v1/agents/none", headers=origin),
        httpx.get(f"{org.house.url}/api/v1/memories", headers=origin),
        org.raw.get("/nothing", headers=origin),
        org.raw.post("/api/v1/memories", content=b"{}", headers=origin),
    ):
        assert answer.headers["access-control-allow-origin"] == "*", answer.text


# -- what holds for every request of this node ---------------------------------------------------


def test_requests_are_counted_by_their_route(speaks: Callable[..., House]) -> None:
    house = speaks()
    org = new_org(house)
    org.add("counted", agent="agent_in_no_metric")
    org.get("agents/agent_in_no_metric")
    text = httpx.get(f"{house.ours}/metrics").text
    name = 'operation="memtrace POST /api/v1/memories",status="201"'
    assert f"palimp_http_requests_total{{{name}}} 1" in text
    assert "agent_in_no_metric" not in text


def test_a_defect_is_told_without_what_it_is(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(org.house.node, "call", broken)
    answer = org.get("memories")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error"}
    assert "secret" not in answer.text
