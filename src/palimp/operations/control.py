"""The control plane: databases and namespaces as wholes, and tokens for them."""

from __future__ import annotations

from ..api import (
    CreateDatabase,
    DatabaseInfo,
    DatabasePage,
    DeleteDatabase,
    DeletedDatabase,
    DeletedNamespace,
    DeleteNamespace,
    ListDatabases,
    ListNamespaces,
    MintDatabaseToken,
    Minted,
    NamespaceEntry,
    NamespacePage,
    Target,
)
from ..api.limits import PAGE_MAX
from ..engine import Address
from ..errors import Denied, Invalid, NotFound
from ..ids import MAIN, NAMESPACE_CHARS_MAX, DatabaseName, check_name, parse_database_name
from ..profile.checks import check_integer
from .context import Context
from .holding import refuse_held_database

__all__ = [
    "create_database",
    "delete_database",
    "delete_namespace",
    "list_databases",
    "list_namespaces",
    "mint",
]


def create_database(context: Context, _target: Target, request: CreateDatabase) -> DatabaseInfo:
    """Make a database."""
    name = parse_database_name(request.name)
    made = context.engine.create_profile(Address(*name))
    return DatabaseInfo(name=str(name), uuid=made.db_id, created_at=made.created_at)


def list_databases(context: Context, _target: Target, request: ListDatabases) -> DatabasePage:
    """Read one page; the cursor is the last name of a page."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    after = None if request.cursor is None else parse_database_name(request.cursor)
    page, more = context.engine.names(None, after, request.limit)
    found = []
    for names in page:
        known = context.engine.name(Address(*names))
        # One that was deleted since the listing is none.
        if known is not None and known.db_id is not None:
            found.append(
                DatabaseInfo(
                    name=str(DatabaseName(*names)), uuid=known.db_id, created_at=known.created_at
                )
            )
    last = str(DatabaseName(*page[-1])) if more and page else None
    return DatabasePage(databases=tuple(found), next_cursor=last)


def delete_database(context: Context, target: Target, _request: DeleteDatabase) -> DeletedDatabase:
    """Delete a database; nobody writes to it when this returns."""
    address = context.address(target)
    if address.branch != MAIN:
        raise Invalid(f"{address} names a branch; delete it with branches.delete")
    refuse_held_database(context, address)
    context.engine.delete_profile(address)
    context.access.forget(address.namespace, address.profile)
    return DeletedDatabase(name=str(address))


def _delete_at_its_node(context: Context, address: Address) -> None:
    """Delete a database where it is written, so that nobody there goes on with it."""
    target = Target(address.namespace, address.profile)
    if context.owners is None:
        delete_database(context, target, DeleteDatabase())
        return
    context.owners.carry_out(context, "databases.delete", target, DeleteDatabase())
    context.access.forget(address.namespace, address.profile)


def list_namespaces(context: Context, _target: Target, request: ListNamespaces) -> NamespacePage:
    """Read one page; one request to the store for each namespace."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.cursor is not None:
        check_name(request.cursor, "cursor", chars_max=NAMESPACE_CHARS_MAX)
    found = context.engine.namespaces(request.cursor, request.limit + 1)
    page, more = found[: request.limit], len(found) > request.limit
    return NamespacePage(
        namespaces=tuple(NamespaceEntry(namespace=one) for one in page),
        next_cursor=page[-1] if more else None,
    )


def delete_namespace(
    context: Context, target: Target, _request: DeleteNamespace
) -> DeletedNamespace:
    """Delete the databases one by one."""
    namespace = _namespace(target)
    done, more = 0, True
    while more:
        # From the start each time: what is deleted is not listed any more.
        page, more = context.engine.names(namespace, None, PAGE_MAX)
        for names in page:
            try:
                _delete_at_its_node(context, Address(*names))
            except NotFound:
                continue
            done += 1
    if not done:
        raise NotFound(f"no databases in namespace {namespace!r}", code="database_not_found")
    return DeletedNamespace(namespace=namespace, databases=done)


def mint(context: Context, target: Target, request: MintDatabaseToken) -> Minted:
    """Mint a token that reaches no further than who asks for it.

    A token of a database mints none: who holds one is not to hand on what they were given.
    """
    principal = context.principal
    namespace = _namespace(target)
    profile = None
    if target.profile is not None:
        address = context.address(target)
        if address.branch != MAIN:
            raise Invalid(f"{address} names a branch; a token is for the whole database")
        profile = address.profile
    if principal.kind == "database":
        raise Denied(
            "a database's token mints none; ask with the platform key, or with an admin token of "
            f"namespace {namespace!r}"
        )
    if not principal.may(request.scope):
        raise Denied(f"a token of scope {principal.scope} mints none of scope {request.scope}")
    now = context.clock.now_ms() // 1000
    token = context.tokens().mint(namespace, profile, request.scope, now, request.expires_in)
    return Minted(token=token, expires_at=(now + request.expires_in) * 1000)


def _namespace(target: Target) -> str:
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    return check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
