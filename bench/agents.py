"""MCP: what a tool call takes over that of a bare echo, and what the list of tools costs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpus import corpus, queries
from harness import Row, environment, in_turn
from machine import ROOT, filesystem, folder
from serving import served

import palimp
from palimp.mcp import listing

_MEMORIES = 1_000
_QUERIES = 200
_K = 5
_LIST_BYTES_MAX = 6_000
_BYTES_A_TOKEN = 4
_TRANSPORTS = ("stdio", "http")
_FLOOR = (sys.executable, str(ROOT / "bench" / "agents_floor.py"))
_FLOOR_WHAT = "a tool of the same SDK that answers with its arguments"

Call = Callable[[str, dict[str, Any]], dict[str, Any]]


def measure(*, quick: bool) -> list[Row]:
    """Measure the list of tools, then the calls over each transport."""
    rows = [_list()]
    if importlib.util.find_spec("mcp") is None:
        return [*rows, Row("MCP calls", None, "us", note="not measured: the extra mcp is missing")]
    for transport in _TRANSPORTS:
        with folder() as base:
            rows += _calls(base, transport, 40 if quick else 400)
    return rows


def _list() -> Row:
    """Weigh what every agent is shown in every conversation."""
    tools = listing("default")
    size = len(json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":")).encode())
    return Row(
        "list of the default tools",
        size,
        "bytes",
        budget=_LIST_BYTES_MAX,
        note=f"{len(tools)} tools, about {-(-size // _BYTES_A_TOKEN):,} tokens of "
        f"{_BYTES_A_TOKEN} bytes",
    )


def _calls(base: Path, transport: str, count: int) -> list[Row]:
    stored = corpus(_MEMORIES)
    asked = [query.text for query in queries(stored, _QUERIES)]
    with palimp.open(base / "memory") as mem:
        done = mem.profile("default").ingest({"text": one.text} for one in stored.memories)
        identities = [one.id for one in done]
    arguments: dict[str, Callable[[int], dict[str, Any]]] = {
        "memory_get": lambda number: {"id": identities[number % _MEMORIES]},
        "memory_recall": lambda number: {"query": asked[number % _QUERIES], "k": _K},
    }
    ours = (sys.executable, "-m", "palimp", "mcp", "--data", str(base / "memory"))
    with (
        _connected(transport, (*ours, "--http", "0"), ours, base / "ours.log") as call,
        _connected(transport, (*_FLOOR, "http"), (*_FLOOR, "stdio"), base / "floor.log") as echo,
    ):
        assert call("memory_recall", {"query": asked[0], "k": _K})["memories"]
        return [
            _row(tool, transport, (call, echo), given, count, filesystem(base))
            for tool, given in arguments.items()
        ]


def _row(
    tool: str,
    transport: str,
    sides: tuple[Call, Call],
    given: Callable[[int], dict[str, Any]],
    count: int,
    place: str,
) -> Row:
    call, echo = sides
    ours, floor = in_turn(
        [lambda number: call(tool, given(number)), lambda number: echo("echo", given(number))],
        count,
        warmup=max(10, count // 10),
    )
    return Row(
        f"{tool} over {transport}, {_MEMORIES:,} memories ({place})",
        ours.median,
        "us",
        floor.median,
        _FLOOR_WHAT,
        note=f"p95 {ours.p95:,.0f} us, the echo's {floor.p95:,.0f} us; both with the SDK's client",
        detail={"ours": ours.as_json(), "floor": floor.as_json()},
    )


@contextmanager
def _connected(
    transport: str, over_http: tuple[str, ...], over_stdio: tuple[str, ...], log: Path
) -> Iterator[Call]:
    """Yield what calls a tool of a server that runs for as long."""
    from mcp import StdioServerParameters

    if transport == "stdio":
        command, *rest = over_stdio
        with _asked(StdioServerParameters(command=command, args=rest, env=environment())) as call:
            yield call
        return
    with served(over_http, log) as at, _asked(f"{at.url}/mcp") as call:
        yield call


@contextmanager
def _asked(server: Any) -> Iterator[Call]:
    """Keep a client of the SDK in an event loop that runs while it is asked, and only then."""
    from mcp import Client

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        ready, over = loop.create_future(), asyncio.Event()

        async def hold() -> None:
            # Entered and left by one task, as the SDK wants it.
            async with Client(server) as client:
                ready.set_result(client)
                await over.wait()

        held = loop.create_task(hold())
        loop.run_until_complete(asyncio.wait([held, ready], return_when="FIRST_COMPLETED"))
        if held.done():
            held.result()
        client = ready.result()

        def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            done = loop.run_until_complete(client.call_tool(tool, arguments))
            assert not done.is_error, done.content
            found: dict[str, Any] = done.structured_content
            return found

        try:
            yield call
        finally:
            over.set()
            loop.run_until_complete(held)
