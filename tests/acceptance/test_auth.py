"""A node that asks for credentials: over HTTP, with our client, over MCP."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import palimp
from palimp.api import OPERATIONS
from palimp.api.routes import fill_path, placeholders
from palimp.client import AsyncClient
from palimp.client.transports.folder import Folder
from palimp.client.transports.threaded import Threaded
from palimp.errors import Denied
from palimp.http import create_app
from palimp.node import Node, load_settings
from palimp.node.serving import Served

PLATFORM = "platform-key-of-the-tests"
WITH_MCP = importlib.util.find_spec("mcp") is not None


class Guarded:
    def __init__(self, path: Path, **more: Any) -> None:
        given = {"auth": "on", "platform_key": PLATFORM, "single_node": True, **more}
        self.folder = Folder(load_settings({"data_dir": path, "embed_provider": "none", **given}))
        node = self.folder.node
        assert isinstance(node, Node)
        self.node = node
        mounts: dict[str, Any] = {}
        if WITH_MCP:
            from palimp.mcp import create_mount

            client = AsyncClient(Threaded(self.folder))
            mounts["/mcp"] = create_mount(client, allowed_hosts=None)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.served = Served(create_app(node, mounts=mounts), [listener], read_seconds=10)

    def token(self, namespace: str, profile: str | None, scope: Any) -> str:
        now = self.node.context.clock.now_ms() // 1000
        return self.node.tokens.mint(namespace, profile, scope, now)

    def connect(self, token: str | None) -> palimp.Client:
        return palimp.connect(self.url, token=token, retries=0)

    def close(self) -> None:
        self.served.stop(5)
        self.folder.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("auth") / "m", auth_failure_rate=1_000_000)
    yield made
    made.close()


def test_every_route_asks(house: Guarded) -> None:
    values = {
        "namespace": "acme", "profile": "alice", "db": "acme--alice", "branch": "main",
    }  # fmt: skip
    with httpx.Client(base_url=house.url) as http:
        for row in OPERATIONS.values():
            path = fill_path(row.path, {n: values.get(n, "x") for n in placeholders(row.path)})
            for headers in (
                {},
                {"authorization": "Bearer nonsense"},
                {"authorization": f"Bearer {PLATFORM}x"},
            ):
                answer = http.request(row.method, path, headers=headers)
                assert answer.status_code == 401, (row.name, answer.text)
                assert answer.json()["code"] == "unauthorized"
                assert answer.headers["www-authenticate"] == "Bearer"
    assert house.node.context.engine.names() == ([], False)


def test_what_watches_it_asks_nobody_and_the_metrics_do(house: Guarded) -> None:
    with httpx.Client(base_url=house.url) as http:
        for path in ("/health", "/healthz", "/ready", "/openapi.json", "/docs"):
            assert http.get(path).status_code == 200
        assert http.get("/metrics").status_code == 401
        token = house.token("acme", None, "admin")
        assert http.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 403
        found = http.get("/metrics", headers={"authorization": f"Bearer {PLATFORM}"})
        assert found.status_code in (200, 503)


def test_the_name_it_is_reached_by_does_not_matter(house: Guarded) -> None:
    headers = {"host": "memory.example.com", "authorization": f"Bearer {PLATFORM}"}
    assert httpx.get(house.url + "/v1/node", headers=headers).status_code == 200


def test_our_client_with_every_credential(house: Guarded) -> None:
    with house.connect(PLATFORM) as boss:
        minted = boss.create_token("acme--alice", "write")
        reader = boss.create_token("acme--alice", "read")
        orchestrator = boss.create_namespace_token("acme", "admin")
    with house.connect(minted.token) as client:
        alice = client.profile("alice", namespace="acme")
        alice.remember("An aisle seat")
        for call in (
            lambda: client.profile("bob", namespace="acme").remember("x"),
            lambda: client.profile("alice", namespace="acme-x").remember("x"),
            lambda: client.profile("alice").remember("x"),
            lambda: alice.checkpoint("c"),
            lambda: list(client.profiles(namespace="acme")),
            lambda: list(client.databases()),
            lambda: client.create_token("acme--alice", "read"),
            client.maintain,
        ):
            with pytest.raises(Denied) as caught:
                call()
            assert caught.value.code == "forbidden"
        assert "***" not in repr(client)
        assert minted.token not in repr(client)
    with house.connect(reader.token) as client:
        alice = client.profile("alice", namespace="acme")
        assert [hit.text for hit in alice.recall("seat")] == ["An aisle seat"]
        with pytest.raises(Denied, match="needs scope write, the token has read"):
            alice.remember("x")
    with house.connect(orchestrator.token) as client:
        assert [p.name for p in client.profiles(namespace="acme")] == ["alice"]
        client.profile("alice", namespace="acme").checkpoint("c")
        with house.connect(client.create_token("acme--alice", "admin").token) as other:
            other.profile("alice", namespace="acme").rewind("c")
        with pytest.raises(Denied):
            client.create_namespace_token("acme-x", "read")
    for wrong in (None, "nonsense"):
        with house.connect(wrong) as client, pytest.raises(Denied) as caught:
            client.profile("alice", namespace="acme").remember("x")
        assert caught.value.code == "unauthorized"


def test_processes_of_the_same_user_are_asked_for_nothing(house: Guarded) -> None:
    settings = {
        "embed_provider": "none",
        "auth": "on",
        "platform_key": PLATFORM,
        "single_node": True,
    }
    with palimp.open(house.folder.node.context.about.folder, **settings) as beside:  # type: ignore[union-attr]
        beside.profile("carol", namespace="home").remember("x")
        assert "home" in list(beside.namespaces())


@pytest.mark.skipif(not WITH_MCP, reason="needs the extra mcp")
def test_mcp_calls_in_the_name_of_who_asks(house: Guarded) -> None:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def call(token: str | None, place: str, tool: str, **given: Any) -> Any:
        import httpx2

        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(f"{house.url}/mcp{place}", http_client=http)) as client,
        ):
            return await client.call_tool(tool, given)

    def run(*arguments: Any, **given: Any) -> Any:
        return asyncio.run(call(*arguments, **given))

    writer = house.token("agents", "alice", "write")
    reader = house.token("agents", "alice", "read")
    other = house.token("agents", "bob", "write")
    done = run(writer, "/agents/alice", "memory_remember", text="A window seat")
    assert not done.is_error, done.content
    found = run(reader, "/agents/alice", "memory_recall", query="seat")
    assert not found.is_error
    for token, tool, given in (
        (reader, "memory_remember", {"text": "y"}),
        (other, "memory_remember", {"text": "y"}),
        (other, "memory_recall", {"query": "seat"}),
    ):
        refused = run(token, "/agents/alice", tool, **given)
        assert refused.is_error, tool
        assert "forbidden" in refused.content[0].text
    answer = httpx.post(f"{house.url}/mcp", json={}, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    texts = house.node.context.engine.names("agents")[0]
    assert texts == [("agents", "alice")]


def test_failing_has_a_limit_of_its_own_and_who_is_known_passes(tmp_path: Path) -> None:
    made = Guarded(tmp_path / "m", auth_failure_rate=3, rate_limit=5)
    try:
        with httpx.Client(base_url=made.url) as http:
            wrong = {"authorization": "Bearer nonsense"}
            codes = [http.get("/v1/node", headers=wrong).status_code for _ in range(6)]
            assert codes == [401] * 3 + [429] * 3
            refused = http.get("/metrics", headers=wrong)
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            right = {"authorization": f"Bearer {PLATFORM}"}
            codes = [http.get("/v1/node", headers=right).status_code for _ in range(8)]
            assert codes[:5] == [200] * 5
            assert codes[-1] == 429
            # Of another credential nothing is used up.
            other = {"authorization": f"Bearer {made.token('acme', None, 'read')}"}
            assert http.get("/v1/node", headers=other).status_code == 200
    finally:
        made.close()
