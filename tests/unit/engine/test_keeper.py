"""The keeper: what is due when, and that nothing stops it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from palimp.clock import Clock, ManualClock
from palimp.engine.keeper import Keeper
from palimp.errors import Unavailable

from .engines import until

KEY = ("db", "main")


class Calls:
    """What a keeper asked for."""

    def __init__(self) -> None:
        self.shipped: Counter[tuple[str, str]] = Counter()
        self.ticks = 0
        self.error: Exception | None = None

    def ship(self, key: tuple[str, str]) -> None:
        self.shipped[key] += 1
        if self.error is not None:
            raise self.error

    def tick(self) -> None:
        self.ticks += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def quick(calls: Calls) -> Iterator[Keeper]:
    made = Keeper(Clock(), 0.01, 0.01, calls.ship, calls.tick)
    yield made
    made.close()


def test_what_is_dirty_is_shipped_once_after_the_interval(calls: Calls, quick: Keeper) -> None:
    for _ in range(10):
        quick.dirty(KEY)
    quick.dirty(("db", "other"))
    until(lambda: len(calls.shipped) == 2)
    ticks = calls.ticks
    until(lambda: calls.ticks > ticks + 3)
    assert calls.shipped[("db", "other")] == 1
    assert calls.shipped[KEY] <= 2


def test_there_is_no_thread_before_there_is_something_to_do(calls: Calls) -> None:
    before = threading.active_count()
    keeper = Keeper(Clock(), 3600, 3600, calls.ship, calls.tick)
    assert threading.active_count() == before
    keeper.dirty(KEY)
    assert threading.active_count() == before + 1
    keeper.close()
    assert threading.active_count() == before
    assert calls.shipped == {}


def test_a_branch_in_a_hurry_does_not_wait(calls: Calls) -> None:
    keeper = Keeper(Clock(), 3600, 3600, calls.ship, calls.tick)
    keeper.dirty(KEY)
    keeper.hurry(KEY)
    until(lambda: calls.shipped[KEY] == 1)
    keeper.close()


@pytest.mark.parametrize("error", [Unavailable("away"), OSError("disk"), RuntimeError("defect")])
def test_whatever_fails_does_not_stop_it(
    calls: Calls, quick: Keeper, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    calls.error = error
    quick.dirty(KEY)
    until(lambda: calls.ticks > 2 and calls.shipped[KEY])
    calls.error = None
    quick.dirty(KEY)
    until(lambda: calls.shipped[KEY] == 2)
    assert "background work failed" in caplog.text


def test_after_failures_it_waits_longer_up_to_half_a_minute(calls: Calls) -> None:
    clock = ManualClock()
    keeper = Keeper(clock, 5, 3600, calls.ship, calls.tick)
    # Nothing runs: only what is noted is looked at.
    keeper.close()
    due = []
    for _ in range(6):
        keeper._due.clear()
        keeper.failed(KEY)
        due.append(keeper._due[KEY])
    assert due == [10, 20, 30, 30, 30, 30]
    keeper._due.clear()
    keeper.succeeded(KEY)
    keeper.dirty(KEY)
    assert keeper._due[KEY] == 5
