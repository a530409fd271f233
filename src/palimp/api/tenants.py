"""Tenants of other systems on the wire: whose keys and memories are apart from all others'."""

from __future__ import annotations

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "ROWS",
    "CreateTenant",
    "DeleteTenant",
    "ListTenants",
    "Tenant",
    "TenantDeleted",
    "TenantPage",
]


class CreateTenant(Request, frozen=True, kw_only=True):
    """Note a tenant of a dialect (`memorysync`); `Conflict` where it is there."""

    dialect: str
    name: str


class Tenant(Result, frozen=True, kw_only=True):
    """A tenant, and when it was made (ms)."""

    dialect: str
    name: str
    created_at: int


class ListTenants(Request, frozen=True, kw_only=True):
    """Read the tenants of a dialect that were made, by name, page by page."""

    dialect: str
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class TenantPage(Result, Sequenced[Tenant], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    tenants: tuple[Tenant, ...]
    next_cursor: str | None

    def _items(self) -> tuple[Tenant, ...]:
        return self.tenants


class DeleteTenant(Request, frozen=True, kw_only=True):
    """Delete a tenant: its keys, its memories in every environment, all that is kept of it.

    Repeat it where it was interrupted.
    """

    dialect: str
    name: str


class TenantDeleted(Result, frozen=True, kw_only=True):
    """How many keys hold no more, and how many databases were deleted."""

    name: str
    keys: int
    databases: int


ROWS = (
    row(
        "tenants.create",
        "POST /v1/tenants",
        CreateTenant,
        Tenant,
        "admin writes platform 201",
        "Note a tenant of another system's clients.",
    ),
    row(
        "tenants.list",
        "GET /v1/tenants",
        ListTenants,
        TenantPage,
        "read platform",
        "Read which tenants there are.",
    ),
    row(
        "tenants.delete",
        "POST /v1/tenants/delete",
        DeleteTenant,
        TenantDeleted,
        "admin writes platform",
        "Delete a tenant with its keys and its memories.",
    ),
)
