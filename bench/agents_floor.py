"""The floor of a tool call: a server of the same SDK whose one tool answers with its arguments.

    python bench/agents_floor.py stdio|http

Everything but the tool is as `palimp mcp` has it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Route

_ANYTHING = {"type": "object"}


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    """List the one tool."""
    tool = types.Tool(name="echo", input_schema=_ANYTHING, output_schema=_ANYTHING)
    return types.ListToolsResult(tools=[tool])


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Answer with the arguments, as text and as structure."""
    given = params.arguments or {}
    text = types.TextContent(type="text", text=json.dumps(given))
    return types.CallToolResult(content=[text], structured_content=given)


async def over_stdio(server: Server[Any]) -> None:
    """Serve until standard input ends."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def over_http(server: Server[Any]) -> None:
    """Serve until the process is ended, as `palimp mcp --http` does."""
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class Handler:
        """An object, not a function: Starlette hands those a request instead."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await manager.handle_request(scope, receive, send)

    app = Starlette(routes=[Route("/mcp", Handler())], lifespan=lifespan)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        config = uvicorn.Config(app, log_config=None, lifespan="on")
        await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    echo: Server[Any] = Server("echo", on_list_tools=list_tools, on_call_tool=call_tool)
    asyncio.run((over_stdio if sys.argv[1] == "stdio" else over_http)(echo))
