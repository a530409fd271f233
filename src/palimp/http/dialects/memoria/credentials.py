"""The keys of users as the node keeps them, for handlers that checked who asks."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api import ListBranches, Target
from ....api.base import Request, Result
from ....api.credentials import Credential, CredentialPage, ListCredentials, RevokeCredential
from ....api.limits import PAGE_MAX
from ....errors import NotFound
from ....ids import foreign_name
from ....operations import OWNER, Principal
from .admission import NAME, NAMESPACE
from .call import Call

__all__ = ["carry_out", "is_known", "of_group", "of_user", "revoke_all", "steward"]


def of_group(call: Call, group: str, members: list[str]) -> list[Credential]:
    """Return the keys of members that are for a group."""
    keys = [key for member in members for key in of_user(call, member)]
    return [key for key in keys if key.detail.get("group") == group]


def revoke_all(call: Call, keys: list[Credential]) -> int:
    """Let keys hold no more; return how many there were."""
    for key in keys:
        carry_out(call, "credentials.revoke", RevokeCredential(id=key.id))
    return len(keys)


def is_known(call: Call, user: str) -> bool:
    """Whether a user has, or had, a key or memories."""
    request = ListCredentials(dialect=NAME, subject=user, limit=1)
    page: CredentialPage = carry_out(call, "credentials.list", request)
    if page.credentials:
        return True
    target = Target(NAMESPACE, foreign_name(user))
    try:
        call.node.call("branches.list", target, ListBranches(), principal=steward(call))
    except NotFound:
        return False
    return True


def steward(call: Call) -> Principal:
    """Return as whom a dialect does what it let somebody do, after it asked who they are."""
    caller = call.caller.principal
    return caller if call.master else msgspec.structs.replace(OWNER, actor=caller.actor)


def carry_out(call: Call, operation: str, request: Request) -> Any:
    """Carry out what the node does for nobody but its owner, for who was let through here."""
    done: Result = call.node.call(operation, Target(), request, principal=steward(call))
    return done


def of_user(call: Call, user: str) -> list[Credential]:
    """Return the keys of a user that hold, the newest first."""
    now = call.node.context.clock.now_ms()
    found: list[Credential] = []
    cursor = None
    while True:
        request = ListCredentials(dialect=NAME, subject=user, limit=PAGE_MAX, cursor=cursor)
        page: CredentialPage = carry_out(call, "credentials.list", request)
        found += [one for one in page.credentials if one.expires_at is None or one.expires_at > now]
        cursor = page.next_cursor
        if cursor is None:
            return found
