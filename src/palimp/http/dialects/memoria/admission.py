"""Who calls: a user by their key, or who holds the master key in the place of any user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ....clock import Clock
from ....errors import Denied, Unavailable
from ....ids import foreign_name
from ....node import Node
from ....operations import OWNER, Principal
from ..windows import Windows

__all__ = ["NAME", "NAMESPACE", "Admission", "Caller"]

NAME = "memoria"
NAMESPACE = "memoria"
_BEARER = "bearer "
_DEFAULT_USER = "default"
_NAMING = ("x-user-id", "x-impersonate-user")


class Caller(NamedTuple):
    """Somebody who was let in.

    `user` is whose memories are meant: of a group's key the group. `member` is who it is. `key` is
    the id of the key; None for the master.
    """

    user: str
    member: str
    principal: Principal
    master: bool = False
    key: str | None = None
    group: str | None = None

    @property
    def seat(self) -> str:
        """For whom it is kept which branch is checked out: in a group each member has one."""
        return self.member if self.group is None else f"{self.group}/{self.member}"


class Admission:
    """Turns the credentials of requests into callers. Thread-safe."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node = node
        requests, seconds = node.settings.key_rate
        self._windows = Windows(clock, requests, seconds)

    def caller(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Caller:
        """Return who sends a request.

        Raises `Denied` (401) for nobody, `Unavailable` (429) for a key over its rate.
        """
        header = headers.get("authorization")
        if header is None:
            if self._asks():
                raise Denied("Missing Bearer token", code="unauthorized", said=True)
            return _master(OWNER, headers, query)
        if header[: len(_BEARER)].lower() != _BEARER:
            raise Denied("Missing Bearer token", code="unauthorized", said=True)
        secret = header[len(_BEARER) :].strip()
        master = self._node.context.access.platform(secret)
        if master is not None:
            return _master(master, headers, query)
        credentials = self._node.context.credentials
        found = None if credentials is None else credentials.find(NAME, secret)
        if found is None:
            # Also where nobody is asked: a key that was revoked must not become the master's.
            raise Denied("Invalid token", code="unauthorized", said=True)
        self._check_rate(found.id)
        credentials.touched(found.id)
        return _of_key(found)

    def _asks(self) -> bool:
        """Whether a credential is asked for."""
        context = self._node.context
        if context.access.on or context.access.has_platform_key:
            return True
        return context.credentials is not None and context.credentials.any(NAME)

    def _check_rate(self, key: str) -> None:
        wait = self._windows.take(key)
        if wait:
            raise Unavailable(
                f"Rate limit exceeded: {self._windows.requests:,} requests in "
                f"{self._windows.seconds:,} s; repeat it in {wait:.1f} s",
                code="overloaded",
                reason="rate",
                retry_after=wait,
                said=True,
            )


def _master(principal: Principal, headers: Mapping[str, str], query: Mapping[str, str]) -> Caller:
    named = next((headers[name] for name in _NAMING if headers.get(name)), None)
    user = named or query.get("user_id") or _DEFAULT_USER
    return Caller(user, user, principal, master=True)


def _of_key(found: Any) -> Caller:
    """Return who has a key: whatever a request says, it reaches one profile and no other."""
    group = found.detail.get("group")
    user = group or found.subject
    principal = Principal(
        "database",
        "admin",
        NAMESPACE,
        foreign_name(user),
        issued_ms=found.created_at,
        actor=found.id,
    )
    return Caller(user, found.subject, principal, key=found.id, group=group)
