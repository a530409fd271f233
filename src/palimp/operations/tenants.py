"""Tenants of other systems' clients: noted, listed, and deleted with all that is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..api import DeleteNamespace, Target
from ..api.credentials import ListCredentials, RevokeCredential
from ..api.limits import PAGE_MAX
from ..api.tenants import (
    ENVIRONMENTS,
    CreateTenant,
    DeleteTenant,
    ListTenants,
    Tenant,
    TenantDeleted,
    TenantPage,
)
from ..errors import Conflict, Invalid, NotFound
from ..profile.checks import check_integer, check_text
from . import credentials, organisations
from .auditing.actions import TENANT_DELETED
from .context import Context
from .control import delete_namespace

__all__ = ["create", "delete", "list_page"]

_MEMORYSYNC = "memorysync"
_DIALECTS = (_MEMORYSYNC, organisations.DIALECT)
_EVERYBODY = ""
_PREFIX = "tenant/"
_TITLE_BYTES_MAX = 1_024


def create(context: Context, _target: Target, request: CreateTenant) -> Tenant:
    """Note a tenant."""
    if request.dialect == organisations.DIALECT:
        return _create_organisation(context, request)
    bindings = _bindings(context, request.dialect, request.name)
    if request.store is not None:
        raise Invalid(f"a tenant of {request.dialect} has no choice of a store; leave it out")
    now = context.clock.now_ms()
    key, value = _PREFIX + request.name, msgspec.json.encode({"created_at": now}).decode()
    if bindings.put(request.dialect, _EVERYBODY, key, value, 0) is None:
        raise Conflict(f"there is a tenant {request.name!r:.80} of {request.dialect} already")
    return Tenant(dialect=request.dialect, name=request.name, created_at=now)


def list_page(context: Context, _target: Target, request: ListTenants) -> TenantPage:
    """Read one page; the cursor is the last name of a page."""
    bindings = _bindings(context, request.dialect, request.cursor)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.dialect == organisations.DIALECT:
        page, cursor = organisations.list_orgs(context, request.cursor, request.limit)
        return TenantPage(tenants=tuple(page), next_cursor=cursor)
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
    of_org = request.dialect == organisations.DIALECT
    arc = organisations.arc_of(context, request.name) if of_org else None
    keys = _revoke_all(context, target, request)
    databases = sum(
        _delete_namespace(context, namespace)
        for namespace in _namespaces(request.dialect, request.name)
    )
    kept = 0
    while rows := bindings.list(request.dialect, request.name):
        for row in rows:
            bindings.delete(request.dialect, request.name, row.key)
        kept += len(rows)
    # Last: as long as it is noted, this can be repeated.
    if of_org:
        if context.event_stores is not None:
            context.event_stores.forget(request.name)
        noted = organisations.drop_org(context, request.name)
    else:
        noted = bindings.delete(request.dialect, _EVERYBODY, _PREFIX + request.name)
    if not (noted or keys or databases or kept):
        if of_org:
            raise NotFound(f"org '{request.name:.80}' not found")
        raise NotFound(f"there is no tenant {request.name!r:.80} of {request.dialect}")
    left = None
    if arc is not None and arc.row.given:
        row = arc.row
        left = f"rows of measurement {row.measurement} of database {row.database} at {row.url}"
    return TenantDeleted(name=request.name, keys=keys, databases=databases, left=left)


def _create_organisation(context: Context, request: CreateTenant) -> Tenant:
    title = request.name.strip()
    if not title:
        raise Invalid("name must be non-empty")
    check_text(title, "name", _TITLE_BYTES_MAX)
    org = organisations.new_id("org")
    if request.store == "arc":
        # Before it is there: nobody is to write to its profile.
        organisations.put_arc(context, org, organisations.ArcRow(state="needed"), 0)
    made = organisations.put_org(context, org, title)
    assert made is not None, "no two ids of 96 random bits are the same"
    return made if request.store is None else msgspec.structs.replace(made, store=request.store)


def _namespaces(dialect: str, name: str) -> Iterator[str]:
    if dialect == organisations.DIALECT:
        yield organisations.namespace_of(name)
        return
    for environment in ENVIRONMENTS:
        yield credentials.tenant_namespace(name, environment)


def _delete_namespace(context: Context, namespace: str) -> int:
    """Return how many databases were deleted."""
    try:
        done = delete_namespace(context, Target(namespace), DeleteNamespace())
    except NotFound:
        return 0
    if context.audit is not None:
        context.audit.record(
            namespace, TENANT_DELETED, principal=context.principal, databases=done.databases
        )
    return done.databases


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
    if name is not None and dialect == organisations.DIALECT:
        organisations.check_org(name)
    elif name is not None:
        credentials.tenant_namespace(name, ENVIRONMENTS[0])
    return organisations.bindings_of(context)
