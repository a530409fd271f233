"""What every struct of the wire shares: frozen, keyword-only, and the wire's field names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

import msgspec

__all__ = ["WIRE_NAMES", "Request", "Result", "Sequenced"]

T = TypeVar("T")

# Python says topic, session and agent; the wire says topic_key, session_id and agent_id.
WIRE_NAMES: dict[str, str] = {"topic": "topic_key", "session": "session_id", "agent": "agent_id"}


class Request(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename=WIRE_NAMES,
):
    """A request: an unknown field is refused by name, so a misspelt filter never matches all."""


class Result(msgspec.Struct, frozen=True, kw_only=True, rename=WIRE_NAMES):
    """A result: unknown fields are ignored, so that an older client reads a newer node."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the JSON object that travels on the wire."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def missing(self) -> str | None:
        """Return what was to be removed and was not there; None where it was, or nothing was."""
        return None


class Sequenced(Generic[T]):
    """Makes a result a sequence of the items it holds: `len`, iteration, index and slice."""

    __slots__ = ()

    def _items(self) -> tuple[T, ...]:
        raise AssertionError(f"{type(self).__name__} does not say what it is a sequence of")

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[T]:
        return iter(self._items())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._items()[index]
