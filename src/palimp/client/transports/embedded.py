"""The node in this process: no network, no serialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...api import NO_OPTIONS, Options, Target
from ...api.base import Request, Result
from ...node import Node

__all__ = ["Embedded"]

T = TypeVar("T")


class Embedded:
    """Calls the node directly."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def source(self) -> str | None:
        """The source this client writes as."""
        return self._node.settings.source

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
        """Carry out one operation in the calling thread."""
        return self._node.call(operation, target, request, options)

    def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in the calling thread."""
        return function(*arguments)

    def close(self) -> None:
        """Close the node and let go of the folder."""
        self._node.close()
