"""Tasks on many profiles: asked for, looked at, called off, gone on with; nodes carry them out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..api import Target
from ..api.limits import PAGE_MAX, TASK_MATCH_CHARS_MAX, TASK_NAMESPACES_MAX
from ..api.tasks import (
    CancelTask,
    CreateTask,
    GetTask,
    LifecycleRun,
    ListTasks,
    RetryTask,
    RunLifecycle,
    Task,
    TaskFailure,
    TaskPage,
)
from ..errors import Invalid, NotFound, Unconfigured
from ..ids import MAIN, NAMESPACE_CHARS_MAX, check_name, random_id
from ..profile.checks import check_integer
from .context import Context

if TYPE_CHECKING:
    from ..catalog.locks import Locks
    from ..catalog.task_rows import TaskRow, TaskTable

__all__ = ["Tasks", "cancel", "create", "get", "list_page", "retry", "run_lifecycle"]

_ERRORS_SHOWN = 20
_ROWS = 5_000
_TIME_DIGITS_MAX = 18


class Tasks(Protocol):
    """What a node with a catalog has: the tasks and locks of all nodes, and who does them here."""

    table: TaskTable
    locks: Locks

    def wake(self) -> None:
        """Look for something to do now."""


def create(context: Context, _target: Target, request: CreateTask) -> Task:
    """Note a task; whichever node comes first begins it."""
    from ..catalog.task_rows import NewTask

    tasks = _tasks(context)
    _check(request)
    identity = random_id("task")
    if context.options.request_id is not None:
        # A repeat finds what the first attempt made.
        asked = context.options.request_id.encode() + b"\0" + context.digest
        identity = f"task_{hashlib.blake2b(asked, digest_size=16).hexdigest()}"
    spec = msgspec.json.encode(request).decode()
    made = tasks.table.create(NewTask(identity, request.kind, spec, context.principal.actor))
    tasks.wake()
    return _shown(made)


def list_page(context: Context, _target: Target, request: ListTasks) -> TaskPage:
    """Read those of all nodes, the newest first; what failed in each says `get`."""
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    before = None if request.cursor is None else _place(request.cursor)
    found = _tasks(context).table.page(request.state, before, request.limit + 1)
    page, more = found[: request.limit], len(found) > request.limit
    return TaskPage(
        tasks=tuple(_shown(one) for one in page),
        next_cursor=f"{page[-1].created_at}.{page[-1].id}" if more else None,
    )


def get(context: Context, _target: Target, request: GetTask) -> Task:
    """Read how far one is, and what failed."""
    table = _tasks(context).table
    found = _found(table.get(request.id), request.id)
    errors = table.failures(request.id, _ERRORS_SHOWN) if found.failed else []
    said = tuple(TaskFailure(profile=f"{n}--{p}", message=text) for n, p, text in errors)
    return msgspec.structs.replace(_shown(found), errors=said)


def cancel(context: Context, _target: Target, request: CancelTask) -> Task:
    """Have one end where it is; one that has ended is what it was."""
    return _shown(_found(_tasks(context).table.cancel(request.id), request.id))


def retry(context: Context, _target: Target, request: RetryTask) -> Task:
    """Have one go on that failed or was cancelled; others are what they were."""
    tasks = _tasks(context)
    found = _found(tasks.table.retry(request.id), request.id)
    tasks.wake()
    return _shown(found)


def run_lifecycle(context: Context, target: Target, _request: RunLifecycle) -> LifecycleRun:
    """Do what is due of states and expiry on every branch of a profile, a bounded part of it."""
    from .expiring import expire
    from .lifecycle import run
    from .policy import sweep_profile
    from .reads import settle

    address = context.address(target)
    if address.branch != MAIN:
        raise Invalid(f"{address} names a branch; what is due is done on all of them")
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            raise NotFound(f"{address} was never written", code="database_not_found")
        expired = expire(context, branch, _ROWS)
    passed = run(context, address, _ROWS)
    cooled, swept = settle(context, address), sweep_profile(context, address)
    txid = context.engine.wake(address)
    moved = msgspec.structs.asdict(passed)
    return LifecycleRun(expired=expired, cooled=cooled, swept=swept, txid=txid, **moved)


def _tasks(context: Context) -> Tasks:
    if context.tasks is None:
        raise Unconfigured(
            "tasks are kept in the catalog, and there is none here: set PALIMP_CATALOG_URL, or "
            "start the node with `palimp serve`, which has one in its folder (extra `server`)"
        )
    tasks: Tasks = context.tasks
    return tasks


def _check(request: CreateTask) -> None:
    """Refuse what no node could do; what each profile says of it is seen when it is come to."""
    if request.all == bool(request.namespaces):
        said = "all and namespaces" if request.all else "no profiles"
        raise Invalid(
            f"a task is for the profiles of some namespaces or for all of the store, not for "
            f"{said}: give namespaces, or all=true; match narrows either"
        )
    if len(request.namespaces) > TASK_NAMESPACES_MAX:
        raise Invalid(
            f"a task has {len(request.namespaces):,} namespaces; give at most "
            f"{TASK_NAMESPACES_MAX:,}, or all with a match"
        )
    for namespace in request.namespaces:
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
    if request.match is not None and not 1 <= len(request.match) <= TASK_MATCH_CHARS_MAX:
        raise Invalid(
            f"match has {len(request.match)} characters; give 1 to {TASK_MATCH_CHARS_MAX}, as "
            "customer-*"
        )
    kinds = (("export", "to"), *((one, one) for one in ("erase", "governance", "reassign")))
    for kind, field in kinds:
        if (getattr(request, field) is None) != (request.kind != kind):
            missing = "needs" if request.kind == kind else "takes no"
            raise Invalid(f"a task {request.kind!r} {missing} {field!r}")
    if request.if_enabled and request.kind != "governance":
        raise Invalid(f"a task {request.kind!r} takes no 'if_enabled'")
    if request.to is not None:
        from .fleet import check_target

        check_target(request.to)
    if request.erase is not None:
        from .erasure import selection_of

        selection_of(request.erase)
        if request.erase.dry_run:
            raise Invalid("dry_run is said of the task, not of its erasure")
    if request.reassign is not None:
        from .annotating import check_reassign

        check_reassign(request.reassign)


def _place(cursor: str) -> tuple[int, str]:
    at, dot, identity = cursor.partition(".")
    if not (dot and identity and at.isascii() and at.isdigit() and len(at) <= _TIME_DIGITS_MAX):
        raise Invalid(f"cursor {cursor!r:.80} did not come from an earlier page")
    return int(at), identity


def _found(task: TaskRow | None, identity: str) -> TaskRow:
    if task is None:
        raise NotFound(
            f"no task {identity!r:.80}; those that ended are kept for 72 hours, `palimp fleet "
            "list` shows them"
        )
    return task


def _shown(task: TaskRow) -> Task:
    hidden = ("token", "walked", "spec", "result")
    plain: dict[str, Any] = {n: v for n, v in task._asdict().items() if n not in hidden}
    decode = msgspec.json.decode
    return Task(**plain, spec=decode(task.spec), result=decode(task.result))
