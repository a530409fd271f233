"""What a dialect hands to `Api` where one of its requests takes several operations, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ..api.answers import Answer
from ..errors import Error
from ..operations import Principal

if TYPE_CHECKING:
    from .spool import Spool

__all__ = ["Exchange"]


class Exchange(Protocol):
    """One request of a dialect. `Api` calls `match`, `admit` and `work`, in this order.

    Each may raise; what did is handed to `refused`. It is counted and logged under its `name`,
    which has no word of a path in it; `where` is the database it is about, known from `admit` on.
    """

    @property
    def dialect(self) -> str:
        """The dialect's name."""

    @property
    def name(self) -> str:
        """As what it is counted; `none` as long as nothing matches."""

    @property
    def where(self) -> str:
        """The database it is about."""

    @property
    def writes(self) -> bool:
        """Whether it may have changed something when it fails."""

    @property
    def bytes_max(self) -> int:
        """How large its body may be."""

    @property
    def spooled(self) -> bool:
        """Whether its body goes into a file as it comes, which `work` is handed instead."""

    def match(self, headers: Mapping[str, str], client: str) -> None:
        """Find its route, in the event loop."""

    def named(self, request: str) -> None:
        """Hear by what id the request is known; before `match`, and again if it changes."""

    def admit(self) -> Principal:
        """Return who asks, in a worker's thread; raises `Denied`."""

    def work(self, body: bytes | Spool) -> Answer:
        """Carry it out, in a worker's thread."""

    def refused(self, error: Error) -> Answer:
        """Return an error in the dialect's shape."""
