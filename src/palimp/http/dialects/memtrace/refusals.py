"""Errors as that system says them: one text, and a hint where there is one."""

from __future__ import annotations

import msgspec

from ....api.answers import Answer
from ....api.wire import JSON_TYPE
from ....errors import Error, Invalid
from ..foreign import Asked, detail, wrong
from ..refusing import conflict, forbidden, missing, unauthorized

__all__ = ["bad", "conflict", "failed", "forbidden", "missing", "refusal", "unauthorized"]

_BAD, _NOT_FOUND, _WRONG_METHOD, _WRONG_FIELD, _FAILED = 400, 404, 405, 422, 500
_TEXT = "text/plain; charset=utf-8"


def refusal(error: Error, asked: Asked) -> Answer:
    """Return an error as it is sent; that there is no such route, in plain text."""
    plain = detail(error)
    status = _BAD if plain.status == _WRONG_FIELD else plain.status
    text = str(error)
    if asked.route is None and status in (_NOT_FOUND, _WRONG_METHOD):
        return Answer(status, {**plain.headers, "content-type": _TEXT}, text.encode())
    said = {"error": text}
    hint = error.details.get("hint")
    if hint:
        said["hint"] = hint
    headers = {**plain.headers, "content-type": JSON_TYPE}
    return Answer(status, headers, msgspec.json.encode(said))


def bad(message: str) -> Invalid:
    """Return the error of a request that is wrong (400)."""
    return wrong(message, _BAD)


def failed(message: str) -> Invalid:
    """Return the error of a batch, which that system answers as a fault of its own (500)."""
    return wrong(message, _FAILED)
