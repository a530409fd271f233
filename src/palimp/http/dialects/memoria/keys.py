"""Keys of users, and of members of a group: made, listed, renewed, revoked."""

from __future__ import annotations

from typing import Any

from ....api.credentials import (
    CreateCredential,
    Credential,
    GetCredential,
    RevokeCredential,
    RotateCredential,
)
from ....clock import format_ms, parse_ms
from ....errors import Invalid, NotFound
from ..foreign import Reply, Route
from . import groups
from .admission import NAME
from .call import Call
from .credentials import carry_out, of_user
from .names import check_user
from .refusals import forbidden, missing

__all__ = ["ROUTES", "shown"]

_NAME_CHARS_MAX = 100
_FORM = "%Y-%m-%d %H:%M:%S.%f"


def create(call: Call) -> Any:
    """Make a key: for a user as the master, for a member of a group as its owner too."""
    user, name = check_user(call.text("user_id")), call.text("name")
    if not 1 <= len(name) <= _NAME_CHARS_MAX:
        raise Invalid(f"name has {len(name):,} characters; 1 to {_NAME_CHARS_MAX} fit")
    expires = call.text("expires_at", required=False)
    group = call.text("group_id", required=False)
    if group is not None:
        groups.check_keys_of(call, group, user)
    elif not call.master:
        raise forbidden("Master key required")
    request = CreateCredential(
        dialect=NAME,
        subject=user,
        name=name,
        expires_at=None if expires is None else parse_ms(expires, "expires_at"),
        detail={} if group is None else {"group": group},
    )
    return shown(carry_out(call, "credentials.create", request))


def listing(call: Call) -> Any:
    """Return the keys of who asks, the newest first."""
    return [shown(one) for one in of_user(call, call.caller.member) if _is_own(call, one)]


def get(call: Call) -> Any:
    """Return one key."""
    return shown(_own(call))


def rotate(call: Call) -> Any:
    """Make a new key instead of one."""
    return shown(carry_out(call, "credentials.rotate", RotateCredential(id=_own(call).id)))


def revoke(call: Call) -> Any:
    """Let a key hold no more."""
    found = _find(call)
    group = found.detail.get("group")
    if not _is_own(call, found) and not (group and groups.owns(call, group)):
        raise forbidden("Not your key")
    carry_out(call, "credentials.revoke", RevokeCredential(id=found.id))
    return Reply(204)


def shown(key: Credential) -> dict[str, Any]:
    """Return a key as it is answered; the secret where it was made just now."""
    found = {
        "key_id": key.id,
        "user_id": key.subject,
        "group_id": key.detail.get("group"),
        "name": key.name,
        "key_prefix": key.prefix,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
    }
    return found if key.secret is None else {**found, "raw_key": key.secret}


def _find(call: Call) -> Credential:
    """Return the key of the path; raises `NotFound` for one that is none, or another dialect's."""
    identity = call.values["id"]
    try:
        found: Credential = carry_out(call, "credentials.get", GetCredential(id=identity))
    except (NotFound, Invalid) as error:
        raise missing("Key not found") from error
    if found.dialect != NAME:
        raise missing("Key not found")
    return found


def _own(call: Call) -> Credential:
    found = _find(call)
    if not _is_own(call, found):
        raise forbidden("Not your key")
    return found


def _is_own(call: Call, key: Credential) -> bool:
    """Whether it is theirs. The key of a group reaches the keys for that group, and no others."""
    if call.master:
        return True
    group = call.caller.group
    own = group is None or key.detail.get("group") == group
    return own and key.subject == call.caller.member


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_ms(ms, pattern=_FORM)


_KEY = "/auth/keys/{id}"

_TEST = "tests/dialects/memoria/test_keys.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/auth/keys", "user", create, _TEST, 201),
    Route("GET", "/auth/keys", "user", listing, _TEST),
    Route("GET", _KEY, "user", get, _TEST),
    Route("PUT", f"{_KEY}/rotate", "user", rotate, _TEST, 201),
    Route("DELETE", _KEY, "user", revoke, _TEST, 204),
)
