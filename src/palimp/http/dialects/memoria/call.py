"""What a handler is given: the request, who asks, and the operations of the node in their name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ....api import NO_OPTIONS, OPERATIONS, Options, Target
from ....api.base import Request
from ....api.branches import CheckpointInfo, CreateCheckpoint, ListBranches
from ....errors import Error, NotFound
from ....ids import MAIN, foreign_name
from ....node import Node
from ..sent import Sent
from .admission import NAME, NAMESPACE, Caller
from .refusals import forbidden, missing, unprocessable

if TYPE_CHECKING:
    from .app import Memoria

__all__ = ["Call"]

ACTIVE_BRANCH = "active_branch"


class Call(Sent):
    """One request, within one user's memories; used in one worker's thread."""

    dialect = NAME

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
        self._query = query
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
        return Call(self.app, caller, self.values, self._query, self.body, self.headers)

    def item(self, fields: dict[str, Any]) -> Call:
        """Return the same request with other fields: one item of a list in its body."""
        return Call(self.app, self.caller, self.values, self._query, fields, self.headers)

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
            self.app.house.prepare(NAMESPACE)
        aimed = self.target(branch) if target is None else target
        return self.node.call(operation, aimed, request, options, self.caller.principal)

    def safety(self, what: str, target: Target | None = None) -> str:
        """Name what a branch (None: the active one) holds now, and return the name."""
        request = CreateCheckpoint(before=what)
        made: CheckpointInfo = self.do("checkpoints.create", request, target=target)
        return made.name

    # -- reading what was sent, and what is kept -------------------------------------------------

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the body; none where there is no body."""
        return self.body or {}

    @property
    def sent(self) -> Mapping[str, Any]:
        """The fields of the body."""
        return self.fields

    @property
    def query(self) -> Mapping[str, str]:
        """The query string by name."""
        return self._query

    @property
    def keeper(self) -> str:
        """The user."""
        return self.user

    def lacking(self, name: str) -> Error:
        """Return the error of a field that has to be there."""
        return unprocessable(f"Validation error: missing field `{name}`")

    def misfit(self, name: str, what: str) -> Error:
        """Return the error of a field that is not what it must be."""
        return unprocessable(f"Validation error: {name} must be {what}")

    def real(self, name: str, default: float | None = None) -> float | None:
        """Return a number of the body; raises 422 for what is none."""
        found = self.decimal(name)
        return default if found is None else found
