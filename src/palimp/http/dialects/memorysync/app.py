"""The dialect as an ASGI app: who calls, and what a handler is given."""

from __future__ import annotations

from typing import Any

from ....api.answers import Answer
from ....errors import Error
from ....operations import OWNER, Principal
from ...api import Api, Limits
from ..foreign import Asked, Foreign
from ..house import House
from .admission import Admission, Caller
from .call import Call
from .house import RULES
from .jobs import Jobs
from .names import DIALECT, PRODUCTION
from .rates import Rates
from .refusals import refusal
from .routes import ROUTES

__all__ = ["MemorySync"]

_BODY_BYTES_MAX = 8 << 20
_NOBODY = Caller("", PRODUCTION, None, (), OWNER)


class MemorySync(Foreign[Caller]):
    """Answers in the dialect, at the root of a port or below where it is mounted."""

    name = DIALECT
    # Its health is an object, and asks for more than whether the process lives.
    says_alive = False

    def __init__(self, api: Api, limits: Limits) -> None:
        super().__init__(api, ROUTES)
        self.bytes_max = min(_BODY_BYTES_MAX, limits.body_bytes)
        self.house = House(self.node, RULES)
        self.admission = Admission(self.node)
        self.rates = Rates(self.node.context.clock, self.node.settings.memorysync_rate_tier)
        self.jobs = Jobs(self.node)

    def admit(self, asked: Asked) -> tuple[Caller, Principal, str]:
        """Return who calls; raises `Denied` (401, 403), `Invalid` (400), `NotFound`, `Conflict`."""
        route = asked.route
        assert route is not None
        if route.who == "nobody":
            self.rates.check(asked, None)
            return _NOBODY, OWNER, ""
        caller = self.admission.caller(route, asked.headers)
        self.rates.check(asked, caller)
        return caller, caller.principal, caller.namespace

    def call(self, asked: Asked, caller: Caller, body: Any) -> Call:
        """Return what the handler is given."""
        asked.extra["x-request-id"] = asked.id
        call = Call(self, caller, asked, body)
        call.check_scope()
        return call

    def refused(self, error: Error, asked: Asked) -> Answer:
        """Return an error in the dialect's shape."""
        return refusal(error, asked.id)
