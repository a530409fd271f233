"""The gateway: one address for all nodes, which sends each request to where its database is.

It keeps nothing and decides nothing: credentials, bodies, statuses and headers pass as they are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..api.answers import Answer, decode_error, encode_error
from ..api.repeats import doubtful
from ..clock import Clock
from ..engine import check_request_id
from ..errors import Error, Internal, Invalid, Kept, Unavailable
from ..ids import random_id
from ..lease import Peer, Placement
from ..observe import Metrics, logger
from .api import Limits
from .app import misdirected
from .gateway_exchange import Body, Exchange
from .gateway_headers import backward, onward
from .gateway_link import Head, Links, Lost, Unreached
from .gateway_pages import Pages, no_nodes
from .gateway_peers import Peers
from .gateway_target import Aims
from .messages import Disconnected, Receive, Scope, Send, joined_headers, send_answer, too_many

__all__ = ["Gateway"]

_LOG = logger("gateway")
# What an answer may take beyond the time that a node gives a request.
_BESIDE_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_UNAVAILABLE, _ERROR = 503, 400
# Why a node did not begin with what another may do.
_ELSEWHERE = ("owned", "moving", "closed", "fenced", "lease")
# An error of a node; more is an answer that some other server wrote.
_ERROR_BYTES_MAX = 64 << 10
# One after the other, where nobody answers.
_NODES_MAX = 4
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_SHOWN = re.compile(r"[a-z0-9_-]{1,260}\Z")


class _Asked:
    """One request: what came, and what is known of it by now."""

    def __init__(self, scope: Scope, receive: Receive, prefix: bytes, aims: Aims) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        path = prefix + scope["raw_path"]
        self.target = path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self.aim = aims.of(self.method, path)
        self.headers = joined_headers(scope["headers"])
        self.id = random_id("req")
        self.sends: list[tuple[bytes, bytes]] = []
        self.body: Body | None = None
        # The nodes that were asked.
        self.tried: list[str] = []
        # Whether one was given up that was reached, and whether that may have carried it out.
        self.repeated = self.doubt = False
        self.status = 0

    def may_repeat(self) -> bool:
        """Whether it can be sent to one more node, all of it."""
        return not self.repeated and self.body is not None and self.body.kept is not None

    def extra(self) -> dict[str, str]:
        """Return the header with its request id, where its nodes have one."""
        return {} if self.aim.id_header is None else {self.aim.id_header: self.id}


class _Said(NamedTuple):
    """An answer of a node that is an error: as it came, and what it is."""

    body: bytes
    error: Error


class Gateway:
    """Passes requests on to the nodes of a placement, from one event loop.

    Each goes to the node that has its database, else to the one that should; what concerns no
    database to any in turn. Where that node cannot be reached, does not answer, or says that
    another has it, one more is asked, as far as that does nothing twice. With `open_to_all` the
    nodes ask for no credential. The `ports` speak a dialect at their root.
    """

    def __init__(
        self,
        placement: Placement,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        *,
        open_to_all: bool,
        platform_key: str | None = None,
        ports: Mapping[int, str] | None = None,
    ) -> None:
        self._limits = limits
        self._open_to_all = open_to_all
        self._clock = clock
        self._metrics = metrics
        self._peers = Peers(placement, clock)
        self._pages = Pages(
            self._peers,
            metrics,
            open_to_all=open_to_all,
            platform_key=platform_key,
            busy=lambda: (self._in_flight, self._draining),
        )
        self._ports = {port: f"/{name}".encode() for port, name in (ports or {}).items()}
        self._links = Links(clock)
        self._aims = Aims()
        # Those whose node has not answered yet.
        self._waiting: dict[Exchange, Peer] = {}
        self._in_flight = 0
        self._draining = False

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._in_flight

    def drain(self) -> None:
        """Refuse what comes from now on."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        refusal = misdirected(scope) if self._open_to_all else None
        prefix = self._prefix(scope)
        page = None if prefix else self._pages.of(scope["method"], scope["raw_path"])
        if refusal is None and page is not None:
            refusal = await page(joined_headers(scope["headers"]).get("authorization"))
        if refusal is not None:
            await send_answer(send, refusal)
        else:
            await self._pass(_Asked(scope, receive, prefix, self._aims), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        looking = asyncio.create_task(self._look_after())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        looking.cancel()
        self._links.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _look_after(self) -> None:
        """Give up, every second, nodes that stopped in the middle and whose lease is over."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._links.keep_only(self._peers.addresses())
            for exchange, node in list(self._waiting.items()):
                if not self._peers.is_there(node):
                    exchange.give_up("it was silent until its lease was over")

    def _prefix(self, scope: Scope) -> bytes:
        server = scope.get("server")
        return self._ports.get(server[1], b"") if self._ports and server else b""

    async def _pass(self, asked: _Asked, send: Send) -> None:
        """Pass one request on, and its answer back."""
        begun = self._clock.monotonic()
        self._in_flight += 1
        kept = Kept()
        try:
            with kept:
                await self._forward(asked, send)
            if isinstance(kept.error, Disconnected):
                _LOG.info("the client went away: %s", kept.error, extra={"request": asked.id})
            elif kept.error is not None and asked.status:
                # Returning with half an answer is what makes the server close the connection.
                said = "an answer of node %s was cut short: %s"
                _LOG.warning(said, asked.tried[-1], kept.error, extra={"request": asked.id})
            elif kept.error is not None:
                await self._refuse(asked, kept.error, send)
        finally:
            self._in_flight -= 1
            self._count(asked, self._clock.monotonic() - begun)

    async def _forward(self, asked: _Asked, send: Send) -> None:
        self._admit(asked)
        limits = self._limits
        body = Body(asked.headers, asked.receive, limits.body_bytes, limits.read_seconds)
        asked.body = body
        await body.read()
        asked.sends = onward(asked.scope, self._made(asked), open_to_all=self._open_to_all)
        until = None
        if asked.aim.operation is not None and limits.request_seconds is not None:
            # Of nothing else is known how long it may take.
            sending = 0.0 if body.ended else limits.read_seconds or 0.0
            seconds = limits.request_seconds + _BESIDE_SECONDS + sending
            until = asyncio.get_running_loop().time() + seconds
        node = self._peers.choose(asked.aim.database, ())
        if node is None:
            raise no_nodes(await self._peers.look())
        while node is not None:
            asked.tried.append(node.node)
            node = await self._ask(asked, body, node, until, send)

    def _admit(self, asked: _Asked) -> None:
        if not asked.target.startswith(b"/"):
            raise Invalid("the target of a request is a path here, no whole address")
        given = asked.headers.get(asked.aim.id_header or "")
        if given is not None:
            check_request_id(given)
            asked.id = given
        if self._draining:
            raise Unavailable(
                "this gateway is stopping; repeat it at the one that follows",
                reason="closed",
                retry_after=_RETRY_SECONDS,
            )
        if self._in_flight > self._limits.in_flight:
            raise too_many(self._limits.in_flight)

    def _made(self, asked: _Asked) -> dict[str, str]:
        """Return the header with a request id that was made here."""
        return {} if asked.aim.id_header in asked.headers else asked.extra()

    async def _ask(
        self, asked: _Asked, body: Body, node: Peer, until: float | None, send: Send
    ) -> Peer | None:
        """Ask a node and pass its answer back; return who is to be asked instead, if anybody."""
        try:
            link = await self._links.take(node.address)
        except Unreached as error:
            return await self._unreached(asked, node, error)
        exchange = Exchange(link, body)
        self._waiting[exchange] = node
        done = False
        try:
            async with asyncio.timeout_at(until):
                head = await exchange.begin(asked.method, asked.target, asked.sends)
                said = await self._error(asked, exchange, head)
            del self._waiting[exchange]
            another = await self._elsewhere(asked, said)
            if another is None:
                await self._answer(asked, exchange, head, said, send)
                done = True
                self._links.give(node.address, link)
            return another
        except Lost as lost:
            if asked.status:
                raise
            await exchange.abandon()
            return await self._after_loss(asked, node, lost)
        except TimeoutError:
            self._metrics.add("gateway_failures", reason="slow")
            raise self._late(asked, node) from None
        finally:
            self._waiting.pop(exchange, None)
            if not done:
                await exchange.abandon()

    async def _unreached(self, asked: _Asked, node: Peer, error: Unreached) -> Peer | None:
        """Return whom to ask after a node that has seen nothing of a request."""
        self._metrics.add("gateway_failures", reason="refused")
        self._peers.unreached(node)
        _LOG.warning("node %s at %s was not reached: %s", node.node, node.address, error)
        another = None
        if len(asked.tried) < _NODES_MAX:
            another = await self._peers.ask(asked.aim.database, asked.tried)
        if another is None:
            doubt: dict[str, Any] = {"in_doubt": True} if asked.doubt else {}
            raise Unavailable(
                f"node {node.node} cannot be reached at {node.address}: {error}; repeat it, and "
                "see whether that is where it can be (PALIMP_ADVERTISE)",
                reason="network",
                node=node.node,
                retry_after=_RETRY_SECONDS,
                **doubt,
            ) from error
        self._metrics.add("gateway_retries", reason="refused")
        return another

    async def _after_loss(self, asked: _Asked, node: Peer, lost: Lost) -> Peer:
        """Return whom to ask after a node that may have carried a request out."""
        self._metrics.add("gateway_failures", reason="lost")
        _LOG.warning("node %s at %s did not answer: %s", node.node, node.address, lost)
        writes = asked.aim.writes(asked.method)
        if asked.may_repeat() and asked.aim.repeatable(asked.method):
            asked.repeated, asked.doubt = True, writes
            # The same one too: it may only have closed a connection that it found idle.
            another = await self._peers.ask(asked.aim.database, ())
            if another is not None:
                self._metrics.add("gateway_retries", reason="lost")
                return another
        message = f"node {node.node} at {node.address} did not answer: {lost}"
        if not writes:
            raise Unavailable(message, reason="network", retry_after=_RETRY_SECONDS) from lost
        known = asked.aim.repeatable(asked.method) and asked.aim.id_header is not None
        again = f", or repeat it with request id {asked.id}" if known else ""
        raise Unavailable(
            f"{message}. It may have been carried out: look{again}", reason="network", in_doubt=True
        ) from lost

    async def _error(self, asked: _Asked, exchange: Exchange, head: Head) -> _Said | None:
        """Return what a node says is wrong, where that decides how to go on."""
        if head.status != _UNAVAILABLE and not (asked.doubt and head.status >= _ERROR):
            return None
        length = joined_headers(head.headers).get("content-length")
        if asked.method == "HEAD" or length is None or int(length) > _ERROR_BYTES_MAX:
            return None
        body = await exchange.rest()
        return _Said(body, decode_error(Answer(head.status, {}, body)))

    async def _elsewhere(self, asked: _Asked, said: _Said | None) -> Peer | None:
        """Return whom to ask after a node that did not begin; None where its answer stands."""
        if said is None or not asked.may_repeat():
            return None
        details = said.error.details
        reason = details.get("reason")
        if reason not in _ELSEWHERE or details.get("in_doubt"):
            return None
        another = await self._peers.ask(asked.aim.database, asked.tried)
        if another is not None:
            asked.repeated = True
            self._metrics.add("gateway_retries", reason=reason)
        return another

    async def _answer(
        self, asked: _Asked, exchange: Exchange, head: Head, said: _Said | None, send: Send
    ) -> None:
        """Pass an answer back, as it comes."""
        if asked.doubt and said is not None and asked.aim.operation is not None:
            error = doubtful(asked.aim.operation.name, said.error)
            if error is not said.error:
                raise error
        headers = backward(head.headers, {**asked.extra(), **self._closing(asked)})
        asked.status = head.status
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        seconds = None
        if asked.aim.operation is not None and self._limits.request_seconds is not None:
            # A list as lines: each page of it is a request of its own to the node.
            seconds = self._limits.request_seconds + _BESIDE_SECONDS
        piece = b"" if said is None else said.body
        while True:
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            try:
                async with asyncio.timeout(seconds):
                    piece = await exchange.piece()
            except TimeoutError:
                raise Lost(f"nothing came for {seconds:g} s") from None
            if not piece:
                break
        exchange.let_go()
        await send({"type": "http.response.body", "body": b""})

    def _late(self, asked: _Asked, node: Peer) -> Unavailable:
        assert self._limits.request_seconds is not None
        seconds = self._limits.request_seconds + _BESIDE_SECONDS
        return Unavailable(
            f"node {node.node} has not answered for {seconds:g} s or more; it may go on by itself. "
            "Repeat it with the same request id, or ask for less",
            code="request_timeout",
            in_doubt=asked.aim.writes(asked.method),
        )

    async def _refuse(self, asked: _Asked, cause: Exception, send: Send) -> None:
        """Answer with an error of the gateway's own."""
        if isinstance(cause, Error):
            error = cause
        else:
            _LOG.error("a request failed", exc_info=cause, extra={"request": asked.id})
            error = Internal(
                f"request {asked.id} failed by a defect of this gateway, whose log has the "
                "details; please report it"
            )
        answer = encode_error(error)
        asked.status = answer.status
        headers = {**asked.extra(), **_HEADERS, **answer.headers, **self._closing(asked)}
        await send_answer(send, answer._replace(headers=headers))

    def _closing(self, asked: _Asked) -> dict[str, str]:
        """Return the header that ends a connection, where no more may come on it."""
        # A client that was not told to go on may take the answer for the whole exchange.
        unread = "expect" in asked.headers and not (asked.body is not None and asked.body.ended)
        return {"connection": "close"} if unread or self._draining else {}

    def _count(self, asked: _Asked, seconds: float) -> None:
        name = asked.aim.operation.name if asked.aim.operation else "none"
        self._metrics.add("gateway_requests", operation=name, status=str(asked.status))
        self._metrics.observe("gateway_request_seconds", seconds, operation=name)
        # Paths may hold words of memories: session ids, topics.
        where = asked.aim.database or "-"
        client = asked.scope["client"][0] if asked.scope.get("client") else "-"
        _LOG.info(
            "%s %s %s %d %.1f ms by %s",
            client,
            name,
            where if _SHOWN.match(where) else "-",
            asked.status,
            seconds * 1000,
            asked.tried[-1] if asked.tried else "-",
            extra={"request": asked.id},
        )
