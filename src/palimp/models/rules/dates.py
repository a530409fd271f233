"""Dates said in words, resolved against the time they were said; days, in UTC.

A weekday by itself is the next one, or the last one in a sentence about the past. "next Friday" is
the Friday of the next week (weeks begin on Monday), "this Friday" that of this week.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from ...clock import TIME_MS_MAX

__all__ = ["MONTHS", "When", "day_of", "find_date", "month_day"]

_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january february march april may june july august september october november december"
).split()
_NUMBERS = dict(
    zip(
        "a an one two three four five six seven eight nine ten eleven twelve couple few".split(),
        (1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 3),
        strict=True,
    )
)
_WEEKDAY = f"(?P<weekday>{'|'.join(_WEEKDAYS)})"
_MONTH = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?P<day>3[01]|[12][0-9]|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:19|20)[0-9]{2})"
# "moved it to Friday", "every Friday": not a day on which something was or will be.
_NOT_AFTER = "".join(f"(?<!{word} )" for word in ("to", "every", "each", "from", "for", "of"))
_COUNT = (
    r"(?P<count>[0-9]{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"a couple of|a few)"
)
_UNIT = "(?P<unit>day|week|month|year)s?"


class When(NamedTuple):
    """A date that was found: its first and last day, how it is written, and where it stands.

    `label` is "2023-05-19", "the week of 2023-05-15", "June 2023" or "2023".
    """

    day: date
    label: str
    start: int
    end: int
    relative: bool
    last: date

    @property
    def ms(self) -> int:
        """Return midnight of the first day in milliseconds since 1970."""
        return (self.day - _EPOCH).days * _DAY_MS


def day_of(ms: int) -> date:
    """Return the day in UTC; a time nobody can have meant is held to 1970 to 9999."""
    return datetime.fromtimestamp(min(max(ms, 0), TIME_MS_MAX) // 1000, UTC).date()


def find_date(text: str, said: date, *, past: bool | None) -> When | None:
    """Return the first date in `text`, said on the day `said` about the past or the future.

    None for no date, and for one outside the years 1970 to 9999.
    """
    best: When | None = None
    for pattern, resolve in _FORMS:
        for match in pattern.finditer(text):
            if best is not None and match.start() >= best.start:
                break
            try:
                found = resolve(match, said, past)
            except (ValueError, OverflowError):
                continue
            if found is not None and found[0] >= _EPOCH:
                day, label, relative = found
                best = When(day, label, match.start(), match.end(), relative, _last(day, label))
                break
    return best


def _last(day: date, label: str) -> date:
    """Return the last day of what a label names."""
    if label.startswith("the week of"):
        return day + timedelta(days=6)
    if label.startswith("the weekend"):
        return day + timedelta(days=1)
    if label == day.isoformat():
        return day
    if " " in label:
        return day.replace(day=calendar.monthrange(day.year, day.month)[1])
    return day.replace(month=12, day=31)


def month_day(text: str) -> tuple[str, int] | None:
    """Return month name and day of a text that begins with both ("March 3rd", "the 3rd of May")."""
    match = _MONTH_DAY.match(text) or _DAY_MONTH.match(text)
    if match is None:
        return None
    number, day = _month(match["month"]), int(match["day"])
    if day > calendar.monthrange(2024, number)[1]:
        return None
    return MONTHS[number - 1].capitalize(), day


def _month(word: str) -> int:
    return next(at for at, name in enumerate(MONTHS, 1) if name.startswith(word[:3].casefold()))


_Found = tuple[date, str, bool]


def _named_day(match: re.Match[str], said: date, _past: bool | None) -> _Found:
    shifts = {"today": 0, "tonight": 0, "tomorrow": 1, "yesterday": -1, "last night": -1}
    words = match[0].casefold()
    shift = shifts.get(words)
    if shift is None:
        shift = 2 if "after" in words else 0 if words.startswith("this") else -2
    day = said + timedelta(days=shift)
    return day, day.isoformat(), True


def _weekday(match: re.Match[str], said: date, past: bool | None) -> _Found:
    wanted = _WEEKDAYS.index(match["weekday"].casefold())
    which = (match["which"] or "").casefold().strip()
    monday = said - timedelta(days=said.weekday())
    if which == "next":
        day = monday + timedelta(days=7 + wanted)
    elif which == "this" and past is not True:
        day = monday + timedelta(days=wanted)
    elif which in ("last", "past") or past:
        day = said - timedelta(days=(said.weekday() - wanted - 1) % 7 + 1)
    else:
        day = said + timedelta(days=(wanted - said.weekday() - 1) % 7 + 1)
    return day, day.isoformat(), True


def _span(match: re.Match[str], said: date, _past: bool | None) -> _Found:
    step = {"last": -1, "past": -1, "next": 1, "coming": 1}.get(match["which"].casefold(), 0)
    unit = match["unit"].casefold()
    if unit in ("week", "weekend"):
        monday = said + timedelta(days=7 * step - said.weekday())
        if unit == "weekend":
            return monday + timedelta(days=5), f"the weekend of {monday + timedelta(days=5)}", True
        return monday, f"the week of {monday}", True
    if unit == "month":
        return _in_months(said, step)
    first = date(said.year + step, 1, 1)
    return first, str(first.year), True


def _in_months(said: date, step: int) -> _Found:
    place = said.year * 12 + said.month - 1 + step
    first = date(place // 12, place % 12 + 1, 1)
    return first, _month_label(first), True


def _month_label(first: date) -> str:
    return f"{MONTHS[first.month - 1].capitalize()} {first.year}"


def _distance(match: re.Match[str], said: date, past: bool | None) -> _Found | None:
    if past and match[0][:2].casefold() == "in":
        return None  # how long something took
    words = match["count"].casefold()
    count = int(words) if words.isdigit() else _NUMBERS[words.removeprefix("a ").split()[0]]
    sign = -1 if match[0].casefold().endswith(("ago", "back")) else 1
    unit = match["unit"].casefold()
    if unit == "day":
        day = said + timedelta(days=sign * count)
        return day, day.isoformat(), True
    if unit == "week":
        day = said + timedelta(days=sign * 7 * count)
        monday = day - timedelta(days=day.weekday())
        return monday, f"the week of {monday}", True
    if unit == "month":
        return _in_months(said, sign * count)
    first = date(said.year + sign * count, 1, 1)
    return first, str(first.year), True


def _calendar_day(match: re.Match[str], said: date, past: bool | None) -> _Found:
    number, day = _month(match["month"]), int(match["day"])
    if match["year"]:
        found = date(int(match["year"]), number, day)
        return found, found.isoformat(), False
    year = said.year
    if past and date(year, number, day) > said:
        year -= 1
    elif past is False and date(year, number, day) < said:
        year += 1
    found = date(year, number, day)
    return found, found.isoformat(), True


def _day_of_month(match: re.Match[str], said: date, past: bool | None) -> _Found | None:
    wanted = int(match["day"])
    place = said.year * 12 + said.month - 1
    steps = (0, -1, -2) if past else (0, 1, 2)
    for step in steps:
        year, month = divmod(place + step, 12)
        if wanted > calendar.monthrange(year, month + 1)[1]:
            continue
        day = date(year, month + 1, wanted)
        if (day <= said) if past else (day >= said):
            return day, day.isoformat(), True
    return None


def _iso(match: re.Match[str], _said: date, _past: bool | None) -> _Found:
    found = date(int(match["year"]), int(match["number"]), int(match["day"]))
    return found, found.isoformat(), False


def _in_month(match: re.Match[str], said: date, past: bool | None) -> _Found:
    number = _month(match["month"])
    if match["year"]:
        first = date(int(match["year"]), number, 1)
        return first, _month_label(first), False
    year = said.year
    if (match["which"] or "").casefold() == "next" and number <= said.month:
        year += 1
    elif past and number > said.month:
        year -= 1
    elif past is False and number < said.month:
        year += 1
    first = date(year, number, 1)
    return first, _month_label(first), True


def _year(match: re.Match[str], _said: date, _past: bool | None) -> _Found:
    first = date(int(match["year"]), 1, 1)
    return first, str(first.year), False


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})(?![\w'\u2019])", re.IGNORECASE)


_MONTH_DAY = _form(rf"(?:the )?{_MONTH}\.?,? (?:the )?{_DAY}(?:,? {_YEAR})?")
_DAY_MONTH = _form(rf"(?:the )?{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?")
_FORMS: tuple[
    tuple[re.Pattern[str], Callable[[re.Match[str], date, bool | None], _Found | None]], ...
] = (
    (_form(r"(?P<year>(?:19|20)[0-9]{2})-(?P<number>[01][0-9])-(?P<day>[0-3][0-9])"), _iso),
    (_MONTH_DAY, _calendar_day),
    (_DAY_MONTH, _calendar_day),
    (
        _form(
            "(?:the )?day after tomorrow|(?:the )?day before yesterday|today|tonight|tomorrow|"
            "yesterday|last night|this (?:morning|afternoon|evening)"
        ),
        _named_day,
    ),
    (
        _form(rf"(?:(?P<which>next|last|this|past|coming) |on |by |until )?{_NOT_AFTER}{_WEEKDAY}"),
        _weekday,
    ),
    (
        _form("(?P<which>next|last|this|past|coming) (?P<unit>weekend|week|month|year)"),
        _span,
    ),
    (_form(rf"in {_COUNT} {_UNIT}"), _distance),
    (_form(rf"{_COUNT} {_UNIT} (?:ago|back|from now)"), _distance),
    (_form(rf"(?:on|by|until) the {_DAY}"), _day_of_month),
    (
        _form(rf"(?:in|since|until|by|(?P<which>next|last|this)) {_MONTH}(?: (?:of )?{_YEAR})?"),
        _in_month,
    ),
    (_form(rf"(?:in|since|back in) {_YEAR}"), _year),
)
