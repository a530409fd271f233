"""The dialect as an ASGI app: who calls, and what a handler is given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ....api.answers import Answer
from ....errors import Error
from ....ids import foreign_name
from ....operations import OWNER, Principal
from ...api import Api, Limits
from ..foreign import Asked, Foreign
from ..house import House
from .admission import NAME, NAMESPACE, Admission, Caller
from .call import Call
from .figures import Figures
from .groups import check_write
from .house import RULES
from .refusals import forbidden, refusal
from .routes import ROUTES
from .usage import Tools

__all__ = ["Memoria"]

_BODY_BYTES_MAX = 2 << 20
_TASKS = 2
_NOBODY = Caller("", "", OWNER)


class Memoria(Foreign[Caller]):
    """Answers in the dialect, at the root of a port or below where it is mounted."""

    name = NAME

    def __init__(self, api: Api, limits: Limits) -> None:
        super().__init__(api, ROUTES)
        self.bytes_max = min(_BODY_BYTES_MAX, limits.body_bytes)
        self.house = House(self.node, RULES)
        self._admission = Admission(self.node, self.node.context.clock)
        self._background = ThreadPoolExecutor(_TASKS, thread_name_prefix="palimp-memoria")
        self.figures = Figures(api)
        self._tools = Tools(self.node, self.node.context.clock)

    def later(self, work: Callable[[], None]) -> None:
        """Do something after the request is answered, in a thread; what is left ends with us."""
        self._background.submit(work)

    def admit(self, asked: Asked) -> tuple[Caller, Principal, str]:
        """Return who calls; raises `Denied` (401, 403), `Unavailable` (429)."""
        route = asked.route
        assert route is not None
        if route.who == "nobody":
            return _NOBODY, OWNER, ""
        caller = self._admission.caller(asked.headers, asked.query())
        if route.who == "master" and not caller.master:
            raise forbidden("Master key required")
        return caller, caller.principal, f"{NAMESPACE}--{foreign_name(caller.user)}"

    def call(self, asked: Asked, caller: Caller, body: Any) -> Call:
        """Return what the handler is given; a group's key may not change its main."""
        assert asked.route is not None
        call = Call(self, caller, asked.values, asked.query(), body, asked.headers)
        check_write(call, asked.route.method, asked.route.path)
        return call

    def done(self, asked: Asked, caller: Caller) -> None:
        """Note the tool that the request came from."""
        if caller.user:
            self._tools.note(caller.user, asked.headers)

    def refused(self, error: Error, _asked: Asked) -> Answer:
        """Return an error in the dialect's shape."""
        return refusal(error)
