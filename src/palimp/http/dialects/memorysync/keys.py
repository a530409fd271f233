"""The keys of a tenant's applications: made, listed, renewed, tested, revoked.

On the wire a key is known by a number, which is made of its id: nothing more has to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from ....api import Target
from ....api.base import Request
from ....api.credentials import (
    CreateCredential,
    Credential,
    CredentialPage,
    ListCredentials,
    RevokeCredential,
    RotateCredential,
)
from ....api.limits import PAGE_MAX
from ....errors import NotFound
from ..foreign import Reply, Route
from .admission import SCOPES_DEFAULT, grants
from .call import Call
from .names import DIALECT, check_environment, check_project_id
from .projects import check_own
from .refusals import forbidden, missing, unprocessable
from .shapes import stamp

__all__ = ["ROUTES"]

_NAME_CHARS_MAX = 100
_SCOPES_MAX = 50
_REVOKED_MAX = 100
# So many bits every reader of JSON keeps.
_NUMBER_DIGITS = 13


def create(call: Call) -> Any:
    """Make a key; no wider than the one that asks for it."""
    name = call.text("name").strip()
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise unprocessable(
            f"name has {len(name):,} characters; 1 to {_NAME_CHARS_MAX} fit", "name"
        )
    environment = check_environment(call.text("environment", required=False) or call.environment)
    project = call.text("project_id", required=False) or call.caller.locked
    if project is not None:
        check_own(call, check_project_id(project))
    scopes = _scopes(call)
    _check_within(call, environment, project, scopes)
    request = CreateCredential(
        dialect=DIALECT,
        subject=call.tenant,
        name=name,
        expires_at=call.when("expires_at"),
        detail={"environment": environment, "project": project, "scopes": scopes},
    )
    return _shown(call, _carry_out(call, "credentials.create", request))


def listing(call: Call) -> Any:
    """Return the keys of the tenant that hold, the newest first."""
    found = [_shown(call, one) for one in _all(call) if _is_within(call, one)]
    return {"keys": found, "total": len(found)}


def rotate(call: Call) -> Any:
    """Make a new key instead of one."""
    request = RotateCredential(id=_find(call).id)
    return _shown(call, _carry_out(call, "credentials.rotate", request))


def revoke(call: Call) -> Any:
    """Let a key hold no more."""
    _carry_out(call, "credentials.revoke", RevokeCredential(id=_find(call).id))
    return Reply(204)


def bulk_revoke(call: Call) -> Any:
    """Let keys hold no more; say of each what became of it."""
    given = call.body.get("key_ids")
    if not isinstance(given, list) or not all(type(one) is int and one > 0 for one in given):
        raise unprocessable("key_ids must be a list of positive whole numbers", "key_ids")
    if not 1 <= len(given) <= _REVOKED_MAX:
        raise unprocessable(f"key_ids has {len(given):,} entries; give 1 to {_REVOKED_MAX}")
    known = {_number(one): one for one in _all(call, revoked=True) if _is_within(call, one)}
    counts = {"revoked": 0, "already_revoked": 0, "not_found": 0}
    results = []
    for number in dict.fromkeys(given):
        status = _revoke_one(call, known.get(number))
        counts[status] += 1
        results.append({"key_id": number, "status": status})
    return {**counts, "results": results}


def check(call: Call) -> Any:
    """Say what a key may, and whether it holds."""
    found = _find(call, revoked=True)
    now = call.node.context.clock.now_ms()
    expired = found.expires_at is not None and found.expires_at <= now
    status = "revoked" if found.revoked_at is not None else "expired" if expired else "active"
    return {
        "key_id": _number(found),
        "valid": status == "active",
        "status": status,
        "environment": found.detail.get("environment"),
        "rate_limit_tier": call.node.settings.memorysync_rate_tier,
        "scopes": found.detail.get("scopes") or list(SCOPES_DEFAULT),
        "project_id": found.detail.get("project"),
        "last_used_at": _time(found.last_used_at),
        "expires_at": _time(found.expires_at),
        "expired": expired,
        "server_time": stamp(now),
    }


def _revoke_one(call: Call, found: Credential | None) -> str:
    if found is None:
        return "not_found"
    if found.revoked_at is None:
        try:
            _carry_out(call, "credentials.revoke", RevokeCredential(id=found.id))
        except NotFound:
            return "already_revoked"
        return "revoked"
    return "already_revoked"


def _scopes(call: Call) -> list[str]:
    found = call.texts("scopes")
    if found is None:
        return list(SCOPES_DEFAULT)
    if len(found) > _SCOPES_MAX or not all(found):
        raise unprocessable(f"scopes must be up to {_SCOPES_MAX} words that are not empty")
    return list(dict.fromkeys(found))


def _check_within(call: Call, environment: str, project: str | None, scopes: list[str]) -> None:
    """Raise `Denied` for a key that would reach further than who makes it."""
    caller = call.caller
    if caller.master:
        return
    if environment != caller.environment:
        raise forbidden(f"API key is for {caller.environment}; it makes none for {environment}")
    if caller.locked not in (None, project):
        raise forbidden("API key is locked to another project")
    wider = [one for one in scopes if not grants(caller.scopes, one)]
    if wider:
        raise forbidden(f"Insufficient scope. Missing: {', '.join(wider)}")


def _is_within(call: Call, key: Credential) -> bool:
    """Whether the caller reaches as far as a key: no application changes those of another."""
    caller = call.caller
    if caller.master:
        return True
    here = key.detail.get("environment") == caller.environment
    return here and caller.locked in (None, key.detail.get("project"))


def _find(call: Call, *, revoked: bool = False) -> Credential:
    """Return the key of the path; raises `NotFound`."""
    given = call.values["id"]
    for one in _all(call, revoked=revoked):
        if str(_number(one)) == given and _is_within(call, one):
            return one
    raise missing(f"API key not found: {given:.40}")


def _all(call: Call, *, revoked: bool = False) -> Iterator[Credential]:
    cursor = None
    while True:
        request = ListCredentials(
            dialect=DIALECT, subject=call.tenant, revoked=revoked, limit=PAGE_MAX, cursor=cursor
        )
        page: CredentialPage = _carry_out(call, "credentials.list", request)
        yield from page.credentials
        cursor = page.next_cursor
        if cursor is None:
            return


def _carry_out(call: Call, operation: str, request: Request) -> Any:
    """Carry out what the node does for nobody but its owner, for who was let through here."""
    return call.node.call(operation, Target(), request, principal=call.steward)


def _number(key: Credential) -> int:
    return int(hashlib.blake2b(key.id.encode()).hexdigest()[:_NUMBER_DIGITS], 16) + 1


def _shown(call: Call, key: Credential) -> dict[str, Any]:
    """Return a key as it travels; the secret where it was made just now."""
    found = {
        "id": _number(key),
        "name": key.name,
        "prefix": key.prefix,
        "tenant_id": call.tenant,
        "environment": key.detail.get("environment"),
        "project_id": key.detail.get("project"),
        "scopes": key.detail.get("scopes") or list(SCOPES_DEFAULT),
        "rate_limit_tier": call.node.settings.memorysync_rate_tier,
        "created_at": stamp(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
        "revoked_at": _time(key.revoked_at),
    }
    return found if key.secret is None else {**found, "key": key.secret}


def _time(ms: int | None) -> str | None:
    return None if ms is None else stamp(ms)


_KEYS = "/org/api-keys"
_KEY = f"{_KEYS}/{{id}}"
_TEST = "tests/dialects/memorysync/test_control.py"
_READ, _WRITE = "keys:read", "keys:write"

ROUTES: tuple[Route, ...] = (
    Route("POST", _KEYS, "user", create, _TEST, 201, needs=_WRITE),
    Route("GET", _KEYS, "user", listing, _TEST, needs=_READ),
    Route("POST", f"{_KEYS}/bulk-revoke", "user", bulk_revoke, _TEST, needs=_WRITE),
    Route("POST", f"{_KEY}/test", "user", check, _TEST, needs=_READ),
    Route("POST", f"{_KEY}/rotate", "user", rotate, _TEST, 201, needs=_WRITE),
    Route("DELETE", _KEY, "user", revoke, _TEST, 204, needs=_WRITE),
)
