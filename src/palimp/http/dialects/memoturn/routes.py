"""ROUTES: every route of the dialect once, with the operation that carries it out.

Placeholders have our names: a value goes to where the path of the operation has the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from ....errors import Invalid
from . import answers, requests

__all__ = ["ROUTES", "Match", "Route", "Routes"]

Fields = dict[str, Any]


class Route(NamedTuple):
    """One route: what it is, what reaches it, and how it is translated.

    `scope` is the operation's; `platform` where only the platform key reaches it. `body` and
    `answer` turn theirs into ours and ours into theirs; None leaves them as they are. `status` is
    that of success where it is not the operation's. A route without an operation says why in
    `refusal`, but for those that only say that the node is there.
    """

    method: str
    path: str
    scope: Literal["nobody", "read", "write", "admin", "platform"]
    operation: str | None = None
    body: Callable[[Fields], Fields] | None = None
    answer: Callable[[Fields, Fields], Fields] | None = None
    query: Callable[[bytes], bytes] = requests.clamped_query
    status: int | None = None
    refusal: str | None = None


class Match(NamedTuple):
    """The route of a request and the values of its placeholders; None where no method fits."""

    route: Route | None
    values: dict[str, str]
    allowed: tuple[str, ...]


_PROFILE = "/v1/memory/{namespace}/{profile}"
_DATABASE = "/v1/db/{db}"
_COLLECTION = _DATABASE + "/docs/{collection}"
_VECTORS = _DATABASE + "/vectors/{collection}"
_TURNS = _DATABASE + "/memory/{session_id}"
_KEY = _DATABASE + "/kv/{ns}/{key}"

_MEMORY_ROUTES = (
    Route(
        "GET", "/v1/memory/{namespace}", "read", "profiles.list",
        query=requests.all_at_once,
    ),
    Route(
        "POST", _PROFILE + "/memories", "write", "memories.ingest",
        body=requests.ingest, answer=answers.ingested,
    ),
    Route(
        "GET", _PROFILE + "/memories/{id}", "read", "memories.get",
        answer=answers.memory,
    ),
    Route("DELETE", _PROFILE + "/memories/{id}", "write", "memories.forget"),
    Route(
        "POST", _PROFILE + "/recall", "read", "recall",
        body=requests.recall, answer=answers.recalled,
    ),
    Route(
        "POST", _PROFILE + "/ask", "read", "ask",
        body=requests.ask, answer=answers.asked,
    ),
    Route(
        "POST", _PROFILE + "/extract", "write", "extract",
        body=requests.extract, answer=answers.extracted, status=200,
    ),
    Route("GET", _PROFILE + "/sessions", "read", "sessions.list"),
    Route("DELETE", _PROFILE + "/sessions/{session_id}", "write", "sessions.end"),
    Route(
        "POST", _PROFILE + "/erasures", "write", "erasures.create",
        body=requests.erase, answer=answers.erasing, status=202,
    ),
    Route(
        "GET", _PROFILE + "/erasures", "read", "erasures.list",
        answer=answers.erasures, query=requests.all_at_once,
    ),
    Route("GET", _PROFILE + "/erasures/{id}", "read", "erasures.get", answer=answers.erasure),
    Route("GET", _PROFILE + "/policy", "read", "policy.get_profile"),
    Route("PUT", _PROFILE + "/policy", "admin", "policy.set_profile"),
)  # fmt: skip

_DATA_ROUTES = (
    Route("POST", _DATABASE + "/sql", "read", "sql.run"),
    Route("POST", _DATABASE + "/sync", "write", "sync"),
    Route("GET", _DATABASE + "/kv/{ns}", "read", "kv.list"),
    Route("GET", _KEY, "read", "kv.get"),
    Route("PUT", _KEY, "write", "kv.put"),
    Route("DELETE", _KEY, "write", "kv.delete"),
    Route("POST", _COLLECTION + "/insert", "write", "documents.insert"),
    Route(
        "POST", _COLLECTION + "/find", "read", "documents.find",
        body=requests.clamped("limit"),
    ),
    Route("POST", _COLLECTION + "/update", "write", "documents.update"),
    Route("POST", _COLLECTION + "/delete", "write", "documents.delete"),
    Route("POST", _COLLECTION + "/indexes", "write", "documents.index"),
    Route("POST", _VECTORS, "write", "vectors.upsert"),
    Route(
        "POST", _VECTORS + "/search", "read", "vectors.search",
        body=requests.clamped("k"),
    ),
    Route(
        "POST", _TURNS + "/turns", "write", "sessions.append",
        body=requests.append, answer=answers.appended, status=200,
    ),
    Route("GET", _TURNS + "/turns", "read", "sessions.window", answer=answers.turns),
    Route(
        "POST", _TURNS + "/search", "read", "sessions.search",
        body=requests.search_turns, answer=answers.turns,
    ),
)  # fmt: skip


def _branch_routes(prefix: str) -> tuple[Route, ...]:
    branch = prefix + "/branches/{branch}"
    return (
        Route("POST", prefix + "/branches", "write", "branches.fork"),
        Route("GET", prefix + "/branches", "read", "branches.list"),
        Route("DELETE", branch, "admin", "branches.delete"),
        Route("POST", branch + "/checkpoint", "admin", "checkpoints.create"),
        Route("POST", branch + "/rewind", "admin", "rewind", body=requests.rewind),
    )


_CONTROL_ROUTES = (
    Route("POST", "/v1/databases", "platform", "databases.create"),
    Route(
        "GET", "/v1/databases", "platform", "databases.list",
        query=requests.all_at_once,
    ),
    Route("DELETE", "/v1/databases/{db}", "platform", "databases.delete"),
    Route("POST", "/v1/databases/{db}/tokens", "admin", "tokens.mint_database"),
    Route("POST", "/v1/namespaces/{namespace}/tokens", "admin", "tokens.mint_namespace"),
    Route("GET", "/v1/namespaces/{namespace}/policy", "platform", "policy.get_namespace"),
    Route("PUT", "/v1/namespaces/{namespace}/policy", "platform", "policy.set_namespace"),
    Route("GET", "/v1/namespaces/{namespace}/audit", "admin", "audit.query"),
    Route("GET", "/v1/databases/{db}/usage", "platform", "usage.database"),
    Route("GET", "/health", "nobody"),
    Route("GET", "/healthz", "nobody"),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (
    *_MEMORY_ROUTES,
    *_DATA_ROUTES,
    *_branch_routes(_DATABASE),
    # The pages of that system have them here too, its contract does not.
    *_branch_routes("/v1/databases/{db}"),
    *_CONTROL_ROUTES,
)


class Routes:
    """Finds the route of a path as it came, still encoded: a `/` in a name is no separator."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        # By the number of parts; no two of one length differ in placeholders only.
        self._routes: dict[int, list[tuple[tuple[bytes | None, ...], Route]]] = {}
        for route in routes:
            words = route.path.strip("/").split("/")
            parts = tuple(None if word.startswith("{") else word.encode() for word in words)
            self._routes.setdefault(len(parts), []).append((parts, route))

    def match(self, method: str, raw_path: bytes) -> Match | None:
        """Return what a request is for; None where no route has its path.

        Raises `Invalid` for a path that is not percent-encoded UTF-8.
        """
        given = raw_path.lstrip(b"/").split(b"/")
        allowed = []
        for parts, route in self._routes.get(len(given), ()):
            if all(word is None or word == part for word, part in zip(parts, given, strict=True)):
                if route.method == method:
                    return Match(route, _values(route, given), ())
                allowed.append(route.method)
        return Match(None, {}, tuple(sorted(allowed))) if allowed else None


def _values(route: Route, given: list[bytes]) -> dict[str, str]:
    words = route.path.strip("/").split("/")
    return {
        word[1:-1]: _decoded(part)
        for word, part in zip(words, given, strict=True)
        if word.startswith("{")
    }


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the path has {part!r:.80}, which is not percent-encoded UTF-8") from error
