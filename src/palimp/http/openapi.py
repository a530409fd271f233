"""The description of the interface for programs: OpenAPI 3.1, made from OPERATIONS."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import Any

import msgspec

from ..api import OPERATIONS, Operation
from ..api.answers import ErrorBody, gives_file
from ..api.routes import placeholders
from ..api.wire import (
    HEADER_BRANCH,
    HEADER_CONSISTENCY,
    HEADER_DURABILITY,
    HEADER_MIN_TXID,
    HEADER_PREFER,
    HEADER_REQUEST_ID,
    HEADER_TXID,
    JSON_TYPE,
    NO_CONTENT,
    REPRESENTATION,
    carries_file,
    file_type,
    query_fields,
    wire_types,
)
from ..version import __version__
from .lines import LINES_TYPE
from .ready import Ready

__all__ = ["description", "group"]

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_PARAMETERS = "#/components/parameters/"
_RESPONSES = "#/components/responses/"
_ERROR: Json = {"$ref": _SCHEMAS + "ErrorBody"}
# What every operation can answer instead of its result: name, status, when.
_FAILURES = (
    ("Invalid", 400, "The request cannot be carried out as it stands."),
    ("Unauthorized", 401, "The node asks for a credential and got none that it knows."),
    ("Forbidden", 403, "The credential does not reach this far."),
    ("NotFound", 404, "What it names does not exist."),
    ("TimedOut", 408, "It took too long. With `in_doubt` in `details` it may have been done."),
    ("Conflict", 409, "The state is not what the request assumed."),
    ("TooLarge", 413, "The body is larger than this node takes."),
    ("WrongType", 415, "The body is not of the type the operation takes."),
    ("Misdirected", 421, "The Host header names no address of this machine."),
    ("Overloaded", 429, "Too much is under way; repeat it after `Retry-After` seconds."),
    ("Defect", 500, "A defect of the node."),
    ("Unavailable", 503, "A part is away or not configured, or the node is stopping."),
)  # fmt: skip
_ABOUT = (
    'Every answer that is no success has one shape: `{"error": text, "code": code}`, with '
    "`retry_after` and `details` where there are any. A path that exists answers a method it does "
    "not take with 405 and `Allow`. An unknown field of a request is refused by name."
)
_PATH_PARAMETERS: dict[str, tuple[str, str]] = {
    "namespace": ("The namespace: a-z, 0-9, `_` and `-`.", "default"),
    "profile": ("The profile: a-z, 0-9, `_` and `-`.", "alice"),
    "db": ("`namespace--profile`, or `namespace--profile@branch`.", "default--alice"),
    "branch": ("The branch.", "main"),
    "id": ("The id.", "mem_0123456789abcdef0123456789abcdef"),
    "collection": ("The collection: a-z, 0-9, `_` and `-`.", "docs"),
    "session_id": ("The session, percent-encoded.", "s1"),
    "ns": ("The space of keys, percent-encoded.", "settings"),
    "key": ("The key, percent-encoded.", "theme"),
}
_GROUPS = {
    "memories": "Memories",
    "recall": "Recall",
    "ask": "Recall",
    "sessions": "Sessions",
    "kv": "Keys and values",
    "documents": "Documents",
    "vectors": "Vectors",
    "branches": "Branches",
    "checkpoints": "Branches",
    "points": "Branches",
    "rewind": "Branches",
    "profiles": "Node",
    "names": "Node",
    "node": "Node",
    "maintain": "Node",
}


@lru_cache(maxsize=1)
def description() -> bytes:
    """Return the whole document as JSON."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS.values():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Palimpsest", "version": __version__, "description": _ABOUT},
            "tags": [{"name": name} for name in dict.fromkeys(map(group, OPERATIONS.values()))],
            "paths": {**paths, **_beside()},
            # A node may ask for a credential (PALIMP_AUTH=on); without that none is looked at.
            "security": [{}, {"token": []}],
            "components": {
                "schemas": _schemas(),
                "parameters": _parameters(),
                "headers": _headers(),
                "responses": {name: _failure(text) for name, _, text in _FAILURES},
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def group(operation: Operation) -> str:
    """Return the heading an operation stands under."""
    return _GROUPS.get(operation.name.partition(".")[0], "Databases")


def _operation(operation: Operation) -> Json:
    doc: Json = {
        "operationId": operation.name,
        "tags": [group(operation)],
        "summary": operation.summary,
        "parameters": [*_in_path(operation), *_in_query(operation), *_in_headers(operation)],
        "responses": {**_success(operation), **_failures(operation)},
        "x-scope": operation.scope,
        "x-idempotent": operation.idempotent,
    }
    about = _text(operation.request)
    if about:
        doc["description"] = about
    body = _body(operation)
    if body is not None:
        doc["requestBody"] = body
    return doc


def _in_path(operation: Operation) -> list[Json]:
    found = []
    for name in placeholders(operation.path):
        text, example = _PATH_PARAMETERS.get(name, (f"The {name}, percent-encoded.", name))
        found.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": text,
                "schema": {"type": "string", "minLength": 1},
                "example": example,
            }
        )
    return found


def _in_query(operation: Operation) -> list[Json]:
    schema = _component(operation.request)
    found = [
        {"name": name, "in": "query", "required": name in schema.get("required", ())}
        | _of_query(_without_null(schema["properties"][name]))
        for name in query_fields(operation)
    ]
    if "namespace" in placeholders(operation.path) or "db" in placeholders(operation.path):
        if "branch" not in placeholders(operation.path):
            found.append({"$ref": _PARAMETERS + "branch"})
        if not operation.writes:
            found.append({"$ref": _PARAMETERS + "at"})
    return found


def _of_query(schema: Json) -> Json:
    """Return how a value stands in a query string: an object as JSON."""
    if schema.get("type") == "object":
        return {"content": {JSON_TYPE: {"schema": schema}}}
    return {"schema": schema}


def _in_headers(operation: Operation) -> list[Json]:
    names = [HEADER_REQUEST_ID, HEADER_MIN_TXID]
    if "{" in operation.path and "branch" not in placeholders(operation.path):
        names.append(HEADER_BRANCH)
    if operation.writes:
        names.append(HEADER_DURABILITY)
    elif "{" in operation.path:
        names.append(HEADER_CONSISTENCY)
    if operation.success == NO_CONTENT:
        names.append(HEADER_PREFER)
    return [{"$ref": _PARAMETERS + name} for name in names]


def _body(operation: Operation) -> Json | None:
    if operation.method in ("GET", "DELETE"):
        return None
    if carries_file(operation):
        return {"required": True, "content": _file(operation.request)}
    schema = dict(_component(operation.request))
    taken = set(placeholders(operation.path))
    schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in taken}
    schema["required"] = [name for name in schema.get("required", ()) if name not in taken]
    del schema["title"]
    schema.pop("description", None)
    return {"required": bool(schema["required"]), "content": {JSON_TYPE: {"schema": schema}}}


def _success(operation: Operation) -> Json:
    headers = _answer_headers()
    if "txid" in wire_types(operation.result):
        headers[HEADER_TXID] = {"$ref": "#/components/headers/" + HEADER_TXID}
    result: Json = {"schema": {"$ref": _SCHEMAS + operation.result.__name__}}
    content: Json = {JSON_TYPE: result}
    if gives_file(operation):
        content = _file(operation.result)
    elif "cursor" in wire_types(operation.request):
        content[LINES_TYPE] = {"schema": {"type": "string"}}
    text = _text(operation.result) or "Done."
    if operation.success != NO_CONTENT:
        found = {"description": text, "headers": headers, "content": content}
        return {str(operation.success): found}
    return {
        "200": {"description": text, "headers": headers, "content": content},
        "204": {"description": f"Done; without `Prefer: {REPRESENTATION}`.", "headers": headers},
    }


def _file(kind: type[msgspec.Struct]) -> Json:
    """Return the content of a body that is the thing itself, of a type of its own or of any."""
    return {file_type(kind) or "*/*": {"schema": {"type": "string", "format": "binary"}}}


def _failures(operation: Operation) -> Json:
    absent = set()
    if "{" not in operation.path:
        absent.add("NotFound")
    if not operation.writes:
        absent.add("Conflict")
    if operation.method in ("GET", "DELETE"):
        absent.add("WrongType")
    return {
        str(status): {"$ref": _RESPONSES + name}
        for name, status, _ in _FAILURES
        if name not in absent
    }


def _beside() -> dict[str, Json]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    ready = {JSON_TYPE: {"schema": {"$ref": _SCHEMAS + "Ready"}}}
    failed = {JSON_TYPE: {"schema": _ERROR}}
    misdirected = {"421": {"$ref": _RESPONSES + "Misdirected"}}

    def get(name: str, summary: str, responses: Json) -> Json:
        answers = {**responses, **misdirected}
        return {
            "get": {
                "operationId": name,
                "tags": ["Node"],
                "summary": summary,
                "responses": answers,
            }
        }

    return {
        "/health": get(
            "health",
            "Say whether the process answers.",
            {"200": {"description": "`ok`", "content": text}},
        ),
        "/ready": get(
            "ready",
            "Say whether requests are taken, and what a watcher should know.",
            {
                "200": {"description": "They are.", "content": ready},
                "503": {"description": "The node is stopping.", "content": ready},
            },
        ),
        "/metrics": get(
            "metrics",
            "Read counters and durations, in the text format of Prometheus.",
            {
                "200": {"description": "All of them.", "content": text},
                "503": {"description": "The extra `server` is missing.", "content": failed},
            },
        ),
    }


def _failure(text: str) -> Json:
    headers = {**_answer_headers(), "retry-after": {"$ref": "#/components/headers/retry-after"}}
    return {"description": text, "headers": headers, "content": {JSON_TYPE: {"schema": _ERROR}}}


def _answer_headers() -> Json:
    return {HEADER_REQUEST_ID: {"$ref": "#/components/headers/" + HEADER_REQUEST_ID}}


def _headers() -> Json:
    def header(text: str, kind: str) -> Json:
        return {"description": text, "schema": {"type": kind}}

    return {
        HEADER_REQUEST_ID: header("The request's, or one that was made for it.", "string"),
        HEADER_TXID: header("What the answer reflects; the floor of a later read.", "integer"),
        "retry-after": header("Seconds after which to repeat it.", "integer"),
    }


def _parameters() -> Json:
    def parameter(name: str, place: str, text: str, schema: Json) -> Json:
        return {"name": name, "in": place, "description": text, "schema": schema}

    word = {"type": "string"}
    found = [
        parameter("branch", "query", "The branch, main unless given.", word),
        parameter(
            "at",
            "query",
            "What the branch held there: a checkpoint, a txid, an RFC 3339 time.",
            word,
        ),
        parameter(HEADER_BRANCH, "header", "Another way to name the branch.", word),
        parameter(
            HEADER_REQUEST_ID,
            "header",
            "1 to 128 of visible ASCII. A repeat of a write gets the answer of the first.",
            {"type": "string", "pattern": "^[!-~]{1,128}$"},
        ),
        parameter(
            HEADER_MIN_TXID,
            "header",
            "Answer from no older state than this.",
            {"type": "integer", "minimum": 0},
        ),
        parameter(
            HEADER_CONSISTENCY,
            "header",
            "`primary`: every write that was acknowledged before. `cached`: what the node that is "
            "asked has of a profile, some seconds old where another node writes it. Else `cached` "
            "for the value of a key, `primary` for everything else.",
            {"type": "string", "enum": ["primary", "cached"]},
        ),
        parameter(
            HEADER_DURABILITY,
            "header",
            "What a write survives when it is answered.",
            {"type": "string", "enum": ["local", "durable"]},
        ),
        parameter(HEADER_PREFER, "header", f"`{REPRESENTATION}`: answer what was removed.", word),
    ]
    return {one["name"]: one for one in found}


@lru_cache(maxsize=1)
def _all_schemas() -> dict[str, Json]:
    kinds = {kind: None for row in OPERATIONS.values() for kind in (row.request, row.result)}
    _, found = msgspec.json.schema_components(
        [*kinds, ErrorBody, Ready], ref_template=_SCHEMAS + "{name}"
    )
    for name, schema in found.items():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        assert name == schema.get("title", name)
    return found


def _schemas() -> dict[str, Json]:
    """Return the schemas that something refers to: not those that travel in a query."""
    apart = {row.request.__name__ for row in OPERATIONS.values()}
    apart |= {row.result.__name__ for row in OPERATIONS.values() if gives_file(row)}
    found = _all_schemas()
    # A request may be part of another one, as what a task does.
    apart -= set(re.findall(_SCHEMAS + r"(\w+)", msgspec.json.encode(found).decode()))
    return {name: schema for name, schema in found.items() if name not in apart}


def _component(kind: type[msgspec.Struct]) -> Json:
    return _all_schemas()[kind.__name__]


def _without_null(schema: Json) -> Json:
    """Return the schema of a field as a query string has it: there is no null in one."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _text(kind: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(kind.__doc__ or "")
