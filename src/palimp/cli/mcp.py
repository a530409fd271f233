"""`palimp mcp`: memory tools for an agent, over stdio or HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any, get_args

import click
from click.core import ParameterSource

import palimp

from ..addresses import is_loopback
from ..client import AsyncClient
from ..errors import Invalid, Unavailable
from ..mcp import ToolSet, create_mount, create_server, listing, need_sdk
from ..mcp.places import Place as Meant
from .common import Place

HOST_DEFAULT = "127.0.0.1"
# What says which memories are meant, and how they are offered: not for tools of another system.
_OURS = ("data", "namespace", "profile", "tools", "read_only", "http")


@click.command("mcp")
@click.option(
    "--data",
    metavar="FOLDER",
    help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory]",
)
@click.option("--url", help="A node instead. [default: PALIMP_URL, unless --data is given]")
@click.option("--token", help="Its token. [default: PALIMP_TOKEN]")
@click.option("--namespace", default="default", show_default=True, help="If a call names none.")
@click.option("--profile", default="default", show_default=True, help="If a call names none.")
@click.option(
    "--tools",
    type=click.Choice(get_args(ToolSet)),
    default="default",
    help="Which: the default ones, and those for relations, for governance, or all.",
)
@click.option("--read-only", is_flag=True, help="Only tools that read.")
@click.option("--http", metavar="[HOST:]PORT", help="Serve HTTP on loopback instead of stdio.")
@click.option("--list-tools", is_flag=True, help="Print the tools as JSON and end.")
@click.option(
    "--dialect",
    type=click.Choice(["memtrace"]),
    help="Its tools instead, over stdio: requests to a node that speaks it, at --url or "
    "MEMTRACE_URL [default: http://localhost:9100], with the API key of --token or "
    "MEMTRACE_API_KEY.",
)
def command(
    data: str | None,
    url: str | None,
    token: str | None,
    namespace: str,
    profile: str,
    tools: ToolSet,
    read_only: bool,
    http: str | None,
    list_tools: bool,
    dialect: str | None,
) -> None:
    """Serve memory tools to an agent (MCP), on standard input and output.

    \b
    palimp mcp --data ./memory
    palimp mcp --data ./memory --profile alice --read-only
    palimp mcp --data ./memory --http 8765      then: http://127.0.0.1:8765/mcp
    palimp mcp --dialect memtrace --url http://127.0.0.1:9100 --token mtk_...
    """
    if dialect is not None:
        _serve_dialect(url, token, list_tools=list_tools)
        return
    if list_tools:
        _print_tools(tools, read_only)
        return
    need_sdk()
    where = Place(data=data, url=url, token=token, namespace=namespace)
    Meant(namespace, profile)  # refuses a bad name before a folder is made
    from ..mcp.serving import serve_http, serve_stdio

    if http is None:
        client = _client(where, token)
        server = create_server(
            client, namespace=namespace, profile=profile, tools=tools, read_only=read_only
        )
        asyncio.run(serve_stdio(server, client))
        return
    with _listener(http) as listener:
        client = _client(where, token)
        mount = create_mount(
            client, namespace=namespace, profile=profile, tools=tools, read_only=read_only
        )
        asyncio.run(serve_http(mount, client, listener, _say))


def _serve_dialect(url: str | None, token: str | None, *, list_tools: bool) -> None:
    """Serve the tools of another system: they reach one node, over HTTP."""
    from ..mcp import memtrace

    context = click.get_current_context()
    for name in _OURS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise Invalid(f"--{option} is not for the tools of memtrace; give --url and --token")
    if list_tools:
        _print([one.shown(name) for name, one in memtrace.TOOLS.items()])
        return
    need_sdk()
    from ..mcp.serving import serve_stdio

    where = url or os.environ.get(memtrace.URL_VARIABLE) or memtrace.URL_DEFAULT
    relay = memtrace.Relay(where, token or os.environ.get(memtrace.KEY_VARIABLE))
    asyncio.run(serve_stdio(memtrace.build(relay), relay))


def _client(where: Place, token: str | None) -> AsyncClient:
    if where.url is None:
        return palimp.open_async(where.data)
    return palimp.connect_async(where.url, token=token)


def _listener(address: str) -> socket.socket:
    """Return a socket that listens on `[HOST:]PORT`; the host has to be this machine's own."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or HOST_DEFAULT
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise Invalid(f"--http {address!r:.80} is not [HOST:]PORT, for instance 8765")
    if not is_loopback(host):
        raise Invalid(
            f"--http listens on loopback only, and {host} is not; "
            "for other machines, use `palimp serve`, which asks for tokens"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, because only then asyncio sends small answers at once (40 ms each otherwise).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen()
    except OSError as error:
        listener.close()
        raise Unavailable(f"--http {address}: {error.strerror}; choose another port") from error
    return listener


def _print_tools(tools: ToolSet, read_only: bool) -> None:
    _print(listing(tools, read_only=read_only))


def _print(listed: list[dict[str, Any]]) -> None:
    text = json.dumps({"tools": listed}, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    click.echo(text)
    click.echo(f"{len(listed)} tools, {size:,} bytes, about {-(-size // 4):,} tokens", err=True)


def _say(where: str) -> None:
    click.echo(f"palimp mcp: {where}", err=True)
