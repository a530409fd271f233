"""How often a credential may call, and how often an address may fail to show one."""

from __future__ import annotations

import threading

import pytest

from palimp.clock import ManualClock
from palimp.errors import Unavailable
from palimp.operations import limits as limits_module
from palimp.operations.access import OWNER, Principal
from palimp.operations.limits import RateLimits

ANN = Principal("namespace", "write", "acme", actor="ann")
BOB = Principal("database", "write", "acme", "p", actor="bob")


def limits(clock: ManualClock, rate: float = 0, failures: float = 10) -> RateLimits:
    return RateLimits(clock, rate=rate, failures=failures)


def passed(call: object, *arguments: object, times: int = 1_000) -> int:
    """Return how many of so many calls at once were let through."""
    done = 0
    for _ in range(times):
        try:
            call(*arguments)  # type: ignore[operator]
        except Unavailable:
            continue
        done += 1
    return done


def test_a_credential_has_its_rate_and_a_burst_of_as_many(clock: ManualClock) -> None:
    found = limits(clock, rate=20)
    assert passed(found.check, ANN, "10.0.0.1") == 20
    clock.advance(0.5)
    assert passed(found.check, ANN, "10.0.0.2") == 10
    clock.advance(3_600)
    assert passed(found.check, ANN, "10.0.0.1") == 20


def test_one_credential_is_not_slowed_by_another(clock: ManualClock) -> None:
    found = limits(clock, rate=5)
    assert passed(found.check, ANN, "10.0.0.1") == 5
    assert passed(found.check, BOB, "10.0.0.1") == 5


def test_the_refusal_says_when_to_come_again(clock: ManualClock) -> None:
    found = limits(clock, rate=0.5)
    found.check(ANN, "10.0.0.1")
    with pytest.raises(Unavailable, match=r"this credential .* 0.5 times a second") as caught:
        found.check(ANN, "10.0.0.1")
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after == pytest.approx(2)
    clock.advance(caught.value.retry_after)
    found.check(ANN, "10.0.0.1")


def test_who_is_refused_does_not_wait_longer_for_it(clock: ManualClock) -> None:
    found = limits(clock, rate=1)
    found.check(ANN, "a")
    assert passed(found.check, ANN, "a") == 0
    clock.advance(1)
    assert passed(found.check, ANN, "a") == 1


def test_without_authentication_addresses_are_counted(clock: ManualClock) -> None:
    found = limits(clock, rate=3)
    assert passed(found.check, OWNER, "10.0.0.1") == 3
    assert passed(found.check, OWNER, "10.0.0.2") == 3
    with pytest.raises(Unavailable, match="this address"):
        found.check(OWNER, "10.0.0.1")


def test_no_rate_is_no_limit(clock: ManualClock) -> None:
    assert passed(limits(clock).check, ANN, "10.0.0.1", times=5_000) == 5_000


def test_failed_attempts_have_a_limit_of_their_own(clock: ManualClock) -> None:
    found = limits(clock, rate=5, failures=10)
    assert passed(found.failed, "10.0.0.1") == 10
    with pytest.raises(Unavailable, match="more than 10 calls a minute") as caught:
        found.failed("10.0.0.1")
    assert caught.value.retry_after == pytest.approx(6)
    # Neither who has a credential there, nor another address, is kept out.
    assert passed(found.check, ANN, "10.0.0.1") == 5
    assert passed(found.failed, "10.0.0.2") == 10
    clock.advance(30)
    assert passed(found.failed, "10.0.0.1") == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("not:an:address", "not:an:other", False),
    ],
)
def test_an_address_stands_for_its_holder(
    clock: ManualClock, one: str, other: str, same: bool
) -> None:
    found = limits(clock, failures=1)
    assert passed(found.failed, one) == 1
    assert passed(found.failed, other) == (0 if same else 1)


def test_many_addresses_take_no_more_memory(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "_BUCKETS_MAX", 100)
    found = limits(clock, failures=1)
    for number in range(1_000):
        found.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(found._failed._left) == 100
    # Those of late are remembered.
    assert passed(found.failed, f"10.0.3.{999 % 256}") == 0


def test_threads_share_a_bucket(clock: ManualClock) -> None:
    found = limits(clock, rate=100)
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(passed(found.check, ANN, "a")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 100
