"""Running the server by itself, over stdio or on a loopback port, until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount as At
from starlette.routing import Route

from ..client import AsyncClient
from ..errors import Error
from .memtrace import Relay
from .mount import Mount

__all__ = ["serve_http", "serve_stdio"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve_stdio(server: Server[Any], client: AsyncClient | Relay) -> None:
    """Serve one host on standard input and output until its end or a signal; closes the client.

    While it serves, what anything else prints goes to standard error.
    """
    async with client:
        ending = asyncio.ensure_future(_end_on_signal(client))
        try:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        except* BrokenPipeError:
            pass  # a host that has closed its end wants no answer any more
        finally:
            ending.cancel()


async def serve_http(
    mount: Mount, client: AsyncClient, listener: socket.socket, said: Callable[[str], None]
) -> None:
    """Serve /mcp and /health on a socket that listens until a signal comes; closes the client."""
    async with client:
        config = uvicorn.Config(_app(mount), log_config=None, lifespan="on")
        server = _Quiet(config)
        ending = asyncio.ensure_future(_stop_on_signal(server))
        host, port = listener.getsockname()[:2]
        said(f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp")
        try:
            await server.serve(sockets=[listener])
        finally:
            ending.cancel()


class _Quiet(uvicorn.Server):
    """Leaves the signals to us: uvicorn would raise them again before the client is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _app(mount: Mount) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with mount.lifespan():
            yield

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    # /mcp itself has a route, because a mount answers it with a redirect.
    routes = [Route("/health", health), Route("/mcp", mount), At("/mcp", mount)]
    return Starlette(routes=routes, lifespan=lifespan)


async def _signalled() -> None:
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, came.set)
    await came.wait()


async def _stop_on_signal(server: uvicorn.Server) -> None:
    await _signalled()
    server.should_exit = True


async def _end_on_signal(client: AsyncClient | Relay) -> None:
    """Close the client and leave at once: the thread that waits for input cannot be woken."""
    await _signalled()
    code = 1
    try:
        await client.close()
        code = 0
    except Error as error:
        print(f"palimp: {error.code}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)
