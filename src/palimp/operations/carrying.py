"""Carries the events of an organisation's profile to the Arc that it was given.

    read a page behind the last handle -> spool it -> note the handle -> again, until there is no
    full page and the spool is empty -> `bound`: events are written there from now on

Who dies on the way begins at the page whose handle was not noted; the spool knows what it has of
it. Nodes that have not heard of the Arc yet write to the profile still: for a while after the
change what comes to be there is carried too. The events stay in the profile as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..api.events import Event
from ..errors import Unavailable
from ..profile.memories.carrying import events_after
from .context import Context
from .organisations import PROFILE, VersionedArc, change_arc, namespace_of, org_target

__all__ = ["Spooling", "carry", "has_work"]

_PAGE = 500
# A node has heard of an Arc after a second; this long every one may still write to the profile.
_HEARD_MS = 3_000
# And this long after it was bound one that was slow may have.
_LATE_MS = 60_000
_FLUSH_SECONDS = 10.0


class Spooling(Protocol):
    """What takes events to an Arc; see `arc.ArcPool`."""

    def import_events(self, org: str, imports: Sequence[Any]) -> int:
        """Keep events durably that go to an Arc; those whose source came before are there."""

    def flush(self, org: str, seconds: float) -> bool:
        """Send what waits; whether all of it is there."""

    def forget_imports(self, org: str) -> None:
        """Forget which sources came."""


def has_work(held: VersionedArc) -> bool:
    """Whether there may be something to carry."""
    return held.row.state == "draining" or (held.row.state == "bound" and held.row.late > 0)


def carry(context: Context, held: VersionedArc, spool: Spooling) -> float | None:
    """Do one step; return in how many seconds the next is due, None: there is none here.

    Raises `Unavailable` where the spool is full, or the profile or the catalog is away: nothing is
    lost, and the step is to be done again.
    """
    if not (has_work(held) and context.mine(namespace_of(held.org), PROFILE)):
        return None
    row = held.row
    found = _next(context, held)
    done = _spooled(held, found, spool)
    if done:
        carried = {**row.carried, row.place: done[-1][0]}
        noted = change_arc(context, held, carried=carried)
        if noted is None:
            # Taken away, or changed by another node: what it is now is another step's.
            return 0.0
        held = noted
    if len(done) < len(found) or len(found) == _PAGE:
        return 0.0
    now = context.clock.now_ms()
    if row.state == "draining":
        left = row.created_at + _HEARD_MS - now
        # A clock that was set back is not to hold it up for ever.
        if 0 < left <= _HEARD_MS:
            return left / 1000
        if spool.flush(held.org, _FLUSH_SECONDS):
            change_arc(context, held, state="bound", late=now + _LATE_MS)
        return 1.0
    if now >= row.late:
        change_arc(context, held, late=0)
        spool.forget_imports(held.org)
        return None
    return 1.0


def _spooled(
    held: VersionedArc, found: Sequence[tuple[int, Event]], spool: Spooling
) -> Sequence[tuple[int, Event]]:
    """Have the spool keep the first of these, as many as it has room for; return which."""
    if not found:
        return found
    from ..arc import Import

    count = len(found)
    while True:
        # Where they go to is part of it: to another Arc the same events are carried once more.
        some = [Import(f"{held.row.place}/{event.id}", event) for _, event in found[:count]]
        try:
            spool.import_events(held.org, some)
        except Unavailable as error:
            if error.details.get("reason") != "spool" or count == 1:
                raise
            count //= 2
        else:
            return found[:count]


def _next(context: Context, held: VersionedArc) -> list[tuple[int, Event]]:
    """Return the next events of the profile, each with its handle."""
    target, row = org_target(held.org), held.row
    context.hold(target)
    after = row.carried.get(row.place, 0)
    with context.reading(target) as database:
        if database is None:
            return []
        sealer, now = context.sealer_of(target), context.clock.now_ms()
        return database.read(lambda c: events_after(c, after, _PAGE, sealer, now)).value
