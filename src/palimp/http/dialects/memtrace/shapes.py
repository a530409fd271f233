"""Events as memories of that system, as they travel."""

from __future__ import annotations

from typing import Any

from ....api.events import EVENT_DEFAULT, KIND_DEFAULT, Event
from ....clock import format_us

__all__ = ["KINDS", "shape", "stamp"]

# Its client takes an answer with any other for a broken one.
KINDS = ("episodic", "session", "decision", "entity")


def shape(event: Event, org: str) -> dict[str, Any]:
    """Return an event as it travels; what is empty is left out."""
    always = {
        "time": format_us(event.at_us),
        "org_id": org,
        "agent_id": event.agent or "",
        "memory_type": event.kind if event.kind in KINDS else KIND_DEFAULT,
        "event_type": event.event or EVENT_DEFAULT,
        "content": event.text,
    }
    some = {
        "session_id": event.session,
        "metadata": event.metadata,
        "tags": list(event.tags),
        "dedup_key": event.dedup_key,
        "importance": event.importance,
        "parent_id": event.parent,
    }
    return {**always, **{name: value for name, value in some.items() if value}}


def stamp(ms: int) -> str:
    """Return a time as RFC 3339 in UTC, without zeros at its end."""
    return format_us(ms * 1_000)
