"""What a request to a gateway is for: the database, and whether it may be sent twice.

Read off the path alone, by the same tables as on a node; a guess that is wrong costs a hop, since
nodes forward by themselves.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from ..api import OPERATIONS, Operation
from ..api.repeats import NO_REPEAT, WITHOUT_ID
from ..api.routes import Router
from ..api.wire import HEADER_REQUEST_ID
from ..errors import Invalid
from ..ids import parse_database_spec
from .dialects.memoturn.routes import Routes as MemoturnRoutes

__all__ = ["Aim", "Aims"]

_OURS = b"/v1/"
_MEMOTURN = b"/memoturn"
_MCP = b"/mcp/"
_OF_MCP = 2


class Aim(NamedTuple):
    """The database that a request is for, and the operation; None where the path says neither.

    `id_header` carries its request id; None where a node would not take one.
    """

    database: str | None = None
    operation: Operation | None = None
    id_header: str | None = None

    def repeatable(self, method: str) -> bool:
        """Whether a node may be asked again that may have carried it out.

        It is where nothing is written, and where the node knows the repeat by its request id.
        """
        if self.operation is None:
            return method in ("GET", "HEAD")
        if self.operation.name in NO_REPEAT:
            return False
        return not self.operation.writes or self.operation.name not in WITHOUT_ID

    def writes(self, method: str) -> bool:
        """Whether what was carried out without an answer may have changed something."""
        return not (self.operation is None and self.repeatable(method)) and (
            self.operation is None or self.operation.writes
        )


class Aims:
    """Finds the aim of a path as it came, still encoded."""

    def __init__(self) -> None:
        self._ours = Router()
        self._memoturn = MemoturnRoutes()

    def of(self, method: str, raw_path: bytes) -> Aim:
        """Return what a request is for; what no node would understand is for any of them."""
        method = "GET" if method == "HEAD" else method
        try:
            if raw_path.startswith(_OURS):
                match = self._ours.match(method, raw_path)
                if match is None or match.operation is None:
                    return Aim(id_header=HEADER_REQUEST_ID)
                return Aim(_database(match.values), match.operation, HEADER_REQUEST_ID)
            if raw_path.startswith(_MEMOTURN + _OURS):
                return self._of_memoturn(method, raw_path.removeprefix(_MEMOTURN))
            if raw_path.startswith(_MCP):
                words = unquote(raw_path[len(_MCP) :].decode("ascii", "replace")).split("/")
                return Aim("--".join(words)) if len(words) == _OF_MCP else Aim()
        except Invalid:
            # The node says what is wrong with it.
            return Aim()
        return Aim()

    def _of_memoturn(self, method: str, path: bytes) -> Aim:
        match = self._memoturn.match(method, path)
        name = match.route.operation if match is not None and match.route is not None else None
        header = f"memoturn{HEADER_REQUEST_ID.removeprefix('palimp')}"
        if match is None or name is None:
            return Aim(id_header=header)
        return Aim(_database(match.values), OPERATIONS[name], header)


def _database(values: dict[str, str]) -> str | None:
    """Return the name under which nodes have a database with all its branches."""
    if "db" in values:
        return "--".join(parse_database_spec(values["db"])[:2])
    if "namespace" in values and "profile" in values:
        return f"{values['namespace']}--{values['profile']}"
    return None
