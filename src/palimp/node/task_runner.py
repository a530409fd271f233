"""The thread that carries out tasks on many profiles, one after another, for all nodes.

A task is whoever's claims it. Profiles are done a few at a time, in the order of their names; what
was done is noted with each few, so that the next run, here or elsewhere, repeats no more than
those. Who lost a task, because it was cancelled or another took over, notes nothing any more: the
catalog refuses it by the token of the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..catalog.coordination import SqlLocks
from ..catalog.locks import Held, Locks, kept_alive
from ..catalog.task_rows import TaskRow
from ..catalog.task_table import SqlTasks
from ..clock import Clock
from ..errors import Error, Kept, Unavailable
from ..ids import jitter, random_bytes
from ..observe import Metrics, logger
from .task_run import Over, Parts, Run, Times

if TYPE_CHECKING:
    from ..catalog.sql_catalog import SqlCatalog
    from ..operations.fleet import Call

__all__ = ["TaskRunner"]

_LOG = logger("tasks")
_SWEEP_SECONDS = 3_600.0
_KEPT_SECONDS = 72 * 3_600.0
_CLOSE_SECONDS = 10.0
_TIMES = Times()


class TaskRunner:
    """Does the tasks of a catalog, once started, until closed; `operations.tasks.Tasks`.

    `call` carries out the steps and `names` lists profiles, as `Engine.names` does. Without `works`
    tasks are only seen here, and done by other nodes.
    """

    def __init__(
        self,
        catalog: SqlCatalog,
        node: str,
        call: Call,
        names: Callable[..., tuple[list[tuple[str, str]], bool]],
        metrics: Metrics,
        *,
        works: bool = True,
        times: Times = _TIMES,
    ) -> None:
        # Two processes on one machine are told apart, and two machines with one id.
        self._runner = f"{node}-{os.getpid()}-{random_bytes(4).hex()}"
        self._clock = Clock()
        self.table = SqlTasks(catalog)
        self.locks = Locks(SqlLocks(catalog), self._runner, self._clock)
        self._works = works
        self._times = times
        self._closed = threading.Event()
        self._parts = Parts(self.table, call, names, metrics, times, self._closed)
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._thread: threading.Thread | None = None
        self._swept_at: float | None = None
        self._failing = False

    def start(self) -> None:
        """Look for tasks from now on."""
        with self._lock:
            if self._works and self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="palimp-tasks", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Look for one now, and again from then on."""
        self._look.set()
        self.start()

    def close(self) -> None:
        """Let the steps under way end, for a while, and give the task back."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        self._look.set()
        if thread is not None:
            thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._look.clear()
            kept = Kept()
            with kept:
                self._sweep()
                while (claimed := self._claim()) is not None:
                    self._carry_out(*claimed)
            self._tell(kept.error)
            # Apart from the other nodes.
            self._look.wait(self._times.poll * (0.75 + jitter() / 2))

    def _sweep(self) -> None:
        """Remove tasks that ended long ago, once in a while."""
        now = self._clock.monotonic()
        if self._swept_at is None or now - self._swept_at >= _SWEEP_SECONDS:
            self.table.remove_finished(_KEPT_SECONDS)
            self._swept_at = now

    def _claim(self) -> tuple[TaskRow, Held] | None:
        if self._closed.is_set():
            return None
        asked, seconds = self._clock.boottime(), self._times.silent
        task = self.table.claim(self._runner, seconds)
        if task is None:
            return None
        return task, Held(f"task {task.id}", task.token, seconds, self._clock, asked)

    def _carry_out(self, task: TaskRow, held: Held) -> None:
        """Do a task, or as much of it as this run gets to."""
        _LOG.info("task %s (%s): run %d begins", task.id, task.kind, task.token)
        seconds, kept = self._times.silent, Kept()
        state = None
        renew = partial(self.table.renew, task.id, task.token, seconds)
        with kept, kept_alive(held, renew, seconds):
            state = Run(task, held, self._parts).do()
        if state is None:
            assert kept.error is not None
            state = self._ended_early(task, held, kept.error)
        _LOG.info("task %s (%s): run %d ends: %s", task.id, task.kind, task.token, state)
        if state in ("done", "failed"):
            self._parts.metrics.add("tasks_ended", kind=task.kind, state=state)

    def _ended_early(self, task: TaskRow, held: Held, error: Exception) -> str:
        """Give a task back, or end it where nothing of it can be done as it stands."""
        if isinstance(error, Over):
            if held.lost:
                return "lost"
        elif isinstance(error, Unavailable):
            _LOG.warning("task %s waits: %s", task.id, error)
            self._closed.wait(self._times.poll)
        else:
            unforeseen = None if isinstance(error, Error) else error
            _LOG.warning("task %s failed: %s", task.id, error, exc_info=unforeseen)
            said = f"a defect of the node, whose log says more: {error!r}"
            self.table.finish(
                task.id, task.token, "failed", str(error) if unforeseen is None else said
            )
            return "failed"
        self.table.give_back(task.id, task.token)
        return "given back"

    def _tell(self, error: Exception | None) -> None:
        """Log the first failure of a row."""
        unforeseen = None if isinstance(error, Error) else error
        if error is not None and (unforeseen is not None or not self._failing):
            _LOG.warning("tasks wait: %s", error, exc_info=unforeseen)
        self._failing = error is not None
