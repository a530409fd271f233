"""The dialect as an ASGI app: who calls, and what a handler is given."""

from __future__ import annotations

from typing import Any

from ....api.answers import Answer
from ....errors import Error
from ....operations import Principal
from ...api import Api, Limits
from ..foreign import Asked, Foreign
from .admission import NOBODY, Admission, Caller
from .call import Call
from .names import DIALECT
from .refusals import refusal
from .registry import Touches
from .routes import PREFLIGHTS, ROUTES

__all__ = ["Memtrace"]

_BODY_BYTES_MAX = 4 << 20
_ANY_ORIGIN = {"access-control-allow-origin": "*"}
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": "content-type, x-api-key, authorization",
    "access-control-max-age": "600",
}


class Memtrace(Foreign[Caller]):
    """Answers in the dialect, at the root of a port or below where it is mounted.

    `begun` is when the node did (monotonic), for what it says of its health.
    """

    name = DIALECT
    # Its health is an object, which says more than that the process lives.
    says_alive = False

    def __init__(self, api: Api, limits: Limits, begun: float) -> None:
        super().__init__(api, (*ROUTES, *PREFLIGHTS))
        self.begun = begun
        self.bytes_max = min(_BODY_BYTES_MAX, limits.body_bytes)
        self.admission = Admission(self.node)
        self.touches = Touches(self.node.context.clock)

    def admit(self, asked: Asked) -> tuple[Caller, Principal, str]:
        """Return who calls; raises `Denied` (401, 403)."""
        route = asked.route
        assert route is not None
        # Where nobody is asked for a key, a page of any origin could read what is there.
        if self.admission.asks(alone=asked.alone):
            asked.extra.update(_ANY_ORIGIN)
            if asked.method == "OPTIONS":
                asked.extra.update(_PREFLIGHT)
        if route.who == "nobody":
            return NOBODY, NOBODY.principal, ""
        caller = self.admission.caller(asked)
        return caller, caller.principal, f"{caller.target.namespace}--{caller.target.profile}"

    def call(self, asked: Asked, caller: Caller, body: Any) -> Call:
        """Return what the handler is given."""
        return Call(self, caller, asked, body if isinstance(body, bytes) else b"")

    def refused(self, error: Error, asked: Asked) -> Answer:
        """Return an error in the dialect's shape."""
        if asked.alone and self.node.settings.memtrace_auth is not False:
            # Also where it was refused before it was known who asks.
            asked.extra.update(_ANY_ORIGIN)
        return refusal(error, asked)
