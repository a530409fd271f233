"""Lanes: each one's jobs in order and one at a time, several lanes at once."""

from __future__ import annotations

import logging
import threading

import pytest

from palimp.clock import Clock
from palimp.engine.lanes import LaneQueue, Lanes
from palimp.errors import Invalid, Unavailable

from .engines import until


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(4, Clock())


def test_the_jobs_of_a_lane_run_in_order_and_never_beside_each_other(lanes: Lanes) -> None:
    queue, done, inside = LaneQueue(), [], []

    def work(number: int) -> int:
        inside.append(number)
        assert len(inside) == 1
        done.append(number)
        inside.remove(number)
        return number

    jobs = [lanes.submit(queue, lambda n=n: work(n)) for n in range(200)]  # type: ignore[misc]
    assert [job.wait(10, "work") for job in jobs] == done == list(range(200))


def test_lanes_do_not_wait_for_each_other(lanes: Lanes) -> None:
    together = threading.Barrier(4)
    jobs = [lanes.submit(LaneQueue(), lambda: together.wait(10)) for _ in range(4)]
    assert sorted(job.wait(10, "work") for job in jobs) == [0, 1, 2, 3]


def test_more_lanes_than_threads_all_get_their_turn(lanes: Lanes) -> None:
    before = threading.active_count()
    queues = [LaneQueue() for _ in range(40)]
    jobs = [lanes.submit(queue, lambda: None) for queue in queues for _ in range(3)]
    for job in jobs:
        job.wait(10, "work")
    assert threading.active_count() <= before + 4
    lanes.close(5)
    assert threading.active_count() <= before


def test_what_a_job_raises_is_for_who_waits_and_a_defect_is_logged(
    lanes: Lanes, caplog: pytest.LogCaptureFixture
) -> None:
    queue = LaneQueue()

    def raises(error: Exception) -> None:
        raise error

    expected = lanes.submit(queue, lambda: raises(Invalid("on purpose")))
    with pytest.raises(Invalid, match="on purpose"):
        expected.wait(10, "work")
    assert caplog.records == []
    defect = lanes.submit(queue, lambda: raises(RuntimeError("a defect")))
    after = lanes.submit(queue, lambda: 7)
    with caplog.at_level(logging.ERROR, "palimp"), pytest.raises(RuntimeError, match="a defect"):
        defect.wait(10, "work")
    assert after.wait(10, "work") == 7
    assert [record.message for record in caplog.records] == ["a change of a manifest failed"]


def test_who_waits_too_long_is_told_that_it_may_happen_yet(lanes: Lanes) -> None:
    go_on = threading.Event()
    job = lanes.submit(LaneQueue(), lambda: go_on.wait(10) and 5)
    with pytest.raises(Unavailable, match=r"shipping it: .* not answered for 0\.01 s") as caught:
        job.wait(0.01, "shipping it")
    assert caught.value.details["in_doubt"] is True
    go_on.set()
    assert job.wait(10, "shipping it") == 5


def test_a_lane_says_since_when_its_job_runs(lanes: Lanes) -> None:
    queue, go_on = LaneQueue(), threading.Event()
    assert queue.begun is None
    job = lanes.submit(queue, lambda: go_on.wait(10))
    until(lambda: queue.begun is not None)
    go_on.set()
    job.wait(10, "work")
    # Whoever was waiting finds the lane free.
    assert queue.begun is None


def test_a_closed_one_finishes_what_it_took_and_takes_no_more(lanes: Lanes) -> None:
    queue, go_on = LaneQueue(), threading.Event()
    first = lanes.submit(queue, lambda: go_on.wait(10))
    second = lanes.submit(queue, lambda: "done")
    lanes.close(0.01)
    with pytest.raises(Unavailable) as caught:
        lanes.submit(queue, lambda: None)
    assert caught.value.details["reason"] == "closed"
    go_on.set()
    first.wait(10, "work")
    assert second.wait(10, "work") == "done"
