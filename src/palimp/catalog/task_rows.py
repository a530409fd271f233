"""Tasks as the catalog keeps them: what is to be done, by whom, and how far it is."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

__all__ = ["Item", "NewTask", "Progress", "TaskRow", "TaskTable", "Trouble"]

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class NewTask(NamedTuple):
    """A task as it was asked for; `spec` is JSON."""

    id: str
    kind: str
    spec: str
    created_by: str


class TaskRow(NamedTuple):
    """A task. `runner` is who has it or had it last, `token` the number of that run.

    `cursor` is the last profile it has come to, `walked` whether there is none after that. Times
    are in milliseconds, by the clock of the database.
    """

    id: str
    kind: str
    spec: str
    state: State
    created_at: int
    created_by: str
    runner: str | None
    token: int
    seen_at: int | None
    cursor: str | None
    walked: bool
    done: int
    failed: int
    total: int | None
    result: str
    message: str | None
    started_at: int | None
    finished_at: int | None


class Item(NamedTuple):
    """A profile that could not be done: tried again after `delay` seconds, None: never."""

    namespace: str
    profile: str
    attempts: int
    delay: float | None
    message: str


class Trouble(NamedTuple):
    """A profile that is to be tried again: how often it was tried, and why it has to be."""

    namespace: str
    profile: str
    attempts: int


class Progress(NamedTuple):
    """How far a task is: as it is now, not what was added, so that it may be written twice.

    `items` are profiles that could not be done just now, `settled` those that could at last.
    """

    cursor: str | None
    walked: bool
    done: int
    failed: int
    total: int | None
    result: str
    items: tuple[Item, ...] = ()
    settled: tuple[tuple[str, str], ...] = ()


class TaskTable(Protocol):
    """Where tasks are; every method raises `Unavailable` where that is away.

    What the run with a `token` notes is refused (False) once there is another, or the task was
    cancelled.
    """

    def create(self, task: NewTask) -> TaskRow:
        """Return the task with this id; it is made where there is none."""

    def get(self, task: str) -> TaskRow | None:
        """Return a task."""

    def page(self, state: str | None, before: tuple[int, str] | None, limit: int) -> list[TaskRow]:
        """Return tasks, the newest first, those before (time, id) only."""

    def failures(self, task: str, limit: int) -> list[tuple[str, str, str]]:
        """Return namespace, profile and message of those that failed, in their order."""

    def claim(self, runner: str, seconds: float) -> TaskRow | None:
        """Return a task that is this runner's to do now, the oldest that nobody does."""

    def renew(self, task: str, token: int, seconds: float) -> bool:
        """Say that the run goes on."""

    def advance(self, task: str, token: int, progress: Progress, seconds: float) -> bool:
        """Note how far the run is; it goes on."""

    def due(self, task: str, limit: int) -> tuple[list[Trouble], float | None]:
        """Return profiles to try again now; else after how many seconds, None where there are none.

        Those that are due longest come first.
        """

    def finish(self, task: str, token: int, state: str, message: str | None) -> bool:
        """End the run, and the task with it."""

    def give_back(self, task: str, token: int) -> bool:
        """End the run; whoever comes first goes on with the task."""

    def cancel(self, task: str) -> TaskRow | None:
        """Cancel a task that is waiting or running; return it as it is then."""

    def retry(self, task: str) -> TaskRow | None:
        """Have one that failed or was cancelled gone on with, those that failed tried again."""

    def remove_finished(self, seconds: float) -> int:
        """Remove tasks that ended so long ago; return how many."""
