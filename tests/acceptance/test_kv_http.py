"""Values over HTTP without a client of ours: raw bodies, types, statuses, headers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import palimp
from palimp.http import create_app
from palimp.node import Node, load_settings

SPACE = "/v1/db/default--alice/kv/default"


class Http:
    """Asks one node, without a network."""

    def __init__(self, node: Node) -> None:
        self._runner = asyncio.Runner()
        self._app = create_app(node)

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._ask(method, path, more))

    async def _ask(self, method: str, path: str, more: dict[str, Any]) -> httpx.Response:
        async with self._client() as client:
            return await client.request(method, path, **more)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client

    def close(self) -> None:
        self._app.api.close()
        self._runner.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}))
    yield node
    node.close()


@pytest.fixture
def http(node: Node) -> Iterator[Http]:
    http = Http(node)
    yield http
    http.close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\x00\xff", "application/octet-stream"),
        (b'{"a": [}', "application/json; charset=latin-1"),
        (b"<script>alert(1)</script>", "text/html"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"", "image/png"),
    ],
)
def test_a_value_comes_back_byte_for_byte_with_its_type(http: Http, body: bytes, kind: str) -> None:
    put = http("PUT", f"{SPACE}/k", content=body, headers={"content-type": kind})
    assert put.status_code == 200
    made = {"ns": "default", "key": "k", "expires_at": None, "txid": 1, "note": None}
    assert put.json() == made
    assert put.headers["palimp-txid"] == "1"
    for consistency in ("", "?consistency=primary", "?consistency=cached"):
        got = http("GET", f"{SPACE}/k{consistency}")
        assert (got.status_code, got.content) == (200, body)
        assert got.headers["content-type"] == kind
        assert got.headers["palimp-txid"] == "1"
        # Whoever put it must not speak for the node.
        assert got.headers["content-security-policy"] == "sandbox"
        assert got.headers["x-content-type-options"] == "nosniff"
    head = http("HEAD", f"{SPACE}/k")
    assert (head.status_code, head.headers["content-type"]) == (200, kind)


def test_without_a_type_a_value_is_octets(http: Http) -> None:
    assert http("PUT", f"{SPACE}/k", content=b"x").status_code == 200
    assert http("GET", f"{SPACE}/k").headers["content-type"] == "application/octet-stream"


def test_keys_are_percent_encoded_segments(http: Http) -> None:
    for name in ("a%2Fb", "%252F", "%2E%2E", "%20", "%00", "search", "a+b"):
        assert http("PUT", f"{SPACE}/{name}", content=b"x").status_code == 200
        assert http("GET", f"{SPACE}/{name}").content == b"x"
    listed = http("GET", f"{SPACE}?limit=3").json()
    assert listed == {"keys": ["\0", " ", "%2F"], "next_cursor": "%2F", "txid": 7, "entries": None}
    rest = http("GET", SPACE, params={"cursor": "%2F"}).json()
    assert rest == {
        "keys": ["..", "a+b", "a/b", "search"],
        "next_cursor": None,
        "txid": 7,
        "entries": None,
    }
    assert http("GET", f"{SPACE}?prefix=a").json()["keys"] == ["a+b", "a/b"]
    lines = http("GET", f"{SPACE}?limit=3", headers={"accept": "application/x-ndjson"})
    assert lines.text.split("\n")[-2:] == ['"search"', ""]
    assert len(lines.text.splitlines()) == 7
    assert http("GET", f"{SPACE}/a/b").status_code == 404
    assert http("PUT", f"{SPACE}/%FF", content=b"x").status_code == 400


def test_what_was_removed_and_what_was_not_there(http: Http) -> None:
    missing = http("GET", f"{SPACE}/k")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    http("PUT", f"{SPACE}/k", content=b"x")
    done = http("DELETE", f"{SPACE}/k")
    assert (done.status_code, done.content, done.headers["palimp-txid"]) == (204, b"", "2")
    again = http("DELETE", f"{SPACE}/k")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")
    assert "no key 'k' in 'default'" in again.json()["error"]
    shown = http("DELETE", f"{SPACE}/k", headers={"prefer": "return=representation"})
    assert (shown.status_code, shown.json()["deleted"]) == (200, False)
    for path in ("vectors/docs", "vectors/docs/items/x"):
        assert http("DELETE", f"/v1/db/default--alice/{path}").status_code == 404
    forget = http("DELETE", "/v1/memory/default/alice/memories/mem_x")
    assert (forget.status_code, forget.json()["code"]) == (404, "not_found")


def test_time_to_live(http: Http) -> None:
    put = http("PUT", f"{SPACE}/k?ttl=3600", content=b"x")
    assert put.json()["expires_at"] > 1_700_000_000_000
    for ttl in ("0", "-1", "nan", "inf", "1e99", "soon", ""):
        refused = http("PUT", f"{SPACE}/k?ttl={ttl}", content=b"x")
        assert (refused.status_code, "ttl" in refused.json()["error"]) == (400, True), ttl


def test_what_a_put_does_not_take(http: Http) -> None:
    for query in ("?tll=5", "?data=x", "?content_type=a/b", "?key=k", "?ttl=1&ttl=2"):
        assert http("PUT", f"{SPACE}/k{query}", content=b"x").status_code == 400, query
    assert http("GET", f"{SPACE}/k?consistency=eventual").status_code == 400
    assert http("POST", f"{SPACE}/k", content=b"x").status_code == 405
    coded = http("PUT", f"{SPACE}/k", content=b"x", headers={"content-encoding": "gzip"})
    assert coded.status_code == 415
    past = http("PUT", f"{SPACE}/k?at=1", content=b"x")
    assert "would write to the past" in past.json()["error"]
    large = http("PUT", f"{SPACE}/k", content=b"x" * ((16 << 20) + 1))
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
    assert http("GET", f"{SPACE}/k").status_code == 404


def test_a_repeat_with_the_same_request_id_puts_once(http: Http) -> None:
    headers = {"palimp-request-id": "one"}
    first = http("PUT", f"{SPACE}/k", content=b"x", headers=headers)
    http("PUT", f"{SPACE}/k", content=b"y")
    assert http("PUT", f"{SPACE}/k", content=b"x", headers=headers).json() == first.json()
    assert http("GET", f"{SPACE}/k").content == b"y"
    assert http("PUT", f"{SPACE}/k", content=b"z", headers=headers).status_code == 409
    assert http("DELETE", f"{SPACE}/k", headers={"palimp-request-id": "two"}).status_code == 204
    assert http("DELETE", f"{SPACE}/k", headers={"palimp-request-id": "two"}).status_code == 204


def test_branches_and_points(http: Http) -> None:
    http("PUT", f"{SPACE}/k", content=b"old", headers={"palimp-durability": "durable"})
    http("PUT", f"{SPACE}/k", content=b"new")
    assert http("GET", f"{SPACE}/k?at=1").content == b"old"
    assert http("GET", f"{SPACE}/k?branch=trial").json()["code"] == "branch_not_found"
    assert http("GET", f"{SPACE}/k", headers={"palimp-min-txid": "9"}).status_code == 503


def test_values_and_vectors_are_in_the_description(http: Http) -> None:
    doc = http("GET", "/openapi.json").json()
    path = doc["paths"]["/v1/db/{db}/kv/{ns}/{key}"]
    binary = {"schema": {"type": "string", "format": "binary"}}
    assert path["put"]["requestBody"] == {"required": True, "content": {"*/*": binary}}
    named = [one["name"] for one in path["put"]["parameters"] if "name" in one]
    assert named == ["db", "ns", "key", "ttl"]
    assert path["get"]["responses"]["200"]["content"] == {"*/*": binary}
    assert "/v1/db/{db}/vectors/{collection}/search" in doc["paths"]


def test_vectors_by_hand(http: Http) -> None:
    docs = "/v1/db/default--alice/vectors/docs"
    one = http("POST", docs, json={"id": "a", "embedding": [1, 0], "metadata": {"n": 1}})
    made = {"upserted": 1, "metric": "cosine", "dimensions": 2, "txid": 1, "notes": []}
    assert one.json() == made
    batch = http("POST", docs, json={"items": [{"id": "search", "embedding": [0, 1]}]})
    assert batch.json()["txid"] == 2
    hits = http("POST", f"{docs}/search", json={"vector": [1, 0], "k": 1}).json()
    assert hits == {"hits": [{"id": "a", "distance": 0.0, "metadata": {"n": 1}}], "txid": 2}
    assert http("GET", f"{docs}/items/search").json()["embedding"] == [0.0, 1.0]
    assert http("GET", docs).json()["count"] == 2
    assert http("DELETE", f"{docs}/items/a").status_code == 204
    assert http("DELETE", docs).status_code == 204
    assert http("GET", "/v1/db/default--alice/vectors").json()["collections"] == []


def test_a_page_of_another_program_s_value_reads_back_in_python(http: Http, node: Node) -> None:
    http("PUT", f"{SPACE}/j", content=b"[1]", headers={"content-type": "application/json"})
    http("PUT", f"{SPACE}/t", content=b"x", headers={"content-type": "text/plain"})
    from palimp.client.transports.embedded import Embedded

    kv = palimp.Client(Embedded(node)).profile("alice").kv
    assert (kv.get("j"), kv.get("t")) == ([1], "x")
