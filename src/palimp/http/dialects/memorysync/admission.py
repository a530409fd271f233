"""Who calls: a tenant's application by its key, or who holds the platform key in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ....decoding import from_json
from ....node import Node
from ....operations import OWNER, Principal
from .names import (
    DIALECT,
    PRODUCTION,
    PROJECT_KEY,
    check_environment,
    check_project_id,
    check_tenant,
    namespace_of,
)
from .refusals import conflict, forbidden, missing, unauthorized

if TYPE_CHECKING:
    from ....api.credentials import Credential
    from ..foreign import Route

__all__ = ["EVERYTHING", "SCOPES_DEFAULT", "Admission", "Caller", "grants"]

_BEARER = "bearer "
_DEFAULT_TENANT = "default"
EVERYTHING = ("*",)
# Of a key that was made without any.
SCOPES_DEFAULT = ("memory:*", "projects:read")
_READING = ("memory:read", "projects:read")
_SPANS_PROJECTS = "org:cross_project_read"


class Caller(NamedTuple):
    """Somebody who was let in.

    `project` is what the request is about (None: all of them). `locked` is the one that the key is
    for alone. `principal` reaches the tenant's namespace; `master` everything. `wide` says that all
    projects are meant, and that this is allowed.
    """

    tenant: str
    environment: str
    end_user: str | None
    scopes: tuple[str, ...]
    principal: Principal
    project: str | None = None
    locked: str | None = None
    master: bool = False
    wide: bool = False
    key: str | None = None

    @property
    def namespace(self) -> str:
        """The namespace of the tenant in this environment."""
        return namespace_of(self.tenant, self.environment)


def grants(scopes: tuple[str, ...], needed: str) -> bool:
    """Whether scopes reach what is needed: by its name, its area's `*`, or `*`."""
    area = needed.partition(":")[0]
    return not needed or any(one in scopes for one in ("*", f"{area}:*", needed))


class Admission:
    """Turns the credentials of requests into callers. Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def caller(self, route: Route, headers: Mapping[str, str]) -> Caller:
        """Return who sends a request for a route.

        Raises `Denied` (401) for nobody, (403) for who may not; `Invalid` (400) and `NotFound` for
        a project that is none, `Conflict` for a write to one that is archived.
        """
        caller = self._known(headers)
        if route.who == "master" and not caller.master:
            raise forbidden("Platform key required")
        if not grants(caller.scopes, route.needs):
            raise forbidden(f"Insufficient scope. Missing: {route.needs}")
        given = headers.get("x-project-id") or None
        if given is not None:
            caller = self._of_project(caller, check_project_id(given), route)
        elif caller.locked is not None:
            caller = self._of_project(caller, caller.locked, route)
        elif headers.get("x-allow-cross-project", "").lower() == "true":
            if not grants(caller.scopes, _SPANS_PROJECTS):
                raise forbidden(f"Insufficient scope. Missing: {_SPANS_PROJECTS}")
            caller = caller._replace(wide=True)
        return caller

    def _known(self, headers: Mapping[str, str]) -> Caller:
        bearer = headers.get("authorization", "")
        if bearer:
            # Where both came this is judged first.
            if bearer[: len(_BEARER)].lower() != _BEARER:
                raise unauthorized("Invalid Authorization header; send `Bearer KEY`")
            secret = bearer[len(_BEARER) :].strip()
        else:
            secret = headers.get("x-api-key", "").strip()
        if not secret:
            if self._asks():
                raise unauthorized("API key missing")
            return _master(OWNER, headers)
        platform = self._node.context.access.platform(secret)
        if platform is not None:
            return _master(platform, headers)
        credentials = self._node.context.credentials
        found = None if credentials is None else credentials.find(DIALECT, secret)
        if found is None:
            if credentials is not None and credentials.was_revoked(DIALECT, secret):
                raise forbidden("API key revoked")
            # Also where nobody is asked: a key that is wrong must not become the master's.
            raise unauthorized("Invalid API key")
        credentials.touched(found.id)
        return _of_key(found, headers, self._node.context.clock.now_ms())

    def _asks(self) -> bool:
        """Whether a credential is asked for."""
        context = self._node.context
        if context.access.on or context.access.has_platform_key:
            return True
        return context.credentials is not None and context.credentials.any(DIALECT)

    def _of_project(self, caller: Caller, project: str, route: Route) -> Caller:
        if caller.locked not in (None, project):
            raise forbidden("API key is locked to another project")
        found = self.project(caller.tenant, project)
        if found is None:
            raise missing(f"Project not found: {project}")
        writes = route.needs.startswith("memory:") and route.needs not in _READING
        if writes and found.get("archived_at"):
            raise conflict(f"Project {project} is archived; unarchive it to write to it")
        return caller._replace(project=project)

    def project(self, tenant: str, project: str) -> dict[str, Any] | None:
        """Return what is kept of a tenant's project; None where it has none of that id."""
        bindings = self._node.context.bindings
        found = None if bindings is None else bindings.get(DIALECT, tenant, PROJECT_KEY + project)
        return None if found is None else from_json(found.value, dict[str, Any])

    def projects(self, tenant: str) -> int:
        """Return how many projects a tenant has made: the default one comes by itself."""
        bindings = self._node.context.bindings
        found = () if bindings is None else bindings.list(DIALECT, tenant, PROJECT_KEY)
        return sum(not msgspec.json.decode(one.value).get("is_default") for one in found)


def _master(principal: Principal, headers: Mapping[str, str]) -> Caller:
    tenant = check_tenant(headers.get("x-tenant-id") or _DEFAULT_TENANT)
    environment = check_environment(headers.get("x-environment") or PRODUCTION)
    end_user = headers.get("x-end-user-id") or None
    return Caller(tenant, environment, end_user, EVERYTHING, principal, master=True)


def _of_key(found: Credential, headers: Mapping[str, str], now_ms: int) -> Caller:
    """Return who has a key: whatever a request says, it reaches one tenant and no other.

    It goes on to hold where an end user's profile is deleted: it is the tenant's.
    """
    # What is asked is whether it is older than a deletion.
    detail = found.detail
    tenant, environment = found.subject, detail.get("environment") or PRODUCTION
    named = headers.get("x-tenant-id")
    if named and named != tenant:
        raise forbidden("API key belongs to another tenant")
    return Caller(
        tenant,
        environment,
        headers.get("x-end-user-id") or None,
        tuple(detail.get("scopes") or SCOPES_DEFAULT),
        Principal(
            "namespace",
            "admin",
            namespace_of(tenant, environment),
            issued_ms=now_ms,
            actor=found.id,
        ),
        locked=detail.get("project") or None,
        key=found.id,
    )
