"""Times become milliseconds since 1970 UTC, exactly; what is no time is refused by name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.clock import (
    TIME_MS_MAX,
    Clock,
    ManualClock,
    format_ms,
    format_us,
    parse_ms,
    parse_seconds,
    parse_when,
    parse_when_us,
    wire_when,
)
from palimp.errors import Invalid

# 2026-03-02T08:41:00Z
MOMENT = 1_772_440_860_000
BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        "2026-03-02T08:41:00Z",
        "2026-03-02T08:41:00+00:00",
        "2026-03-02T09:41:00+01:00",
        "2026-03-02 08:41:00",
        "  2026-03-02T08:41:00Z\n",
        datetime(2026, 3, 2, 8, 41),
        datetime(2026, 3, 2, 8, 41, tzinfo=UTC),
        datetime(2026, 3, 2, 9, 41, tzinfo=BERLIN),
    ],
    ids=str,
)
def test_every_way_to_say_a_moment_means_the_same(value: object) -> None:
    assert parse_ms(value, "at") == MOMENT


def test_a_date_is_its_first_moment() -> None:
    assert parse_ms("2026-03-02", "at") == MOMENT - (8 * 60 + 41) * 60_000


@pytest.mark.parametrize(
    "value", [None, True, 1.5, "", "tomorrow", "2026-13-01", b"2026", [], "12"]
)
def test_what_is_no_time_is_refused_by_name(value: object) -> None:
    with pytest.raises(Invalid, match="observed_at is not a time"):
        parse_ms(value, "observed_at")


@pytest.mark.parametrize(
    "value",
    [
        -1,
        TIME_MS_MAX + 1,
        10**40,
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-10:00",
        datetime.min,
    ],
    ids=str,
)
def test_a_time_outside_1970_to_9999_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="since is "):
        parse_ms(value, "since")


@pytest.mark.parametrize("value", [0, TIME_MS_MAX])
def test_the_ends_of_time_are_times(value: int) -> None:
    assert parse_ms(value, "at") == value


@given(st.integers(0, TIME_MS_MAX))
def test_no_millisecond_is_lost(ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert parse_ms(moment, "at") == ms
    assert parse_ms(moment.isoformat(), "at") == ms


@given(st.integers(0, TIME_MS_MAX))
def test_formatted_time_is_read_back_to_the_second(ms: int) -> None:
    assert parse_ms(format_ms(ms), "at") == ms - ms % 1000


def test_a_pattern_or_a_function_may_format() -> None:
    assert format_ms(MOMENT) == "2026-03-02T08:41:00Z"
    assert format_ms(MOMENT, pattern="%d.%m.%Y") == "02.03.2026"
    assert format_ms(MOMENT, pattern=lambda moment: f"{moment:%B} {moment.day}") == "March 2"


@pytest.mark.parametrize("value", [90, 90.0, timedelta(seconds=90)])
def test_a_duration_is_seconds_or_a_timedelta(value: object) -> None:
    assert parse_seconds(value, "ttl") == 90


@pytest.mark.parametrize(
    "value", ["90", None, True, float("nan"), 10**400], ids=lambda v: str(v)[:9]
)
def test_what_is_no_duration_is_refused_by_name(value: object) -> None:
    with pytest.raises(Invalid, match="ttl"):
        parse_seconds(value, "ttl")


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(1_000)
    assert (clock.now_ms(), clock.monotonic()) == (1_000, 0.0)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (2_500, 1.5)
    clock.sleep(2)
    assert (clock.now_ms(), clock.monotonic()) == (4_500, 3.5)


def test_the_machine_s_clock_gives_milliseconds_of_this_era() -> None:
    clock = Clock()
    assert parse_ms("2024-01-01", "then") < clock.now_ms() < parse_ms("2200-01-01", "then")
    first = clock.monotonic()
    clock.sleep(0)
    assert clock.monotonic() >= first


@pytest.mark.parametrize(
    ("text", "ago_ms"),
    [
        ("1m", 60_000),
        ("90m", 5_400_000),
        ("8760m", 525_600_000),
        ("24h", 86_400_000),
        ("+24h", 86_400_000),
        ("024h", 86_400_000),
        ("8760h", 31_536_000_000),
        ("7d", 604_800_000),
        ("365d", 31_536_000_000),
    ],
)
def test_how_long_ago(text: str, ago_ms: int) -> None:
    assert parse_when(text, "since", MOMENT) == MOMENT - ago_ms
    assert wire_when(text, "since") == text


@pytest.mark.parametrize(
    ("text", "least_to_most"),
    [
        ("0m", "1m to 8760m"),
        ("8761m", "1m to 8760m"),
        ("8761h", "1h to 8760h"),
        ("366d", "1d to 365d"),
        ("+0d", "1d to 365d"),
        ("9" * 19 + "h", "1h to 8760h"),
    ],
)
def test_too_long_ago_is_refused_with_the_limits(text: str, least_to_most: str) -> None:
    with pytest.raises(Invalid, match=f"since is .*; give {least_to_most}"):
        parse_when(text, "since", MOMENT)
    with pytest.raises(Invalid, match=f"since is .*; give {least_to_most}"):
        wire_when(text, "since")


@pytest.mark.parametrize(
    "text",
    ["5s", "1w", "1H", "1 h", " 1h", "1h30m", "-1h", "1.5h", "h", "1", "\u0661h", "9" * 500 + "h"],
)
def test_what_is_no_way_to_say_it_is_no_time(text: str) -> None:
    with pytest.raises(Invalid, match=r"until is not a time.*, or how long ago: 90m, 24h, 7d"):
        parse_when(text, "until", MOMENT)
    with pytest.raises(Invalid, match=r"until is not a time.*, or how long ago: 90m, 24h, 7d"):
        wire_when(text, "until")


@pytest.mark.parametrize("value", [MOMENT, "2026-03-02T08:41:00Z", datetime(2026, 3, 2, 8, 41)])
def test_a_moment_stays_one(value: object) -> None:
    assert parse_when(value, "since", 0) == wire_when(value, "since") == MOMENT
    with pytest.raises(Invalid, match=r"since is not a time: 1\.5"):
        parse_when(1.5, "since", 0)


@given(st.integers(1, 365), st.sampled_from("mhd"), st.integers(0, TIME_MS_MAX))
def test_so_long_ago_is_before_by_that_long(count: int, unit: str, now_ms: int) -> None:
    unit_ms = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    assert now_ms - parse_when(f"{count}{unit}", "since", now_ms) == count * unit_ms


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (MOMENT * 1000, "2026-03-02T08:41:00Z"),
        (MOMENT * 1000 + 123_456, "2026-03-02T08:41:00.123456Z"),
        (MOMENT * 1000 + 120_000, "2026-03-02T08:41:00.12Z"),
        (MOMENT * 1000 + 1, "2026-03-02T08:41:00.000001Z"),
        (0, "1970-01-01T00:00:00Z"),
        (TIME_MS_MAX * 1000 + 999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_microseconds_as_text(us: int, text: str) -> None:
    assert format_us(us) == text


@pytest.mark.parametrize(
    "value", ["2026-03-02T08:41:00.123456Z", datetime(2026, 3, 2, 8, 41, 0, 123_456)]
)
def test_microseconds_are_kept_where_they_are_said(value: object) -> None:
    assert parse_when_us(value, "since", 0) == MOMENT * 1000 + 123_456
    assert parse_when(value, "since", 0) == MOMENT + 123
    assert wire_when(value, "since") == "2026-03-02T08:41:00.123456Z"
    assert parse_when_us(MOMENT, "since", 0) == MOMENT * 1000
    assert parse_when_us("1h", "since", MOMENT) == (MOMENT - 3_600_000) * 1000
