"""What a gateway answers itself: whether it is there, whether it can work, and its metrics."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from ..api import API_VERSION
from ..api.answers import STATUS, Answer, encode_error
from ..api.wire import JSON_TYPE
from ..errors import Denied, Error, Unavailable, Unconfigured
from ..observe import Metrics
from ..version import __version__
from .gateway_peers import Peers, View
from .metrics import METRICS_TYPE, gateway_exposition

__all__ = ["GatewayReady", "Pages", "no_nodes"]

_ONLY_JSON = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_RETRY_SECONDS = 1.0

Page: TypeAlias = Callable[[str | None], Awaitable[Answer]]


class GatewayReady(msgspec.Struct, kw_only=True):
    """Whether requests are passed on. `warnings` are sentences for whoever runs the gateway.

    `heard_seconds` ago the lease store answered last.
    """

    status: str
    release: str
    api: int
    nodes: int
    draining: int
    databases: int
    heard_seconds: float | None
    in_flight: int
    warnings: tuple[str, ...]


class Pages:
    """Answers by path, to who has a credential where `platform_key` says that one is needed."""

    def __init__(
        self,
        peers: Peers,
        metrics: Metrics,
        *,
        open_to_all: bool,
        platform_key: str | None,
        busy: Callable[[], tuple[int, bool]],
    ) -> None:
        self._peers = peers
        self._metrics = metrics
        self._open_to_all = open_to_all
        self._platform_key = platform_key
        # How many requests are under way, and whether new ones are refused.
        self._busy = busy
        self._pages: dict[bytes, Page] = {
            b"/health": self._health,
            b"/healthz": self._health,
            b"/ready": self._ready,
            b"/metrics": self._shown,
        }

    def of(self, method: str, raw_path: bytes) -> Page | None:
        """Return what answers; None where a node does. It is called with the `Authorization`."""
        return self._pages.get(raw_path) if method in ("GET", "HEAD") else None

    async def _health(self, _header: str | None) -> Answer:
        return Answer(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")

    async def _ready(self, _header: str | None) -> Answer:
        view, (in_flight, draining) = await self._peers.look(), self._busy()
        status = "draining" if draining else "ready" if view.nodes else "no nodes"
        found = GatewayReady(
            status=status,
            release=__version__,
            api=API_VERSION,
            nodes=view.nodes,
            draining=view.draining,
            databases=view.databases,
            heard_seconds=view.heard_seconds,
            in_flight=in_flight,
            warnings=_warnings(view),
        )
        headers = {**_ONLY_JSON, "content-type": JSON_TYPE}
        code = 200 if status == "ready" else STATUS["unavailable"]
        return Answer(code, headers, msgspec.json.encode(found))

    async def _shown(self, header: str | None) -> Answer:
        try:
            self._check(header)
            body = gateway_exposition(self._metrics, self._busy()[0], self._peers.view())
            return Answer(200, {"content-type": METRICS_TYPE}, body)
        except (Denied, Unconfigured) as error:
            answer = encode_error(error)
            return answer._replace(headers={**answer.headers, **_ONLY_JSON})

    def _check(self, header: str | None) -> None:
        if self._open_to_all:
            return
        if self._platform_key is None:
            raise Unconfigured(
                "the metrics of a gateway need the platform key, which this one does not have: "
                "set PALIMP_PLATFORM_KEY for it too"
            )
        scheme, _, given = (header or "").partition(" ")
        key = self._platform_key.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key):
            raise Denied("the metrics of a gateway need the platform key", code="unauthorized")


def no_nodes(view: View) -> Error:
    """Return the error of a request where nobody is there to answer it."""
    problem = f"; the lease store: {view.problem}" if view.problem else ""
    return Unavailable(
        f"no node is alive that this gateway knows of{problem}. Start one with the same lease "
        "store and object store, then repeat it",
        reason="nodes",
        retry_after=_RETRY_SECONDS,
    )


def _warnings(view: View) -> tuple[str, ...]:
    found = []
    if not view.nodes:
        found.append("no node is alive; start one with the same lease store and object store")
    elif view.draining == view.nodes:
        found.append("every node is stopping")
    if view.problem is not None:
        ago = (
            "nothing was heard of it yet"
            if view.heard_seconds is None
            else f"it answered {view.heard_seconds:.0f} s ago"
        )
        found.append(
            f"the lease store does not answer ({ago}), so requests go by what was known then: "
            f"{view.problem}"
        )
    return tuple(found)
