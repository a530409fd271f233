"""Errors as that system says them: `{"detail": message}`, with its statuses and words."""

from __future__ import annotations

from typing import Any

from ....api.answers import Answer
from ....errors import Denied, Error, NotFound
from ..foreign import detail, status_of, wrong

__all__ = ["forbidden", "is_blocked", "missing", "refusal", "unprocessable", "wrong"]

_BLOCKED = 403
_UNPROCESSABLE = 422
_CRASHED = 500


def refusal(error: Error) -> Answer:
    """Return an error as it is sent."""
    if is_blocked(error):
        labels = ", ".join(error.details.get("labels", ()))
        said = f"Blocked: Memory blocked: contains sensitive content ({labels})"
        return detail(Denied(said))
    return detail(error, _said(error))


def is_blocked(error: Error) -> bool:
    """Whether a policy does not let something in because of what it holds."""
    return error.details.get("reason") == "redaction"


def _said(error: Error) -> str:
    """Return the message: as it is where a handler chose it, else under the word of its kind."""
    if error.details.get("said"):
        return str(error)
    status = status_of(error)
    if status == _UNPROCESSABLE:
        return f"Validation error: {error}"
    if error.code == "branch_not_found":
        return f"Branch not found: {error}"
    if status == _CRASHED:
        return f"Internal error: {error}"
    return str(error)


def unprocessable(message: str) -> Error:
    """Return the error of a wrong field (422), with exactly this message."""
    return wrong(message, said=True)


def missing(message: str) -> Error:
    """Return the error of what is not there (404), with exactly this message."""
    return NotFound(message, said=True)


def forbidden(message: str, **details: Any) -> Error:
    """Return the error of what this caller may not (403), with exactly this message."""
    return Denied(message, said=True, **details)
