"""Transcripts in files: one JSON object a line becomes one event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from ..api import MemoryInput, to_request
from ..api.limits import BATCH_ITEMS_MAX
from ..clock import parse_ms
from ..errors import Error, Invalid
from ..profile.memories.draft import draft
from .common import json_lines

__all__ = ["ImportSummary", "read_transcript"]

_FIELDS = ("at", "content", "id", "role", "session", "speaker", "text")


class ImportSummary:
    """What an import did: results by status, and the lines it could not read with the reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.broken: list[tuple[int, str]] = []

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        return {
            "counts": dict(self.counts),
            "broken": [{"line": line, "reason": reason} for line, reason in self.broken],
        }


def read_transcript(stream: IO[str], summary: ImportSummary) -> Iterator[list[MemoryInput]]:
    """Yield batches of events; a line that cannot be one is noted in `summary` and passed over.

    An event's dedup key is the line's `id`, or session, time, speaker and how often these words
    came there before: so the same file again, or with lines added or mended, doubles nothing.
    """
    seen: Counter[tuple[Any, ...]] = Counter()
    batch: list[MemoryInput] = []
    for number, value in json_lines(stream):
        try:
            if isinstance(value, Invalid):
                raise value
            event = _event(value, seen)
            draft(event)
        except Error as error:
            summary.broken.append((number, str(error)))
            continue
        batch.append(event)
        if len(batch) == BATCH_ITEMS_MAX:
            yield batch
            batch = []
    if batch:
        yield batch


def _event(value: Any, seen: Counter[tuple[Any, ...]]) -> MemoryInput:
    if not isinstance(value, dict):
        raise Invalid(f"a turn must be an object with fields, not {type(value).__name__}")
    unknown = sorted(set(value) - set(_FIELDS))
    if unknown:
        raise Invalid(f"unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    text = value.get("text", value.get("content"))
    if not isinstance(text, str):
        raise Invalid("a turn needs its words as text in 'text' or 'content'")
    speaker = value.get("speaker") or value.get("role")
    at = None if value.get("at") is None else parse_ms(value["at"], "at")
    key = (value.get("session"), at, speaker, text)
    seen[key] += 1
    dedup = value.get("id") or "|".join(str(part or "") for part in (*key[:3], seen[key]))
    fields = {
        "type": "event",
        "kind": "turn",
        "text": text,
        "session": value.get("session"),
        "speaker": speaker,
        "observed_at": at,
        "dedup_key": dedup,
    }
    return to_request(MemoryInput, fields, "turn")
