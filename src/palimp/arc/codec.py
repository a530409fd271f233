"""Rows as Arc takes them (MessagePack by columns) and gives them back (JSON by rows)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ..api.events import EVENT_DEFAULT, KIND_DEFAULT, Event, EventInput
from .rows import Row

__all__ = [
    "TIME_US_MAX",
    "TIME_US_MIN",
    "encode_rows",
    "event_of",
    "iso_us",
    "parse_time",
    "row_event",
    "row_of",
    "rows_events",
]

# Nanoseconds before the first are taken for microseconds by Arc; those after the last are no int64.
TIME_US_MIN = 10**13
TIME_US_MAX = (2**63 - 1) // 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_METADATA = "{}"
# datetime takes fractions of three or six digits only; Arc trims zeros and may have nine.
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,18}))?(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})?\Z"
)
_INTEGER = struct.Struct(">Bq")
_INT64 = 0xD3
_ARRAY32 = struct.Struct(">BI")


def row_of(given: EventInput | Event, at_us: int) -> Row:
    """Return the row of an event, at a time of its own."""
    metadata = _NO_METADATA
    if given.metadata:
        metadata = msgspec.json.encode(given.metadata, order="sorted").decode()
    return Row(
        at_us=at_us,
        agent=given.agent or "",
        session=given.session or "",
        kind=given.kind,
        event=given.event,
        text=given.text,
        metadata=metadata,
        tags=",".join(dict.fromkeys(given.tags)),
        dedup_key=given.dedup_key or "",
        importance=float(given.importance or 0.0),
        parent=given.parent or "",
    )


def row_event(row: Row) -> Event:
    """Return a row as an event: what is empty there is left out here."""
    return Event(
        agent=row.agent or None,
        text=row.text,
        at_us=row.at_us,
        kind=row.kind,
        event=row.event,
        session=row.session or None,
        metadata=_metadata(row.metadata),
        tags=tuple(tag for tag in row.tags.split(",") if tag),
        importance=row.importance or None,
        parent=row.parent or None,
        dedup_key=row.dedup_key or None,
    )


def encode_rows(measurement: str, org: str, rows: Sequence[Row]) -> bytes:
    """Return the body of one write: all columns, every importance a float, every time an int64."""
    columns = {
        "time": _times(rows),
        "org_id": [org] * len(rows),
        "agent_id": [row.agent for row in rows],
        "session_id": [row.session for row in rows],
        "memory_type": [row.kind for row in rows],
        "event_type": [row.event for row in rows],
        "content": [row.text for row in rows],
        "metadata_json": [row.metadata for row in rows],
        "tags_csv": [row.tags for row in rows],
        "dedup_key": [row.dedup_key for row in rows],
        "importance": [float(row.importance) for row in rows],
        "parent_id": [row.parent for row in rows],
    }
    return msgspec.msgpack.encode({"m": measurement, "columns": columns})


def rows_events(columns: Sequence[str], data: Iterable[Sequence[Any]]) -> list[Event]:
    """Return the events of a query's result, by the names of its columns."""
    found = (event_of(dict(zip(columns, values, strict=False))) for values in data)
    return [event for event in found if event is not None]


def event_of(row: Mapping[str, Any]) -> Event | None:
    """Return one row of a result as an event; None where it has no readable time."""
    at_us = parse_time(row.get("time"))
    if at_us is None:
        return None

    def text(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else ""

    return row_event(
        Row(
            at_us=at_us,
            agent=text("agent_id"),
            session=text("session_id"),
            kind=text("memory_type") or KIND_DEFAULT,
            event=text("event_type") or EVENT_DEFAULT,
            text=text("content"),
            metadata=text("metadata_json"),
            tags=text("tags_csv"),
            dedup_key=text("dedup_key"),
            importance=_number(row.get("importance")),
            parent=text("parent_id"),
        )
    )


def parse_time(value: object) -> int | None:
    """Return microseconds since 1970: of RFC 3339 text (no zone: UTC) or of nanoseconds."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value // 1000
    if isinstance(value, float):
        return int(value // 1000) if math.isfinite(value) else None
    found = _TIME.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    day, hour, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{hour}{'+00:00' if zone in (None, 'Z') else zone}")
        whole = (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
    return whole + int((fraction or "").ljust(6, "0")[:6])


def iso_us(at_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 text in UTC."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06d}Z"


def _times(rows: Sequence[Row]) -> msgspec.Raw:
    """Return nanoseconds as an array of int64: positive ones would be sent as unsigned else."""
    head = _ARRAY32.pack(0xDD, len(rows))
    return msgspec.Raw(head + b"".join(_INTEGER.pack(_INT64, row.at_us * 1000) for row in rows))


def _metadata(text: str) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(text) if text and text != _NO_METADATA else None
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and found else None


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return 0.0
