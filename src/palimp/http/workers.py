"""Threads for calls, shared fairly among databases: one that is flooded does not hold the rest."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from ..errors import Unavailable

__all__ = ["Workers"]

T = TypeVar("T")

_THREADS = 64
# Writes of one database are committed together, so that more than this would not make it faster.
_THREADS_PER_DATABASE = 16
_RETRY_SECONDS = 1.0


class _Job(NamedTuple):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class _Line:
    """What waits for one database, and how much of it is under way."""

    __slots__ = ("active", "jobs")

    def __init__(self) -> None:
        self.active = 0
        self.jobs: deque[_Job] = deque()


class Workers:
    """Runs calls in threads; used from one event loop only.

    Each database has at most `_THREADS_PER_DATABASE` of them, and those that wait are taken from
    the databases in turn. Where more than `depth` wait for one, the next is `overloaded`.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="palimp-http")
        self._active = 0
        self._lines: dict[Hashable, _Line] = {}
        # Those that have something waiting, in the order in which they are served.
        self._turns: OrderedDict[Hashable, None] = OrderedDict()

    async def run(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises.

        Cancelled before it began, it never begins; afterwards it goes on by itself.
        """
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        elif len(line.jobs) >= self._depth:
            raise Unavailable(
                f"{len(line.jobs)} calls wait for this profile already; repeat it later, put many "
                "writes into one call, or spread them over profiles",
                code="overloaded",
                reason="queue",
                retry_after=_RETRY_SECONDS,
            )
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        line.jobs.append(_Job(work, answer))
        self._turns[key] = None
        self._fill()
        return await answer

    @property
    def waiting(self) -> int:
        """How many calls have not begun."""
        return sum(len(line.jobs) for line in self._lines.values())

    def close(self) -> None:
        """Let the threads end; what is under way is finished by them."""
        self._pool.shutdown(wait=False)

    def _fill(self) -> None:
        """Begin what may begin."""
        for key in list(self._turns):
            if self._active >= _THREADS:
                return
            line = self._lines[key]
            while line.jobs and line.jobs[0].answer.done():
                line.jobs.popleft()
            if line.jobs and line.active < _THREADS_PER_DATABASE:
                self._begin(key, line, line.jobs.popleft())
                self._turns.move_to_end(key)
            if not line.jobs:
                del self._turns[key]
                if not line.active:
                    del self._lines[key]

    def _begin(self, key: Hashable, line: _Line, job: _Job) -> None:
        loop = asyncio.get_running_loop()

        def finished(done: Future[Any]) -> None:
            # The loop ends before a call that a stopping node did not wait for.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, key, line, job.answer, done)

        try:
            begun = self._pool.submit(job.work)
        except RuntimeError:
            # The process ends, and with it its threads, though nobody closed the node.
            job.answer.set_exception(
                Unavailable("this node is stopping; repeat it", reason="closed", retry_after=1.0)
            )
            return
        self._active += 1
        line.active += 1
        begun.add_done_callback(finished)

    def _finish(
        self, key: Hashable, line: _Line, answer: asyncio.Future[Any], done: Future[Any]
    ) -> None:
        self._active -= 1
        line.active -= 1
        if not line.active and not line.jobs:
            self._lines.pop(key, None)
        if not answer.done():
            error = done.exception()
            if error is None:
                answer.set_result(done.result())
            else:
                answer.set_exception(error)
        self._fill()
