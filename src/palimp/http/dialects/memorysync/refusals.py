"""Errors as that system says them: a code, a message and the request's id."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api.answers import Answer
from ....errors import Error, Invalid
from ..foreign import detail, status_of, wrong
from ..refusing import conflict, forbidden, missing, unauthorized

__all__ = [
    "bad",
    "conflict",
    "forbidden",
    "is_too_large",
    "missing",
    "refusal",
    "too_large",
    "unauthorized",
    "unprocessable",
]

_BAD, _UNPROCESSABLE, _TOO_LARGE = 400, 422, 413
_CODES = {
    400: "ValidationError",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "SERVICE_UNAVAILABLE",
    504: "TIMEOUT",
}
# Clients of that system read the message from three places, and the wait from two.
_WAITING = 429


def refusal(error: Error, request_id: str) -> Answer:
    """Return an error as it is sent."""
    plain = detail(error)
    status = plain.status
    said: dict[str, Any] = {
        "code": error.details.get("wire_code") or _CODES.get(status, "ERROR"),
        "message": str(error),
    }
    if status in (_UNPROCESSABLE, _TOO_LARGE):
        said["details"] = error.details.get("fields") or []
    if status == _WAITING and error.retry_after is not None:
        said["retry_after"] = max(1, -int(-error.retry_after // 1))
    body = {"error": said, "request_id": request_id, "detail": str(error)}
    return plain._replace(
        headers={**plain.headers, "x-request-id": request_id}, body=msgspec.json.encode(body)
    )


def bad(message: str, code: str) -> Invalid:
    """Return the error of a request that lacks something before its fields matter (400)."""
    return wrong(message, _BAD, wire_code=code)


def unprocessable(message: str, field: str | None = None) -> Invalid:
    """Return the error of a wrong field (422)."""
    fields = [{"field": field, "message": message}] if field else []
    return wrong(message, _UNPROCESSABLE, fields=fields)


def too_large(what: str, size: int, most: int) -> Invalid:
    """Return the error of metadata, or something else, that is too large (413)."""
    return wrong(
        f"{what} has {size:,} bytes as JSON; at most {most:,} fit",
        _TOO_LARGE,
        fields=[{"field": what, "size": size, "limit": most}],
    )


def is_too_large(error: Error) -> bool:
    """Whether something was refused because of its size."""
    return status_of(error) == _TOO_LARGE
