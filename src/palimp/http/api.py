"""The operations as one ASGI app: match, read, decode, call, answer; every error in one shape."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..api import Operation, Options, Target
from ..api.answers import Answer, encode_answer, encode_error
from ..api.base import Request, Result
from ..api.limits import BODY_BYTES_QUERY_MAX
from ..api.routes import Match, Router
from ..api.wire import (
    FILE_TYPES,
    HEADER_REQUEST_ID,
    JSON_TYPE,
    carries_file,
    decode_call,
    file_type,
)
from ..engine import check_request_id
from ..errors import Denied, Error, Internal, Invalid, Kept, NotFound, Unavailable
from ..ids import random_id
from ..node import Node, Settings
from ..observe import logger
from ..operations import OWNER, Principal
from ..operations.limits import RateLimits
from .bucket import Bucket
from .exchange import Exchange
from .incoming import HEADER_PEER, Incoming
from .lines import LINES_TYPE, lines, wants_lines
from .messages import (
    Disconnected,
    Receive,
    Scope,
    Send,
    joined_headers,
    read_body,
    send_answer,
    send_lines,
    too_many,
)
from .room import Room
from .workers import Workers

if TYPE_CHECKING:
    from ..node.peering import Said

__all__ = ["Api", "Limits"]

T = TypeVar("T")

_LOG = logger("http")
_NO_BODY = ("GET", "DELETE")
_STOPPING_SECONDS = 1.0
# What an answer holds is nobody else's, neither a cache's nor a browser's that guesses.
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
# So many bodies of the largest size are read at a time.
_LARGEST_BODIES = 8
_UTF8 = ("", "charset=utf-8", 'charset="utf-8"')
# What a database's name can be and nothing else, as which a path could bring words into the log.
_SHOWN = re.compile(r"[a-z0-9_@-]{1,260}\Z")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may take; None: as long as it takes."""

    request_seconds: float | None
    read_seconds: float | None
    write_seconds: float | None
    body_bytes: int
    query_bytes: int
    in_flight: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits for callers on a network."""
        return cls(
            request_seconds=settings.request_timeout,
            read_seconds=settings.read_timeout,
            write_seconds=settings.write_timeout,
            body_bytes=settings.max_body_bytes,
            query_bytes=min(settings.max_body_bytes, BODY_BYTES_QUERY_MAX),
            in_flight=settings.max_concurrency,
        )


class _Asked:
    """One request: what came, and what is known of it by now."""

    __slots__ = (
        "client",
        "exchange",
        "extra",
        "headers",
        "id",
        "lines",
        "method",
        "operation",
        "path",
        "query",
        "read",
        "said",
        "status",
        "where",
    )

    def __init__(self, scope: Scope, exchange: Exchange | None) -> None:
        self.headers = joined_headers(scope["headers"])
        self.client = scope["client"][0] if scope.get("client") else "-"
        self.id = random_id("req")
        self.read = False
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path: bytes = scope["raw_path"].removeprefix(scope["root_path"].encode())
        self.query: bytes = scope["query_string"]
        # Where it is a dialect's, which may take several operations: instead of one.
        self.exchange = exchange
        self.operation: Operation | Exchange | None = exchange
        self.where = ""
        # Of an error that has a status of its own.
        self.status: int | None = None
        self.extra: dict[str, str] = {}
        # What another node says that sent it on.
        self.said: Said | None = None
        # Instead of a body, where a list was asked for as lines.
        self.lines: AsyncIterator[bytes] | None = None


class Api:
    """Carries out requests on the operations of a node, from one event loop.

    After `drain` new requests are refused, and those under way are finished. Who is `trusted` is
    asked for no credential.
    """

    def __init__(self, node: Node, limits: Limits, *, trusted: bool = False) -> None:
        self._node = node
        self._trusted = trusted
        self._limits = limits
        self._clock = node.context.clock
        self._metrics = node.context.metrics
        self._router = Router()
        self._workers = Workers(node.settings.write_queue_depth)
        self._incoming = Incoming(node)
        self._control = Bucket(node.settings.control_rate, self._clock)
        self._rates = RateLimits(
            self._clock, rate=node.settings.rate_limit, failures=node.settings.auth_failure_rate
        )
        self._room = Room(limits.body_bytes * _LARGEST_BODIES)
        self._in_flight = 0
        self._draining = False

    @property
    def node(self) -> Node:
        """The node whose operations these are."""
        return self._node

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many of them wait for a thread."""
        return self._workers.waiting + self._incoming.workers.waiting

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def drain(self) -> None:
        """Refuse what comes from now on."""
        self._draining = True

    def close(self) -> None:
        """Let the threads end."""
        self._workers.close()
        self._incoming.workers.close()

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, exchange: Exchange | None = None
    ) -> None:
        """Answer one request: an operation's, or that of an `exchange` of a dialect."""
        begun = self._clock.monotonic()
        asked = _Asked(scope, exchange)
        status = 0
        self._in_flight += 1
        try:
            answer = await self._answer(asked, receive)
            status = answer.status
            headers = {HEADER_REQUEST_ID: asked.id, **_HEADERS, **asked.extra, **answer.headers}
            if "expect" in asked.headers and not asked.read:
                # A client that was not told to go on may take this for the whole exchange.
                headers["connection"] = "close"
            if asked.lines is None:
                await send_answer(send, answer._replace(headers=headers))
            else:
                await send_lines(receive, send, headers, asked.lines)
        except Disconnected as error:
            _LOG.info("the client went away: %s", error, extra={"request": asked.id})
        except asyncio.CancelledError:
            if not status:
                await send_answer(send, self._cut_short(asked))
            raise
        finally:
            self._in_flight -= 1
            self._count(asked, status, self._clock.monotonic() - begun)

    async def _answer(self, asked: _Asked, receive: Receive) -> Answer:
        """Return the answer, also where it is an error."""
        kept = Kept()
        with kept:
            if asked.exchange is None:
                return await self._carry_out(asked, receive)
            return await self._exchange(asked, asked.exchange, receive)
        assert kept.error is not None
        if isinstance(kept.error, Disconnected):
            raise kept.error
        error = self._known(asked, kept.error)
        if asked.exchange is not None:
            return asked.exchange.refused(error)
        return encode_error(error, asked.status)

    def _known(self, asked: _Asked, error: Exception) -> Error:
        """Return an error that may be shown: of a defect only that there is one."""
        if isinstance(error, Error):
            if error.code == "overloaded":
                reason = error.details.get("reason", "other")
                self._metrics.add("http_requests_shed", reason=reason)
            return error
        _LOG.error("a request failed", exc_info=error, extra={"request": asked.id})
        return Internal(
            f"request {asked.id} failed by a defect of this node, whose log has the details; "
            "please report it"
        )

    def _cut_short(self, asked: _Asked) -> Answer:
        writes = asked.operation is not None and asked.operation.writes
        error = Unavailable(
            "this node stopped before the request was done; repeat it with the same request id",
            reason="closed",
            in_doubt=writes,
            retry_after=_STOPPING_SECONDS,
        )
        exchange = asked.exchange
        answer = encode_error(error) if exchange is None else exchange.refused(error)
        headers = {**answer.headers, HEADER_REQUEST_ID: asked.id, "connection": "close"}
        return answer._replace(headers=headers)

    async def _carry_out(self, asked: _Asked, receive: Receive) -> Answer:
        self._admit(asked)
        match = self._match(asked)
        operation = asked.operation = match.operation
        assert operation is not None
        values = match.values
        principal = self._principal(asked)
        asked.where = values.get("db") or "--".join(
            values[name] for name in ("namespace", "profile") if name in values
        )
        if operation.writes and "{" not in operation.path and asked.said is None:
            self._control.take(operation.name)
        self._check_type(asked, operation)
        with self._room.share() as share:
            most = self._limits.body_bytes if operation.writes else self._limits.query_bytes
            seconds = self._limits.read_seconds
            body = await read_body(asked.headers, receive, most, seconds, share)
            asked.read = True
            if asked.said is not None:
                self._incoming.check_body(asked.said, body)
            if body and operation.method in _NO_BODY:
                raise Invalid(
                    f"{operation.name} takes no body; its fields go into the query string"
                )

            def decode() -> tuple[Target, Request, Options]:
                try:
                    return decode_call(operation, values, asked.query, asked.headers, body)
                except Invalid as error:
                    if asked.said is None:
                        raise
                    raise self._incoming.of_another_release(asked.said, error) from error

            if wants_lines(operation, asked.headers):
                return await self._lines(asked, operation, decode, principal)

            def work() -> Answer:
                target, request, options = decode()
                result = self._call(asked, operation.name, target, request, options, principal)
                return encode_answer(operation, result, asked.headers)

            return await self._in_time(asked, operation, work)

    async def _exchange(self, asked: _Asked, exchange: Exchange, receive: Receive) -> Answer:
        """Carry out what a dialect was asked for; who asks is known before the body is read."""
        exchange.named(asked.id)
        self._admit(asked)
        exchange.named(asked.id)
        exchange.match(asked.headers, asked.client)
        try:
            # In a thread: a credential may have to be looked up.
            principal = await self._workers.run(exchange.dialect, exchange.admit)
        except Denied as error:
            if error.code == "unauthorized":
                self._rates.failed(asked.client)
            raise
        self._rates.check(principal, asked.client)
        asked.where = exchange.where
        if exchange.spooled:
            return await self._spooled(asked, exchange, receive)
        with self._room.share() as share:
            most, seconds = exchange.bytes_max, self._limits.read_seconds
            body = await read_body(asked.headers, receive, most, seconds, share)
            asked.read = True

            def work() -> Answer:
                tracing = self._node.tracing
                with nullcontext() if tracing is None else tracing.continued(asked.headers):
                    return exchange.work(body)

            return await self._in_time(asked, exchange, work)

    async def _spooled(self, asked: _Asked, exchange: Exchange, receive: Receive) -> Answer:
        """Carry out what a dialect was asked for with a body that goes into a file."""
        from .spool import Spool, spool_body

        most, seconds = exchange.bytes_max, self._limits.read_seconds
        settings = self._node.settings
        folder = Path(settings.data_dir).expanduser()
        with ExitStack() as stack:
            spool = stack.enter_context(Spool(folder, settings.disk_reserve_bytes))
            run = partial(self._workers.run, exchange.dialect)
            await spool_body(spool, asked.headers, receive, most, seconds, run)
            asked.read = True
            held = stack.pop_all()

        def work() -> Answer:
            # Closed by who reads it: it goes on when nobody waits for the answer any more.
            with held:
                return exchange.work(spool)

        return await self._in_time(asked, exchange, work)

    def _call(self, asked: _Asked, *call: Any) -> Result:
        """Carry out an operation, in a worker's thread."""
        tracing, said = self._node.tracing, asked.said
        via = None if said is None else said.sender
        if tracing is None:
            return self._node.call(*call, via=via)
        with tracing.continued(asked.headers):
            return self._node.call(*call, via=via)

    async def _in_time(
        self, asked: _Asked, operation: Operation | Exchange, work: Callable[[], T]
    ) -> T:
        seconds, workers = self._limits.request_seconds, self._workers
        if asked.said is not None:
            workers = self._incoming.workers
            seconds = min(asked.said.seconds, seconds or asked.said.seconds)
        key = asked.where.partition("@")[0]
        try:
            async with asyncio.timeout(seconds):
                return await workers.run(key, work)
        except TimeoutError:
            raise Unavailable(
                f"{operation.name} took longer than {seconds:g} s; it goes on by itself. Repeat it "
                "with the same request id, ask for less, or raise PALIMP_REQUEST_TIMEOUT",
                code="request_timeout",
                in_doubt=operation.writes,
            ) from None

    async def _lines(
        self,
        asked: _Asked,
        operation: Operation,
        decode: Callable[[], tuple[Target, Request, Options]],
        principal: Principal,
    ) -> Answer:
        target, request, options = decode()

        async def page(cursor: str | None) -> Any:
            one = msgspec.structs.replace(request, cursor=cursor) if cursor else request

            def work() -> Any:
                return self._call(asked, operation.name, target, one, options, principal)

            return await self._in_time(asked, operation, work)

        asked.lines = lines(await page(None), page, lambda error: self._known(asked, error))
        return Answer(200, {"content-type": LINES_TYPE}, b"")

    def authenticate(self, header: str | None, address: str) -> Principal:
        """Return who sends an `Authorization` header from an address, and count the call.

        Raises `Denied` (unauthorized) where nobody does, `Unavailable` (overloaded) over a limit.
        """
        if self._trusted:
            return OWNER
        try:
            principal = self._node.context.access.authenticate(header)
        except Denied:
            self._rates.failed(address)
            raise
        self._rates.check(principal, address)
        return principal

    def _principal(self, asked: _Asked) -> Principal:
        """Return who sends a request, or in whose name another node sends it on."""
        said = asked.said
        if said is None:
            return self.authenticate(asked.headers.get("authorization"), asked.client)
        return said.principal

    def _admit(self, asked: _Asked) -> None:
        given = asked.headers.get(HEADER_REQUEST_ID)
        if given is not None:
            check_request_id(given)
            asked.id = given
        if self._draining:
            asked.extra["connection"] = "close"
            raise Unavailable(
                "this node is stopping; repeat it at the one that follows",
                reason="closed",
                retry_after=_STOPPING_SECONDS,
            )
        if self._in_flight > self._limits.in_flight:
            raise too_many(self._limits.in_flight)

    def _match(self, asked: _Asked) -> Match:
        if HEADER_PEER in asked.headers:
            said = self._incoming.said(asked.method, asked.path, asked.query, asked.headers)
            asked.said = said
        match = self._router.match(asked.method, asked.path)
        shown = asked.path[:200].decode("ascii", "replace")
        if asked.said is not None and (match is None or match.operation is None):
            raise self._incoming.of_another_release(asked.said, NotFound(f"no route {shown}"))
        if match is None:
            raise NotFound(f"there is no route {shown}; /openapi.json lists those there are")
        if match.operation is None:
            asked.status = 405
            allowed = [*match.allowed, "HEAD"] if "GET" in match.allowed else match.allowed
            asked.extra["allow"] = ", ".join(allowed)
            raise Invalid(f"{shown} takes {' and '.join(allowed)}, not {asked.method[:20]}")
        return match

    def _check_type(self, asked: _Asked, operation: Operation) -> None:
        """Refuse a body that says that it is something else (415).

        One that does not say what it is, too: a page of any origin can make a browser send that.
        """
        headers = asked.headers
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return
        kind, _, parameters = headers.get("content-type", "").lower().partition(";")
        kind = kind.strip()
        # A file that says itself what it is may be of any type, and of none: a page of another
        # origin cannot send a PUT without asking.
        of_any_type = carries_file(operation) and file_type(operation.request) is None
        if operation.method not in _NO_BODY and not of_any_type:
            taken = FILE_TYPES if carries_file(operation) else (JSON_TYPE,)
            if kind not in taken:
                asked.status = 415
                given = repr(kind[:80]) if kind else "a body without a Content-Type"
                raise Invalid(f"{operation.name} takes {taken[0]}, not {given}")
            if taken == (JSON_TYPE,) and parameters.strip() not in _UTF8:
                asked.status = 415
                raise Invalid(f"{operation.name} takes UTF-8, not {parameters.strip()[:80]!r}")
        coding = headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            asked.status = 415
            raise Invalid(f"the body is coded as {coding[:80]!r}; send it as it is")

    def _count(self, asked: _Asked, status: int, seconds: float) -> None:
        name = asked.operation.name if asked.operation else "none"
        self._metrics.add("http_requests", operation=name, status=str(status))
        self._metrics.observe("http_request_seconds", seconds, operation=name)
        # Paths may hold words of memories: session ids, topics.
        where = asked.where if _SHOWN.match(asked.where) else "-"
        _LOG.info(
            "%s %s %s %d %.1f ms",
            asked.client,
            name,
            where,
            status,
            seconds * 1000,
            extra={"request": asked.id},
        )
