"""Who is calling, and what they may reach: the one place where credentials are judged.

| credential | reaches |
| --- | --- |
| none, where authentication is off, and the owner of the process | everything |
| platform key | everything: it mints tokens for all |
| database token | one profile: its reads, its writes, its administration, by scope |
| namespace token | every profile of one namespace, by scope |

Every comparison of a secret takes the same time whatever is given.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

import msgspec

from ..api import Operation, Target
from ..api.operation import SCOPES, Scope
from ..clock import Clock
from ..errors import Denied, Error

__all__ = ["CALLER", "OWNER", "Access", "Principal"]

_PREFIX = "bearer "
_ACTOR_DOMAIN = b"palimp actor 1\0"
_ACTOR_CHARS = 16
_TOMBSTONES_MAX = 10_000
_TOMBSTONE_SECONDS = 5.0
# Whoever has a credential may ask whether it is one.
_FOR_ANYBODY = frozenset({"node.info"})


class Principal(msgspec.Struct, frozen=True):
    """Somebody who is known: what they may reach, and by what name the audit knows them.

    `issued_ms` is when a token was minted; 0 for what is no token.
    """

    kind: Literal["owner", "platform", "namespace", "database"]
    scope: Scope = "admin"
    namespace: str | None = None
    profile: str | None = None
    issued_ms: int = 0
    actor: str = ""

    def may(self, scope: str) -> bool:
        """Whether the scope of this principal reaches `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


OWNER = Principal("owner", actor="owner")
# Who is calling where no transport says it: what is mounted beside the API calls through a client.
CALLER: ContextVar[Principal] = ContextVar("palimp-caller", default=OWNER)


class Access:
    """Turns credentials into principals, and says what those may do. Thread-safe.

    `verify` checks a token (`security.Tokens.verify`); None where authentication is off: then
    everybody is the owner. `revoked_before` gives, of a profile, when tokens ceased to hold (ms).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        platform_key: str | None = None,
        verify: Callable[[str, int], Any] | None = None,
        revoked_before: Callable[[str, str], int],
    ) -> None:
        self._clock = clock
        self._platform = None if platform_key is None else platform_key.encode()
        self._verify = verify
        self._revoked_before = revoked_before
        self._tombstones: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    @property
    def on(self) -> bool:
        """Whether a credential is asked for."""
        return self._verify is not None

    def authenticate(self, header: str | None) -> Principal:
        """Return who sent an `Authorization` header; `Denied` (unauthorized) where nobody is."""
        if self._verify is None:
            return OWNER
        if header is None:
            raise Denied(
                "this node asks for a credential; send `Authorization: Bearer TOKEN`",
                code="unauthorized",
            )
        if header[: len(_PREFIX)].lower() != _PREFIX:
            raise Denied("the Authorization header is not `Bearer TOKEN`", code="unauthorized")
        given = header[len(_PREFIX) :].strip()
        holder = self.platform(given)
        if holder is not None:
            return holder
        claims = self._verify(given, self._clock.now_ms() // 1000)
        return Principal(
            "namespace" if claims.profile is None else "database",
            claims.scope,
            claims.namespace,
            claims.profile,
            claims.issued_at * 1000,
            _actor(given),
        )

    @property
    def has_platform_key(self) -> bool:
        """Whether there is a platform key."""
        return self._platform is not None

    def platform(self, secret: str) -> Principal | None:
        """Return who holds the platform key, also where authentication is off; None for others."""
        given = secret.encode("utf-8", "surrogatepass")
        if self._platform is None or not hmac.compare_digest(given, self._platform):
            return None
        return Principal("platform", actor=_actor(secret))

    def authorize(
        self, principal: Principal, operation: Operation, target: Target, scope: str
    ) -> None:
        """Return if the principal may do this with this target; else raise `Denied` (forbidden).

        `scope` is the operation's, or what this request needs where that depends on it.
        """
        if principal.kind in ("owner", "platform") or operation.name in _FOR_ANYBODY:
            return
        if operation.platform:
            raise Denied(f"{operation.name} needs the platform key")
        if target.namespace != principal.namespace:
            raise Denied(f"the token is for {_reach(principal)}; {operation.name} is not within it")
        if principal.kind == "database" and target.profile != principal.profile:
            raise Denied(f"the token is for {_reach(principal)}; {operation.name} is not within it")
        if not principal.may(scope):
            raise Denied(
                f"{operation.name} needs scope {scope}, the token has {principal.scope}; mint one "
                "that has it"
            )
        if scope != "read" and target.profile is not None:
            self._check_tombstone(principal, principal.namespace or "", target.profile)

    def forget(self, namespace: str, profile: str) -> None:
        """Ask again of a profile: it was deleted just now."""
        self._tombstones.pop((namespace, profile), None)

    def _check_tombstone(self, principal: Principal, namespace: str, profile: str) -> None:
        key = (namespace, profile)
        now = self._clock.monotonic()
        known = self._tombstones.get(key)
        if known is None or now - known[0] > _TOMBSTONE_SECONDS:
            try:
                known = (now, self._revoked_before(namespace, profile))
            except Error:
                # The store is away: so is what a write needs of it. Reads go on.
                return
            self._tombstones[key] = known
            while len(self._tombstones) > _TOMBSTONES_MAX:
                self._tombstones.popitem(last=False)
        # Minted in the second of the deletion is before it: what comes back has to be asked for.
        if principal.issued_ms <= known[1]:
            raise Denied(
                "token revoked: it predates this database's deletion; mint a fresh token",
                reason="revoked",
            )


def _reach(principal: Principal) -> str:
    if principal.profile is None:
        return f"namespace {principal.namespace!r}"
    return f"database {principal.namespace}--{principal.profile}"


def _actor(secret: str) -> str:
    """Return by what name a credential stands in the audit: it says nothing about the secret."""
    data = _ACTOR_DOMAIN + secret.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:_ACTOR_CHARS]
