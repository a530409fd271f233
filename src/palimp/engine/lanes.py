"""Threads for the changes of manifests: a lane's one at a time and in order, several lanes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from ..clock import Clock
from ..errors import Error, Kept, Unavailable
from ..observe import logger

__all__ = ["Job", "LaneQueue", "Lanes"]

T = TypeVar("T")

_LOG = logger("engine")


class Job(Generic[T]):
    """Something to be done in a lane, and what came of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done = threading.Event()
        self._value: T | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it; whatever it raises is for who waits, also a defect, which is logged too."""
        kept = Kept()
        with kept:
            self._value = self._work()
        self._error = kept.error
        if kept.error is not None and not isinstance(kept.error, Error):
            _LOG.error("a change of a manifest failed", exc_info=kept.error)

    def finish(self) -> None:
        """Let those who wait go on."""
        self._done.set()

    def wait(self, seconds: float | None, what: str) -> T:
        """Return what it returned or raise what it raised; `Unavailable` if that takes longer."""
        if not self._done.wait(seconds):
            raise Unavailable(
                f"{what}: the object store has not answered for {seconds:g} s; it may happen yet. "
                "Repeat it with the same request id, or look what holds when the store answers",
                reason="store",
                in_doubt=True,
                retry_after=1.0,
            )
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class LaneQueue:
    """The jobs of one lane that wait."""

    __slots__ = ("begun", "jobs", "running")

    def __init__(self) -> None:
        self.jobs: deque[Job[Any]] = deque()
        self.running = False
        # When the job under way began (monotonic), None between jobs.
        self.begun: float | None = None


class Lanes:
    """A few threads for all lanes, started when there is work; they die with the process."""

    def __init__(self, threads: int, clock: Clock) -> None:
        self._threads_max = threads
        self._clock = clock
        self._lock = threading.Lock()
        self._ready: SimpleQueue[LaneQueue | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def submit(self, queue: LaneQueue, work: Callable[[], T]) -> Job[T]:
        """Do `work` after what was submitted to this lane before it."""
        job = Job(work)
        with self._lock:
            if self._closed:
                raise Unavailable("the folder is being closed; open it again", reason="closed")
            queue.jobs.append(job)
            if not queue.running:
                queue.running = True
                self._ready.put(queue)
                if not self._idle and len(self._threads) < self._threads_max:
                    thread = threading.Thread(target=self._run, name="palimp-lane", daemon=True)
                    self._threads.append(thread)
                    thread.start()
                else:
                    self._idle -= self._idle > 0
        return job

    def close(self, seconds: float) -> None:
        """Take no more work and wait for what is under way, so long."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._ready.put(None)
        end = self._clock.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, end - self._clock.monotonic()))

    def _run(self) -> None:
        while True:
            queue = self._ready.get()
            if queue is None:
                return
            self._drain(queue)
            with self._lock:
                self._idle += 1

    def _drain(self, queue: LaneQueue) -> None:
        while True:
            with self._lock:
                if not queue.jobs:
                    queue.running = False
                    return
                job = queue.jobs.popleft()
            queue.begun = self._clock.monotonic()
            job.run()
            # Before anybody is told: who goes on must not take the lane for stuck.
            queue.begun = None
            job.finish()
