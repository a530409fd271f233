"""Threads shared fairly: each database in turn, a line of bounded length, what is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from palimp.clock import ManualClock
from palimp.errors import Unavailable
from palimp.http.bucket import Bucket
from palimp.http.room import Room
from palimp.http.workers import _THREADS, _THREADS_PER_DATABASE, Workers


class Gate:
    """Work that waits until it is let go, and notes who began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._go = threading.Event()

    def work(self, name: str) -> Callable[[], str]:
        def wait() -> str:
            self.begun.append(name)
            assert self._go.wait(20)
            return name

        return wait

    def open(self) -> None:
        self._go.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_an_answer_and_an_error_come_back() -> None:
    async def main() -> None:
        workers = Workers(4)
        assert await workers.run("a", lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await workers.run("a", lambda: 1 // 0)
        assert workers.waiting == 0
        assert not workers._lines
        workers.close()

    asyncio.run(main())


def test_a_flooded_database_leaves_the_others_their_turn() -> None:
    async def main() -> None:
        workers, gate = Workers(1_000), Gate()
        flood = [asyncio.ensure_future(workers.run("a", gate.work("a"))) for _ in range(100)]
        await until(lambda: len(gate.begun) == _THREADS_PER_DATABASE)
        others = [asyncio.ensure_future(workers.run(name, gate.work(name))) for name in "bcd"]
        await until(lambda: len(gate.begun) == _THREADS_PER_DATABASE + 3)
        assert workers.waiting == 100 - _THREADS_PER_DATABASE
        gate.open()
        assert await asyncio.gather(*others) == ["b", "c", "d"]
        await asyncio.gather(*flood)
        assert not workers._lines
        assert not workers._turns
        workers.close()

    asyncio.run(main())


def test_where_all_threads_are_busy_the_next_goes_to_each_in_turn() -> None:
    async def main() -> None:
        workers, first, rest = Workers(1_000), Gate(), []
        busy = [
            asyncio.ensure_future(workers.run(f"busy{i}", first.work("busy")))
            for i in range(_THREADS)
        ]
        await until(lambda: len(first.begun) == _THREADS)
        order: list[str] = []
        for name in ["a"] * 5 + ["b"] * 2 + ["c"]:
            work = lambda name=name: order.append(name)  # noqa: E731
            rest.append(asyncio.ensure_future(workers.run(name, work)))
        await asyncio.sleep(0)
        assert not order
        first.open()
        await asyncio.gather(*busy, *rest)
        assert sorted(order[:3]) == ["a", "b", "c"]
        assert sorted(order[3:5]) == ["a", "b"]
        workers.close()

    asyncio.run(main())


def test_a_line_that_is_full_sheds_and_the_others_do_not() -> None:
    async def main() -> None:
        workers, gate = Workers(2), Gate()
        calls = [
            asyncio.ensure_future(workers.run("a", gate.work("a")))
            for _ in range(_THREADS_PER_DATABASE + 2)
        ]
        await until(lambda: workers.waiting == 2)
        with pytest.raises(Unavailable, match="2 calls wait") as shed:
            await workers.run("a", gate.work("a"))
        assert (shed.value.code, shed.value.retry_after) == ("overloaded", 1.0)
        other = asyncio.ensure_future(workers.run("b", gate.work("b")))
        gate.open()
        await asyncio.gather(*calls, other)
        workers.close()

    asyncio.run(main())


def test_what_is_cancelled_before_it_began_never_begins() -> None:
    async def main() -> None:
        workers, gate, ran = Workers(10), Gate(), []
        calls = [
            asyncio.ensure_future(workers.run("a", gate.work("a")))
            for _ in range(_THREADS_PER_DATABASE)
        ]
        waiting = asyncio.ensure_future(workers.run("a", lambda: ran.append(1)))
        await until(lambda: workers.waiting == 1)
        waiting.cancel()
        # What has begun goes on by itself, and disturbs nobody.
        calls[0].cancel()
        gate.open()
        await asyncio.gather(*calls[1:])
        assert await workers.run("a", lambda: "after") == "after"
        assert not ran
        await until(lambda: not workers._lines)
        workers.close()

    asyncio.run(main())


def test_a_loop_that_ended_before_its_calls_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, done = Gate(), threading.Event()

    def work() -> None:
        gate.work("a")()
        done.set()

    async def main() -> None:
        call = asyncio.ensure_future(Workers(1).run("a", work))
        await until(lambda: bool(gate.begun))
        call.cancel()

    asyncio.run(main())
    gate.open()
    assert done.wait(20)
    assert not caplog.records


def test_a_bucket_lets_a_rate_through() -> None:
    clock = ManualClock()
    bucket = Bucket(2, clock)
    bucket.take("it")
    bucket.take("it")
    with pytest.raises(Unavailable, match="more than 2 times a second") as shed:
        bucket.take("it")
    assert shed.value.retry_after == 0.5
    clock.advance(0.5)
    bucket.take("it")
    clock.advance(100)
    bucket.take("it")
    bucket.take("it")
    with pytest.raises(Unavailable):
        bucket.take("it")


def test_bodies_share_a_room_and_leave_it_as_it_was() -> None:
    room = Room(100)
    with room.share() as one:
        one.take(60)
        with room.share() as two, pytest.raises(Unavailable, match="60 bytes"):
            two.take(41)
        with room.share() as two:
            two.take(40)
        assert room.taken == 60
    assert room.taken == 0
