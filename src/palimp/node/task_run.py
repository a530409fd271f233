"""One run of a task on many profiles: counted, walked over, and what was away tried again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import msgspec

from ..api.tasks import CreateTask
from ..catalog.locks import Held
from ..catalog.task_rows import Item, Progress, TaskRow, TaskTable
from ..clock import Clock
from ..decoding import from_json
from ..errors import Conflict, Error, Internal, Invalid, Kept, NotFound, Unavailable, Unconfigured
from ..ids import DatabaseName
from ..observe import Metrics, logger
from ..operations.fleet import Call, Work, open_target, pages

__all__ = ["Over", "Parts", "Run", "Times"]

T = TypeVar("T")

_LOG = logger("tasks")
_TOGETHER = 4
# Done between two notes of how far it is: what the next run repeats at most.
_NOTED = 16
# Between two looks at whether the run goes on, or whether the catalog answers again.
_LOOK_SECONDS = 1.0
_TRIED_BEFORE: Mapping[DatabaseName, int] = {}


class Times(NamedTuple):
    """How long is waited, in seconds.

    `silent`: after which others take over a task. `poll`: between two looks for one. `again`: until
    a profile that was not available is tried again, one for each time.
    """

    silent: float = 60.0
    poll: float = 5.0
    again: tuple[float, ...] = (5.0, 30.0, 120.0)


class Parts(NamedTuple):
    """What runs need of their node; `names` lists profiles, as `Engine.names` does."""

    table: TaskTable
    call: Call
    names: Callable[..., tuple[list[tuple[str, str]], bool]]
    metrics: Metrics
    times: Times
    closed: threading.Event


class Over(Exception):
    """The run is over: it was cancelled, another has the task, or the node is being closed."""


class _Outcome(NamedTuple):
    """What came of one profile: what was done, or why nothing; neither where it is gone."""

    name: DatabaseName
    done: dict[str, int] | None = None
    error: Error | None = None


class Run:
    """Goes on with a task from where the run before it was. For one thread, and once."""

    def __init__(self, task: TaskRow, held: Held, parts: Parts) -> None:
        self._task = task
        self._held = held
        self._parts = parts
        self._clock = Clock()
        self._cursor, self._walked = task.cursor, task.walked
        self._done, self._failed, self._total = task.done, task.failed, task.total
        self._result: Counter[str] = Counter(msgspec.json.decode(task.result))

    def do(self) -> str:
        """Do what is left of the task and return the state it is in then.

        Raises `Over` where the run ends before that, `Invalid` or `Unconfigured` where nothing of
        the task can be done here, `Unavailable` where it cannot be said what there is to do.
        """
        spec = _spec(self._task)
        target = None if spec.to is None or spec.dry_run else open_target(spec.to)
        try:
            work = Work(self._task.id, spec, self._parts.call, target, self._goes_on)
            with ThreadPoolExecutor(_TOGETHER, "palimp-task") as pool:
                if self._total is None:
                    self._count(spec)
                if not self._walked:
                    self._walk(work, pool)
                self._try_again(work, pool)
        finally:
            if target is not None:
                target.close()
        return self._finish()

    def _count(self, spec: CreateTask) -> None:
        total = 0
        for found, _ in pages(self._parts.names, spec, None):
            total += len(found)
            self._check()
        self._total = total
        self._note()

    def _walk(self, work: Work, pool: ThreadPoolExecutor) -> None:
        """Come to every profile once."""
        for found, end in pages(self._parts.names, work.spec, self._cursor):
            for start in range(0, len(found), _NOTED):
                some = found[start : start + _NOTED]
                outcomes = self._do_some(work, pool, some)
                self._cursor = str(some[-1])
                self._note(*self._weighed(outcomes, _TRIED_BEFORE))
            self._cursor = end
        self._walked = True
        self._note()

    def _try_again(self, work: Work, pool: ThreadPoolExecutor) -> None:
        """Come to those again that were not available, until they were, or too often."""
        while True:
            found, wait = self._ask(lambda: self._parts.table.due(self._task.id, _NOTED))
            if wait is None:
                return
            if not found:
                self._rest(wait)
                continue
            tried = {DatabaseName(one.namespace, one.profile): one.attempts for one in found}
            outcomes = self._do_some(work, pool, list(tried))
            self._note(*self._weighed(outcomes, tried))

    def _finish(self) -> str:
        # Some came and went since they were counted.
        self._total = self._done + self._failed
        self._note()
        state = "failed" if self._failed else "done"
        table, task = self._parts.table, self._task
        if not self._ask(lambda: table.finish(task.id, task.token, state, None)):
            raise Over
        return state

    # -- profiles ---------------------------------------------------------------------------------

    def _do_some(
        self, work: Work, pool: ThreadPoolExecutor, names: Sequence[DatabaseName]
    ) -> list[_Outcome]:
        self._check()
        outcomes = list(pool.map(lambda name: self._do_one(work, name), names))
        # What was under way when the run ended may be half done: the next one repeats it.
        self._check()
        for outcome in outcomes:
            if isinstance(outcome.error, Unconfigured):
                raise outcome.error
        return outcomes

    def _do_one(self, work: Work, name: DatabaseName) -> _Outcome:
        if not self._goes_on():
            return _Outcome(name)
        kept = Kept()
        with kept:
            return _Outcome(name, work.do(name))
        error = kept.error
        if isinstance(error, NotFound) and error.code == "database_not_found":
            return _Outcome(name)
        if not isinstance(error, Error):
            _LOG.error("%s of %s failed", self._task.kind, name, exc_info=error)
            error = Internal(f"a defect of the node, whose log says more: {error!r:.200}")
        return _Outcome(name, error=error)

    def _weighed(
        self, outcomes: Iterable[_Outcome], tried: Mapping[DatabaseName, int]
    ) -> tuple[list[Item], list[tuple[str, str]]]:
        """Count what was done; return what is to be tried again or failed, and what is settled."""
        items, settled = [], []
        for name, done, error in outcomes:
            if error is not None:
                items.append(self._item(name, error, tried.get(name, 0)))
                said = "failed" if items[-1].delay is None else "again"
            elif done is not None:
                self._done += 1
                self._result.update(done)
                said = "done"
            else:
                self._result["gone"] += 1
                said = "gone"
            if error is None and name in tried:
                settled.append((name.namespace, name.profile))
            self._parts.metrics.add("task_profiles", kind=self._task.kind, outcome=said)
        return items, settled

    def _item(self, name: DatabaseName, error: Error, attempts: int) -> Item:
        again = self._parts.times.again
        delay = None
        if isinstance(error, (Unavailable, Conflict)) and attempts < len(again):
            delay = again[attempts]
        else:
            self._failed += 1
        return Item(*name, attempts + 1, delay, str(error))

    # -- the run ----------------------------------------------------------------------------------

    def _note(self, items: Sequence[Item] = (), settled: Sequence[tuple[str, str]] = ()) -> None:
        result = msgspec.json.encode(dict(self._result)).decode()
        progress = Progress(
            self._cursor,
            self._walked,
            self._done,
            self._failed,
            self._total,
            result,
            tuple(items),
            tuple(settled),
        )
        table, task, seconds = self._parts.table, self._task, self._parts.times.silent
        if not self._ask(lambda: table.advance(task.id, task.token, progress, seconds)):
            raise Over

    def _ask(self, ask: Callable[[], T]) -> T:
        """Ask the catalog, again and again as long as the task is this run's."""
        while True:
            self._check()
            try:
                return ask()
            except Unavailable as error:
                _LOG.debug("task %s waits: %s", self._task.id, error)
                self._rest(_LOOK_SECONDS)

    def _goes_on(self) -> bool:
        return not (self._held.lost or self._parts.closed.is_set())

    def _check(self) -> None:
        if not self._goes_on():
            raise Over

    def _rest(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while self._goes_on() and (left := end - self._clock.monotonic()) > 0:
            self._parts.closed.wait(min(left, _LOOK_SECONDS))


def _spec(task: TaskRow) -> CreateTask:
    try:
        return from_json(task.spec, CreateTask)
    except msgspec.DecodeError as error:
        raise Invalid(
            f"task {task.id} asks for something this release does not know ({error}); retry it "
            "when every node runs the release that made it"
        ) from error
