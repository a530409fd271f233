"""One organisation's Arc, over HTTP: writes whose outcome is said exactly, queries, a ping.

No message and no log line holds the key, and no log line what was sent or answered.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ..addresses import is_self_hosted
from ..clock import Clock
from ..decoding import from_json
from ..errors import Invalid, Unavailable, Unconfigured
from ..outgoing import open_client
from .binding import ArcBinding, ArcOptions, place_of
from .codec import encode_rows, parse_time
from .rows import Row
from .sql import find_instants

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "ArcClient", "Outcome", "Table"]

# A body that is larger is sent compressed.
_GZIP_BYTES_MIN = 4_096
_GZIP_LEVEL = 1
_CONNECTIONS_IDLE_MAX = 10
_CONNECTIONS_MAX = 32
_IDLE_SECONDS = 90.0
_ANSWER_BYTES_MAX = 256 << 20
_ERROR_BYTES_MAX = 64 << 10
_SAID_CHARS_MAX = 200
_RETRY_SECONDS = 5.0
_RETRY_SECONDS_MAX = 300.0
_INSTANCE = re.compile("arc[\\s_-]+instance", re.IGNORECASE)
# What a 400 is about that no row is to blame for.
_PLACE_FAULT = re.compile("database|measurement", re.IGNORECASE)

Kind = Literal["written", "waits", "refused", "too_large", "doubt"]


class Outcome(NamedTuple):
    """What became of a write.

    `written`: it is there. `waits`: it is not, and no row is to blame. `refused`: it is not,
    because of a row. `too_large`: it is not, because of its size. `doubt`: nobody knows yet.
    `reason` is for people, `word` for the metric; `said` quotes Arc, and stays with the row.
    """

    kind: Kind
    word: str = ""
    reason: str = ""
    said: str = ""
    retry_after: float = 0.0


class Answer(NamedTuple):
    """A status and a body."""

    status: int
    content: bytes
    retry_after: float


class Table(NamedTuple):
    """The result of a query; no columns and no rows where the measurement has no data yet."""

    columns: tuple[str, ...]
    data: tuple[tuple[Any, ...], ...]

    def column(self, name: str) -> list[Any]:
        """Return one column, by its name."""
        if name not in self.columns:
            return []
        place = self.columns.index(name)
        return [row[place] for row in self.data]


class _Body(msgspec.Struct):
    """What Arc answers to a query, as far as it is looked at."""

    success: bool | None = None
    columns: tuple[str, ...] | None = None
    data: tuple[tuple[Any, ...], ...] | None = None
    error: str | None = None


class _Broken(Exception):
    """A request that got no whole answer; `sent` where it may have come there all the same."""

    def __init__(self, word: str, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.word = word
        self.reason = reason
        self.sent = sent


class ArcClient:
    """Speaks to the Arc of one binding; connections are opened by the first request. Thread-safe.

    `reachable`: whether it was well when it was last asked, or heard of; None before that.
    """

    def __init__(self, binding: ArcBinding, options: ArcOptions, clock: Clock) -> None:
        self.binding = binding
        self.place = place_of(binding.url)
        self.reachable: bool | None = None
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._opened: httpx.Client | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"ArcClient({self.binding.org!r}, {self.place!r})"

    def close(self) -> None:
        """Close the connections; what is under way fails, and every later request."""
        with self._lock:
            self._closed = True
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    def ping(self) -> bool:
        """Return whether Arc answers that it is well; this needs no key."""
        try:
            answer = self._send("GET", "/health", None, {}, self._options.connect_timeout)
        except _Broken:
            self.reachable = False
            return False
        self.reachable = answer.status == 200
        return self.reachable

    def write(self, rows: Sequence[Row]) -> Outcome:
        """Write rows in one request and say what became of it; raises `Unconfigured` at most."""
        body = encode_rows(self.binding.measurement, self.binding.org, rows)
        headers = {"content-type": "application/msgpack", **self._identity()}
        if len(body) >= _GZIP_BYTES_MIN:
            # Arc knows it by its first bytes; there is no header for it.
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        try:
            answer = self._send(
                "POST", "/api/v1/write/msgpack", body, headers, self._options.query_timeout
            )
        except _Broken as broken:
            self._failed(broken)
            kind: Kind = "doubt" if broken.sent else "waits"
            return Outcome(kind, broken.word, f"Arc at {self.place} {broken.reason}")
        self._answered(answer)
        return self._outcome(answer)

    def query(self, sql: str, *, seconds: float | None = None) -> Table:
        """Return what a query finds.

        `Unavailable` where Arc does not answer or not well, `Invalid` where it refuses the query.
        """
        body = msgspec.json.encode({"sql": sql})
        headers = {"content-type": "application/json", **self._identity()}
        timeout = seconds or self._options.query_timeout
        try:
            answer = self._send("POST", "/api/v1/query", body, headers, timeout)
        except _Broken as broken:
            self._failed(broken)
            raise Unavailable(
                f"Arc at {self.place} {broken.reason}; try again",
                code="request_timeout" if broken.word == "timeout" else "unavailable",
                retry_after=_RETRY_SECONDS,
                reason="arc",
            ) from broken
        self._answered(answer)
        return self._table(answer)

    def find(self, rows: Sequence[Row]) -> list[bool]:
        """Return, for each row, whether Arc has it; raises what `query` does."""
        found = set()
        for sql in find_instants(
            self.binding.measurement, self.binding.org, sorted({row.at_us for row in rows})
        ):
            table = self.query(sql)
            agents, events, keys = map(table.column, ("agent_id", "event_type", "dedup_key"))
            for time, agent, event, key in zip(
                table.column("time"), agents, events, keys, strict=True
            ):
                found.add((parse_time(time), agent, event, key or ""))
        return [row.identity in found for row in rows]

    def _failed(self, broken: _Broken) -> None:
        # One that is slow once, or cuts a connection, can still be asked.
        if not broken.sent:
            self.reachable = False

    def _answered(self, answer: Answer) -> None:
        if answer.status < 300:
            self.reachable = True

    def _identity(self) -> dict[str, str]:
        headers = {"x-arc-database": self.binding.database}
        if self.binding.api_key:
            headers["x-api-key"] = self.binding.api_key
        return headers

    def _outcome(self, answer: Answer) -> Outcome:
        status, said, ours = answer.status, *self._said(answer.content)
        where = f"Arc at {self.place}"
        if status in (200, 204):
            if not answer.content.strip() or (ours and not said):
                return Outcome("written")
            return Outcome("doubt", "answer", f"{where} answered {status} with an error or no JSON")
        if status == 400 and ours and not _PLACE_FAULT.search(said):
            return Outcome("refused", "400", f"{where} refused it (400)", said)
        if status == 413:
            return Outcome("too_large", "413", f"{where} takes no such size (413)", said)
        if status >= 500:
            return Outcome("doubt", "5xx", f"{where} answered {status}")
        if status == 429:
            reason = f"{where} is busy (429)"
            return Outcome("waits", "429", reason, retry_after=answer.retry_after)
        word = "denied" if status in (401, 403) else "settings"
        return Outcome("waits", word, self._advice(status))

    def _table(self, answer: Answer) -> Table:
        status, content = answer.status, answer.content
        where = f"Arc at {self.place}"
        if status == 200:
            try:
                body = from_json(content, _Body)
            except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
                raise self._away(f"{where} answered what is no result of a query") from error
            if body.error or body.success is False:
                raise self._away(f"{where} failed on the query: {self._shown(body.error or '')}")
            return Table(body.columns or (), body.data or ())
        said, _ = self._said(content)
        if status == 400:
            raise Invalid(f"{where} refuses the query (400): {said or 'it does not say why'}")
        if status == 429:
            raise Unavailable(
                f"{where} is busy (429); try again in {answer.retry_after:g} s",
                code="overloaded",
                retry_after=answer.retry_after,
                reason="arc",
            )
        if status == 504:
            raise Unavailable(
                f"{where} did not finish the query in its time (504); narrow it",
                code="request_timeout",
                retry_after=_RETRY_SECONDS,
                reason="arc",
            )
        if status >= 500:
            raise self._away(f"{where} answered {status}: {said or 'it does not say why'}")
        raise self._away(self._advice(status))

    def _advice(self, status: int) -> str:
        where, org = f"Arc at {self.place}", self.binding.org
        if status in (401, 403):
            return (
                f"{where} refuses the key of {org} ({status}); give one that may read and write: "
                "`palimp org remove-arc`, then `palimp org add-arc`"
            )
        if 300 <= status < 400:
            return f"{where} answered {status}, and a redirect is not followed; give its own URL"
        return (
            f"{where} answered {status} for database {self.binding.database!r}, measurement "
            f"{self.binding.measurement!r}; check URL, database and measurement of {org}"
        )

    def _away(self, message: str) -> Unavailable:
        return Unavailable(message, retry_after=_RETRY_SECONDS, reason="arc")

    def _said(self, content: bytes) -> tuple[str, bool]:
        """Return the error in an answer, and whether it is JSON as Arc answers."""
        try:
            body = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            return "", False
        if not isinstance(body, dict):
            return "", False
        error = body.get("error")
        if error or body.get("success") is False:
            return self._shown(error if isinstance(error, str) else "it does not say why"), True
        return "", True

    def _shown(self, text: str) -> str:
        """Return what Arc said, short, on one line, without the key.

        Clients take `Arc` and that other word in a 503 for an organisation without one.
        """
        if self.binding.api_key:
            text = text.replace(self.binding.api_key, "***")
        text = " ".join(_INSTANCE.sub("Arc", text).split())
        return text if len(text) <= _SAID_CHARS_MAX else text[:_SAID_CHARS_MAX] + "..."

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Answer:
        client = self._client()
        import httpx

        until = self._clock.monotonic() + seconds
        timeout = httpx.Timeout(seconds, connect=min(seconds, self._options.connect_timeout))
        response = None
        try:
            request = client.build_request(
                method, self.binding.url + path, content=body, headers=headers, timeout=timeout
            )
            response = client.send(request, stream=True)
            content = self._content(response, until, seconds)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            said = str(error) or "no connection within the timeout"
            raise _Broken("away", f"cannot be reached ({said:.120})", sent=False) from error
        except httpx.TimeoutException as error:
            raise _Broken("timeout", f"did not answer within {seconds:g} s", sent=True) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise Unconfigured(f"{self.place} is not the name of a host") from error
        except httpx.RequestError as error:
            raise _Broken("cut", "cut the connection", sent=True) from error
        except (RuntimeError, httpx.StreamError) as error:
            # That is how httpx says that it was closed meanwhile.
            if self._closed:
                raise _Broken("closed", "is not spoken to any more", sent=True) from error
            raise
        finally:
            if response is not None:
                response.close()
        return Answer(response.status_code, content, _retry_after(response))

    def _content(self, response: httpx.Response, until: float, seconds: float) -> bytes:
        most = _ANSWER_BYTES_MAX if response.is_success else _ERROR_BYTES_MAX
        pieces, size = [], 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > most:
                if not response.is_success:
                    break
                raise Invalid(
                    f"Arc at {self.place} answered more than {most:,} bytes; ask for fewer events",
                    code="payload_too_large",
                )
            if self._clock.monotonic() >= until:
                raise _Broken("timeout", f"did not finish within {seconds:g} s", sent=True)
            pieces.append(piece)
        return b"".join(pieces)

    def _client(self) -> httpx.Client:
        parts = urlsplit(self.binding.url)
        with self._lock:
            if self._closed:
                raise _Broken("closed", "is not spoken to any more", sent=False)
            if self._opened is None:
                self._opened = open_client(
                    tls=parts.scheme != "http",
                    direct=is_self_hosted(parts.hostname or ""),
                    connections=_CONNECTIONS_MAX,
                    idle=_CONNECTIONS_IDLE_MAX,
                    idle_seconds=_IDLE_SECONDS,
                )
            return self._opened


def _retry_after(response: httpx.Response) -> float:
    said = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", said):
        return min(float(said), _RETRY_SECONDS_MAX)
    return _RETRY_SECONDS
