"""Time, as an argument: the only place that reads the machine's clock.

Inside, a time is an integer: milliseconds since 1970-01-01 UTC. Naive input means UTC.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .errors import Invalid

__all__ = [
    "TIME_MS_MAX",
    "Clock",
    "ManualClock",
    "format_ms",
    "format_us",
    "parse_ms",
    "parse_seconds",
    "parse_when",
    "parse_when_us",
    "wire_when",
]

# The last millisecond of the year 9999, the end of what datetime and RFC 3339 can say.
TIME_MS_MAX = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MILLISECOND = timedelta(milliseconds=1)
# How long ago: a whole number and one of these.
_RELATIVE = re.compile(r"\+?([0-9]+)([mhd])")
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RELATIVE_MAX = {"m": 8_760, "h": 8_760, "d": 365}
# Longer is no number that could be meant, and costs time to be read as one.
_RELATIVE_CHARS_MAX = 20


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


def parse_when(value: object, field: str, now_ms: int) -> int:
    """Return a point in time as milliseconds since 1970 UTC; text such as `24h` is so long ago.

    Relative text is a whole number from 1 and a unit: `m` and `h` up to 8760, `d` up to 365.
    Everything else is what `parse_ms` takes. Raises `Invalid` naming `field`.
    """
    return parse_when_us(value, field, now_ms) // 1000


def parse_when_us(value: object, field: str, now_ms: int) -> int:
    """Return what `parse_when` returns as microseconds: text and datetimes may have them."""
    ago_ms = _ago_ms(value, field)
    if ago_ms is not None:
        return (now_ms - ago_ms) * 1000
    return _absolute_us(value, field)


def wire_when(value: object, field: str) -> int | str:
    """Return a point in time as a request has it: milliseconds, or text where these do not do.

    What is relative is counted from the time of the node that reads. Raises what `parse_when` does.
    """
    if _ago_ms(value, field) is not None:
        return str(value)
    us = _absolute_us(value, field)
    return format_us(us) if us % 1000 else us // 1000


def _ago_ms(value: object, field: str) -> int | None:
    if not isinstance(value, str) or len(value) > _RELATIVE_CHARS_MAX:
        return None
    found = _RELATIVE.fullmatch(value)
    if found is None:
        return None
    count, unit = int(found[1]), found[2]
    if not 1 <= count <= _RELATIVE_MAX[unit]:
        raise Invalid(f"{field} is {value!r}; give 1{unit} to {_RELATIVE_MAX[unit]}{unit}")
    return count * _UNIT_MS[unit]


def _absolute_us(value: object, field: str) -> int:
    try:
        ms = parse_ms(value, field)
    except Invalid as error:
        if not isinstance(value, str):
            raise
        raise Invalid(f"{error}, or how long ago: 90m, 24h, 7d") from error
    moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    return ms * 1000 + (moment.microsecond % 1000 if isinstance(moment, datetime) else 0)


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


def format_us(us: int) -> str:
    """Return RFC 3339 text in UTC with microseconds, trailing zeros of the fraction left out."""
    moment = (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{us % 1_000_000:06}".rstrip("0")
    return f"{moment}.{fraction}Z" if fraction else f"{moment}Z"
