# Made from client/_async by scripts/unasync.py; change it there.
"""What concerns a node as a whole: its databases and namespaces, and tokens for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ...api import (
    NO_OPTIONS,
    CreateDatabase,
    DatabaseInfo,
    DatabasePage,
    DeleteDatabase,
    DeletedNamespace,
    DeleteNamespace,
    GetNode,
    ListDatabases,
    ListNamespaces,
    MintDatabaseToken,
    Minted,
    MintNamespaceToken,
    NamespacePage,
    NodeInfo,
    Options,
    Scope,
    Target,
    to_request,
)
from ...api.base import Request
from ...api.catalog import CatalogRecovered, RecoverCatalog
from ...api.limits import PAGE_MAX
from ...clock import parse_seconds
from ...ids import NAMESPACE_CHARS_MAX, check_name, parse_database_name
from ..transports import Transport

__all__ = ["Control"]


class Control:
    """The control plane of a client.

    Where a node asks for credentials it takes the platform key, or for tokens an admin token of the
    namespace.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Any:
        """Carry out one operation of `palimp.api.OPERATIONS`; every method calls this."""
        return self._transport.call(operation, target, request, options)

    def node(self) -> NodeInfo:
        """Return what the node is: its release, process, store and settings."""
        about: NodeInfo = self.call("node.info", Target(), GetNode())
        return about

    def create_database(self, name: str) -> DatabaseInfo:
        """Make the database `namespace--profile` without writing to it.

        Raises `Conflict` where it exists. Databases also come to be with their first write.
        """
        request = to_request(CreateDatabase, {"name": name}, "create_database")
        made: DatabaseInfo = self.call("databases.create", Target(), request)
        return made

    def databases(self) -> Iterator[DatabaseInfo]:
        """Iterate over the databases of the whole store, in a stable order."""
        cursor = None
        while True:
            page: DatabasePage = self.call(
                "databases.list", Target(), ListDatabases(limit=PAGE_MAX, cursor=cursor)
            )
            for database in page.databases:
                yield database
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete_database(self, name: str) -> None:
        """Delete a database with all its branches; `NotFound` where there is none.

        Nobody writes to it when this returns, and tokens minted before cease to hold for writes.
        """
        self.call("databases.delete", _database(name), DeleteDatabase())

    def namespaces(self) -> Iterator[str]:
        """Iterate over the namespaces that have databases, in a stable order."""
        cursor = None
        while True:
            page: NamespacePage = self.call(
                "namespaces.list", Target(), ListNamespaces(limit=PAGE_MAX, cursor=cursor)
            )
            for entry in page.namespaces:
                yield entry.namespace
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete_namespace(self, namespace: str) -> int:
        """Delete every database of a namespace and return how many; repeat it if interrupted."""
        done: DeletedNamespace = self.call(
            "namespaces.delete", _namespace(namespace), DeleteNamespace()
        )
        return done.databases

    def recover_catalog(self) -> Iterator[CatalogRecovered]:
        """Make keys and records of other systems' clients again; iterates over the steps.

        The object store has them: they are brought from it into the node's catalog, and what it
        has not is removed there. Ended on the way, do it again. `Unconfigured` without a catalog.
        """
        cursor = None
        while True:
            step: CatalogRecovered = self.call(
                "catalog.recover", Target(), RecoverCatalog(cursor=cursor)
            )
            yield step
            cursor = step.next_cursor
            if cursor is None:
                return

    def create_token(
        self, database: str, scope: Scope, *, expires_in: timedelta | float | None = None
    ) -> Minted:
        """Mint a token for one database that holds for an hour, or `expires_in`.

        It reaches no further than who mints it. Nobody can read it again.
        """
        request = to_request(MintDatabaseToken, _wanted(scope, expires_in), "create_token")
        made: Minted = self.call("tokens.mint_database", _database(database), request)
        return made

    def create_namespace_token(
        self, namespace: str, scope: Scope, *, expires_in: timedelta | float | None = None
    ) -> Minted:
        """Mint a token for every database of a namespace, like `create_token`."""
        fields = _wanted(scope, expires_in)
        request = to_request(MintNamespaceToken, fields, "create_namespace_token")
        made: Minted = self.call("tokens.mint_namespace", _namespace(namespace), request)
        return made


def _database(name: str) -> Target:
    return Target(*parse_database_name(name))


def _namespace(name: str) -> Target:
    return Target(check_name(name, "namespace", chars_max=NAMESPACE_CHARS_MAX))


def _wanted(scope: str, expires_in: timedelta | float | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"scope": scope}
    if expires_in is not None:
        fields["expires_in"] = round(parse_seconds(expires_in, "expires_in"))
    return fields
