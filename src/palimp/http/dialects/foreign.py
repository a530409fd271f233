"""The frame of a dialect whose requests take several operations each, or none.

It has routes with handlers, and says who calls. What is the same for every such dialect is here:
finding the route, reading JSON, writing it. `Api` admits, limits, times, counts and logs.

A handler runs in a worker's thread and is given what `Foreign.call` makes of its request. It
returns what is sent as JSON, or a `Reply`; what it raises is refused in the dialect's shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from ...api.answers import STATUS, Answer
from ...api.wire import JSON_TYPE, NO_CONTENT
from ...errors import Error, Invalid, NotFound
from ...operations import Principal
from ..api import Api
from ..messages import Receive, Scope, Send, send_answer

if TYPE_CHECKING:
    from ..spool import Spool

__all__ = ["Asked", "Foreign", "Reply", "Route", "Table", "Who", "detail", "status_of", "wrong"]

C = TypeVar("C")

Who = Literal["nobody", "user", "master"]
_BAD_REQUEST, _WRONG_METHOD, _WRONG_TYPE, _WRONG_FIELD = 400, 405, 415, 422
_NOT_IMPLEMENTED = 501
_ALIVE = b"/health"
# What changes nothing, so that any page may send it.
_ASKING = ("GET", "OPTIONS")
_TEXT = "text/plain; charset=utf-8"
# What is refused over a rate; whatever else is overloaded is so for everybody, and soon over.
_RATES = ("rate", "failures")


class Reply(NamedTuple):
    """What a handler answers with a status of its own; a `str` is sent as plain text."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Route(NamedTuple):
    """One route: what it is, who reaches it, what carries it out, and how it is tested.

    `status` is that of success. A `refusal` is the reason why it is not carried out at all (501).
    The handler of a `raw` one reads its body by itself, whatever it is. `needs` is what the caller
    must be allowed to, in the dialect's words. The body is of type `takes`, and has at most
    `bytes_max` bytes (None: as many as the dialect takes); of another type than JSON it is handed
    over as a `Spool`.
    """

    method: str
    path: str
    who: Who
    handler: Callable[[Any], Any] | None
    exercised: str = ""
    status: int = 200
    refusal: str | None = None
    raw: bool = False
    needs: str = ""
    takes: str = JSON_TYPE
    bytes_max: int | None = None


class Table:
    """Finds the route of a path as it came, still encoded: a `/` in a name is no separator."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[int, list[tuple[tuple[bytes | None, ...], Route]]] = {}
        for route in routes:
            words = route.path.strip("/").split("/")
            parts = tuple(None if word.startswith("{") else word.encode() for word in words)
            self._routes.setdefault(len(parts), []).append((parts, route))
        for rows in self._routes.values():
            # A word before a placeholder that takes it too.
            rows.sort(key=lambda row: [part is None for part in row[0]])

    def match(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """Return the route of a request and the values of its path; `NotFound`, `Invalid` (405)."""
        given = raw_path.strip(b"/").split(b"/")
        allowed = set()
        for parts, route in self._routes.get(len(given), ()):
            if all(word is None or word == part for word, part in zip(parts, given, strict=True)):
                if route.method == method:
                    return route, _values(route, given)
                allowed.add(route.method)
        shown = raw_path[:200].decode("ascii", "replace")
        if not allowed:
            raise NotFound(f"there is no route {shown}")
        takes = ", ".join(sorted(allowed))
        raise wrong(f"{shown} takes {takes}, not {method[:20]}", _WRONG_METHOD, allow=takes)


class Asked:
    """One request as it came."""

    __slots__ = (
        "alone",
        "client",
        "extra",
        "headers",
        "id",
        "method",
        "path",
        "query_string",
        "route",
        "values",
    )

    def __init__(self, scope: Scope) -> None:
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path = _path(scope)
        self.query_string: bytes = scope["query_string"]
        # Whether it came to a port of the dialect's own.
        self.alone = not scope["root_path"]
        self.headers: Mapping[str, str] = {}
        self.client = "-"
        # By what the request is known in the log.
        self.id = ""
        # Headers of the answer, also where it is an error.
        self.extra: dict[str, str] = {}
        self.route: Route | None = None
        self.values: dict[str, str] = {}

    def query(self) -> dict[str, str]:
        """Return the query string by name; raises `Invalid` (422) for what is none."""
        try:
            text = self.query_string.decode("ascii")
            return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
        except (UnicodeDecodeError, ValueError) as error:
            raise wrong(f"the query string cannot be read: {error}") from error


class Foreign(ABC, Generic[C]):
    """A dialect as an ASGI app, at the root of a port or below where it is mounted.

    `C` is what it knows of who calls.
    """

    name: str
    bytes_max: int
    # Whether `GET /health` says that the process lives, whatever goes on; else it is a route.
    says_alive = True

    def __init__(self, api: Api, routes: Iterable[Route]) -> None:
        self.api = api
        self.node = api.node
        self.table = Table(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; where it is asked whether the process lives, whatever goes on."""
        alive = self.says_alive and scope["method"] in ("GET", "HEAD")
        if alive and _path(scope) == _ALIVE:
            await send_answer(send, _answer(Reply(200, "ok")))
            return
        await self.api(scope, receive, send, _Exchange(self, scope))

    @abstractmethod
    def admit(self, asked: Asked) -> tuple[C, Principal, str]:
        """Return who calls, as whom the node knows them, and the database they are at.

        In a worker's thread. Raises `Denied`, and `Unavailable` over a rate.
        """

    @abstractmethod
    def call(self, asked: Asked, caller: C, body: Any) -> Any:
        """Return what the handler is given; `body` is the JSON that came, or None."""

    def refused(self, error: Error, asked: Asked) -> Answer:  # noqa: ARG002 - others use it
        """Return an error in the dialect's shape."""
        return detail(error)

    def done(self, asked: Asked, caller: C) -> None:
        """Note that a request was answered."""


class _Exchange(Generic[C]):
    """One request of a dialect, for `Api`."""

    __slots__ = ("_app", "_asked", "_caller", "where")

    def __init__(self, app: Foreign[C], scope: Scope) -> None:
        self._app = app
        self._asked = Asked(scope)
        self._caller: C | None = None
        self.where = ""

    @property
    def dialect(self) -> str:
        """The dialect's name."""
        return self._app.name

    @property
    def name(self) -> str:
        """As what it is counted."""
        route = self._asked.route
        return "none" if route is None else f"{self._app.name} {route.method} {route.path}"

    @property
    def writes(self) -> bool:
        """Whether it may have changed something."""
        return self._asked.method != "GET"

    @property
    def bytes_max(self) -> int:
        """How large its body may be."""
        route = self._asked.route
        own = None if route is None else route.bytes_max
        return self._app.bytes_max if own is None else own

    @property
    def spooled(self) -> bool:
        """Whether its body goes into a file as it comes: what is no JSON is files."""
        route = self._asked.route
        return route is not None and route.takes != JSON_TYPE

    def named(self, request: str) -> None:
        """Hear by what id the request is known."""
        self._asked.id = request

    def match(self, headers: Mapping[str, str], client: str) -> None:
        """Find its route, and refuse a body of another type."""
        asked = self._asked
        asked.headers, asked.client = headers, client
        asked.route, asked.values = self._app.table.match(asked.method, asked.path)
        _check_type(asked.method, headers, asked.route.takes)

    def admit(self) -> Principal:
        """Return who asks."""
        self._caller, principal, self.where = self._app.admit(self._asked)
        return principal

    def work(self, body: bytes | Spool) -> Answer:
        """Carry it out."""
        route, caller = self._asked.route, self._caller
        assert route is not None
        assert caller is not None
        if route.refusal is not None:
            raise wrong(route.refusal, _NOT_IMPLEMENTED)
        assert route.handler is not None
        given = body if route.raw or not isinstance(body, bytes) else _decoded(body)
        call = self._app.call(self._asked, caller, given)
        done = route.handler(call)
        self._app.done(self._asked, caller)
        return self._stamped(
            _answer(done if isinstance(done, Reply) else Reply(route.status, done))
        )

    def refused(self, error: Error) -> Answer:
        """Return an error in the dialect's shape."""
        return self._stamped(self._app.refused(error, self._asked))

    def _stamped(self, answer: Answer) -> Answer:
        more = self._asked.extra
        return answer._replace(headers={**answer.headers, **more}) if more else answer


def wrong(message: str, status: int = _WRONG_FIELD, **details: Any) -> Invalid:
    """Return the error of a request that cannot be carried out, with its status."""
    return Invalid(message, http_status=status, **details)


def status_of(error: Error) -> int:
    """Return the status of an error; of what is wrong with a field 422."""
    given = error.details.get("http_status")
    if isinstance(given, int):
        return given
    if error.code == "invalid_request":
        return _WRONG_FIELD
    if error.code == "overloaded" and error.details.get("reason") not in _RATES:
        return STATUS["unavailable"]
    return STATUS[error.code]


def detail(error: Error, message: str | None = None) -> Answer:
    """Return an error as `{"detail": message}`, with the headers that belong to it."""
    headers = {}
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, -int(-error.retry_after // 1)))
    if "allow" in error.details:
        headers["allow"] = error.details["allow"]
    return _json(status_of(error), {"detail": message or str(error)}, headers)


def _answer(reply: Reply) -> Answer:
    if reply.status == NO_CONTENT:
        return Answer(reply.status, dict(reply.headers), b"")
    if isinstance(reply.body, str):
        headers = {"content-type": _TEXT, **reply.headers}
        return Answer(reply.status, headers, reply.body.encode())
    return _json(reply.status, reply.body, reply.headers)


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"content-type": JSON_TYPE, **(headers or {})}, msgspec.json.encode(body))


def _check_type(method: str, headers: Mapping[str, str], takes: str) -> None:
    """Refuse a body that does not say that it is JSON, or what else the route takes (415).

    Also one that does not say what it is, and from a browser none at all: a page of any origin can
    make it send those.
    """
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if empty and (method in _ASKING or "origin" not in headers):
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != takes:
        raise wrong(f"the body must be {takes}, not {kind[:80]!r}", _WRONG_TYPE)
    if takes != JSON_TYPE and "origin" in headers:
        raise wrong(f"{takes} is not taken from a page in a browser", _WRONG_TYPE)
    coding = headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise wrong(f"the body is coded as {coding[:80]!r}; send it as it is", _WRONG_TYPE)


def _decoded(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"the body is not JSON: {error}", _BAD_REQUEST) from error


def _values(route: Route, given: list[bytes]) -> dict[str, str]:
    words = route.path.strip("/").split("/")
    return {
        word[1:-1]: _text(part)
        for word, part in zip(words, given, strict=True)
        if word.startswith("{")
    }


def _path(scope: Scope) -> bytes:
    found: bytes = scope["raw_path"].removeprefix(scope["root_path"].encode())
    return found


def _text(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise wrong(f"the path has {part!r:.80}, which is not percent-encoded UTF-8") from error
