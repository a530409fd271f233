"""How answers and errors travel over HTTP, in both directions.

A result with a field `data` of bytes travels as these, a file. Errors have one shape:
`{"error": text, "code": code}`, with `retry_after` (seconds) and `details` where there are any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..decoding import from_json, from_plain
from ..errors import Error, Internal, NotFound
from .base import Result
from .operation import Operation
from .wire import (
    CONTENT_TYPE,
    HEADER_PREFER,
    HEADER_TXID,
    JSON_TYPE,
    NO_CONTENT,
    REPRESENTATION,
    file_type,
    wire_types,
)

__all__ = [
    "STATUS",
    "Answer",
    "ErrorBody",
    "decode_answer",
    "decode_error",
    "encode_answer",
    "encode_error",
    "gives_file",
]

STATUS: dict[str, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "database_not_found": 404,
    "branch_not_found": 404,
    "already_exists": 409,
    "conflict": 409,
    "invalid_request": 400,
    "payload_too_large": 413,
    "request_timeout": 408,
    "overloaded": 429,
    "unconfigured": 503,
    "unavailable": 503,
    "internal": 500,
}
# What an answer means that has no code of ours: a proxy's, for instance.
_CODES: dict[int, str] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "request_timeout",
    409: "conflict",
    413: "payload_too_large",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
_CLASSES: dict[str, type[Error]] = {
    code: cls for cls in Error.__subclasses__() for code in cls.codes
}


class Answer(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The one shape of every error."""

    error: str
    code: str
    retry_after: float | None = None
    details: dict[str, Any] = {}


def encode_answer(operation: Operation, result: Result, headers: Mapping[str, str]) -> Answer:
    """Return a result as it is sent; `headers` are the request's."""
    txid = getattr(result, "txid", None)
    extra = {} if txid is None else {HEADER_TXID: str(txid)}
    if gives_file(operation):
        known = file_type(operation.result)
        extra["content-type"] = known or getattr(result, CONTENT_TYPE)
        if known is None:
            # A caller said what it is: a page of theirs must not run as one of this node.
            extra["content-security-policy"] = "sandbox"
        return Answer(operation.success, extra, result.data)  # type: ignore[attr-defined]
    if operation.success == NO_CONTENT:
        if REPRESENTATION not in headers.get(HEADER_PREFER, ""):
            missing = result.missing()
            if missing is not None:
                answer = encode_error(NotFound(missing))
                return answer._replace(headers={**extra, **answer.headers})
            return Answer(NO_CONTENT, extra, b"")
        return Answer(200, {**extra, "content-type": JSON_TYPE}, msgspec.json.encode(result))
    extra["content-type"] = JSON_TYPE
    return Answer(operation.success, extra, msgspec.json.encode(result))


def decode_answer(operation: Operation, answer: Answer) -> Result:
    """Return the result of a successful answer; `Internal` where it is not one of ours."""
    try:
        if gives_file(operation):
            fields: dict[str, Any] = {"data": answer.body}
            fields["txid"] = int(answer.headers[HEADER_TXID])
            if file_type(operation.result) is None:
                fields[CONTENT_TYPE] = answer.headers["content-type"]
            return from_plain(fields, operation.result)
        return from_json(answer.body, operation.result)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise Internal(
            f"{operation.name}: the answer (status {answer.status}) is not Palimpsest's: {error}; "
            "check that the URL is that of a node"
        ) from error


def gives_file(operation: Operation) -> bool:
    """Whether the body of an operation's answer is a file."""
    return wire_types(operation.result).get("data") is bytes


def encode_error(error: Error, status: int | None = None) -> Answer:
    """Return an error as it is sent."""
    headers = {"content-type": JSON_TYPE}
    if error.code == "unauthorized":
        # RFC 9110 11.6.1: such an answer says how to ask.
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    body = ErrorBody(str(error), error.code, error.retry_after, dict(error.details))
    sent = msgspec.json.encode(body, enc_hook=str)
    return Answer(STATUS[error.code] if status is None else status, headers, sent)


def decode_error(answer: Answer) -> Error:
    """Return the error of an answer; of one that no node wrote, what its `status` says."""
    try:
        body = from_json(answer.body, ErrorBody)
        cls = _CLASSES[body.code]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return _foreign(answer)
    wait = body.retry_after if body.retry_after is not None else _retry_after(answer)
    error = cls(body.error, code=body.code, retry_after=wait)
    error.details = body.details
    return error


def _foreign(answer: Answer) -> Error:
    other = "internal" if answer.status >= STATUS["internal"] else "invalid_request"
    code = _CODES.get(answer.status, other)
    text = answer.body[:200].decode("utf-8", "replace").strip()
    message = f"the server answered with status {answer.status}" + (f": {text}" if text else "")
    wait = _retry_after(answer)
    return _CLASSES[code](message, code=code, retry_after=wait, status=answer.status)


def _retry_after(answer: Answer) -> float | None:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None
