"""`palimp mcp --dialect memtrace`: its tools, over stdio, each asked end to end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

if os.environ.get("BASE_INSTALL_ONLY"):
    pytest.skip("needs the extra mcp", allow_module_level=True)

from mcp import Client, MCPError, StdioServerParameters

from palimp.mcp.memtrace import TOOLS

from .conftest import Org

NAMES = [
    "memtrace_remember",
    "memtrace_recall",
    "memtrace_search",
    "memtrace_decide",
    "memtrace_session_create",
    "memtrace_session_context",
    "memtrace_agent_register",
]
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PALIMP_", "MEMTRACE_"))
}
SERVE = [sys.executable, "-W", "error", "-m", "palimp", "mcp", "--dialect", "memtrace"]
Ask = Callable[..., Awaitable[Any]]


def asked(scenario: Callable[[Client], Awaitable[None]], *options: str, **variables: str) -> None:
    """Carry out a scenario with the SDK's client of a process."""

    async def carry_out() -> None:
        command, *arguments = [*SERVE, *options]
        environment = {**CLEAN, **variables}
        parameters = StdioServerParameters(command=command, args=arguments, env=environment)
        async with Client(parameters) as client:
            await scenario(client)

    asyncio.run(carry_out())


async def said(client: Client, name: str, /, **arguments: Any) -> str:
    """Return the text that a tool answers with."""
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert content.type == "text"
    assert not result.is_error, content.text
    return content.text


async def wrong(client: Client, name: str, /, **arguments: Any) -> str:
    """Return the text of a tool's error."""
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert content.type == "text"
    assert result.is_error, content.text
    return content.text


def test_every_tool(org: Org) -> None:
    async def scenario(client: Client) -> None:
        assert client.server_info.name == "memtrace"
        assert "24h" in (client.instructions or "")
        assert [one.name for one in (await client.list_tools()).tools] == NAMES
        text = await said(client, "memtrace_agent_register", name="plänner", description="Plans")
        agent = json.loads(text)
        # Indented by two spaces, and as it is.
        assert text == json.dumps(agent, indent=2, ensure_ascii=False)
        assert agent["name"] == "plänner"
        begun = json.loads(
            await said(client, "memtrace_session_create", agent_id="plänner", metadata={"a": 1})
        )
        assert begun["agent_id"] == agent["id"]
        common = {"agent_id": agent["id"], "session_id": begun["id"]}
        made = json.loads(
            await said(client, "memtrace_remember", **common, content="Booked ☃", tags=["travel"],
                       importance=0.5, metadata={"b": 2}, event_type="tool_call")
        )  # fmt: skip
        assert (made["memory_type"], made["event_type"]) == ("episodic", "tool_call")
        bare = json.loads(await said(client, "memtrace_remember", agent_id="a", content="x"))
        assert (bare["memory_type"], bare["event_type"]) == ("episodic", "general")
        decided = json.loads(
            await said(
                client, "memtrace_decide", agent_id=agent["id"], decision="Go", reasoning="OK"
            )
        )
        assert decided["metadata"] == {"reasoning": "OK"}
        recalled = json.loads(await said(client, "memtrace_recall", agent_id=agent["id"]))
        assert {one["content"] for one in recalled["memories"]} == {"Booked ☃", "Go"}
        narrow = {"since": "2h", "memory_type": "decision", "limit": 1}
        one = json.loads(await said(client, "memtrace_recall", agent_id=agent["id"], **narrow))
        assert [memory["content"] for memory in one["memories"]] == ["Go"]
        query = {"content_contains": "☃", "memory_types": ["episodic"], "tags": ["travel"]}
        found = json.loads(await said(client, "memtrace_search", **query, min_importance=0.5))
        assert [memory["content"] for memory in found["results"]] == ["Booked ☃"]
        assert json.loads(await said(client, "memtrace_search"))["count"] == 3
        context = await said(client, "memtrace_session_context", session_id=begun["id"])
        expected = org.post(f"sessions/{begun['id']}/context").json()["context"]
        assert context == expected
        assert context.startswith(f"## Session Context ({begun['id']})\n\n### Recent Actions (1)\n")
        none = await said(
            client, "memtrace_session_context", session_id=begun["id"], include_types=["entity"],
            max_tokens=100, since="1h",
        )  # fmt: skip
        assert none == f"## Session Context ({begun['id']})\n\n"

    asked(scenario, "--url", org.house.url, "--token", org.key)


def test_what_a_tool_cannot_do_is_said(org: Org) -> None:
    async def scenario(client: Client) -> None:
        await said(client, "memtrace_remember", agent_id="a", content="once")
        twice = await wrong(client, "memtrace_remember", agent_id="a", content="once")
        assert twice == "memtrace api error (status 409): duplicate memory"
        bad = await wrong(client, "memtrace_recall", agent_id="not an id")
        assert bad.startswith("memtrace api error (status 400): invalid agent_id: ")
        bad = await wrong(client, "memtrace_session_context", session_id="../../agents")
        assert bad.startswith("memtrace api error (status 400): invalid session_id: ")
        assert await wrong(client, "memtrace_recall") == "agent_id is required"
        assert "there is no argument 'x'" in await wrong(client, "memtrace_search", x=1)
        with pytest.raises(MCPError, match="there is no tool 'memory_recall'"):
            await client.call_tool("memory_recall", {})

    asked(scenario, MEMTRACE_URL=f"{org.house.mounted}", MEMTRACE_API_KEY=org.key)


def test_a_key_that_is_none_and_a_node_that_is_away(org: Org) -> None:
    async def refused(client: Client) -> None:
        text = await wrong(client, "memtrace_recall", agent_id="a")
        assert text == "memtrace api error (status 401): invalid API key"

    async def away(client: Client) -> None:
        text = await wrong(client, "memtrace_recall", agent_id="a")
        assert text.startswith("memtrace api error (status 0): ")

    asked(refused, "--url", org.house.url, "--token", "mtk_wrong")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asked(away, "--url", f"http://127.0.0.1:{port}", "--token", org.key)


def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SERVE, *options], env={**CLEAN, **variables}, capture_output=True, text=True, timeout=60
    )


def test_what_it_needs() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "MEMTRACE_API_KEY is not set" in done.stderr
    done = run("--token", "k", "--url", "localhost:9100")
    assert done.returncode != 0
    assert "is no URL of a node" in done.stderr
    for option in (["--profile", "alice"], ["--read-only"], ["--http", "0"]):
        done = run("--token", "k", *option)
        assert done.returncode != 0
        assert f"{option[0]} is not for the tools of memtrace" in done.stderr


def test_the_tools_are_printed() -> None:
    done = run("--list-tools")
    assert done.returncode == 0
    listed = json.loads(done.stdout)["tools"]
    assert [one["name"] for one in listed] == NAMES == list(TOOLS)
    for one in listed:
        assert set(one["inputSchema"]["required"]) <= set(one["inputSchema"]["properties"])
    reading = [one["name"] for one in listed if one["annotations"]["readOnlyHint"]]
    assert reading == ["memtrace_recall", "memtrace_search", "memtrace_session_context"]
