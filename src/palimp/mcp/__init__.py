"""MCP: the memory tools of an agent, over stdio and streamable HTTP, for any client.

The SDK (extra `mcp`) is imported when a server is made; the table of tools needs none of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..client import AsyncClient
from ..errors import Unconfigured
from .places import Place
from .tools import TOOLS, ToolSet, listing

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from .mount import Mount

__all__ = ["TOOLS", "ToolSet", "create_mount", "create_server", "listing", "need_sdk"]

PROFILE_DEFAULT = "default"
NAMESPACE_DEFAULT = "default"


def create_server(
    client: AsyncClient,
    *,
    namespace: str = NAMESPACE_DEFAULT,
    profile: str = PROFILE_DEFAULT,
    tools: ToolSet = "default",
    read_only: bool = False,
) -> Server[Any]:
    """Return an MCP server over a client; the caller goes on owning the client.

    `namespace` and `profile` are meant where a call names none. With `read_only` no tool that
    writes exists. Raises `Unconfigured` without the extra `mcp`, `Invalid` for bad names.
    """
    need_sdk()
    from .server import build

    return build(client, Place(namespace, profile), tools, read_only)


def create_mount(
    client: AsyncClient,
    *,
    namespace: str = NAMESPACE_DEFAULT,
    profile: str = PROFILE_DEFAULT,
    tools: ToolSet = "default",
    read_only: bool = False,
    allowed_hosts: Sequence[str] | None = (),
) -> Mount:
    """Return an ASGI app for `/mcp` and `/mcp/{namespace}/{profile}`; see `Mount`.

    The outer app keeps `mount.lifespan()` open while it serves; the caller goes on owning the
    client. Raises as `create_server` does.
    """
    place = Place(namespace, profile)
    server = create_server(
        client, namespace=namespace, profile=profile, tools=tools, read_only=read_only
    )
    from .mount import Mount

    return Mount(server, place, allowed_hosts)


def need_sdk() -> None:
    """Raise `Unconfigured` where the SDK is not installed."""
    try:
        importlib.import_module("mcp.server.lowlevel")
    except ImportError as error:
        raise Unconfigured(
            "palimp mcp needs the extra `mcp`; install it with: pip install 'palimp[mcp]'"
        ) from error
