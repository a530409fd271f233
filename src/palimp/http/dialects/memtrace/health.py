"""Whether the process lives, and whether it can be asked for memories."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ....errors import Unavailable
from ....operations.organisations import arc_rows
from ..foreign import Reply, Route
from .call import Call

__all__ = ["ROUTES", "duration"]

_NOT_READY = 503
_HINT = "configure an Arc instance with `memtrace org add-arc`"
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000


def health(call: Call) -> Any:
    """Say that the process lives, since when, and which organisations' Arcs answered last."""
    spent = call.node.context.clock.monotonic() - call.app.begun
    reached: dict[str, bool] = {}
    # The process lives also where the catalog is away, which knows of them.
    with suppress(Unavailable):
        reached = _reached(call)
    uptime = duration(round(spent * 1_000))
    return {"status": "ok", "service": "memtrace", "uptime": uptime, "arc": reached}


def ready(call: Call) -> Any:
    """Say whether events can be written and read: those in profiles always can."""
    context = call.node.context
    rows = [] if context.bindings is None else list(arc_rows(context))
    if rows and not any(one.row.given for one in rows):
        said = {"status": "not ready", "reason": "no_instances", "hint": _HINT}
        return Reply(_NOT_READY, said)
    reached = _reached(call)
    if not all(reached.values()):
        return Reply(_NOT_READY, {"status": "not ready", "arc": reached})
    return {"status": "ready", "arc": reached}


def duration(ms: int) -> str:
    """Return a duration as that system writes it: `2h30m15.123s`."""
    if 0 < ms < 1_000:
        return f"{ms}ms"
    hours, rest = divmod(ms, _HOUR_MS)
    minutes, rest = divmod(rest, _MINUTE_MS)
    seconds = f"{rest / 1_000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _reached(call: Call) -> dict[str, bool]:
    """Return of each organisation that has an Arc whether it answered when it was asked last."""
    stores = call.node.context.event_stores
    found: dict[str, bool] = {} if stores is None else stores.health()
    return found


_TEST = "tests/dialects/memtrace/test_health.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", "nobody", health, _TEST),
    Route("GET", "/ready", "nobody", ready, _TEST),
)
