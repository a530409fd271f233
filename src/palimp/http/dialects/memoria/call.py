"""What a handler is given: the request, who asks, and the operations of the node in their name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from ....api import NO_OPTIONS, OPERATIONS, Options, Target
from ....api.base import Request
from ....api.branches import CreateCheckpoint, DropCheckpoint, ListBranches, ListCheckpoints
from ....errors import Error, NotFound, Unconfigured
from ....ids import MAIN, foreign_name, random_bytes
from ....node import Node
from .admission import NAME, NAMESPACE, Caller
from .names import is_automatic
from .refusals import forbidden, missing, unprocessable

if TYPE_CHECKING:
    from .app import Memoria

__all__ = ["Call"]

ACTIVE_BRANCH = "active_branch"
_DIGITS_MAX = 18
_SAFETY, _SAFETY_KEPT = "pre_", 20


class Call:
    """One request, within one user's memories; used in one worker's thread."""

    def __init__(
        self,
        app: Memoria,
        caller: Caller,
        values: Mapping[str, str],
        query: Mapping[str, str],
        body: Any,
        headers: Mapping[str, str],
    ) -> None:
        self.app = app
        self.caller = caller
        self.values = values
        self.query = query
        self.headers = headers
        # Of a route that reads it by itself.
        self.raw = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, dict | bytes):
            raise unprocessable("Validation error: the body must be a JSON object")
        self.body: dict[str, Any] | None = body if isinstance(body, dict) else None

    @property
    def node(self) -> Node:
        """The node."""
        return self.app.node

    @property
    def user(self) -> str:
        """Whose memories are meant."""
        return self.caller.user

    @property
    def master(self) -> bool:
        """Whether the master key was shown, or nobody asks for keys."""
        return self.caller.master

    def of(self, user: str) -> Call:
        """Return the same request in another user's place; for the master only."""
        if not self.master and user != self.user:
            raise forbidden("Not your user: the master key is needed for another one")
        caller = self.caller._replace(user=user, member=user)
        return Call(self.app, caller, self.values, self.query, self.body, self.headers)

    def item(self, fields: dict[str, Any]) -> Call:
        """Return the same request with other fields: one item of a list in its body."""
        return Call(self.app, self.caller, self.values, self.query, fields, self.headers)

    @property
    def author(self) -> str | None:
        """Who writes, where that is not whose memories they are: a member of a group."""
        return self.caller.member if self.caller.group else None

    # -- operations ------------------------------------------------------------------------------

    @cached_property
    def profile(self) -> str:
        """The name of the user's profile."""
        return foreign_name(self.user)

    def target(self, branch: str | None = None) -> Target:
        """Return a branch of the user, by their word for it; None: the one that is checked out.

        Raises `NotFound` (`Branch not found: x`) for one that was named and is not there. A branch
        that is checked out and gone is main.
        """
        if branch is None:
            active = self.active
            return self.place(foreign_name(active))
        if branch == MAIN:
            return self.place(MAIN)
        if not branch or not self.has_branch(branch):
            raise missing(f"Branch not found: {branch}")
        return self.place(foreign_name(branch))

    @cached_property
    def active(self) -> str:
        """The branch that the caller checked out, as they call it; main where it is gone."""
        name = self.kept(ACTIVE_BRANCH, MAIN, of=self.caller.seat)
        return name if name == MAIN or self.has_branch(name) else MAIN

    def place(self, branch: str) -> Target:
        """Return a branch of the user, by our name for it; whether it is there is not asked."""
        return Target(NAMESPACE, self.profile, branch)

    def has_branch(self, branch: str) -> bool:
        """Whether the user has a branch of that name."""
        name = foreign_name(branch)
        try:
            given = self.do("branches.list", ListBranches(), target=self.place(MAIN))
        except NotFound as error:
            if error.code != "database_not_found":
                raise
            # Nothing was written yet, so there is main and nothing else.
            return False
        return any(one.name == name for one in given.branches)

    def do(
        self,
        operation: str,
        request: Request,
        *,
        branch: str | None = None,
        target: Target | None = None,
        options: Options = NO_OPTIONS,
    ) -> Any:
        """Return what an operation answers, in the caller's name; raises what it raises."""
        if OPERATIONS[operation].writes:
            self.app.house.prepare()
        aimed = self.target(branch) if target is None else target
        return self.node.call(operation, aimed, request, options, self.caller.principal)

    def safety(self, what: str, target: Target | None = None) -> str:
        """Name what a branch (None: the active one) holds now, and return the name.

        Of such names the newest 20 stay.
        """
        aimed = self.target() if target is None else target
        name = f"{_SAFETY}{what}_{random_bytes(4).hex()}"
        self.do("checkpoints.create", CreateCheckpoint(name=name), target=aimed)
        found = self.do("checkpoints.list", ListCheckpoints(), target=aimed).checkpoints
        held = sorted(
            # A snapshot of the user's may begin so too.
            (one for one in found if one.name.startswith(_SAFETY) and is_automatic(one.name)),
            key=lambda one: (one.txid, one.at),
        )
        for one in held[:-_SAFETY_KEPT]:
            if one.name != name:
                with suppress(NotFound):
                    self.do("checkpoints.delete", DropCheckpoint(name=one.name), target=aimed)
        return name

    # -- what the dialect keeps ------------------------------------------------------------------

    def kept(self, key: str, default: Any = None, *, of: str | None = None) -> Any:
        """Return what is kept for the user (or for another scope) under a key."""
        bindings = self.node.context.bindings
        scope = self.user if of is None else of
        found = None if bindings is None else bindings.get(NAME, scope, key)
        return default if found is None else msgspec.json.decode(found.value)

    def keep(self, key: str, value: Any, *, of: str | None = None) -> None:
        """Keep JSON for the user (or for another scope) under a key; the last one holds."""
        text = msgspec.json.encode(value).decode()
        self.bindings.put(NAME, self.user if of is None else of, key, text)

    @property
    def bindings(self) -> Any:
        """What keeps that; `Unconfigured` where there is no catalog."""
        found = self.node.context.bindings
        if found is None:
            raise Unconfigured("this needs a catalog, PALIMP_CATALOG_URL; this node has none")
        return found

    # -- reading what was sent -------------------------------------------------------------------

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the body; none where there is no body."""
        return self.body or {}

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, *, required: Literal[True]) -> str: ...
    @overload
    def text(self, name: str, *, required: bool) -> str | None: ...

    def text(self, name: str, *, required: bool = True) -> str | None:
        """Return a text of the body; raises 422 where it is another thing, or missing."""
        found = self.fields.get(name)
        if found is None:
            if required:
                raise _field(f"missing field `{name}`")
            return None
        if not isinstance(found, str):
            raise _field(f"{name} must be text")
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts of the body; raises 422 for another thing."""
        found = self.fields.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise _field(f"{name} must be a list of texts")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a switch of the body; raises 422 for another thing."""
        found = self.fields.get(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise _field(f"{name} must be true or false")
        return found

    def real(self, name: str, default: float | None = None) -> float | None:
        """Return a number of the body; raises 422 for what is none."""
        found = self.fields.get(name)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise _field(f"{name} must be a number")
        return float(found)

    def number(self, name: str, default: int, least: int, most: int | None = None) -> int:
        """Return a whole number of the body, or else of the query string, moved within bounds."""
        found = self.fields.get(name, self.query.get(name))
        if found is None:
            return default
        if isinstance(found, str):
            digits = found.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
                raise _field(f"{name} must be a whole number")
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise _field(f"{name} must be a whole number")
        return max(found, least) if most is None else min(max(found, least), most)


def _field(message: str) -> Error:
    return unprocessable(f"Validation error: {message}")
