"""Who calls: an organisation's application by its key; where nobody is asked, the default one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ....api import Target
from ....node import Node
from ....operations import OWNER, Principal
from ....operations.organisations import ORG_DEFAULT, org_target
from .names import DIALECT
from .refusals import forbidden, unauthorized

if TYPE_CHECKING:
    from ....api.credentials import Credential
    from ..foreign import Asked

__all__ = ["NOBODY", "Admission", "Caller"]

_BEARER = "bearer"
_EVERYTHING = "admin"
# Of a key that was made without any.
_PERMISSIONS = ("read", "write")


class Caller(NamedTuple):
    """An organisation, what its key may, and as whom the node knows it."""

    org: str
    permissions: tuple[str, ...]
    principal: Principal

    @property
    def target(self) -> Target:
        """Where the events of the organisation are."""
        return org_target(self.org)


NOBODY = Caller("", (), OWNER)


class Admission:
    """Turns the keys of requests into callers. Thread-safe."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def caller(self, asked: Asked) -> Caller:
        """Return who sends a request; raises `Denied`: 401 for nobody, 403 for who may not."""
        secret = _secret(asked.headers)
        caller = self._of_key(secret) if secret else None
        if caller is None:
            if self.asks(alone=asked.alone):
                raise unauthorized("missing API key")
            caller = Caller(ORG_DEFAULT, (_EVERYTHING,), OWNER)
        needed = "" if asked.route is None else asked.route.needs
        if needed and not {needed, _EVERYTHING} & set(caller.permissions):
            raise forbidden(
                f"this API key may {' and '.join(caller.permissions) or 'do nothing'}, and this "
                f"needs {needed}; use one that was made with it"
            )
        return caller

    def asks(self, *, alone: bool) -> bool:
        """Whether a key is asked for: at a port of the dialect's own, unless that was said off."""
        wanted = self._node.settings.memtrace_auth
        if wanted is not None:
            return wanted
        context = self._node.context
        if alone or context.access.on or context.access.has_platform_key:
            return True
        return context.credentials is not None and context.credentials.any(DIALECT)

    def _of_key(self, secret: str) -> Caller | None:
        """Return who has a key; None for an unknown one where it is set that nobody is asked."""
        credentials = self._node.context.credentials
        found = None if credentials is None else credentials.find(DIALECT, secret)
        if found is None:
            if self._node.settings.memtrace_auth is False:
                # That system does not look at keys then, and its clients have to have one.
                return None
            # Also on an open node: who shows the key of an organisation means that one.
            raise unauthorized("invalid API key")
        credentials.touched(found.id)
        return _caller(found, self._node.context.clock.now_ms())


def _caller(found: Credential, now_ms: int) -> Caller:
    """Return who has a key: whatever a request says, it reaches one organisation and no other."""
    permissions = tuple(found.detail.get("permissions") or _PERMISSIONS)
    place = org_target(found.subject)
    principal = Principal(
        "database",
        "admin" if _EVERYTHING in permissions else "write" if "write" in permissions else "read",
        place.namespace,
        place.profile,
        issued_ms=now_ms,
        actor=found.id,
    )
    return Caller(found.subject, permissions, principal)


def _secret(headers: Mapping[str, str]) -> str:
    """Return the key that is shown; where two are, that of the header of its own."""
    given = headers.get("x-api-key", "").strip()
    if given:
        return given
    header = headers.get("authorization", "").strip()
    word, _, rest = header.partition(" ")
    return rest.strip() if word.lower() == _BEARER else header
