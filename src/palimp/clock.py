"""Time, as an argument: the only place that reads the machine's clock.

Inside, a time is an integer: milliseconds since 1970-01-01 UTC. Naive input means UTC.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .errors import Invalid

__all__ = ["TIME_MS_MAX", "Clock", "ManualClock", "format_ms", "parse_ms", "parse_seconds"]

# The last millisecond of the year 9999, the end of what datetime and RFC 3339 can say.
TIME_MS_MAX = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock:
    """The machine's clock; everything that needs the time is handed one."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC; may jump when the machine's clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds that never run backwards and go on while the machine is suspended.

        Where the system has no such clock they stand still meanwhile, as those of `monotonic`.
        """
        return time.clock_gettime(_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


class ManualClock(Clock):
    """A clock that stands still until it is told to move: for tests and simulations."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        """Return the time it was set to."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return the seconds it was advanced by since it was made."""
        return self._monotonic

    def boottime(self) -> float:
        """Return the seconds it was advanced by since it was made."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Advance instead of waiting."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


def parse_ms(value: object, field: str) -> int:
    """Return a point in time as milliseconds since 1970 UTC.

    Takes milliseconds (int), a datetime (naive means UTC) or RFC 3339 text
    ("2026-03-02T08:41:00Z", "2026-03-02"). Raises `Invalid` naming `field` otherwise, also
    for times before 1970 or after the year 9999.
    """
    if isinstance(value, bool):
        ms = None
    elif isinstance(value, int):
        ms = value
    elif isinstance(value, datetime):
        ms = _datetime_ms(value)
    elif isinstance(value, str):
        try:
            ms = _datetime_ms(datetime.fromisoformat(value.strip()))
        except (ValueError, OverflowError):
            ms = None
    else:
        ms = None
    if ms is None:
        raise Invalid(
            f"{field} is not a time: {value!r:.80}; give milliseconds since 1970 (int), a "
            "datetime, or RFC 3339 text such as 2026-03-02T08:41:00Z"
        )
    if not 0 <= ms <= TIME_MS_MAX:
        raise Invalid(f"{field} is {ms} ms, outside 0 (the year 1970) to {TIME_MS_MAX} (9999)")
    return ms


def _datetime_ms(value: datetime) -> int:
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    # Integer division of the difference: a float timestamp would lose milliseconds far from 1970.
    return (aware - _EPOCH) // _MILLISECOND


def parse_seconds(value: object, field: str) -> float:
    """Return a duration in seconds from a number of seconds or a timedelta; `Invalid` otherwise."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.nan
        if not math.isnan(seconds):
            return seconds
    raise Invalid(f"{field} is not a duration: {value!r:.80}; give seconds or a timedelta")


def format_ms(ms: int, *, pattern: str | Callable[[datetime], str] | None = None) -> str:
    """Return RFC 3339 text in whole seconds, or what `pattern` (strftime) makes of the time."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    if pattern is None:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return pattern(moment) if callable(pattern) else moment.strftime(pattern)
