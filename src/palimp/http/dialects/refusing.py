"""Errors that dialects raise by the same names; each shows them in its own shape."""

from __future__ import annotations

from ...errors import Conflict, Denied, NotFound

__all__ = ["conflict", "forbidden", "missing", "unauthorized"]


def missing(message: str) -> NotFound:
    """Return the error of what is not there (404)."""
    return NotFound(message)


def conflict(message: str) -> Conflict:
    """Return the error of what is there already, or whose state does not let it happen (409)."""
    return Conflict(message)


def unauthorized(message: str) -> Denied:
    """Return the error of a credential that is none (401)."""
    return Denied(message, code="unauthorized")


def forbidden(message: str) -> Denied:
    """Return the error of what this caller may not (403)."""
    return Denied(message)
