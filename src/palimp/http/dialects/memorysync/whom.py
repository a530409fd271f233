"""Whose data a call of the v1 plane is about: it says so itself, and not by headers."""

from __future__ import annotations

from .call import Call
from .refusals import forbidden, unprocessable

__all__ = ["SOURCE", "source_of", "user_of"]

# Of a key that may not list projects adapters know no tenant.
_ANY_TENANT = "default"
# Where nothing else is said.
SOURCE = "api"
_SOURCE_CHARS_MAX = 64


def user_of(call: Call, tenant: str | None = None, user: str | None = None) -> Call:
    """Return the request about the end user that it names.

    Raises 403 for another tenant than the key's, 422 where one of the two is missing.
    """
    tenant = call.text("tenant_id") if tenant is None else tenant
    user = call.text("user_id") if user is None else user
    if tenant not in (call.tenant, _ANY_TENANT):
        raise forbidden(f"tenant_id {tenant!r:.80} is not the tenant of this API key")
    if not user:
        raise unprocessable("user_id is empty", "user_id")
    return call.of(user)


def source_of(call: Call, default: str | None = SOURCE) -> str | None:
    """Return the source of a body; raises 422 for one that is empty or too long."""
    found = call.text("source", required=False)
    if found is None:
        return default
    if not 1 <= len(found) <= _SOURCE_CHARS_MAX:
        raise unprocessable(f"source must have 1 to {_SOURCE_CHARS_MAX} characters", "source")
    return found
