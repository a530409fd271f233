"""Tasks on the wire: what is done to many profiles, by whichever node comes to it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from .annotating import Reassign
from .base import Request, Result
from .erasure import Erase
from .limits import PAGE_DEFAULT
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "CancelTask",
    "CreateTask",
    "GetTask",
    "GovernanceTask",
    "LifecycleRun",
    "ListTasks",
    "RetryTask",
    "RunLifecycle",
    "Task",
    "TaskFailure",
    "TaskKind",
    "TaskPage",
    "TaskState",
]

TaskKind: TypeAlias = Literal[
    "reembed", "verify", "erase", "export", "lifecycle", "governance", "reassign"
]
# Here and not beside the rest of governance, which most programs never import.
GovernanceTask: TypeAlias = Literal["hourly", "daily", "weekly", "all"]
TaskState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]


class CreateTask(Request, frozen=True, kw_only=True):
    """Do the same to many profiles: those of `namespaces`, or of `all`.

    `match` narrows that to profiles with such names (`*` any text, `?` one character). `reembed`
    embeds rows with the model of now, `verify` checks every object, `lifecycle` does what is due of
    states and expiry, `governance` asks the rules of the task `governance` (with `if_enabled`
    only where the policy of a profile has that on). `erase` asks each profile for the erasure in
    `erase`; `export` puts a file of each under `to` (`file:///folder` at the
    node that does it, `s3://bucket/prefix`), in a folder named after the task. With `dry_run`
    profiles are counted, and an erasure and a run say what they would come to. `reassign` gives the
    memories of the project in `reassign` to another one, or to none.
    """

    kind: TaskKind
    namespaces: tuple[str, ...] = ()
    match: str | None = None
    all: bool = False
    dry_run: bool = False
    to: str | None = None
    erase: Erase | None = None
    governance: GovernanceTask | None = None
    if_enabled: bool = False
    reassign: Reassign | None = None


class TaskFailure(Result, frozen=True, kw_only=True):
    """A profile (`namespace--profile`) of which a task could not be done, and why."""

    profile: str
    message: str


class Task(Result, frozen=True, kw_only=True):
    """A task and how far it is.

    Of `total` profiles (None until they were counted) `done` are done and `failed` have failed, of
    which `errors` are the first 20, where one task was asked for; `result` counts what was done.
    `cursor` is the last profile it has come to. `runner` is the process that has it, heard of last
    at `seen_at`. `spec` is what was asked for. `message` says why a task that `failed` did as a
    whole. Times in ms.
    """

    id: str
    kind: str
    state: TaskState
    spec: dict[str, Any]
    created_at: int
    created_by: str
    done: int = 0
    failed: int = 0
    total: int | None = None
    result: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    errors: tuple[TaskFailure, ...] = ()
    message: str | None = None
    cursor: str | None = None
    runner: str | None = None
    seen_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None


class ListTasks(Request, frozen=True, kw_only=True):
    """Read the tasks there are, the newest first, page by page."""

    state: TaskState | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class TaskPage(Result, frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    tasks: tuple[Task, ...]
    next_cursor: str | None


class GetTask(Request, frozen=True, kw_only=True):
    """Read how far a task is."""

    id: str


class CancelTask(Request, frozen=True, kw_only=True):
    """Have a task end where it is; what it did stays done. One that has ended is what it was."""

    id: str


class RetryTask(Request, frozen=True, kw_only=True):
    """Have a task that failed or was cancelled go on, with the profiles that failed again.

    Another is what it was.
    """

    id: str


class RunLifecycle(Request, frozen=True, kw_only=True):
    """Do what is due of states and expiry in a profile, as its policy says."""


class LifecycleRun(Result, frozen=True, kw_only=True):
    """How many memories and keys expired, moved to a state or a colder tier, or were swept.

    No call moves more than 5,000 of a branch: where anything was, repeat it.
    """

    expired: int
    archived: int
    soft_deleted: int
    purged: int
    cooled: int
    swept: int
    txid: int


_TASK = "/v1/tasks/{id}"

ROWS = (
    row(
        "tasks.create",
        "POST /v1/tasks",
        CreateTask,
        Task,
        "admin writes idempotent platform 201",
        "Begin a task on many profiles.",
    ),
    row(
        "tasks.list",
        "GET /v1/tasks",
        ListTasks,
        TaskPage,
        "read platform",
        "Read the tasks of all nodes.",
    ),
    row(
        "tasks.get",
        f"GET {_TASK}",
        GetTask,
        Task,
        "read platform",
        "Read how far a task is, and what failed.",
    ),
    row(
        "tasks.cancel",
        f"DELETE {_TASK}",
        CancelTask,
        Task,
        "admin writes idempotent platform",
        "Have a task end where it is.",
    ),
    row(
        "tasks.retry",
        f"POST {_TASK}/retry",
        RetryTask,
        Task,
        "admin writes idempotent platform",
        "Have a task go on that failed or was cancelled.",
    ),
    row(
        "lifecycle.run",
        f"POST {PROFILE}/lifecycle/run",
        RunLifecycle,
        LifecycleRun,
        "admin writes idempotent",
        "Do what is due of states and expiry in a profile.",
    ),
)
