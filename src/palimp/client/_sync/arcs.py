# Made from client/_async by scripts/unasync.py; change it there.
"""What the client asks about the Arcs in which organisations keep their events."""

from __future__ import annotations

from collections.abc import Iterator, Iterable
from typing import TYPE_CHECKING, Any

from ...api import NO_OPTIONS, Options, Target
from ...api.arcs import (
    MEASUREMENT_DEFAULT,
    ArcInstance,
    ArcRemoved,
    ArcRowsMoved,
    BindArc,
    DropParked,
    GetArc,
    ListParked,
    ParkedEvent,
    ParkedPage,
    RemoveArc,
    RetryParked,
)
from ...api.base import Request
from ...api.limits import PAGE_MAX

__all__ = ["ClientArcs"]


class ClientArcs:
    """The part of a client about Arcs of organisations; where a node asks, with its platform key.

    An organisation is a tenant of `memtrace` (`create_tenant`).
    """

    if TYPE_CHECKING:

        def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

    def bind_arc(
        self,
        org: str,
        url: str,
        database: str,
        *,
        api_key: str = "",
        measurement: str = MEASUREMENT_DEFAULT,
    ) -> ArcInstance:
        """Have an organisation keep its events in a database of an Arc from now on.

        What its profile has of them is carried there first. The key is kept sealed with the master
        key, without which this is `Unconfigured`. `Conflict` where it has an Arc.
        """
        request = BindArc(
            org=org, url=url, database=database, api_key=api_key, measurement=measurement
        )
        made: ArcInstance = self.call("arc.bind", Target(), request)
        return made

    def arc(self, org: str) -> ArcInstance:
        """Return where an organisation keeps its events; `NotFound` where it has no Arc."""
        found: ArcInstance = self.call("arc.get", Target(), GetArc(org=org))
        return found

    def remove_arc(self, org: str) -> ArcRemoved:
        """Take an organisation's Arc away; its events are out of reach until it has another."""
        done: ArcRemoved = self.call("arc.remove", Target(), RemoveArc(org=org))
        return done

    def parked_events(self, org: str) -> Iterator[ParkedEvent]:
        """Iterate over the events that an Arc refused, as the node that is asked has them."""
        cursor = None
        while True:
            request = ListParked(org=org, limit=PAGE_MAX, cursor=cursor)
            page: ParkedPage = self.call("arc.parked", Target(), request)
            for one in page.parked:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    def retry_parked(self, org: str, ids: Iterable[int] | None = None) -> int:
        """Offer them to it again, those with `ids` or all; return how many they are."""
        request = RetryParked(org=org, ids=None if ids is None else tuple(ids))
        done: ArcRowsMoved = self.call("arc.retry", Target(), request)
        return done.events

    def drop_parked(self, org: str, ids: Iterable[int] | None = None) -> int:
        """Give them up for good, those with `ids` or all; return how many they were."""
        request = DropParked(org=org, ids=None if ids is None else tuple(ids))
        done: ArcRowsMoved = self.call("arc.drop", Target(), request)
        return done.events
