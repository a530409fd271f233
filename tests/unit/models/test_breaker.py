"""The circuit breaker: when it opens, whom it admits, and which clock it goes by."""

import threading

from palimp.clock import ManualClock
from palimp.models.breaker import COOLDOWN_SECONDS, FAILURES_MAX, Breaker


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES_MAX):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_it_opens_after_five_failures_in_a_row_and_not_after_five_in_all(
    clock: ManualClock,
) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_MAX - 1):
        assert breaker.admit()
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed()
        assert breaker.admit()
        breaker.left()
    assert breaker.state == "closed"
    breaker.failed()
    assert breaker.state == "open"
    assert not breaker.admit()
    assert breaker.wait == COOLDOWN_SECONDS


def test_after_the_cooldown_one_call_tries_it(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(COOLDOWN_SECONDS - 0.001)
    assert not breaker.admit()
    clock.advance(0.001)
    assert breaker.state == "half_open"
    assert [breaker.admit() for _ in range(4)] == [True, False, False, False]
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.admit()


def test_of_many_threads_one_tries_it(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(COOLDOWN_SECONDS)
    barrier = threading.Barrier(16)
    admitted = []

    def ask() -> None:
        barrier.wait()
        if breaker.admit():
            admitted.append(threading.get_ident())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1


def test_a_failed_trial_is_another_cooldown(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(COOLDOWN_SECONDS)
    assert breaker.admit()
    breaker.failed()
    assert breaker.wait == COOLDOWN_SECONDS
    clock.advance(COOLDOWN_SECONDS)
    assert breaker.admit()


def test_a_trial_that_ended_in_nothing_is_made_by_the_next(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(COOLDOWN_SECONDS)
    assert breaker.admit()
    breaker.left()
    assert breaker.state == "half_open"
    assert breaker.admit()


def test_what_was_under_way_when_it_opened_does_not_prolong_the_rest(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(10)
    breaker.failed()
    assert breaker.wait == COOLDOWN_SECONDS - 10


def test_what_was_under_way_and_ends_well_closes_it(clock: ManualClock) -> None:
    breaker = opened(clock)
    breaker.succeeded()
    assert breaker.admit()


def test_a_limit_is_a_rest_and_no_failure(clock: ManualClock) -> None:
    breaker = Breaker(clock)
    for _ in range(FAILURES_MAX + 1):
        assert breaker.admit()
        breaker.limited(3)
        assert breaker.state == "closed"
        assert not breaker.admit()
        clock.advance(3)
    # Another call that ends well does not cut it short.
    breaker.limited(3)
    breaker.succeeded()
    assert not breaker.admit()


def test_what_would_fail_again_opens_it_at_once(clock: ManualClock) -> None:
    breaker = Breaker(clock)
    assert breaker.admit()
    breaker.failed(at_once=True)
    assert breaker.wait == COOLDOWN_SECONDS


def test_setting_the_clock_of_the_machine_changes_nothing(clock: ManualClock) -> None:
    breaker = opened(clock)
    for jump_ms in (10**9, -(10**10)):
        clock._now_ms += jump_ms
        assert not breaker.admit()
        assert breaker.wait == COOLDOWN_SECONDS
