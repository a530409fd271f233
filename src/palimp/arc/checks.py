"""Limits of events that go to Arc: those that memories have, and what its columns cannot hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..api.events import EventInput
from ..api.limits import (
    JSON_DEPTH_MAX,
    LABEL_BYTES_MAX,
    METADATA_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
)
from ..errors import Error, Invalid, in_batch

__all__ = ["check_events", "check_tags"]


def check_events(events: Sequence[EventInput]) -> None:
    """Raise `Invalid` for the first event over a limit, with its index."""
    for index, event in enumerate(events):
        try:
            _check(event)
        except Error as error:
            raise in_batch(error, "events", index, len(events)) from error


def _check(event: EventInput) -> None:
    _text(event.text, "text", TEXT_BYTES_MAX)
    _text(event.agent, "agent", LABEL_BYTES_MAX)
    _text(event.kind, "kind", LABEL_BYTES_MAX)
    _text(event.event, "event", LABEL_BYTES_MAX)
    for name in ("session", "parent", "dedup_key"):
        label = getattr(event, name)
        if label is not None:
            _text(label, name, LABEL_BYTES_MAX)
    if event.importance is not None and not 0.0 <= event.importance <= 1.0:
        raise Invalid(f"importance is {event.importance}; give a number from 0 to 1")
    check_tags(event.tags)
    if event.metadata is not None:
        _metadata(event.metadata)


def check_tags(tags: Sequence[str]) -> None:
    """Raise `Invalid` for a tag that no column of tags can hold."""
    if len(tags) > TAGS_MAX:
        raise Invalid(f"tags has {len(tags):,} entries, at most {TAGS_MAX} are allowed")
    for place, tag in enumerate(tags):
        _text(tag, f"tags[{place}]", LABEL_BYTES_MAX)
        if "," in tag:
            raise Invalid(
                f"tags[{place}] {tag!r:.80} has a comma, which separates tags in Arc; leave it out"
            )


def _text(value: str, field: str, bytes_max: int) -> None:
    if not value.strip():
        raise Invalid(f"{field} is empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{field} has half a surrogate pair at position {error.start}, which no UTF-8 text can "
            "hold; decode the text again from its source"
        ) from error
    if size > bytes_max:
        raise Invalid(
            f"{field} has {size:,} bytes, at most {bytes_max:,} are allowed; split it",
            code="payload_too_large",
            limit=bytes_max,
            size=size,
        )


def _metadata(metadata: Mapping[str, Any]) -> None:
    _json(metadata, "metadata", 0)
    try:
        size = len(msgspec.json.encode(metadata))
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid(f"metadata is not JSON: {error}") from error
    if size > METADATA_BYTES_MAX:
        raise Invalid(
            f"metadata has {size:,} bytes as JSON, at most {METADATA_BYTES_MAX:,} are allowed",
            code="payload_too_large",
            limit=METADATA_BYTES_MAX,
            size=size,
        )


def _json(value: object, field: str, depth: int) -> None:
    if depth >= JSON_DEPTH_MAX and isinstance(value, Mapping | list | tuple):
        raise Invalid(f"metadata is nested more than {JSON_DEPTH_MAX} levels deep; make it flatter")
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"{field} contains {value}, which JSON cannot say")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{field} has a key that is not text: {key!r:.40}")
            _json(inner, f"{field}.{key:.40}", depth + 1)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            _json(inner, f"{field}[{place}]", depth + 1)
