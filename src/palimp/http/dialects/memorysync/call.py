"""What a handler is given: the request, who asks, and the operations of the node in their name."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from ....api import NO_OPTIONS, OPERATIONS, Options, Target
from ....api.base import Request
from ....clock import parse_ms
from ....errors import Invalid, Unconfigured
from ....ids import FOREIGN_BYTES_MAX, foreign_name
from ....node import Node
from ....operations import OWNER, Principal
from ....operations.auditing.actions import UNSCOPED
from ..foreign import Asked
from .admission import Caller
from .names import DIALECT
from .refusals import bad, unprocessable

if TYPE_CHECKING:
    from .app import MemorySync

__all__ = ["Call"]

_DIGITS_MAX = 18
_MEMORY_ROUTES = "/memory/"
_WARNING = "missing-scope"


class Call:
    """One request, within one tenant and environment; used in one worker's thread."""

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
    def query(self) -> dict[str, str]:
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
        """Note that no project is named where the tenant has some; or refuse it, if that is strict.

        It goes into the audit and a header of the answer. Raises `Invalid` (400).
        """
        caller, route = self.caller, self.asked.route
        assert route is not None
        named = caller.project is not None or caller.wide
        if named or not route.path.startswith(_MEMORY_ROUTES) or not route.needs:
            return
        spanned = self.app.admission.projects(caller.tenant)
        if not spanned:
            return
        if self.node.settings.memorysync_strict_scope:
            raise bad(
                f"X-Project-ID is missing: tenant {caller.tenant} has {spanned:,} projects, and "
                "this node wants one named",
                "PROJECT_CONTEXT_REQUIRED",
            )
        self.asked.extra["x-memorysync-warning"] = _WARNING
        # The rules say that it is recorded.
        self.app.house.prepare(self.namespace)
        audit = self.node.context.audit
        if audit is not None:
            audit.record(
                self.namespace,
                UNSCOPED,
                foreign_name(caller.end_user) if caller.end_user else None,
                principal=caller.principal,
                projects_spanned=spanned,
            )

    # -- what the dialect keeps ------------------------------------------------------------------

    def kept(self, key: str, default: Any = None, *, scope: str | None = None) -> Any:
        """Return what is kept for the tenant (or for another scope) under a key."""
        bindings = self.node.context.bindings
        asked = self.tenant if scope is None else scope
        found = None if bindings is None else bindings.get(DIALECT, asked, key)
        return default if found is None else msgspec.json.decode(found.value)

    def keep(self, key: str, value: Any, *, scope: str | None = None) -> None:
        """Keep JSON for the tenant (or for another scope) under a key; the last one holds."""
        text = msgspec.json.encode(value).decode()
        self.bindings.put(DIALECT, self.tenant if scope is None else scope, key, text)

    @property
    def bindings(self) -> Any:
        """What keeps that; `Unconfigured` where there is no catalog."""
        found = self.node.context.bindings
        if found is None:
            raise Unconfigured("this needs a catalog, PALIMP_CATALOG_URL; this node has none")
        return found

    # -- reading what was sent -------------------------------------------------------------------

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, *, required: Literal[True]) -> str: ...
    @overload
    def text(self, name: str, *, required: bool) -> str | None: ...

    def text(self, name: str, *, required: bool = True) -> str | None:
        """Return a text of the body; raises 422 where it is another thing, or missing."""
        found = self.body.get(name)
        if found is None:
            if required:
                raise unprocessable(f"{name}: Field required", name)
            return None
        if not isinstance(found, str):
            raise unprocessable(f"{name} must be text", name)
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts of the body; raises 422 for another thing."""
        found = self.body.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise unprocessable(f"{name} must be a list of texts", name)
        return found

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

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a switch of the body; raises 422 for another thing."""
        found = self.body.get(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise unprocessable(f"{name} must be true or false", name)
        return found

    def real(self, name: str, least: float, most: float) -> float | None:
        """Return a number of the body between two; raises 422 for another thing."""
        found = self.body.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise unprocessable(f"{name} must be a number", name)
        if not least <= found <= most:
            raise unprocessable(f"{name} is {found:g}; give {least:g} to {most:g}", name)
        return float(found)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number of the body or the query string, moved within bounds."""
        found = self.body.get(name, self.query.get(name))
        if found is None:
            return default
        if isinstance(found, str):
            digits = found.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
                raise unprocessable(f"{name} must be a whole number", name)
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise unprocessable(f"{name} must be a whole number", name)
        return min(max(found, least), most)

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
