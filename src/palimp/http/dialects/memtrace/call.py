"""What a handler is given: the request, who asks, and the operations of the node in their name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ....api.base import Request
from ....api.limits import PAGE_MAX
from ....errors import Error
from ....node import Node
from ..foreign import Asked
from ..sent import Sent
from .admission import Caller
from .names import DIALECT
from .refusals import bad

if TYPE_CHECKING:
    from ....catalog.key_rows import Binding
    from .app import Memtrace

__all__ = ["Call"]

_BODY = "invalid request body"


class Call(Sent):
    """One request of one organisation; used in one worker's thread."""

    dialect = DIALECT

    def __init__(
        self,
        app: Memtrace,
        caller: Caller,
        asked: Asked,
        body: bytes,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.caller = caller
        self.asked = asked
        self.values = asked.values
        self._body = body
        # Those of one item of the body, where it is that.
        self._fields = fields

    @property
    def node(self) -> Node:
        """The node."""
        return self.app.node

    @property
    def org(self) -> str:
        """The organisation that asks."""
        return self.caller.org

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.node.context.clock.now_ms()

    def do(self, operation: str, request: Request) -> Any:
        """Return what an operation answers of the organisation's events; raises what it raises."""
        caller = self.caller
        return self.node.call(operation, caller.target, request, principal=caller.principal)

    # -- reading what was sent, and what is kept -------------------------------------------------

    @cached_property
    def sent(self) -> Mapping[str, Any]:
        """The fields of the body; raises `Invalid` (400) for what is no JSON object."""
        if self._fields is not None:
            return self._fields
        try:
            found = msgspec.json.decode(self._body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise bad(f"{_BODY}: {error}") from error
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise bad(f"{_BODY}: it must be a JSON object")
        return found

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query string by name."""
        return self.asked.query()

    @property
    def keeper(self) -> str:
        """The organisation."""
        return self.org

    def lacking(self, name: str) -> Error:
        """Return the error of a field that has to be there."""
        return bad(f"{name} is required")

    def misfit(self, name: str, what: str) -> Error:
        """Return the error of a field that is not what it must be."""
        return bad(f"{_BODY}: {name} must be {what}")

    def of(self, fields: Mapping[str, Any]) -> Call:
        """Return the same request with other fields: one item of its body."""
        return Call(self.app, self.caller, self.asked, b"", fields)

    def word(self, name: str) -> str:
        """Return a text of the body; empty where it has none."""
        return self.text(name, required=False) or ""

    def object(self, name: str) -> dict[str, Any] | None:
        """Return an object of the body, None for an empty one; raises 400 for another thing."""
        found = self.sent.get(name)
        if found is not None and not isinstance(found, dict):
            raise self.misfit(name, "an object")
        return found or None

    def integer(self, name: str) -> int | None:
        """Return a whole number of the body, None where it has none; raises 400 for others."""
        found = self.sent.get(name)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int)):
            raise self.misfit(name, "a whole number")
        return found

    def kept_all(self, prefix: str) -> Iterator[Binding]:
        """Yield all that is kept for the organisation under keys with a prefix, in their order."""
        after = ""
        while True:
            rows = self.bindings.list(DIALECT, self.org, prefix, after, PAGE_MAX)
            yield from rows
            if len(rows) < PAGE_MAX:
                return
            after = rows[-1].key
