"""The control plane on the wire: databases, namespaces, and the tokens that reach them."""

from __future__ import annotations

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .operation import Scope, row

__all__ = [
    "ROWS",
    "CreateDatabase",
    "DatabaseInfo",
    "DatabasePage",
    "DeleteDatabase",
    "DeleteNamespace",
    "DeletedDatabase",
    "DeletedNamespace",
    "ListDatabases",
    "ListNamespaces",
    "MintDatabaseToken",
    "MintNamespaceToken",
    "Minted",
    "NamespaceEntry",
    "NamespacePage",
]

TOKEN_SECONDS_DEFAULT = 3_600


class CreateDatabase(Request, frozen=True, kw_only=True):
    """Make the database `name` (`namespace--profile`), without writing to it."""

    name: str


class DatabaseInfo(Result, frozen=True, kw_only=True):
    """A database: its name, the id under which its history is kept, when it was made (UTC ms)."""

    name: str
    uuid: str
    created_at: int


class ListDatabases(Request, frozen=True, kw_only=True):
    """Read the databases of the whole store, in a stable order."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class DatabasePage(Result, Sequenced[DatabaseInfo], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    databases: tuple[DatabaseInfo, ...]
    next_cursor: str | None

    def _items(self) -> tuple[DatabaseInfo, ...]:
        return self.databases


class DeleteDatabase(Request, frozen=True, kw_only=True):
    """Delete a database with all its branches; tokens minted before cease to hold for writes."""


class DeletedDatabase(Result, frozen=True, kw_only=True):
    """The name that is free again."""

    name: str


class ListNamespaces(Request, frozen=True, kw_only=True):
    """Read the namespaces that have databases, in a stable order."""

    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class NamespaceEntry(Result, frozen=True, kw_only=True):
    """One namespace."""

    namespace: str


class NamespacePage(Result, Sequenced[NamespaceEntry], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    namespaces: tuple[NamespaceEntry, ...]
    next_cursor: str | None

    def _items(self) -> tuple[NamespaceEntry, ...]:
        return self.namespaces


class DeleteNamespace(Request, frozen=True, kw_only=True):
    """Delete every database of a namespace. Repeat it where it was interrupted."""


class DeletedNamespace(Result, frozen=True, kw_only=True):
    """How many databases were deleted."""

    namespace: str
    databases: int


class MintDatabaseToken(Request, frozen=True, kw_only=True):
    """Mint a token for one database, which holds for `expires_in` seconds."""

    scope: Scope
    expires_in: int = TOKEN_SECONDS_DEFAULT


class MintNamespaceToken(MintDatabaseToken, frozen=True, kw_only=True):
    """Mint a token for every database of a namespace, which holds for `expires_in` seconds."""


class Minted(Result, frozen=True, kw_only=True):
    """A token, which nobody can read again, and when it expires (UTC ms)."""

    token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"<Minted, expires_at {self.expires_at}>"


ROWS = (
    row(
        "databases.create",
        "POST /v1/databases",
        CreateDatabase,
        DatabaseInfo,
        "admin writes platform 201",
        "Make a database, without writing to it.",
    ),
    row(
        "databases.list",
        "GET /v1/databases",
        ListDatabases,
        DatabasePage,
        "read platform",
        "Read the databases of the whole store.",
    ),
    row(
        "databases.delete",
        "DELETE /v1/databases/{db}",
        DeleteDatabase,
        DeletedDatabase,
        "admin writes idempotent platform 204",
        "Delete a database with all its branches; older tokens cease to hold for writes.",
    ),
    row(
        "tokens.mint_database",
        "POST /v1/databases/{db}/tokens",
        MintDatabaseToken,
        Minted,
        "admin writes",
        "Mint a token for one database.",
    ),
    row(
        "namespaces.list",
        "GET /v1/namespaces",
        ListNamespaces,
        NamespacePage,
        "read platform",
        "Read the namespaces that have databases.",
    ),
    row(
        "namespaces.delete",
        "DELETE /v1/namespaces/{namespace}",
        DeleteNamespace,
        DeletedNamespace,
        "admin writes idempotent platform 204",
        "Delete every database of a namespace.",
    ),
    row(
        "tokens.mint_namespace",
        "POST /v1/namespaces/{namespace}/tokens",
        MintNamespaceToken,
        Minted,
        "admin writes",
        "Mint a token for every database of a namespace.",
    ),
)
