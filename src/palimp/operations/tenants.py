"""Tenants of other systems' clients: noted, listed, and deleted with all that is theirs."""

from __future__ import annotations

from typing import Any

import msgspec

from ..api import DeleteNamespace, Target
from ..api.credentials import ListCredentials, RevokeCredential
from ..api.limits import PAGE_MAX
from ..api.tenants import (
    CreateTenant,
    DeleteTenant,
    ListTenants,
    Tenant,
    TenantDeleted,
    TenantPage,
)
from ..errors import Conflict, Invalid, NotFound, Unconfigured
from ..profile.checks import check_integer
from . import credentials
from .auditing.actions import TENANT_DELETED
from .context import Context
from .control import delete_namespace

__all__ = ["create", "delete", "list_page"]

_DIALECTS = ("memorysync",)
_ENVIRONMENTS = ("production", "staging", "development")
_EVERYBODY = ""
_PREFIX = "tenant/"


def create(context: Context, _target: Target, request: CreateTenant) -> Tenant:
    """Note a tenant."""
    bindings = _bindings(context, request.dialect, request.name)
    now = context.clock.now_ms()
    key, value = _PREFIX + request.name, msgspec.json.encode({"created_at": now}).decode()
    if bindings.put(request.dialect, _EVERYBODY, key, value, 0) is None:
        raise Conflict(f"there is a tenant {request.name!r:.80} of {request.dialect} already")
    return Tenant(dialect=request.dialect, name=request.name, created_at=now)


def list_page(context: Context, _target: Target, request: ListTenants) -> TenantPage:
    """Read one page; the cursor is the last name of a page."""
    bindings = _bindings(context, request.dialect, request.cursor)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    after = "" if request.cursor is None else _PREFIX + request.cursor
    rows = bindings.list(request.dialect, _EVERYBODY, _PREFIX, after, request.limit + 1)
    found = tuple(
        Tenant(
            dialect=request.dialect,
            name=row.key.removeprefix(_PREFIX),
            created_at=msgspec.json.decode(row.value)["created_at"],
        )
        for row in rows[: request.limit]
    )
    more = len(rows) > request.limit
    return TenantPage(tenants=found, next_cursor=found[-1].name if more else None)


def delete(context: Context, target: Target, request: DeleteTenant) -> TenantDeleted:
    """Delete it: its keys first, so that nobody writes what would be left."""
    bindings = _bindings(context, request.dialect, request.name)
    key = _PREFIX + request.name
    keys = _revoke_all(context, target, request)
    databases = 0
    for environment in _ENVIRONMENTS:
        namespace = credentials.tenant_namespace(request.name, environment)
        try:
            done = delete_namespace(context, Target(namespace), DeleteNamespace())
        except NotFound:
            continue
        databases += done.databases
        if context.audit is not None:
            context.audit.record(
                namespace, TENANT_DELETED, principal=context.principal, databases=done.databases
            )
    kept = 0
    while rows := bindings.list(request.dialect, request.name):
        for row in rows:
            bindings.delete(request.dialect, request.name, row.key)
        kept += len(rows)
    noted = bindings.delete(request.dialect, _EVERYBODY, key)
    if not (noted or keys or databases or kept):
        raise NotFound(f"there is no tenant {request.name!r:.80} of {request.dialect}")
    return TenantDeleted(name=request.name, keys=keys, databases=databases)


def _revoke_all(context: Context, target: Target, request: DeleteTenant) -> int:
    count = 0
    while True:
        listing = ListCredentials(dialect=request.dialect, subject=request.name, limit=PAGE_MAX)
        page = credentials.list_page(context, target, listing).credentials
        for one in page:
            credentials.revoke(context, target, RevokeCredential(id=one.id))
        count += len(page)
        if len(page) < PAGE_MAX:
            return count


def _bindings(context: Context, dialect: str, name: str | None) -> Any:
    """Return where tenants are kept, after a look at what was asked for."""
    if dialect not in _DIALECTS:
        raise Invalid(f"no dialect {dialect!r:.80} has tenants; give {' or '.join(_DIALECTS)}")
    if name is not None:
        credentials.tenant_namespace(name, _ENVIRONMENTS[0])
    if context.bindings is None:
        raise Unconfigured(
            "tenants are kept in the catalog, and there is none here: set PALIMP_CATALOG_URL, or "
            "start the node with `palimp serve`, which has one in its folder (extra `server`)"
        )
    return context.bindings
