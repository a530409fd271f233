"""What happened in a session as text for a prompt: the same for every store of events."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ..api.events import Event, SessionText
from ..api.recall import estimate_tokens
from ..clock import format_us

__all__ = ["summed_up"]

_HINT_BYTES_MAX = 80
_ACTIONS, _DECISIONS, _ERRORS, _OTHER = "Recent Actions", "Decisions Made", "Errors", "Other"
_SECTIONS = (_ACTIONS, _DECISIONS, _ERRORS, _OTHER)
_BY_KIND = {"episodic": _ACTIONS, "decision": _DECISIONS, "entity": _OTHER}


def summed_up(session: str, events: Sequence[Event], max_tokens: int | None) -> SessionText:
    """Return the text of a session's events, which come newest first.

    With `max_tokens` it has as many of the newest as fit into that many tokens; the heading stays
    also where it alone has more.
    """
    shown = len(events)
    if max_tokens is not None:
        # One more event makes a text longer, never shorter: so the most that fit can be halved for.
        shown = bisect_right(
            range(1, len(events) + 1),
            max_tokens,
            key=lambda count: estimate_tokens(_text(session, events[:count])),
        )
    text = _text(session, events[:shown])
    return SessionText(
        session=session,
        text=text,
        found=len(events),
        shown=shown,
        tokens=estimate_tokens(text),
    )


def _text(session: str, events: Sequence[Event]) -> str:
    lines: dict[str, list[str]] = {name: [] for name in _SECTIONS}
    for event in events:
        said = f"- [{format_us(event.at_us)}] {event.event}: {_hint(event.text)}"
        lines[_section(event)].append(said)
    parts = [f"## Session Context ({session})\n\n"]
    for name, entries in lines.items():
        if entries:
            # What comes last has no empty line behind it.
            end = "" if name == _OTHER else "\n"
            parts.append("\n".join((f"### {name} ({len(entries)})", *entries)) + "\n" + end)
    return "".join(parts)


def _section(event: Event) -> str:
    """Return where an event stands: its kind says it, and of other kinds whether it is an error."""
    found = _BY_KIND.get(event.kind)
    if found is not None:
        return found
    return _ERRORS if event.event == "error" else _OTHER


def _hint(text: str) -> str:
    """Return the beginning of a text, cut between two characters."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= _HINT_BYTES_MAX:
        return text
    return data[:_HINT_BYTES_MAX].decode("utf-8", "ignore") + "..."
