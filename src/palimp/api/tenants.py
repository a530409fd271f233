"""Tenants of other systems on the wire: whose keys and memories are apart from all others'."""

from __future__ import annotations

from typing import Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "ENVIRONMENTS",
    "ROWS",
    "CreateTenant",
    "DeleteTenant",
    "ListTenants",
    "Tenant",
    "TenantDeleted",
    "TenantPage",
]

# Of a tenant of `memorysync`; its keys are for one, the first unless they say otherwise.
ENVIRONMENTS = ("production", "staging", "development")


class CreateTenant(Request, frozen=True, kw_only=True):
    """Note a tenant of a dialect (`memorysync`, `memtrace`); `Conflict` where it is there.

    One of `memtrace` is an organisation: its name here is made, and `name` is its title, which
    others may have too. `store` is where it keeps its events: a `profile` of its own, or an `arc`,
    which it has to be given first (`arc.bind`).
    """

    dialect: str
    name: str
    store: Literal["profile", "arc"] | None = None


class Tenant(Result, frozen=True, kw_only=True):
    """A tenant, and when it was made (ms). Only organisations have a `title` and a `store`."""

    dialect: str
    name: str
    created_at: int
    title: str | None = None
    store: Literal["profile", "arc"] | None = None


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
    """How many keys hold no more, and how many databases were deleted.

    `left` is what was not deleted, and where it is: events in an Arc.
    """

    name: str
    keys: int
    databases: int
    left: str | None = None


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
