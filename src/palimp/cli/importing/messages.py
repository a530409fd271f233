"""`messages`: turns of conversations become events.

One JSON object a line, a JSON list of them, or objects with `messages`, as chat programs export
them. An event's dedup key is the turn's `id`, or session, time, speaker and how often these words
came there before: so the same file again, or with lines added or mended, doubles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...api import MemoryInput, to_request
from ...clock import parse_ms
from ...errors import Error, Invalid
from .base import Item, Source, dedup_key
from .seen import Seen
from .values import json_values

__all__ = ["read_messages"]

_FIELDS = ("at", "content", "id", "name", "role", "session", "speaker", "text")
# When something was said, as chat programs call it: RFC 3339 text, or seconds since 1970.
_TIMES = ("create_time", "created_at", "timestamp")
# What else a message of theirs has; an event keeps none of it.
_FOREIGN = (
    *_TIMES,
    *"annotations audio function_call metadata model object refusal status tool_call_id".split(),
    *"tool_calls type weight".split(),
)
_SESSIONS = ("session", "conversation_id", "id")
_SECONDS_MAX = 100_000_000_000


def read_messages(source: Source) -> Iterator[Item]:
    """Yield an event for every turn."""
    seen = Seen()
    for number, value in json_values(source.stream, source.name):
        if isinstance(value, dict) and "messages" in value:
            yield from _conversation(number, value, seen)
        else:
            yield Item(number, _found(value, None, seen, exported=False))


def _conversation(number: int, value: dict[str, Any], seen: Seen) -> Iterator[Item]:
    messages = value["messages"]
    if not isinstance(messages, list):
        yield Item(number, Invalid(f"'messages' is not a list but {type(messages).__name__}"))
        return
    names = (value.get(name) for name in _SESSIONS)
    session = next((name for name in names if isinstance(name, str) and name), None)
    for place, message in enumerate(messages):
        found = _found(message, session, seen, exported=True)
        if isinstance(found, Error):
            found = found.located(f"messages[{place}]")
        yield Item(number, found)


def _found(
    value: Any, session: str | None, seen: Seen, *, exported: bool
) -> MemoryInput | Error | None:
    try:
        if isinstance(value, Error):
            raise value
        return _event(value, session, seen, exported=exported)
    except Error as error:
        return error


def _event(value: Any, session: str | None, seen: Seen, *, exported: bool) -> MemoryInput | None:
    if not isinstance(value, dict):
        raise Invalid(f"a turn must be an object with fields, not {type(value).__name__}")
    unknown = sorted(set(value) - {*_FIELDS, *_FOREIGN})
    # In an export of another program a field we do not know is no slip of the pen.
    if unknown and not exported:
        raise Invalid(f"unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    text = _words(value)
    if text is None:
        return None
    speaker = value.get("speaker") or value.get("name") or value.get("role")
    session = value.get("session") or session
    at = _time(value)
    times = seen.count(session, at, speaker, text)
    identity = value.get("id") or "|".join(
        str(part or "") for part in (session, at, speaker, times)
    )
    fields = {
        "type": "event",
        "kind": "turn",
        "text": text,
        "session": session,
        "speaker": speaker,
        "observed_at": at,
        "dedup_key": dedup_key(str(identity)),
    }
    return to_request(MemoryInput, fields, "turn")


def _words(value: dict[str, Any]) -> str | None:
    """Return what was said; None for a message that only calls a tool or shows a picture."""
    content = value.get("text", value.get("content"))
    if isinstance(content, list):
        texts = [text for text in map(_part, content) if text]
        return "\n".join(texts) or None
    calls = value.get("tool_calls") or value.get("function_call")
    if (content is None and "content" in value and "role" in value) or (calls and not content):
        return None
    if not isinstance(content, str):
        raise Invalid("a turn needs its words as text in 'text' or 'content'")
    return content


def _part(part: Any) -> str | None:
    text = part.get("text") if isinstance(part, dict) else part
    if isinstance(text, dict):
        text = text.get("value")
    if text is not None and not isinstance(text, str):
        raise Invalid(f"a part of 'content' has its text as {type(text).__name__}, not as text")
    return text


def _time(value: dict[str, Any]) -> int | None:
    if value.get("at") is not None:
        return parse_ms(value["at"], "at")
    for name in _TIMES:
        time = value.get(name)
        if isinstance(time, (int, float)) and not isinstance(time, bool):
            # Programs disagree about the unit; a number this large is no seconds before year 5000.
            time = round(time * 1000) if abs(time) < _SECONDS_MAX else round(time)
        if time is not None:
            return parse_ms(time, name)
    return None
