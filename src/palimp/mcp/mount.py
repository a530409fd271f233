"""MCP over HTTP as an ASGI app: one server and one session manager for every address.

`/mcp` lets the caller choose namespace and profile; `/mcp/{namespace}/{profile}` pins them. The
address is turned into a `Place` in the scope of the request, where the server's handlers find it,
so that any number of profiles costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ..errors import Error, NotFound
from .places import Place
from .server import PLACE_KEY

__all__ = ["MOUNT_PATH", "Mount"]

MOUNT_PATH = "mcp"
_ADDRESSES = "there are /mcp and /mcp/{namespace}/{profile}"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Mount:
    """An ASGI app for `/mcp` and what is below it, mounted there or at the root.

    It answers only inside its `lifespan`, which can be entered once. Every request stands alone: a
    restart or another node in between goes unnoticed. A request whose Host header is neither
    loopback nor in `allowed_hosts` is refused (421), so that no web page reaches a server on the
    reader's own machine by a name of its own; None allows every host.
    """

    def __init__(
        self, server: Server[Any], default: Place, allowed_hosts: Sequence[str] | None
    ) -> None:
        self._default = default
        self._manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            security_settings=_security(allowed_hosts),
        )

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Return what the outer app has to keep open while it serves."""
        return self._manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise AssertionError(f"the mount serves http, not {scope['type']}")
        try:
            place = self._place(scope)
        except Error as error:
            status = 404 if isinstance(error, NotFound) else 400
            body = {"error": {"code": error.code, "message": error.message}}
            await JSONResponse(body, status)(scope, receive, send)
            return
        await self._manager.handle_request({**scope, PLACE_KEY: place}, receive, send)

    def _place(self, scope: Scope) -> Place:
        """Return the place an address means, whether `/mcp` is where this is mounted or not."""
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        words = [word for word in path.split("/") if word]
        if not root.endswith(f"/{MOUNT_PATH}"):
            if words[:1] != [MOUNT_PATH]:
                raise NotFound(f"there is nothing at {path!r:.200}; {_ADDRESSES}")
            del words[0]
        if not words:
            return self._default
        if len(words) != 2:
            raise NotFound(f"there is nothing at {scope['path']!r:.200}; {_ADDRESSES}")
        return Place(words[0], words[1], pinned=True)


def _security(allowed_hosts: Sequence[str] | None) -> TransportSecuritySettings:
    if allowed_hosts is None:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    hosts = (*LOOPBACK_HOSTS, *allowed_hosts)
    with_ports = [name for host in hosts for name in (host, f"{host}:*")]
    return TransportSecuritySettings(
        allowed_hosts=with_ports,
        allowed_origins=[
            f"{scheme}://{name}" for scheme in ("http", "https") for name in with_ports
        ],
    )
