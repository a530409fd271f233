"""One request to one endpoint of a model, by httpx: the only place that knows of it here."""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from ..addresses import is_self_hosted
from ..clock import Clock
from ..errors import Invalid, Unavailable, Unconfigured
from ..outgoing import open_client

if TYPE_CHECKING:
    import httpx

__all__ = ["Endpoint", "Exchange", "Failed", "Refused"]

ANSWER_BYTES_MAX = 64 << 20
CONNECT_SECONDS_MAX = 10.0
RETRY_AFTER_SECONDS_MAX = 300.0
# Of a 429 that does not say.
_RETRY_AFTER_SECONDS = 5.0
_CONNECTIONS_MAX = 32
_ERROR_BYTES_MAX = 64 << 10
# Whether this thread is at a request of ours.
_OURS: ContextVar[bool] = ContextVar("_OURS", default=False)
# What a server calls its error. A text that it quotes, or a key, does not look so.
_WORD = re.compile(r"[a-z]+(_[a-z]+){1,7}")


class Endpoint:
    """Where a model is served, and the key it is asked with. Nothing of it is shown but `place`.

    A key may also stand in the URL, as its user or in its query: it is sent as such. Where both a
    user and a header of the caller would be the `Authorization`, the header is.
    """

    __slots__ = ("api_key", "authorization", "host", "place", "query", "secure", "url")

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or not _plain(url):
            raise Invalid(
                "the address of a model is no URL (it is not shown: it may hold a key); give one "
                "such as https://api.example.com/v1"
            )
        if api_key is not None and not _plain(api_key):
            raise Invalid(f"the key for {host} holds a space, a line break or other than ASCII")
        shown = f"[{host}]" if ":" in host else host
        self.host = host
        self.place = shown if port is None else f"{shown}:{port}"
        """Host and port, for messages."""
        self.secure = parts.scheme == "https"
        self.url = f"{parts.scheme}://{self.place}{parts.path.rstrip('/')}"
        """Without user and query."""
        self.query = parts.query
        self.api_key = api_key
        self.authorization: str | None = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def __repr__(self) -> str:
        return f"Endpoint({self.place!r})"


class Failed(Exception):
    """An endpoint gave no answer, but another may; in `reason` nothing that was sent or answered.

    `rest` is for how many seconds it wants to be left alone; `limited` that it works and is busy;
    `sent` whether anything may have reached it; `status` what it answered, if that is why.
    """

    def __init__(
        self,
        reason: str,
        *,
        rest: float = 0.0,
        limited: bool = False,
        sent: bool = True,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.rest = rest
        self.limited = limited
        self.sent = sent


class Refused(Exception):
    """An endpoint refused a request, and another would as well."""

    def __init__(self, status: int, word: str | None) -> None:
        super().__init__(status)
        self.status = status
        self.word = word


class Exchange:
    """Connections to endpoints, opened by the first request; safe to share between threads."""

    def __init__(self, clock: Clock, timeout: float, *, direct: bool, plain: bool) -> None:
        self._clock = clock
        self._timeout = timeout
        self._direct = direct
        self._plain = plain
        self._lock = threading.Lock()
        self._opened: httpx.Client | None = None
        self._closed = False

    def close(self) -> None:
        """Close the connections; what is under way fails."""
        with self._lock:
            self._closed = True
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    def send(self, endpoint: Endpoint, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the body of a 2xx answer; raises `Failed` or `Refused`, or errors of ours.

        One that comes in drops ends with the timeout as well.
        """
        client = self._client()
        import httpx

        request = self._request(client, endpoint, path, body, headers)
        until = self._clock.monotonic() + self._timeout
        response = None
        try:
            with _unlogged():
                response = client.send(request, stream=True)
            content = self._content(response, until)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # What the system says of a host that cannot be reached: nothing of what was sent.
            said = str(error) or "no connection within the timeout"
            raise Failed(f"cannot be reached ({said:.120})", sent=False) from error
        except httpx.TimeoutException as error:
            raise Failed(f"did not answer within {self._timeout:g} s") from error
        except httpx.RequestError as error:
            raise Failed("cut the connection") from error
        except (RuntimeError, httpx.StreamError) as error:
            # That is how httpx says that it was closed meanwhile.
            if self._closed:
                raise _closed() from error
            raise
        finally:
            if response is not None:
                response.close()
        if response.is_success:
            return content
        raise self._no(response, content)

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._opened is None:
                self._opened = open_client(
                    tls=not self._plain,
                    direct=self._direct,
                    connections=_CONNECTIONS_MAX,
                    timeout=self._timeout,
                    connect_timeout=min(self._timeout, CONNECT_SECONDS_MAX),
                )
            return self._opened

    @staticmethod
    def _request(
        client: httpx.Client, endpoint: Endpoint, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Request:
        import httpx

        sent = {"content-type": "application/json", "accept": "application/json"}
        if endpoint.authorization is not None:
            sent["authorization"] = endpoint.authorization
        sent.update((name.lower(), value) for name, value in headers.items())
        query = f"?{endpoint.query}" if endpoint.query else ""
        url = f"{endpoint.url}{path}{query}"
        try:
            return client.build_request("POST", url, content=body, headers=sent)
        except (httpx.InvalidURL, UnicodeError):
            raise Unconfigured(f"{endpoint.place} is not the name of a host") from None

    def _content(self, response: httpx.Response, until: float) -> bytes:
        most = ANSWER_BYTES_MAX if response.is_success else _ERROR_BYTES_MAX
        pieces, size = [], 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > most:
                if not response.is_success:
                    break
                raise Failed(f"answered more than {most:,} bytes")
            if self._clock.monotonic() >= until:
                raise Failed(f"did not finish its answer within {self._timeout:g} s")
            pieces.append(piece)
        return b"".join(pieces)

    def _no(self, response: httpx.Response, content: bytes) -> Failed | Refused:
        status = response.status_code
        if status == 429:
            rest = self._retry_after(response, _RETRY_AFTER_SECONDS)
            return Failed("answered 429 (too many requests)", rest=rest, limited=True)
        if status in (408, 425) or status >= 500:
            rest = self._retry_after(response, 0.0)
            return Failed(f"answered {status}", rest=rest, status=status)
        return Refused(status, _word(content))

    def _retry_after(self, response: httpx.Response, otherwise: float) -> float:
        """Return the seconds that `Retry-After` means, bounded; it may be a number or a date."""
        said = response.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", said):
            return min(float(said), RETRY_AFTER_SECONDS_MAX)
        until = _date_ms(said)
        if until is None:
            return otherwise
        # By its own clock where it tells: then ours may be wrong.
        now = _date_ms(response.headers.get("date", ""))
        seconds = (until - (self._clock.now_ms() if now is None else now)) / 1000
        return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def endpoints_exchange(endpoints: tuple[Endpoint, ...], clock: Clock, timeout: float) -> Exchange:
    """Return connections for these: past every proxy where all hosts are one's own."""
    return Exchange(
        clock,
        timeout,
        direct=all(is_self_hosted(endpoint.host) for endpoint in endpoints),
        plain=not any(endpoint.secure for endpoint in endpoints),
    )


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep httpx from logging the URL of a request, which may hold a key."""
    logging.getLogger("httpx").addFilter(_not_ours)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _not_ours(_: logging.LogRecord) -> bool:
    return not _OURS.get()


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and text != ""


def _closed() -> Unavailable:
    return Unavailable("this client is closed; open the folder again", reason="closed")


def _date_ms(text: str) -> int | None:
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _word(content: bytes) -> str | None:
    """Return the code or type of an OpenAI-like error, if it is a name and nothing else."""
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    error = said.get("error") if isinstance(said, dict) else None
    for name in ("code", "type"):
        word = error.get(name) if isinstance(error, dict) else None
        if isinstance(word, str) and len(word) <= 64 and _WORD.fullmatch(word):
            return word
    return None
