"""How requests travel over HTTP, in both directions: for the server and for the clients.

What the path does not carry of a request is its JSON body, or for GET and DELETE its query string.
A request with a field `data` of bytes has that as its body, as it is: a file. Its other fields are
the query string then, but for `content_type`, which is the header of that name; without that field
the file is an SQLite database.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qsl, urlencode

import msgspec

from ..errors import Invalid
from ..ids import MAIN, parse_database_spec
from .base import Request
from .convert import to_request
from .limits import CONTENT_TYPE_BYTES_MAX
from .operation import Operation, Options, Target
from .plain import check_plain
from .routes import fill_path, placeholders

__all__ = [
    "CONTENT_TYPE",
    "FILE_TYPE",
    "FILE_TYPES",
    "HEADER_BRANCH",
    "HEADER_CONSISTENCY",
    "HEADER_DURABILITY",
    "HEADER_MIN_TXID",
    "HEADER_PREFER",
    "HEADER_REQUEST_ID",
    "HEADER_TXID",
    "JSON_TYPE",
    "NO_CONTENT",
    "REPRESENTATION",
    "Call",
    "carries_file",
    "check_content_type",
    "decode_call",
    "encode_call",
    "file_type",
    "query_fields",
    "wire_types",
]

JSON_TYPE = "application/json"
FILE_TYPE = "application/vnd.sqlite3"
# What the body of a file may be said to be.
FILE_TYPES = (FILE_TYPE, "application/octet-stream")
HEADER_TXID = "palimp-txid"
HEADER_MIN_TXID = "palimp-min-txid"
HEADER_CONSISTENCY = "palimp-consistency"
HEADER_DURABILITY = "palimp-durability"
HEADER_BRANCH = "palimp-branch"
HEADER_REQUEST_ID = "palimp-request-id"
# Without this, what removes something answers 204 and nothing else, or 404 (RFC 7240).
HEADER_PREFER, REPRESENTATION = "prefer", "return=representation"
# Where a path carries what a request is aimed at.
_TARGETS = ("namespace", "profile", "db", "branch")
_IN_QUERY = ("GET", "DELETE")
# The field of a file's type, and what of a request with a file is in no query string.
CONTENT_TYPE = "content_type"
_FILE_FIELDS = ("data", CONTENT_TYPE)
NO_CONTENT = 204
_TXID_DIGITS_MAX = 16
_WORD = re.compile(r"[!-~]+")
# What a header holds as it is: spaces at its ends would be lost.
_CONTENT_TYPE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Call(NamedTuple):
    """A request as it is sent: `path` is encoded and has its query string."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def encode_call(operation: Operation, target: Target, request: Request, options: Options) -> Call:
    """Return an operation as it is sent; `Invalid` for what cannot be sent as it is."""
    names = placeholders(operation.path)
    values = {"namespace": target.namespace or "", "profile": target.profile or ""}
    values["branch"] = target.branch
    values["db"] = f"{target.namespace}--{target.profile}"
    query: list[tuple[str, str]] = []
    if target.branch != MAIN and "branch" not in names:
        query.append(("branch", target.branch))
    if target.at is not None:
        query.append(("at", target.at))
    headers = {HEADER_PREFER: REPRESENTATION} if operation.success == NO_CONTENT else {}
    if options.request_id is not None:
        headers[HEADER_REQUEST_ID] = _word(options.request_id, "request_id")
    if options.durability is not None:
        headers[HEADER_DURABILITY] = _word(options.durability, "durability")
    if options.min_txid is not None:
        headers[HEADER_MIN_TXID] = str(options.min_txid)
    if options.consistency is not None:
        headers[HEADER_CONSISTENCY] = _word(options.consistency, "consistency")
    body = b""
    try:
        plain, file = _taken_apart(operation, request)
        values.update((name, plain.pop(name)) for name in names if name not in values)
        if file is not None:
            body, headers["content-type"] = file
            query += _pairs(plain)
        elif operation.method in _IN_QUERY:
            query += _pairs(plain)
        elif plain:
            headers["content-type"] = JSON_TYPE
            body = msgspec.json.encode(plain)
    except UnicodeEncodeError as error:
        raise Invalid(f"{operation.name}: a text is not Unicode: {error.reason}") from error
    except Invalid:
        raise
    except (TypeError, OverflowError, RecursionError, ValueError) as error:
        raise Invalid(f"{operation.name}: a value cannot be sent as JSON: {error}") from error
    for name in names:
        if not isinstance(values[name], str):
            raise Invalid(f"{name} must be text, not {type(values[name]).__name__}")
    path = fill_path(operation.path, values)
    if query:
        try:
            path += "?" + urlencode(query)
        except UnicodeEncodeError as error:
            raise Invalid(f"{operation.name}: a text is not Unicode: {error.reason}") from error
    return Call(operation.method, path, headers, body)


def decode_call(
    operation: Operation,
    values: Mapping[str, str],
    query: bytes,
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[Target, Request, Options]:
    """Return what was sent; `values` are the path's. Raises `Invalid` naming field and problem."""
    given = _query(operation, query)
    target = _target(values, given, headers.get(HEADER_BRANCH))
    fields: dict[str, Any] = {n: v for n, v in values.items() if n not in _TARGETS}
    if carries_file(operation):
        _nothing_left(operation, [name for name in given if name not in query_fields(operation)])
        fields.update(given, data=body)
        if CONTENT_TYPE in wire_types(operation.request) and "content-type" in headers:
            fields[CONTENT_TYPE] = headers["content-type"]
    elif operation.method in _IN_QUERY:
        fields.update(given)
    else:
        _nothing_left(operation, given)
        sent = _json(operation, body)
        for name in fields:
            if name in sent:
                raise Invalid(f"{operation.name}: {name!r} belongs in the path, not in the body")
        fields.update(sent)
    return target, to_request(operation.request, fields, operation.name), _options(headers)


def _word(value: object, name: str) -> str:
    """Return a word that can stand in a header: there, spaces at its ends would be lost."""
    if not isinstance(value, str):
        raise Invalid(f"{name} must be text, not {type(value).__name__}")
    if not _WORD.fullmatch(value):
        raise Invalid(
            f"{name} {value!r:.160} cannot be sent; give 1 to 128 of visible ASCII, without spaces"
        )
    return value


def query_fields(operation: Operation) -> dict[str, Any]:
    """Return the types of what a route takes in its query, without branch and point, by name."""
    if operation.method not in _IN_QUERY and not carries_file(operation):
        return {}
    taken = (*placeholders(operation.path), *_FILE_FIELDS)
    return {n: t for n, t in wire_types(operation.request).items() if n not in taken}


def carries_file(operation: Operation) -> bool:
    """Whether the body of an operation's request is a file."""
    return wire_types(operation.request).get("data") is bytes


def check_content_type(kind: str) -> str:
    """Return a content type that a header holds as it is; raises `Invalid` for others."""
    if len(kind) > CONTENT_TYPE_BYTES_MAX or not _CONTENT_TYPE.fullmatch(kind):
        raise Invalid(
            f"content_type {kind!r:.80} cannot stand in a header; give 1 to "
            f"{CONTENT_TYPE_BYTES_MAX} of visible ASCII, like text/plain"
        )
    return kind


def file_type(kind: type[msgspec.Struct]) -> str | None:
    """Return of what type the file of a request or a result is; None where it says so itself."""
    return None if CONTENT_TYPE in wire_types(kind) else FILE_TYPE


def _taken_apart(
    operation: Operation, request: Request
) -> tuple[dict[str, Any], tuple[bytes, str] | None]:
    """Return the fields as plain values and, of a request with a file, that and its type."""
    if not carries_file(operation):
        check_plain(request)
        return msgspec.to_builtins(request), None
    check_plain(request, apart="data")
    plain = {n: getattr(request, n) for n in request.__struct_fields__ if n not in _FILE_FIELDS}
    kind = check_content_type(getattr(request, CONTENT_TYPE, FILE_TYPE))
    return plain, (request.data, kind)  # type: ignore[attr-defined]


def _target(values: Mapping[str, str], given: dict[str, Any], header: str | None) -> Target:
    namespace, profile = values.get("namespace"), values.get("profile")
    branches = {values.get("branch"), given.pop("branch", None), header}
    if "db" in values:
        namespace, profile, branch = parse_database_spec(values["db"])
        branches.add(branch)
    branches.discard(None)
    if len(branches) > 1:
        named = " and ".join(sorted(repr(one) for one in branches))
        raise Invalid(f"the request names several branches, {named}; name one")
    at = given.pop("at", None)
    return Target(namespace, profile, branches.pop() if branches else MAIN, at)


def _query(operation: Operation, query: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"the query string {query!r:.80} cannot be read: {error}") from error
    types = query_fields(operation)
    found: dict[str, Any] = {}
    for name, text in pairs:
        kinds = _alternatives(types.get(name))
        if any(getattr(kind, "__origin__", kind) is tuple for kind in kinds):
            found.setdefault(name, []).append(text)
            continue
        if name in found:
            raise Invalid(f"{operation.name}: {name!r} is given twice in the query string")
        found[name] = _value(name, text, kinds)
    return found


def _value(name: str, text: str, kinds: tuple[Any, ...]) -> Any:
    """Return the text of a query string as what the field takes; a text where it may be one."""
    if any(getattr(kind, "__origin__", None) is dict for kind in kinds):
        return _given_json(text, f"{name} in the query string")
    digits = text[1:] if text[:1] == "-" else text
    if int in kinds and digits.isascii() and digits.isdigit() and len(digits) <= _TXID_DIGITS_MAX:
        return int(text)
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    if float in kinds:
        try:
            return float(text)
        except ValueError:
            raise Invalid(f"{name} is {text!r:.40}; give a number") from None
    return text


def _nothing_left(operation: Operation, given: Collection[str]) -> None:
    if given:
        raise Invalid(f"{operation.name} takes no {next(iter(given))!r:.80} in the query string")


def _json(operation: Operation, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    sent = _given_json(body, f"{operation.name}: the body")
    if not isinstance(sent, dict):
        raise Invalid(f"{operation.name}: the body must be a JSON object")
    return sent


def _given_json(text: bytes | str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{what} is not JSON: {error}") from error


def _options(headers: Mapping[str, str]) -> Options:
    floor = headers.get(HEADER_MIN_TXID)
    if floor is not None and not (floor.isascii() and floor.isdigit() and len(floor) <= 16):
        raise Invalid(f"Palimp-Min-Txid is {floor!r:.40}; give a txid, a whole number")
    return Options(
        request_id=headers.get(HEADER_REQUEST_ID),
        durability=headers.get(HEADER_DURABILITY),  # type: ignore[arg-type]
        min_txid=None if floor is None else int(floor),
        consistency=headers.get(HEADER_CONSISTENCY),  # type: ignore[arg-type]
    )


def _pairs(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, _as_text(one))
        for name, value in plain.items()
        for one in (value if isinstance(value, (list, tuple)) else (value,))
        if one is not None
    ]


def _as_text(value: Any) -> str:
    """Return a value as a query string has it: an object as JSON."""
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache(maxsize=256)
def wire_types(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of a struct's fields by their names on the wire."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(cls)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return (kind,) if getattr(kind, "__origin__", None) is tuple else get_args(kind) or (kind,)
