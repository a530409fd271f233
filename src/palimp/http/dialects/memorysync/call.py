"""What a handler is given: the request, who asks, and the operations of the node in their name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ....api import NO_OPTIONS, OPERATIONS, Options, Target
from ....api.base import Request
from ....api.memories import Tier
from ....clock import parse_ms
from ....errors import Error, Invalid
from ....ids import FOREIGN_BYTES_MAX, foreign_name
from ....node import Node
from ....operations import OWNER, Principal, scoping
from ..foreign import Asked
from ..sent import Sent
from .admission import Caller
from .names import DIALECT
from .refusals import bad, unprocessable

if TYPE_CHECKING:
    from .app import MemorySync

__all__ = ["Call"]

_MEMORY_ROUTES = "/memory/"
_WARNING = "missing-scope"
_TIERS: tuple[Tier, ...] = get_args(Tier)


class Call(Sent):
    """One request, within one tenant and environment; used in one worker's thread."""

    dialect = DIALECT

    def __init__(self, app: MemorySync, caller: Caller, asked: Asked, body: Any) -> None:
        self.app = app
        self.caller = caller
        self.asked = asked
        self.values = asked.values
        self.headers = asked.headers
        route = asked.route
        assert route is not None
        # Of a route that reads it by itself: what came, whatever that is.
        self.raw: Any = None if isinstance(body, dict) else body
        if not route.raw and isinstance(body, list | str | int | float):
            raise unprocessable("the body must be a JSON object")
        self.body: dict[str, Any] = body if isinstance(body, dict) else {}

    @property
    def node(self) -> Node:
        """The node."""
        return self.app.node

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query string by name."""
        return self.asked.query()

    # -- who and where ---------------------------------------------------------------------------

    @property
    def tenant(self) -> str:
        """Whose application calls."""
        return self.caller.tenant

    @property
    def environment(self) -> str:
        """Where it runs: production, staging, development."""
        return self.caller.environment

    @property
    def project(self) -> str | None:
        """The project that is meant; None spans all of them."""
        return self.caller.project

    @property
    def scoped(self) -> dict[str, Any]:
        """The filters that say which projects are meant: one and what has none, or all of them.

        That none was named is asked about once a request, by `check_scope`.
        """
        return {"project_or_none": self.project, "any_project": self.project is None}

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the caller may do."""
        return self.caller.scopes

    @property
    def namespace(self) -> str:
        """The namespace of the tenant in its environment."""
        return self.caller.namespace

    @cached_property
    def end_user(self) -> str:
        """Whose memories are meant: by the body, else by the header; raises 400 for nobody."""
        found = self.body.get("end_user_id")
        if found is not None and not isinstance(found, str):
            raise unprocessable("end_user_id must be text", "end_user_id")
        found = found or self.caller.end_user
        if not found:
            raise bad(
                "X-End-User-ID is missing: say whose memories are meant, by that header or by "
                "end_user_id in the body",
                "MISSING_END_USER_ID",
            )
        if len(found.encode("utf-8", "surrogatepass")) > FOREIGN_BYTES_MAX:
            raise unprocessable(
                f"end_user_id has more than {FOREIGN_BYTES_MAX} bytes", "end_user_id"
            )
        return found

    @property
    def profile(self) -> str:
        """The name of the end user's profile."""
        return foreign_name(self.end_user)

    def target(self) -> Target:
        """Return where the end user's memories are; raises 400 where nobody says who."""
        return Target(self.namespace, self.profile)

    @property
    def principal(self) -> Principal:
        """As whom the node knows the caller, within the end user's profile."""
        given = self.caller.principal
        if given.kind != "namespace":
            return given
        return msgspec.structs.replace(given, kind="database", profile=self.profile)

    @property
    def steward(self) -> Principal:
        """As whom a route does what it let somebody do, after it asked what they may."""
        given = self.caller.principal
        return given if self.caller.master else msgspec.structs.replace(OWNER, actor=given.actor)

    def of(self, end_user: str) -> Call:
        """Return the same request about another end user of the same tenant."""
        caller = self.caller._replace(end_user=end_user)
        body = {name: value for name, value in self.body.items() if name != "end_user_id"}
        return Call(self.app, caller, self.asked, body)

    def item(self, fields: dict[str, Any]) -> Call:
        """Return the same request with other fields: one item of a list in its body."""
        caller = self.caller
        if self.body.get("end_user_id"):
            caller = caller._replace(end_user=self.end_user)
        return Call(self.app, caller, self.asked, fields)

    # -- operations ------------------------------------------------------------------------------

    def do(
        self,
        operation: str,
        request: Request,
        *,
        target: Target | None = None,
        options: Options = NO_OPTIONS,
        principal: Principal | None = None,
    ) -> Any:
        """Return what an operation answers, in the caller's name; raises what it raises.

        It is about the end user's memories, unless a target is given.
        """
        aimed = self.target() if target is None else target
        if OPERATIONS[operation].writes:
            self.app.house.prepare(self.namespace)
        asking = self.principal if principal is None else principal
        return self.node.call(operation, aimed, request, options, asking)

    def check_scope(self) -> None:
        """Do what the policy says where no project is named and the tenant has some.

        Unless it says otherwise, that goes into the audit and a header of the answer. Raises
        `Invalid` (400) where it, or a setting of the node, wants one named.
        """
        caller, route = self.caller, self.asked.route
        assert route is not None
        named = caller.project is not None or caller.wide
        if named or not route.path.startswith(_MEMORY_ROUTES) or not route.needs:
            return
        spanned = self.app.admission.projects(caller.tenant)
        if not spanned:
            return
        # The rules say what is recorded.
        self.app.house.prepare(self.namespace)
        profile = foreign_name(caller.end_user) if caller.end_user else None
        policy = self.node.context.policies.lenient(self.namespace, profile)
        if self.node.settings.memorysync_strict_scope or policy.memory_unscoped == "refuse":
            raise bad(
                f"X-Project-ID is missing: tenant {caller.tenant} has {spanned:,} projects, and "
                "one is to be named here",
                "PROJECT_CONTEXT_REQUIRED",
            )
        if policy.memory_unscoped == "allow":
            return
        self.asked.extra["x-memorysync-warning"] = _WARNING
        target = Target(self.namespace, profile)
        scoping.record(self.node.context, target, caller.principal, spanned)

    # -- reading what was sent, and what is kept -------------------------------------------------

    @property
    def sent(self) -> Mapping[str, Any]:
        """The fields of the body."""
        return self.body

    @property
    def keeper(self) -> str:
        """The tenant."""
        return self.tenant

    def lacking(self, name: str) -> Error:
        """Return the error of a field that has to be there."""
        return unprocessable(f"{name}: Field required", name)

    def misfit(self, name: str, what: str) -> Error:
        """Return the error of a field that is not what it must be."""
        return unprocessable(f"{name} must be {what}", name)

    def items(self, name: str, most: int) -> list[dict[str, Any]]:
        """Return a list of 1 to `most` objects of the body; raises 422 for another thing."""
        found = self.body.get(name)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise unprocessable(f"{name} must be a list of objects", name)
        if not 1 <= len(found) <= most:
            raise unprocessable(f"{name} has {len(found):,} entries; give 1 to {most}", name)
        return found

    def fields(self, name: str) -> dict[str, Any] | None:
        """Return an object of the body; raises 422 for another thing."""
        found = self.body.get(name)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise unprocessable(f"{name} must be an object", name)
        return found

    def real(self, name: str, least: float, most: float) -> float | None:
        """Return a number of the body between two; raises 422 for another thing."""
        found = self.decimal(name)
        if found is not None and not least <= found <= most:
            raise unprocessable(f"{name} is {found:g}; give {least:g} to {most:g}", name)
        return found

    def tier(self) -> Tier | None:
        """Return the tier of the body, None where it names none; raises 422 for another word."""
        found = self.text("tier", required=False)
        for one in _TIERS:
            if one == found:
                return one
        if found is None:
            return None
        raise unprocessable(f"tier is {found!r:.40}; give {', '.join(_TIERS)}", "tier")

    def handle(self, name: str) -> int:
        """Return a memory's number in the body; raises 422 for what is none."""
        found = self.body.get(name)
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise unprocessable(f"{name} must be a positive whole number", name)
        return found

    def when(self, name: str) -> int | None:
        """Return a time of the body in ms; naive is UTC. Raises 422 for what is none."""
        return moment(self.text(name, required=False), name)


def moment(text: str | None, name: str) -> int | None:
    """Return a time in ms, with or without an offset; naive is UTC. Raises 422 for what is none."""
    if text is None:
        return None
    try:
        return parse_ms(text, name)
    except Invalid as error:
        raise unprocessable(str(error), name) from error
