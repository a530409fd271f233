"""The Arcs of organisations on the wire: time-series databases that keep their events."""

from __future__ import annotations

from typing import Literal

from .base import Request, Result, Sequenced
from .events import Event
from .limits import PAGE_DEFAULT
from .operation import row

__all__ = [
    "MEASUREMENT_DEFAULT",
    "ROWS",
    "ArcInstance",
    "ArcRemoved",
    "ArcRowsMoved",
    "BindArc",
    "DropParked",
    "GetArc",
    "ListParked",
    "ParkedEvent",
    "ParkedPage",
    "RemoveArc",
    "RetryParked",
]

MEASUREMENT_DEFAULT = "events"


class BindArc(Request, frozen=True, kw_only=True):
    """Have an organisation keep its events in a database of an Arc from now on.

    What its profile has of them is carried there first: until then (`draining`) they are written to
    the profile and read there. `api_key` is sealed with the master key; it may be empty. `Conflict`
    where the organisation has an Arc.
    """

    org: str
    url: str
    database: str
    api_key: str = ""
    measurement: str = MEASUREMENT_DEFAULT

    def __repr__(self) -> str:
        return f"BindArc(org={self.org!r}, database={self.database!r})"


class ArcInstance(Result, frozen=True, kw_only=True):
    """An organisation's Arc; `api_key` is masked.

    `spooled` events wait on the node that answers, `parked` ones were refused by Arc and are kept
    there. `reachable` is whether Arc answered that node last; None where it was not asked.
    """

    org: str
    id: str
    url: str
    database: str
    measurement: str
    api_key: str
    state: Literal["draining", "bound"]
    created_at: int
    spooled: int = 0
    parked: int = 0
    reachable: bool | None = None


class GetArc(Request, frozen=True, kw_only=True):
    """Read where an organisation keeps its events; `NotFound` where it has no Arc."""

    org: str


class RemoveArc(Request, frozen=True, kw_only=True):
    """Take an organisation's Arc away: its events cannot be read or written until it has another.

    What waits for the Arc on disks of nodes stays there until then.
    """

    org: str


class ArcRemoved(Result, frozen=True, kw_only=True):
    """How many events wait on the node that answers, parked ones too."""

    org: str
    spooled: int


class ListParked(Request, frozen=True, kw_only=True):
    """Read the events of an organisation that Arc refused, as this node has them, oldest first."""

    org: str
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ParkedEvent(Result, frozen=True, kw_only=True):
    """An event that Arc refused, why, and when (ms)."""

    id: int
    event: Event
    error: str
    parked_at: int


class ParkedPage(Result, Sequenced[ParkedEvent], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    parked: tuple[ParkedEvent, ...]
    next_cursor: str | None

    def _items(self) -> tuple[ParkedEvent, ...]:
        return self.parked


class RetryParked(Request, frozen=True, kw_only=True):
    """Offer the events that Arc refused to it again; `ids` names some of them, else all."""

    org: str
    ids: tuple[int, ...] | None = None


class DropParked(Request, frozen=True, kw_only=True):
    """Give up events that Arc refused, for good; `ids` names some of them, else all."""

    org: str
    ids: tuple[int, ...] | None = None


class ArcRowsMoved(Result, frozen=True, kw_only=True):
    """How many events it was."""

    org: str
    events: int


_ARC = "/v1/arc/{org}"

ROWS = (
    row(
        "arc.bind",
        "POST /v1/arc",
        BindArc,
        ArcInstance,
        "admin writes platform 201",
        "Have an organisation keep its events in an Arc.",
    ),
    row(
        "arc.get",
        f"GET {_ARC}",
        GetArc,
        ArcInstance,
        "read platform",
        "Read where an organisation keeps its events.",
    ),
    row(
        "arc.remove",
        f"DELETE {_ARC}",
        RemoveArc,
        ArcRemoved,
        "admin writes platform",
        "Take an organisation's Arc away.",
    ),
    row(
        "arc.parked",
        f"GET {_ARC}/parked",
        ListParked,
        ParkedPage,
        "read platform",
        "Read the events that an Arc refused.",
    ),
    row(
        "arc.retry",
        f"POST {_ARC}/parked/retry",
        RetryParked,
        ArcRowsMoved,
        "admin writes platform",
        "Offer them to it again.",
    ),
    row(
        "arc.drop",
        f"POST {_ARC}/parked/drop",
        DropParked,
        ArcRowsMoved,
        "admin writes platform",
        "Give them up for good.",
    ),
)
