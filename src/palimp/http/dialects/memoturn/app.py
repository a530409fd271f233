"""The dialect as an ASGI app: each request becomes one of ours, whose answer is turned back.

What is sent on is admitted, authenticated, limited, counted and carried out by `Api`, like
whatever comes to it directly; here is only what is called otherwise there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from ....api import OPERATIONS, Operation
from ....api.answers import STATUS, Answer, encode_error
from ....api.routes import fill_path, placeholders
from ....api.wire import NO_CONTENT
from ....errors import Error, Internal, Invalid, Kept, NotFound, Unconfigured
from ....ids import parse_database_spec
from ....observe import logger
from ...api import Api, Limits
from ...messages import Receive, Scope, Send, joined_headers, read_body, send_answer
from ...room import Room, Share
from .routes import Route, Routes

__all__ = ["Memoturn"]

_LOG = logger("http")
_OURS, _THEIRS = b"palimp-", b"memoturn-"
# Headers of ours that have the same meaning there under their prefix.
_RENAMED = (b"txid", b"min-txid", b"branch", b"request-id")
_CONSISTENCY = ("primary", "cached")
_DURABILITY = ("standard", "durable")
# So many bodies of the largest size are translated at a time.
_LARGEST_BODIES = 8
# What takes longer to translate than to hand to a thread.
_LARGE_BYTES = 1 << 16
_WRONG_METHOD = 405
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Memoturn:
    """Answers in the dialect, at the root of a port or below where it is mounted."""

    def __init__(self, api: Api, limits: Limits) -> None:
        self._api = api
        self._limits = limits
        self._routes = Routes()
        self._room = Room(limits.body_bytes * _LARGEST_BODIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = joined_headers(scope["headers"])
        kept = Kept()
        with kept:
            route, values = self._match(scope)
            if route.operation is None:
                address = scope["client"][0] if scope.get("client") else "-"
                await send_answer(send, self._without_operation(route, headers, address))
                return
            operation = OPERATIONS[route.operation]
            ours = _request(scope, operation, route, values, headers)
            with self._room.share() as share:
                body = _Body(self._limits, operation, route, headers, receive, share)
                answer = _Answer(operation, route, body, send)
                await self._api(ours, body.receive, answer.send)
        if kept.error is not None:
            # Before anything was sent: what is carried out by `Api` has its errors from there, and
            # what cannot be turned back was not begun.
            await send_answer(send, _refused(_known(kept.error), headers))

    def _match(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        path: bytes = scope["raw_path"].removeprefix(scope["root_path"].encode())
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        match = self._routes.match(method, path)
        shown = path[:200].decode("ascii", "replace")
        if match is None:
            raise NotFound(f"there is no route {shown}")
        if match.route is None:
            allowed = ", ".join(match.allowed)
            raise Invalid(f"{shown} takes {allowed}, not {method[:20]}", allow=allowed)
        return match.route, match.values

    def _without_operation(self, route: Route, headers: Mapping[str, str], address: str) -> Answer:
        if route.refusal is None:
            return Answer(200, {**_HEADERS, "content-type": "text/plain; charset=utf-8"}, b"ok")
        self._api.authenticate(headers.get("authorization"), address)
        raise Unconfigured(f"{route.method} {route.path}: {route.refusal}")


class _Body:
    """The body of a request, in our words once it is asked for."""

    def __init__(
        self,
        limits: Limits,
        operation: Operation,
        route: Route,
        headers: Mapping[str, str],
        receive: Receive,
        share: Share,
    ) -> None:
        self._bytes_max = limits.body_bytes if operation.writes else limits.query_bytes
        self._seconds = limits.read_seconds
        self._operation = operation
        self._work = route.body
        self._headers = headers
        self._receive = receive
        self._share = share
        self._read = False
        # What was sent on, for whoever turns the answer back.
        self.sent: dict[str, Any] = {}

    async def receive(self) -> Any:
        """Return the next message of the request. Raises what `read_body` does, and `Invalid`."""
        if self._work is None or self._read:
            return await self._receive()
        self._read = True
        given = await read_body(
            self._headers, self._receive, self._bytes_max, self._seconds, self._share
        )
        return {"type": "http.request", "body": await _apart(self._translate, given)}

    def _translate(self, given: bytes) -> bytes:
        assert self._work is not None
        self.sent = self._work(_fields(given, self._operation.name))
        return msgspec.json.encode(self.sent)


class _Answer:
    """Passes an answer on, turned back into the dialect."""

    def __init__(self, operation: Operation, route: Route, body: _Body, send: Send) -> None:
        self._operation = operation
        self._route = route
        self._body = body
        self._send = send
        self._status = 0
        self._headers: dict[str, str] = {}
        # None: what comes is passed on as it is.
        self._pieces: list[bytes] | None = None

    async def send(self, message: Any) -> None:
        """Take the next message of our answer."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._pieces is None:
            await self._send(message)
        else:
            self._pieces.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._finish(b"".join(self._pieces))

    async def _start(self, message: Any) -> None:
        self._status = message["status"]
        done = self._status == self._operation.success
        if done and self._route.status is not None:
            self._status = self._route.status
        headers = [(_renamed(name, _OURS, _THEIRS), value) for name, value in message["headers"]]
        if self._status == NO_CONTENT or (done and self._route.answer is None):
            await self._send({**message, "status": self._status, "headers": headers})
            return
        self._headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in headers}
        # That of what is sent instead is another.
        del self._headers["content-length"]
        self._pieces = []

    async def _finish(self, given: bytes) -> None:
        body = await _apart(self._translate, given)
        await send_answer(self._send, Answer(self._status, self._headers, body))

    def _translate(self, given: bytes) -> bytes:
        fields = msgspec.json.decode(given)
        if self._route.answer is None or self._status >= STATUS["invalid_request"]:
            return _envelope(fields["error"], fields["code"])
        return msgspec.json.encode(self._route.answer(fields, self._body.sent))


async def _apart(work: Callable[[bytes], bytes], given: bytes) -> bytes:
    """Return what a translation makes of a body; of a large one beside the event loop."""
    return work(given) if len(given) < _LARGE_BYTES else await asyncio.to_thread(work, given)


def _request(
    scope: Scope,
    operation: Operation,
    route: Route,
    values: Mapping[str, str],
    headers: Mapping[str, str],
) -> Scope:
    """Return the scope of our request."""
    extra: list[tuple[str, str]] = []
    filled = dict(values)
    if "db" in values and "{namespace}" in operation.path:
        filled["namespace"], filled["profile"], branch = parse_database_spec(values["db"])
        extra += [("branch", branch)] if branch else []
    query = route.query(scope["query_string"])
    if extra:
        query += (b"&" if query else b"") + urlencode(extra).encode()
    path = fill_path(operation.path, {n: filled[n] for n in placeholders(operation.path)})
    return {
        **scope,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": _our_headers(scope["headers"], headers, query),
    }


def _our_headers(
    raw: list[tuple[bytes, bytes]], headers: Mapping[str, str], query: bytes
) -> list[tuple[bytes, bytes]]:
    """Return the headers of our request.

    A list is never asked for as lines, nor what removes something for more than that it is done.
    """
    ours = [
        (_renamed(name, _THEIRS, _OURS), value)
        for name, value in raw
        if not name.startswith(_OURS) and name not in (b"accept", b"prefer")
    ]
    # `standard` never lowers what the node does, so it says nothing.
    if _one_of(headers, "durability", _DURABILITY) == "durable":
        ours.append((_OURS + b"durability", b"durable"))
    consistency = _one_of(headers, "consistency", _CONSISTENCY)
    # What a query says of one key is nearer to it.
    if consistency is not None and b"consistency=" not in query:
        ours.append((_OURS + b"consistency", consistency.encode()))
    return ours


def _renamed(name: bytes, prefix: bytes, other: bytes) -> bytes:
    bare = name.removeprefix(prefix)
    return other + bare if bare != name and bare in _RENAMED else name


def _one_of(headers: Mapping[str, str], name: str, words: tuple[str, ...]) -> str | None:
    given = headers.get(f"memoturn-{name}")
    if given is not None and given not in words:
        raise Invalid(f"Memoturn-{name.title()} is {given!r:.40}; give {' or '.join(words)}")
    return given


def _fields(given: bytes, what: str) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{what}: the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Invalid(f"{what}: the body must be a JSON object")
    return fields


def _known(error: Exception) -> Error:
    """Return an error that may be shown: of a defect only that there is one."""
    if isinstance(error, Error):
        return error
    _LOG.error("a request could not be translated", exc_info=error)
    return Internal("a defect of this node, whose log has the details; please report it")


def _refused(error: Error, headers: Mapping[str, str]) -> Answer:
    """Return the answer to what never became a request of ours; `headers` are its own."""
    allow = error.details.get("allow")
    answer = encode_error(error, None if allow is None else _WRONG_METHOD)
    extra = {} if allow is None else {"allow": allow}
    if "expect" in headers:
        # A client that was not told to go on may take this for the whole exchange.
        extra["connection"] = "close"
    body = _envelope(str(error), error.code)
    return Answer(answer.status, {**_HEADERS, **answer.headers, **extra}, body)


def _envelope(error: str, code: str) -> bytes:
    return msgspec.json.encode({"error": error, "code": code})
