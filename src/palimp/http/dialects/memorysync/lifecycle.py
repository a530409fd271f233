"""What administrators do with memories: archiving, restoring, tiers, holds, keys, the audit."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api import (
    ArchiveMemory,
    GetEvents,
    HoldMemory,
    MemoryEvents,
    MovedMemory,
    Policy,
    ReleaseMemory,
    RestoreMemory,
    Target,
)
from ....api.annotating import Annotated, SetTier
from ....api.audit import AuditPage, QueryAudit
from ....api.base import Request
from ....api.keys import GetKeys, KeysStatus, Retired, RetireKeys, Rotated, RotateKeys
from ....api.limits import PAGE_DEFAULT, PAGE_MAX
from ....api.memories import FindMemories, FoundMemories
from ....api.policy import (
    GetNamespacePolicy,
    LifecycleRules,
    NamespacePolicy,
    SetNamespacePolicy,
)
from ....decoding import from_plain
from ....errors import NotFound
from ..foreign import Route
from .call import Call
from .refusals import conflict, missing, unprocessable
from .shapes import stamp

__all__ = ["ROUTES"]

_DAYS_MAX = 36_500
_GRACE_LEAST = 7
_HANDLE_DIGITS = 18
# Of a policy, by that system's words.
_WINDOWS = {
    "active_days": "active_days",
    "archive_days": "archived_days",
    "grace_days": "grace_days",
    "warm_after_days": "warm_days",
    "cold_after_days": "cold_days",
}


# -- one memory -----------------------------------------------------------------------------------


def archive(call: Call) -> Any:
    """Archive a memory."""
    return _moved(call, "memories.archive", ArchiveMemory(id=_live(call), reason=_reason(call)))


def unarchive(call: Call) -> Any:
    """Make an archived memory active again; another one is refused."""
    identity, state = _find(call)
    if state != "archived":
        raise conflict(f"Memory {call.values['id']} is {state}, and not archived")
    return _moved(call, "memories.restore", RestoreMemory(id=identity, reason=_reason(call)))


def restore(call: Call) -> Any:
    """Take a deletion back while its grace lasts; an archived memory comes back too."""
    request = RestoreMemory(id=_live(call), reason=_reason(call))
    return _moved(call, "memories.restore", request)


def tier(call: Call) -> Any:
    """Put a memory in a tier by hand."""
    given = call.tier()
    if given is None:
        raise call.lacking("tier")
    request = SetTier(id=_live(call), tier=given)
    done: Annotated = call.do("memories.tier", request)
    return {
        "memory_id": int(call.values["id"]),
        "tier": done.memory.memory_tier or "hot",
        "changed": done.changed,
        "retention_status": done.memory.state,
    }


def hold(call: Call) -> Any:
    """Put a memory under legal hold."""
    return _moved(call, "memories.hold", HoldMemory(id=_live(call), reason=_reason(call)))


def release(call: Call) -> Any:
    """End a legal hold."""
    return _moved(call, "memories.release", ReleaseMemory(id=_live(call), reason=_reason(call)))


def deletion(call: Call) -> Any:
    """Say how far the deletion of a memory has come, and what was done when."""
    identity, _ = _find(call)
    request = GetEvents(id=identity, limit=PAGE_MAX)
    found: MemoryEvents = call.do("memories.events", request)
    if found.deleted_at is None and found.state != "purged":
        raise missing(f"Memory {call.values['id']} is {found.state}: it was not deleted")
    return {
        "memory_id": int(call.values["id"]),
        "status": _progress(found),
        "retention_status": found.state,
        "legal_hold": found.held,
        "deleted_at": _time(found.deleted_at),
        "hard_delete_at": _time(found.hard_delete_at),
        "deletion_method": found.method,
        "steps": [
            {
                "step": one.event,
                "completed_at": stamp(one.at),
                "actor": one.actor,
                "reason": one.reason,
            }
            for one in found.events
            if one.event not in ("created", "annotated")
        ],
    }


def _progress(found: MemoryEvents) -> str:
    if found.state == "purged":
        return "done"
    return "held" if found.held else "waiting_grace"


def _find(call: Call) -> tuple[str, str]:
    """Return our id of the memory of the path and its state, deleted ones too; `NotFound`."""
    given = call.values["id"]
    if not (given.isascii() and given.isdigit() and len(given) <= _HANDLE_DIGITS):
        raise unprocessable(f"memory id {given!r:.40} is not a positive whole number", "id")
    handle = int(given)
    request = FindMemories(handles=(handle,), deleted=True)
    found: FoundMemories = call.do("memories.find", request)
    # What is locked to a project, or names one, reaches that and what has none.
    for one in found.memories:
        if call.project is None or one.project in (None, call.project):
            return one.id, one.state
    if handle in found.purged:
        return found.purged[handle], "purged"
    raise missing(f"Memory not found: {given}")


def _live(call: Call) -> str:
    """Return our id of the memory of the path; what it leads to is for the operation to say."""
    return _find(call)[0]


def _moved(call: Call, operation: str, request: Request) -> dict[str, Any]:
    done: MovedMemory = call.do(operation, request)
    return {
        "memory_id": int(call.values["id"]),
        "retention_status": done.state,
        "previous_status": done.before,
        "legal_hold": done.held,
        "deleted_at": _time(done.deleted_at),
        "hard_delete_at": _time(done.hard_delete_at),
        "deletion_method": done.method,
    }


def _reason(call: Call) -> str | None:
    return call.text("reason", required=False) or None


# -- the policy of a tenant -----------------------------------------------------------------------


def get_policy(call: Call) -> Any:
    """Return how long the memories of the tenant live here."""
    rules = _policy(call).lifecycle or LifecycleRules()
    shown = {name: getattr(rules, ours) for name, ours in _WINDOWS.items()}
    return {**shown, "archive_enabled": bool(rules.archive), "environment": call.environment}


def put_policy(call: Call) -> Any:
    """Change what is given of it; the rest of the policy stays, and so do the memories' own times.

    A grace is never shorter than 7 days.
    """
    policy = _policy(call)
    changes: dict[str, Any] = {}
    for name, ours in _WINDOWS.items():
        if name in call.body:
            changes[ours] = _days(call, name)
    if "archive_enabled" in call.body:
        changes["archive"] = call.flag("archive_enabled")
    if not changes:
        raise unprocessable(f"nothing to change; give {', '.join(_WINDOWS)}, archive_enabled")
    rules = msgspec.structs.replace(policy.lifecycle or LifecycleRules(), **changes)
    new = msgspec.structs.replace(policy, lifecycle=rules)
    request = SetNamespacePolicy(policy=new)
    _of_tenant(call, "policy.set_namespace", request)
    return get_policy(call)


def _policy(call: Call) -> Policy:
    """Return the policy of the namespace, which is set where there is none yet."""
    call.app.house.prepare(call.namespace)
    found: NamespacePolicy = _of_tenant(call, "policy.get_namespace", GetNamespacePolicy())
    if found.policy is None:
        return Policy()
    return from_plain(found.policy, Policy)


def _days(call: Call, name: str) -> int | None:
    found = call.body[name]
    least = _GRACE_LEAST if name == "grace_days" else 1
    if found is None and name != "grace_days":
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= _DAYS_MAX:
        raise unprocessable(f"{name} must be a whole number from {least} to {_DAYS_MAX:,}", name)
    return found


# -- keys that memories are sealed with, and the audit --------------------------------------------


def rotate(call: Call) -> Any:
    """Give the tenant a new key here: it seals from now on, older ones open what they sealed."""
    cursor, users = None, 0
    while True:
        request = RotateKeys(cursor=cursor)
        done: Rotated = _of_tenant(call, "keys.rotate", request)
        users, cursor = users + done.profiles, done.next_cursor
        if cursor is None:
            return {"version": done.version, "users": users, "environment": call.environment}


def expire(call: Call) -> Any:
    """Give up the versions before the current one; with `force` also what something needs.

    What is still sealed with a version that is needed is lost with it: it is refused otherwise.
    """
    given, force = call.values["version"], call.flag("force")
    if not (given.isascii() and given.isdigit() and len(given) <= _HANDLE_DIGITS):
        raise unprocessable(f"version {given!r:.40} is not a whole number", "version")
    version = int(given)
    newest = _newest(call)
    if version >= newest:
        raise conflict(f"Version {version} is current; rotate first")
    request = RetireKeys(force=force)
    cursor, gone, kept = None, 0, 0
    while True:
        done: Retired = _of_tenant(
            call, "keys.retire", msgspec.structs.replace(request, cursor=cursor)
        )
        gone, cursor = gone + done.profile_keys + done.namespace_keys, done.next_cursor
        kept += len(done.kept)
        if cursor is None:
            break
    if kept and not gone:
        raise conflict(
            f"{kept:,} keys are still needed; re-encrypt first (`palimp keys reencrypt`, "
            "`palimp keys seal-fields`), or expire it with force, and lose what they sealed"
        )
    return {"version": version, "current": newest, "expired": gone, "kept": kept}


def _newest(call: Call) -> int:
    """Return the newest version of the tenant's key here; raises `NotFound` where it has none."""
    status: KeysStatus = _of_tenant(call, "keys.status", GetKeys())
    for one in status.namespaces:
        if one.namespace == call.namespace:
            return max(one.versions)
    raise NotFound(f"tenant {call.tenant} has no keys in {call.environment}")


def audit_logs(call: Call) -> Any:
    """Return who did what in the tenant and environment, oldest first, page by page."""
    request = QueryAudit(
        from_=call.query.get("from") or None,
        to=call.query.get("to") or None,
        action=call.query.get("event_type") or None,
        limit=call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX),
        cursor=call.query.get("cursor") or None,
    )
    page: AuditPage = _of_tenant(call, "audit.query", request)
    return {
        "logs": [
            {
                "id": f"{one.node}:{one.seq}",
                "tenant_id": call.tenant,
                "user_id": one.profile,
                "event_type": one.action,
                "status": "success" if one.outcome == "ok" else "failure",
                "actor": one.actor,
                "request_id": one.request_id,
                "payload": {**one.counts, **({"code": one.code} if one.code else {})},
                "created_at": stamp(one.ts),
            }
            for one in page.events
        ],
        "next_cursor": page.next_cursor,
    }


def _of_tenant(call: Call, operation: str, request: Request) -> Any:
    """Carry out what is about the whole namespace, for who was let through here."""
    target = Target(call.namespace)
    return call.do(operation, request, target=target, principal=call.steward)


def _time(ms: int | None) -> str | None:
    return None if ms is None else stamp(ms)


_BASE = "/api/v1/lifecycle"
_MEMORY = f"{_BASE}/memories/{{id}}"
_POLICY = f"{_BASE}/retention-policy"
_ENCRYPTION = "/admin/encryption"
_TEST = "tests/dialects/memorysync/test_lifecycle.py"
_ADMIN, _KEYS, _AUDIT = "lifecycle:admin", "encryption:admin", "audit:read"

ROUTES: tuple[Route, ...] = (
    Route("POST", f"{_MEMORY}/archive", "user", archive, _TEST, needs=_ADMIN),
    Route("POST", f"{_MEMORY}/unarchive", "user", unarchive, _TEST, needs=_ADMIN),
    Route("POST", f"{_MEMORY}/restore", "user", restore, _TEST, needs=_ADMIN),
    Route("POST", f"{_MEMORY}/tier", "user", tier, _TEST, needs=_ADMIN),
    Route("POST", f"{_MEMORY}/legal-hold", "user", hold, _TEST, needs=_ADMIN),
    Route("POST", f"{_MEMORY}/legal-hold/release", "user", release, _TEST, needs=_ADMIN),
    Route("GET", f"{_BASE}/deletions/{{id}}", "user", deletion, _TEST, needs=_ADMIN),
    Route("GET", _POLICY, "user", get_policy, _TEST, needs=_ADMIN),
    Route("PUT", _POLICY, "user", put_policy, _TEST, needs=_ADMIN),
    Route("POST", f"{_ENCRYPTION}/rotate", "user", rotate, _TEST, needs=_KEYS),
    Route("POST", f"{_ENCRYPTION}/keys/{{version}}/expire", "user", expire, _TEST, needs=_KEYS),
    Route("GET", "/admin/audit-logs", "user", audit_logs, _TEST, needs=_AUDIT),
)
