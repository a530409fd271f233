"""A node somewhere else, over HTTP by httpx: the two colours of one exchange (`retry.py`)."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import httpx

from ...api import NO_OPTIONS, OPERATIONS, Options, Target
from ...api.answers import Answer
from ...api.base import Request, Result
from ...api.wire import Call
from ...clock import Clock
from ...errors import Invalid, Unavailable
from ...version import __version__
from ..settings import Connection
from .retry import Asked, Exchange, Lost, Outcome, Pause, exchange

__all__ = ["AsyncRemote", "Remote"]

T = TypeVar("T")

_CONNECTIONS_MAX = 100
_IDLE_MAX = 20
# Shorter than our server and the common proxies keep an idle connection.
_IDLE_SECONDS = 30.0
# A longer body is handed over in pieces: httpx would copy what is left of it again and again.
_PIECE_BYTES = 1 << 18
# What fails before a byte of the request is sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class _Base:
    """What both colours know of their node."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._connection.url}>"

    @property
    def source(self) -> str | None:
        """The source this client writes as."""
        return self._connection.source

    def _exchange(
        self, operation: str, target: Target, request: Request, options: Options
    ) -> Exchange:
        row = OPERATIONS.get(operation)
        if row is None:
            raise Invalid(f"no operation {operation!r}")
        asked = Asked(self._connection.url, row, target, request, options)
        return exchange(asked, self._connection.retries)

    def _end(self) -> Unavailable | None:
        """Return why nothing can be sent any more, None where it can."""
        if not self._closed:
            return None
        return Unavailable("this client is closed; connect again", reason="closed")

    def _pool_arguments(self) -> dict[str, Any]:
        """Return what an httpx client is made with."""
        to = self._connection
        headers = {"user-agent": f"palimp/{__version__}"}
        if to.token is not None:
            headers["authorization"] = f"Bearer {to.token}"
        # Without TLS no certificate is looked at, and reading those of the system takes 20 ms.
        plain = to.loopback and to.url.startswith("http://")
        return {
            "headers": headers,
            "timeout": to.timeout,
            "trust_env": not to.loopback,
            "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
            "limits": httpx.Limits(
                max_connections=_CONNECTIONS_MAX,
                max_keepalive_connections=_IDLE_MAX,
                keepalive_expiry=_IDLE_SECONDS,
            ),
        }

    def _arguments(self, call: Call) -> dict[str, Any]:
        """Return what an httpx request is made of, but for its body."""
        headers = dict(call.headers)
        if call.body:
            headers["content-length"] = str(len(call.body))
        return {
            "method": call.method,
            "url": self._connection.url + call.path,
            "headers": headers,
        }

    def _lost(self, error: httpx.RequestError) -> Lost:
        said = str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException):
            said = f"nothing happened for {self._connection.timeout:g} s"
        return Lost(error, said, sent=not isinstance(error, _UNSENT))


class Remote(_Base):
    """Calls a node over HTTP, from any thread; after a fork the child has connections of its own.

    Retries what can be repeated, as `retry.py` says.
    """

    def __init__(self, connection: Connection, *, clock: Clock | None = None) -> None:
        super().__init__(connection)
        self._clock = clock or Clock()
        # By process. What a child inherits it must not use, and not close either.
        self._pools: dict[int, httpx.Client] = {}
        with _usable_surroundings():
            self._pool()

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation."""
        steps = self._exchange(operation, target, request, options)
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    self._clock.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as done:
            result: Result = done.value
            return result

    def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in the calling thread."""
        return function(*arguments)

    def close(self) -> None:
        """Close the connections of this process; calls under way in other threads fail."""
        self._closed = True
        pool = self._pools.get(os.getpid())
        if pool is not None:
            pool.close()

    def _send(self, call: Call) -> Outcome:
        end = self._end()
        if end is not None:
            return end
        pool = self._pool()
        content = _pieces(call.body) if len(call.body) > _PIECE_BYTES else call.body
        request = pool.build_request(**self._arguments(call), content=content or None)
        try:
            return _answer(pool.send(request))
        except httpx.RequestError as error:
            return self._lost(error)
        except RuntimeError:
            # That is how httpx says that it was closed meanwhile.
            end = self._end()
            if end is None:
                raise
            return end

    def _pool(self) -> httpx.Client:
        process = os.getpid()
        pool = self._pools.get(process)
        if pool is None:
            # Of several threads one wins; what the others made has no connection yet.
            pool = self._pools.setdefault(process, httpx.Client(**self._pool_arguments()))
        return pool


class AsyncRemote(_Base):
    """Calls a node over HTTP from an event loop; every loop has connections of its own.

    Cancelling the awaiting task does not undo an operation that the node has begun.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        # By event loop and, as with `Remote`, by process; each is used by its loop's thread only.
        self._pools: WeakKeyDictionary[Any, _OfLoop] = WeakKeyDictionary()
        with _usable_surroundings():
            httpx.AsyncClient(**self._pool_arguments())

    async def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation."""
        import asyncio

        steps = self._exchange(operation, target, request, options)
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = await self._send(step)
        except StopIteration as done:
            result: Result = done.value
            return result

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in a worker thread."""
        import asyncio

        return await asyncio.to_thread(function, *arguments)

    async def close(self) -> None:
        """Close the connections of this event loop; calls of other tasks fail."""
        import asyncio

        self._closed = True
        held = self._pools.get(asyncio.get_running_loop())
        if held is not None and held.process == os.getpid():
            await held.pool.aclose()

    async def _send(self, call: Call) -> Outcome:
        end = self._end()
        if end is not None:
            return end
        pool = await self._pool()
        long = len(call.body) > _PIECE_BYTES
        content = _async_pieces(call.body) if long else call.body or None
        request = pool.build_request(**self._arguments(call), content=content)
        try:
            return _answer(await pool.send(request))
        except httpx.RequestError as error:
            return self._lost(error)
        except RuntimeError:
            end = self._end()
            if end is None:
                raise
            return end

    async def _pool(self) -> httpx.AsyncClient:
        import asyncio

        loop = asyncio.get_running_loop()
        held = self._pools.get(loop)
        if held is None or held.process != os.getpid():
            pool = httpx.AsyncClient(**self._pool_arguments())
            held = self._pools[loop] = _OfLoop(os.getpid(), pool, _until_the_end(pool))
            await anext(held.closing)
        return held.pool


class _OfLoop(NamedTuple):
    """The connections of an event loop, and what closes them with it."""

    process: int
    pool: httpx.AsyncClient
    closing: AsyncGenerator[None, None]


async def _until_the_end(pool: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close the pool when the event loop is shut down: then it ends every generator under way."""
    try:
        yield
    finally:
        await pool.aclose()


@contextmanager
def _usable_surroundings() -> Iterator[None]:
    """Say what is wrong where httpx cannot work with proxies or certificates of the environment."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        raise Invalid(
            "the proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) or the certificates (SSL_CERT_FILE, "
            f"SSL_CERT_DIR) that the environment names cannot be used: {error}"
        ) from error


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, dict(response.headers.items()), response.content)


def _pieces(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])


async def _async_pieces(body: bytes) -> AsyncIterator[bytes]:
    for piece in _pieces(body):
        yield piece
