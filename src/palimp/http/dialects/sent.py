"""What a request says and what a dialect keeps; each dialect says in its words what is wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, overload

import msgspec

from ...errors import Error, Unconfigured
from ...node import Node

__all__ = ["Sent"]

_DIGITS_MAX = 18


class Sent(ABC):
    """The part of a call that reads its body, and what was kept in the catalog before."""

    # The dialect's name, under which things are kept.
    dialect: str

    @property
    @abstractmethod
    def node(self) -> Node:
        """The node."""

    @property
    @abstractmethod
    def sent(self) -> Mapping[str, Any]:
        """The fields of the body; none where there is no body."""

    @property
    @abstractmethod
    def query(self) -> Mapping[str, str]:
        """The query string by name."""

    @property
    @abstractmethod
    def keeper(self) -> str:
        """For whom things are kept, where nobody else is named."""

    @abstractmethod
    def lacking(self, name: str) -> Error:
        """Return the error (422) of a field that has to be there."""

    @abstractmethod
    def misfit(self, name: str, what: str) -> Error:
        """Return the error (422) of a field that is not `what` it must be."""

    # -- the body --------------------------------------------------------------------------------

    @overload
    def text(self, name: str) -> str: ...
    @overload
    def text(self, name: str, *, required: Literal[True]) -> str: ...
    @overload
    def text(self, name: str, *, required: bool) -> str | None: ...

    def text(self, name: str, *, required: bool = True) -> str | None:
        """Return a text of the body; raises 422 where it is another thing, or missing."""
        found = self.sent.get(name)
        if found is None:
            if required:
                raise self.lacking(name)
            return None
        if not isinstance(found, str):
            raise self.misfit(name, "text")
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts of the body; raises 422 for another thing."""
        found = self.sent.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.misfit(name, "a list of texts")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a switch of the body; raises 422 for another thing."""
        found = self.sent.get(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.misfit(name, "true or false")
        return found

    def decimal(self, name: str) -> float | None:
        """Return a number of the body; raises 422 for what is none."""
        found = self.sent.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.misfit(name, "a number")
        try:
            return float(found)
        except OverflowError as error:
            raise self.misfit(name, "a number up to 1.8e308") from error

    def number(self, name: str, default: int, least: int, most: int | None = None) -> int:
        """Return a whole number of the body, or else of the query string, moved within bounds."""
        found = self.sent.get(name, self.query.get(name))
        if found is None:
            return default
        if isinstance(found, str):
            digits = found.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
                raise self.misfit(name, "a whole number")
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.misfit(name, "a whole number")
        return max(found, least) if most is None else min(max(found, least), most)

    # -- what the dialect keeps ------------------------------------------------------------------

    def kept(self, key: str, default: Any = None, *, of: str | None = None) -> Any:
        """Return what is kept for the keeper (or for another scope) under a key."""
        bindings = self.node.context.bindings
        scope = self.keeper if of is None else of
        found = None if bindings is None else bindings.get(self.dialect, scope, key)
        return default if found is None else msgspec.json.decode(found.value)

    def keep(self, key: str, value: Any, *, of: str | None = None) -> None:
        """Keep JSON for the keeper (or for another scope) under a key; the last one holds."""
        text = msgspec.json.encode(value).decode()
        self.bindings.put(self.dialect, self.keeper if of is None else of, key, text)

    @property
    def bindings(self) -> Any:
        """What keeps that; `Unconfigured` where there is no catalog."""
        found = self.node.context.bindings
        if found is None:
            raise Unconfigured("this needs a catalog, PALIMP_CATALOG_URL; this node has none")
        return found
