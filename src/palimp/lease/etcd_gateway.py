"""etcd's JSON gateway by httpx: the only place that knows of either. For etcd 3.4 and later.

The gateway leaves out what is zero or false, and writes 64-bit numbers as text.
"""

from __future__ import annotations

import ssl
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from ..clock import Clock
from ..decoding import from_json
from ..errors import Invalid, Unavailable
from ..version import __version__
from .keeping import LeaseGoneError

__all__ = ["CompactedError", "EtcdGateway", "Pair", "Transaction", "Watch", "WatchAnswer", "text64"]

REQUEST_SECONDS = 2.0
_CONNECT_SECONDS_MAX = 1.0
_RETRY_SECONDS = 1.0
_SAID_CHARS = 200
# gRPC's codes, as the gateway says them.
_NOT_FOUND = 5
_NO_AUTH = 9
_OUT_OF_RANGE = 11
# Not decided by what was asked: another endpoint, or the same one later, may do it.
_PASSING = frozenset({1, 2, 4, 8, 10, 13, 14})
_INVALID_ARGUMENT = 3
_UNAUTHENTICATED = 16


class CompactedError(Exception):
    """The revision that was asked for is not kept any more."""


class _RefusedError(Exception):
    """etcd decided against a request; `code` is that of gRPC."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"{said[:_SAID_CHARS]} (code {code})")
        self.code = code


class Header(msgspec.Struct, frozen=True):
    """What every answer begins with."""

    revision: int = 0


class Pair(msgspec.Struct, frozen=True):
    """A key, with what is under it."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class Range(msgspec.Struct, frozen=True):
    """Some pairs, and whether there are more."""

    header: Header = Header()
    kvs: tuple[Pair, ...] = ()
    more: bool = False


class _Answer(msgspec.Struct, frozen=True):
    response_range: Range | None = None


class Transaction(msgspec.Struct, frozen=True):
    """Whether the comparisons held, and what the branch taken then found."""

    header: Header = Header()
    succeeded: bool = False
    responses: tuple[_Answer, ...] = ()

    @property
    def found(self) -> Pair | None:
        """The pair that its last request read."""
        read = self.responses[-1].response_range if self.responses else None
        return read.kvs[0] if read is not None and read.kvs else None


class Granted(msgspec.Struct, frozen=True):
    """A lease."""

    ID: int = 0
    TTL: int = 0


class Renewed(msgspec.Struct, frozen=True):
    """A renewal; a lease that is gone has no TTL."""

    result: Granted = Granted()


class _Token(msgspec.Struct, frozen=True):
    token: str = ""


class Done(msgspec.Struct, frozen=True):
    """An answer that says nothing more."""


class Event(msgspec.Struct, frozen=True):
    """A change of a key."""

    kv: Pair
    type: str = "PUT"


class WatchAnswer(msgspec.Struct, frozen=True):
    """Changes, in their order, or why there will be no more."""

    header: Header = Header()
    events: tuple[Event, ...] = ()
    canceled: bool = False
    compact_revision: int = 0


class _Watched(msgspec.Struct, frozen=True):
    result: WatchAnswer | None = None


class _Failure(msgspec.Struct, frozen=True):
    code: int = 0
    grpc_code: int = 0
    message: str = ""


class _Failed(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""
    error: str | _Failure = ""

    def refusal(self) -> _RefusedError | None:
        inner = self.error if isinstance(self.error, _Failure) else _Failure(message=self.error)
        said = self.message or inner.message
        code = self.code or inner.grpc_code or inner.code
        return _RefusedError(code, said) if code or said else None


_T = TypeVar("_T")


class _Endpoints(NamedTuple):
    urls: tuple[str, ...]
    user: str | None
    password: str


class EtcdGateway:
    """One etcd cluster, by the endpoints of its members. Thread-safe.

    A request goes to the member that answered last, after it to the others; all of them together
    have `seconds`. `Unavailable` (reason `lease`) where none answers; it may have been done then.
    `LeaseGoneError` for a lease that is gone, `CompactedError` for a revision that is.
    """

    def __init__(self, endpoints: str, clock: Clock) -> None:
        self._endpoints = _parsed(endpoints)
        self.name = f"etcd at {', '.join(self._endpoints.urls)}"
        self._clock = clock
        self._preferred = 0
        self._lock = threading.Lock()
        self._token: str | None = None
        secure = any(url.startswith("https:") for url in self._endpoints.urls)
        self._client = httpx.Client(
            headers={"user-agent": f"palimp/{__version__}"},
            # A proxy of the surroundings would be in the way of what decides who may write.
            trust_env=False,
            # Without TLS no certificate is looked at, and reading them takes 20 ms.
            verify=ssl.create_default_context()
            if secure
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    def close(self) -> None:
        """Close the connections; what is under way fails."""
        self._client.close()

    # -- requests ----------------------------------------------------------------------------------

    def grant(self, seconds: int) -> int:
        """Return the id of a new lease."""
        return self._call("lease/grant", {"TTL": seconds}, Granted).ID

    def renew(self, lease: int) -> bool:
        """Give a lease its full time again; False where it is gone."""
        return self._call("lease/keepalive", {"ID": str(lease)}, Renewed).result.TTL > 0

    def revoke(self, lease: int) -> None:
        """End a lease, with the keys on it; nothing where it is gone."""
        try:
            self._call("lease/revoke", {"ID": str(lease)}, Done)
        except LeaseGoneError:
            return

    def range(self, request: dict[str, Any], seconds: float = REQUEST_SECONDS) -> Range:
        """Read pairs."""
        return self._call("kv/range", request, Range, seconds)

    def transact(
        self,
        compare: list[dict[str, Any]],
        success: list[dict[str, Any]],
        failure: list[dict[str, Any]],
    ) -> Transaction:
        """Do one or the other, as one."""
        body = {"compare": compare, "success": success, "failure": failure}
        return self._call("kv/txn", body, Transaction)

    def _call(
        self, path: str, body: dict[str, Any], kind: type[_T], seconds: float = REQUEST_SECONDS
    ) -> _T:
        data = msgspec.json.encode(body)
        until = self._clock.monotonic() + seconds
        said, count = "", len(self._endpoints.urls)
        first = self._preferred
        for tried in range(count):
            place = (first + tried) % count
            url = self._endpoints.urls[place]
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            try:
                content = self._authorized(url, path, data, left / (count - tried))
                found = from_json(content, kind, strict=False)
            except httpx.HTTPError as error:
                # Of what was sent nothing is in it.
                said = f"{url}: {str(error) or type(error).__name__}"
            except (msgspec.MsgspecError, UnicodeDecodeError):
                said = f"{url}: what it answers is not etcd's gateway"
            except _RefusedError as error:
                if error.code not in _PASSING:
                    raise self._decided(error) from error
                said = f"{url}: {error}"
            else:
                self._preferred = place
                return found
        raise self.unavailable(said or f"no answer within {seconds:g} s")

    def _authorized(self, url: str, path: str, data: bytes, seconds: float) -> bytes:
        token = self._token
        if token is None:
            token = self._authenticate(url, seconds)
        try:
            return self._post(url, path, data, token, seconds)
        except _RefusedError as error:
            # A token ends when it was not used for a while, or when rights were changed.
            ended = error.code in (_UNAUTHENTICATED, _INVALID_ARGUMENT)
            if self._endpoints.user is None or not ended:
                raise
        return self._post(url, path, data, self._authenticate(url, seconds), seconds)

    def _authenticate(self, url: str, seconds: float) -> str:
        token = ""
        if self._endpoints.user is not None:
            body = {"name": self._endpoints.user, "password": self._endpoints.password}
            try:
                content = self._post(
                    url, "auth/authenticate", msgspec.json.encode(body), "", seconds
                )
                token = from_json(content, _Token).token
            except _RefusedError as error:
                if error.code != _NO_AUTH:
                    raise
        self._token = token
        return token

    def _post(self, url: str, path: str, data: bytes, token: str, seconds: float) -> bytes:
        headers = {"authorization": token} if token else {}
        response = self._client.post(
            f"{url}/v3/{path}",
            content=data,
            headers=headers,
            timeout=httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS_MAX, seconds / 2)),
        )
        _raise_refusal(response.status_code, response.content)
        return response.content

    # -- watching ----------------------------------------------------------------------------------

    def watch(self, request: dict[str, Any], idle_seconds: float) -> Watch:
        """Return the changes that a request asks for, until nothing came for a while."""
        return Watch(self, request, idle_seconds)

    def open_stream(self, body: bytes, idle_seconds: float) -> httpx.Response:
        """Send a request whose answer has no end, to the next endpoint every time."""
        with self._lock:
            self._preferred = (self._preferred + 1) % len(self._endpoints.urls)
            url = self._endpoints.urls[self._preferred]
        token = self._token
        try:
            if token is None:
                token = self._authenticate(url, REQUEST_SECONDS)
            request = self._client.build_request(
                "POST",
                f"{url}/v3/watch",
                content=body,
                headers={"authorization": token} if token else {},
                timeout=httpx.Timeout(
                    REQUEST_SECONDS, connect=_CONNECT_SECONDS_MAX, read=idle_seconds
                ),
            )
            return self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self.unavailable(f"{url}: {str(error) or type(error).__name__}") from error
        except _RefusedError as error:
            raise self._decided(error) from error

    def unavailable(self, said: str) -> Unavailable:
        """Return the error of a lease store that gives no answer."""
        return Unavailable(
            f"{self.name} gives no answer: {said}; nothing is claimed until it does",
            reason="lease",
            retry_after=_RETRY_SECONDS,
        )

    def _decided(self, error: _RefusedError) -> Exception:
        if error.code == _NOT_FOUND:
            return LeaseGoneError()
        if error.code == _OUT_OF_RANGE:
            return CompactedError()
        return Unavailable(
            f"{self.name} refuses: {error}; give the user in PALIMP_ETCD the right to read and "
            "write keys under /palimp/",
            reason="lease",
            retry_after=_RETRY_SECONDS,
        )

    def forget_token(self) -> None:
        """Ask for a new one with the next request."""
        self._token = None


class Watch:
    """A stream of changes; `cancel` ends it from another thread."""

    def __init__(self, gateway: EtcdGateway, request: dict[str, Any], idle_seconds: float) -> None:
        self._gateway = gateway
        self._body = msgspec.json.encode({"create_request": request})
        self._idle_seconds = idle_seconds
        self._response: httpx.Response | None = None
        self._cancelled = False

    def __iter__(self) -> Iterator[WatchAnswer]:
        response = self._gateway.open_stream(self._body, self._idle_seconds)
        self._response = response
        try:
            if self._cancelled:
                return
            for line in _lines(response.iter_raw()):
                _raise_refusal(response.status_code, line)
                found = from_json(line, _Watched, strict=False).result
                if found is not None:
                    yield found
        except httpx.ReadTimeout:
            return
        except _RefusedError as error:
            self._gateway.forget_token()
            raise self._gateway.unavailable(f"a watch ended: {error}") from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            if not self._cancelled:
                said = str(error) or type(error).__name__
                raise self._gateway.unavailable(f"a watch broke: {said}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._gateway.unavailable("a watch is not etcd's gateway's") from error
        finally:
            response.close()

    def cancel(self) -> None:
        """End it; who reads it hears nothing more."""
        self._cancelled = True
        response = self._response
        if response is None:
            return
        stream = response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("socket")
        if connection is not None:
            try:
                connection.shutdown(2)
            except OSError:
                # It had ended.
                return


def text64(text: str) -> str:
    """Return text as the gateway takes bytes."""
    return b64encode(text.encode()).decode()


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            whole = b"".join((*waiting, line))
            waiting.clear()
            if whole.strip():
                yield whole
        if rest:
            waiting.append(rest)


def _raise_refusal(status: int, content: bytes) -> None:
    """Raise `RefusedError` where an answer is an error; a stream says so after its 200."""
    if status == 200 and not content.startswith(b'{"error"'):
        return
    try:
        found = from_json(content, _Failed).refusal()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = None
    passing = 14 if status >= 429 else _INVALID_ARGUMENT
    raise found or _RefusedError(passing, f"it answered {status}")


def _parsed(endpoints: str) -> _Endpoints:
    urls, user, password = [], None, ""
    for place, text in enumerate(endpoints.split(","), 1):
        try:
            url = urlsplit(text.strip())
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if host is None or url.scheme not in ("http", "https") or url.path not in ("", "/"):
            # Not shown: there may be a password in it.
            raise Invalid(
                f"endpoint {place} in PALIMP_ETCD is no URL of an etcd; give "
                "http://10.0.0.1:2379, several by comma"
            )
        shown = f"[{host}]" if ":" in host else host
        urls.append(f"{url.scheme}://{shown}:{port or 2379}")
        if url.username is not None:
            user, password = unquote(url.username), unquote(url.password or "")
    return _Endpoints(tuple(urls), user, password)
