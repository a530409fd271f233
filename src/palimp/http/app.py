"""The whole app of a node: its operations, what watches it, and what is mounted beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from ..addresses import is_loopback
from ..api.answers import STATUS, Answer, encode_error
from ..api.wire import JSON_TYPE
from ..errors import Denied, Error, Internal, Invalid, NotFound, Unavailable, Unconfigured
from ..node import Node
from ..operations import CALLER
from .api import Api, Limits
from .dialects import DIALECTS, Dialect
from .following import Followers
from .messages import Receive, Scope, Send, send_answer
from .metrics import METRICS_TYPE, exposition
from .openapi import description
from .page import page, policy
from .ready import ready

__all__ = ["App", "Mounted", "create_app", "misdirected"]

_MISDIRECTED = 421
_ONLY_JSON = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

Handler = Callable[[Request], Awaitable[Response]]


class Mounted(Protocol):
    """An app beside the operations, under a path of its own and with errors in a shape of its own.

    It answers inside its `lifespan` only.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""

    def lifespan(self) -> Any:
        """Return an async context that is entered while the node serves."""


class _Guarded:
    """A mounted app, whose callers are known: it calls the node in their name."""

    def __init__(self, node: Node, api: Api, mounted: Mounted) -> None:
        self._tracing = node.tracing
        self._api = api
        self._mounted = mounted
        self.lifespan = mounted.lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        headers = Headers(scope=scope)
        try:
            principal = self._api.authenticate(headers.get("authorization"), _address(scope))
        except (Denied, Unavailable) as error:
            await send_answer(send, encode_error(error))
            return
        token = CALLER.set(principal)
        try:
            with self._tracing.continued(headers) if self._tracing else nullcontext():
                await self._mounted(scope, receive, send)
        finally:
            CALLER.reset(token)


class App:
    """What a server is handed: the operations under `/v1`, everything else beside them.

    Each of the `dialects` is below its name, and at the root of those of the `ports` that are its.
    """

    def __init__(
        self,
        api: Api,
        beside: Starlette,
        dialects: Mapping[str, Dialect],
        ports: Mapping[int, str],
        *,
        open_to_all: bool,
        asking: Collection[str] = (),
    ) -> None:
        self.api = api
        self._beside = beside
        self._dialects = {f"/{name}": dialect for name, dialect in dialects.items()}
        self._ports: dict[int | None, Dialect] = {
            port: dialects[name] for port, name in ports.items()
        }
        self._open_to_all = open_to_all
        # At these everybody is asked for a key of the dialect.
        self._asking = {port for port, name in ports.items() if name in asking}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the server's life."""
        if scope["type"] == "http":
            by_name = self._open_to_all and _port(scope) not in self._asking
            refusal = misdirected(scope) if by_name else None
            if refusal is not None:
                await send_answer(send, refusal)
                return
            dialect = self._ports.get(_port(scope)) if self._ports else None
            if dialect is not None:
                await dialect(scope, receive, send)
                return
            # Not through the routes of Starlette: they match decoded paths, in which a name with a
            # slash would be two.
            if scope["path"].startswith("/v1/"):
                await self.api(scope, receive, send)
                return
            word = scope["path"][: scope["path"].find("/", 1)]
            if word in self._dialects:
                await self._dialects[word]({**scope, "root_path": word}, receive, send)
                return
        await self._beside(scope, receive, send)


def create_app(
    node: Node,
    *,
    limits: Limits | None = None,
    mounts: Mapping[str, Mounted] | None = None,
    ports: Mapping[int, str] | None = None,
    trusted: bool = False,
) -> App:
    """Return the app of a node; without `limits` those of its settings hold.

    `mounts` are apps by path; each answers that path and what is below it, to who has a credential
    where the node asks for one. `ports` are those that speak a dialect, and which; the others speak
    ours, and every dialect below its name. With `trusted` it asks nobody, and has none of them.
    """
    limits = limits or Limits.of(node.settings)
    api = Api(node, limits, trusted=trusted)
    dialects = {} if trusted else {name: make(api, limits) for name, make in DIALECTS.items()}
    beside = {path: _Guarded(node, api, mounted) for path, mounted in (mounts or {}).items()}
    followers = None if trusted or node.cluster is None else Followers(node, limits)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for mounted in beside.values():
                await stack.enter_async_context(mounted.lifespan())
            yield
        api.close()
        if followers is not None:
            followers.close()

    routes: list[BaseRoute] = [
        *(Route(path, handler) for path, handler in _pages(node, api).items()),
        # The path itself has a route: a mount answers it with a redirect.
        *(Route(path, mounted) for path, mounted in beside.items()),
        *(Mount(path, mounted) for path, mounted in beside.items()),
        *([] if followers is None else [Route("/cluster/{word}", followers)]),
    ]
    handlers = {HTTPException: _refused, Exception: _crashed}
    starlette = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    # It would lead to wherever the request's Host header says.
    starlette.router.redirect_slashes = False
    open_to_all = trusted or not node.context.access.on
    asking = ("memtrace",) if node.settings.memtrace_auth else ()
    return App(api, starlette, dialects, ports or {}, open_to_all=open_to_all, asking=asking)


def _pages(node: Node, api: Api) -> dict[str, Handler]:
    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readiness(_request: Request) -> Response:
        found = ready(node, api)
        status = 200 if found.status == "ready" else STATUS["unavailable"]
        return Response(msgspec.json.encode(found), status, _ONLY_JSON, JSON_TYPE)

    async def openapi(_request: Request) -> Response:
        return Response(description(), 200, {"x-content-type-options": "nosniff"}, JSON_TYPE)

    async def docs(_request: Request) -> Response:
        return Response(page(), 200, {"content-security-policy": policy()}, "text/html")

    async def metrics(request: Request) -> Response:
        try:
            asks = api.authenticate(request.headers.get("authorization"), _address(request.scope))
            if asks.kind not in ("owner", "platform"):
                raise Denied("the metrics of a node need the platform key")
            return Response(exposition(node, api), headers={"content-type": METRICS_TYPE})
        except (Denied, Unavailable, Unconfigured) as error:
            return _error(error, STATUS[error.code])

    return {
        "/health": health,
        "/healthz": health,
        "/ready": readiness,
        "/metrics": metrics,
        "/openapi.json": openapi,
        "/docs": docs,
    }


def _port(scope: Scope) -> int | None:
    """Return the port at which a request came; None for a Unix socket's."""
    server = scope.get("server")
    return None if server is None else server[1]


def misdirected(scope: Scope) -> Answer | None:
    """Return the refusal of a request that cannot be meant for this node.

    Without credentials, what keeps a web page away from a node on its reader's machine is the name
    it has to ask for: one that its owner lets point at this machine is still the page's.
    """
    if not scope["raw_path"].startswith(b"/"):
        return encode_error(Invalid("the target of a request is a path here, no whole address"))
    server = scope.get("server")
    if server is None or server[1] is None:
        # A Unix socket, which no browser reaches.
        return None
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts or is_loopback(_host_name(hosts[0].decode("latin-1"))):
        return None
    refusal = Invalid(
        f"Host is {hosts[0][:80].decode('latin-1')!r}; ask for 127.0.0.1 or localhost. A proxy has "
        "to send on that name"
    )
    return encode_error(refusal, _MISDIRECTED)


def _host_name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "-"


def _error(error: Error, status: int, headers: dict[str, str] | None = None) -> Response:
    answer = encode_error(error, status)
    return Response(answer.body, status, {**answer.headers, **_ONLY_JSON, **(headers or {})})


def _refused(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses, in our shape: a method that a route does not take."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:200]
    if error.status_code == STATUS["not_found"]:
        return _error(NotFound(f"there is no route {path!r}"), error.status_code)
    said = Invalid(f"{path!r} does not take {request.method[:20]}")
    return _error(said, error.status_code, dict(error.headers or {}))


def _crashed(_request: Request, _cause: Exception) -> Response:
    return _error(Internal("a defect of this node; its log has the details"), STATUS["internal"])
