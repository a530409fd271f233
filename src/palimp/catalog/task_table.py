"""Tasks in the catalog's database: each has one run at a time, known by its token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, or_, select, tuple_, update

from .coordination import now_of
from .tables import TASK_ITEMS, TASKS
from .task_rows import NewTask, Progress, TaskRow, Trouble

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from .sql_catalog import SqlCatalog

__all__ = ["SqlTasks"]

_CANDIDATES = 20
# At once; the rest follow with the next call.
_REMOVED = 500
_MESSAGE_CHARS_MAX = 500
_NEW = {
    "state": "waiting",
    "token": 0,
    "expires_at": 0,
    "walked": False,
    "done": 0,
    "failed": 0,
    "result": "{}",
}


class SqlTasks:
    """Keeps tasks in a catalog; `task_rows.TaskTable`. Thread-safe, as the catalog is."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog
        self._now = now_of(catalog)

    # -- for whoever asks -------------------------------------------------------------------------

    def create(self, task: NewTask) -> TaskRow:
        """Return the task with this id; it is made where there is none."""
        new = {**task._asdict(), **_NEW, "created_at": self._now}
        with self._catalog.changing() as connection:
            self._catalog.inserts.new(connection, TASKS, new)
            made = _find(connection, task.id)
        assert made is not None, "inserted just now"
        return made

    def get(self, task: str) -> TaskRow | None:
        """Return a task."""
        with self._catalog.changing() as connection:
            return _find(connection, task)

    def page(self, state: str | None, before: tuple[int, str] | None, limit: int) -> list[TaskRow]:
        """Return tasks, the newest first, those before (time, id) only."""
        query = select(*_COLUMNS).order_by(TASKS.c.created_at.desc(), TASKS.c.id.desc())
        if state is not None:
            query = query.where(TASKS.c.state == state)
        if before is not None:
            query = query.where(tuple_(TASKS.c.created_at, TASKS.c.id) < before)
        with self._catalog.changing() as connection:
            return [TaskRow(*row) for row in connection.execute(query.limit(limit))]

    def failures(self, task: str, limit: int) -> list[tuple[str, str, str]]:
        """Return namespace, profile and message of those that failed, in their order."""
        items = TASK_ITEMS.c
        query = select(items.namespace, items.profile, items.message)
        query = query.where(items.task == task, items.failed)
        query = query.order_by(items.namespace, items.profile).limit(limit)
        with self._catalog.changing() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def cancel(self, task: str) -> TaskRow | None:
        """Cancel a task that is waiting or running; return it as it is then."""
        open_ = TASKS.c.state.in_(("waiting", "running"))
        changed = update(TASKS).where(TASKS.c.id == task, open_)
        with self._catalog.changing() as connection:
            connection.execute(changed.values(state="cancelled", finished_at=self._now))
            return _find(connection, task)

    def retry(self, task: str) -> TaskRow | None:
        """Have one that failed or was cancelled gone on with, those that failed tried again."""
        ended = TASKS.c.state.in_(("failed", "cancelled"))
        again = {"state": "waiting", "failed": 0, "message": None, "finished_at": None}
        with self._catalog.changing() as connection:
            done = connection.execute(
                update(TASKS).where(TASKS.c.id == task, ended).values(**again, expires_at=0)
            )
            if done.rowcount:
                items = update(TASK_ITEMS).where(TASK_ITEMS.c.task == task)
                connection.execute(items.values(failed=False, attempts=0, due_at=0))
            return _find(connection, task)

    # -- for whoever does it ----------------------------------------------------------------------

    def claim(self, runner: str, seconds: float) -> TaskRow | None:
        """Return a task that is this runner's to do now, the oldest that nobody does."""
        silent = and_(TASKS.c.state == "running", TASKS.c.expires_at <= self._now)
        free = or_(TASKS.c.state == "waiting", silent)
        query = select(TASKS.c.id).where(free).order_by(TASKS.c.created_at, TASKS.c.id)
        with self._catalog.changing() as connection:
            for task in connection.scalars(query.limit(_CANDIDATES)).all():
                # Asked again in the same statement: another may have been first.
                taken = connection.execute(
                    update(TASKS)
                    .where(TASKS.c.id == task, free)
                    .values(
                        state="running",
                        runner=runner,
                        token=TASKS.c.token + 1,
                        started_at=func.coalesce(TASKS.c.started_at, self._now),
                        **self._on(seconds),
                    )
                )
                if taken.rowcount:
                    return _find(connection, task)
        return None

    def renew(self, task: str, token: int, seconds: float) -> bool:
        """Say that the run goes on."""
        with self._catalog.changing() as connection:
            changed = update(TASKS).where(*_run(task, token)).values(**self._on(seconds))
            return connection.execute(changed).rowcount == 1

    def advance(self, task: str, token: int, progress: Progress, seconds: float) -> bool:
        """Note how far the run is; it goes on."""
        plain = {n: getattr(progress, n) for n in progress._fields if n not in _OF_ITEMS}
        changed = update(TASKS).where(*_run(task, token)).values(**plain, **self._on(seconds))
        with self._catalog.changing() as connection:
            if connection.execute(changed).rowcount == 0:
                return False
            self._note(connection, task, progress)
            return True

    def due(self, task: str, limit: int) -> tuple[list[Trouble], float | None]:
        """Return profiles to try again now; else after how many seconds, None where there are none.

        Those that are due longest come first.
        """
        items = TASK_ITEMS.c
        waiting = (items.task == task, ~items.failed)
        query = select(items.namespace, items.profile, items.attempts)
        query = query.where(*waiting, items.due_at <= self._now)
        query = query.order_by(items.due_at, items.namespace, items.profile).limit(limit)
        with self._catalog.changing() as connection:
            found = [Trouble(*row) for row in connection.execute(query)]
            if found:
                return found, 0.0
            first = connection.scalar(select(func.min(items.due_at) - self._now).where(*waiting))
        return [], None if first is None else max(0.0, first / 1000)

    def finish(self, task: str, token: int, state: str, message: str | None) -> bool:
        """End the run, and the task with it."""
        said = None if message is None else message[:_MESSAGE_CHARS_MAX]
        return self._end(task, token, state=state, message=said, finished_at=self._now)

    def give_back(self, task: str, token: int) -> bool:
        """End the run; whoever comes first goes on with the task."""
        return self._end(task, token, state="waiting")

    def remove_finished(self, seconds: float) -> int:
        """Remove tasks that ended so long ago; return how many."""
        old = TASKS.c.finished_at < self._now - round(seconds * 1000)
        with self._catalog.changing() as connection:
            ended = connection.scalars(select(TASKS.c.id).where(old).limit(_REMOVED)).all()
            connection.execute(delete(TASK_ITEMS).where(TASK_ITEMS.c.task.in_(ended)))
            return connection.execute(delete(TASKS).where(TASKS.c.id.in_(ended))).rowcount

    def _note(self, connection: Connection, task: str, progress: Progress) -> None:
        for namespace, profile in progress.settled:
            connection.execute(delete(TASK_ITEMS).where(*_item(task, namespace, profile)))
        for one in progress.items:
            values = {
                "failed": one.delay is None,
                "attempts": one.attempts,
                "due_at": self._now + round((one.delay or 0.0) * 1000),
                "message": one.message[:_MESSAGE_CHARS_MAX],
            }
            item = update(TASK_ITEMS).where(*_item(task, one.namespace, one.profile))
            if connection.execute(item.values(**values)).rowcount == 0:
                named = {"task": task, "namespace": one.namespace, "profile": one.profile}
                self._catalog.inserts.new(connection, TASK_ITEMS, {**named, **values})

    def _end(self, task: str, token: int, **values: Any) -> bool:
        with self._catalog.changing() as connection:
            changed = update(TASKS).where(*_run(task, token))
            return connection.execute(changed.values(**values, expires_at=0)).rowcount == 1

    def _on(self, seconds: float) -> dict[str, ColumnElement[int]]:
        return {"seen_at": self._now, "expires_at": self._now + round(seconds * 1000)}


_COLUMNS = tuple(TASKS.c[name] for name in TaskRow._fields)
_OF_ITEMS = ("items", "settled")


def _find(connection: Connection, task: str) -> TaskRow | None:
    row = connection.execute(select(*_COLUMNS).where(TASKS.c.id == task)).one_or_none()
    return None if row is None else TaskRow(*row)


def _run(task: str, token: int) -> tuple[Any, ...]:
    """Return what holds while the run with this token has the task.

    Also after it was silent for too long, as long as nobody took over.
    """
    return TASKS.c.id == task, TASKS.c.token == token, TASKS.c.state == "running"


def _item(task: str, namespace: str, profile: str) -> tuple[Any, ...]:
    items = TASK_ITEMS.c
    return items.task == task, items.namespace == namespace, items.profile == profile
