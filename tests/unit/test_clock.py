"""Times become milliseconds since 1970 UTC, exactly; what is no time is refused by name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.clock import TIME_MS_MAX, Clock, ManualClock, format_ms, parse_ms, parse_seconds
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
