"""Which place an address means, wherever the app is mounted, and who is let in."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount as At

import palimp
from palimp.mcp import create_mount

if os.environ.get("BASE_INSTALL_ONLY"):
    pytest.skip("needs the extra mcp", allow_module_level=True)

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}


def post(
    folder: Path,
    paths: list[str],
    *,
    at: str | None = None,
    host: str = "127.0.0.1:9",
    origin: str | None = None,
    body: Any = LIST,
    **options: Any,
) -> list[httpx.Response]:
    """Send one request to each path of an app that has the mount at `at`, or is the mount."""

    async def send() -> list[httpx.Response]:
        async with palimp.open_async(folder) as mem:
            mount = create_mount(mem, **options)
            app = mount if at is None else Starlette(routes=[At(at, mount)])
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            headers = {**HEADERS, "host": host, **({"origin": origin} if origin else {})}
            async with (
                mount.lifespan(),
                httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http,
            ):
                return [
                    await http.post(path, content=json.dumps(body), headers=headers)
                    for path in paths
                ]

    return asyncio.run(send())


def pinned(answer: httpx.Response) -> bool:
    assert answer.status_code == 200, answer.text
    tools = answer.json()["result"]["tools"]
    return "profile" not in tools[0]["inputSchema"]["properties"]


@pytest.mark.parametrize(
    ("at", "open_", "closed"),
    [
        (None, ["/mcp", "/mcp/"], ["/mcp/acme/alice", "/mcp/mcp/alice/", "/mcp/acme/alice@trial"]),
        ("/mcp", ["/mcp/"], ["/mcp/acme/alice", "/mcp/mcp/alice", "/mcp/acme/alice@trial"]),
    ],
)
def test_an_address_means_a_place(
    tmp_path: Path, at: str | None, open_: list[str], closed: list[str]
) -> None:
    answers = post(tmp_path / "m", [*open_, *closed], at=at)
    assert [pinned(one) for one in answers] == [False] * len(open_) + [True] * len(closed)


def test_other_addresses_are_named(tmp_path: Path) -> None:
    one, outside, three, bad, dashes = post(
        tmp_path / "m",
        ["/mcp/acme", "/acme/alice", "/mcp/a/b/c", "/mcp/acme/Bad%20Name", "/mcp/acme/a--b"],
    )
    assert one.status_code == outside.status_code == three.status_code == 404
    assert one.json()["error"]["code"] == "not_found"
    assert "/mcp/{namespace}/{profile}" in three.json()["error"]["message"]
    assert bad.status_code == dashes.status_code == 400
    assert "'Bad Name' is not a valid name" in bad.json()["error"]["message"]


@pytest.mark.parametrize(
    ("host", "origin", "allowed", "status"),
    [
        ("127.0.0.1:8765", None, (), 200),
        ("localhost", "http://localhost:3000", (), 200),
        ("evil.example", None, (), 421),
        ("127.0.0.1.evil.example:80", None, (), 421),
        ("127.0.0.1:80", "http://evil.example", (), 403),
        ("memory.example:8443", "https://memory.example:8443", ("memory.example",), 200),
        ("evil.example", "http://evil.example", None, 200),
    ],
)
def test_a_foreign_host_is_refused_unless_it_is_allowed(
    tmp_path: Path, host: str, origin: str | None, allowed: Any, status: int
) -> None:
    for path in ("/mcp", "/mcp/acme/alice"):
        (answer,) = post(tmp_path / "m", [path], host=host, origin=origin, allowed_hosts=allowed)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "body", [None, [], {}, "x", {"jsonrpc": "2.0", "method": 5}, {**LIST, "method": "no"}]
)
def test_what_is_no_request_is_an_error_and_no_crash(tmp_path: Path, body: Any) -> None:
    (answer,) = post(tmp_path / "m", ["/mcp"], body=body)
    assert answer.status_code < 500
    assert "error" in answer.json()
