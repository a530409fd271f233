"""What the client asks about tasks on many profiles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...api import NO_OPTIONS, Erase, Options, Target, to_request
from ...api.annotating import Reassign
from ...api.base import Request
from ...api.limits import PAGE_MAX
from ...api.tasks import (
    CancelTask,
    CreateTask,
    GetTask,
    GovernanceTask,
    ListTasks,
    RetryTask,
    Task,
    TaskKind,
    TaskPage,
    TaskState,
)
from ..fields import IdLike
from ..inputs import options, text_id

__all__ = ["Fleet"]


class Fleet:
    """The part of a client that is about many profiles; where a node asks, with its platform key.

    A task is carried out by the nodes, whatever becomes of this client.
    """

    if TYPE_CHECKING:

        async def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

    async def create_task(
        self,
        kind: TaskKind,
        *,
        namespaces: Iterable[str] = (),
        match: str | None = None,
        all: bool = False,
        dry_run: bool = False,
        to: str | None = None,
        erase: Erase | Mapping[str, Any] | None = None,
        governance: GovernanceTask | None = None,
        if_enabled: bool = False,
        reassign: Reassign | Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Task:
        """Begin a task on the profiles of some namespaces, or of `all`.

        `match` narrows it to profiles with such names, as `customer-*`. An `export` takes `to`,
        where its files go; an `erase` takes what is to be erased of each, as `{"session": "s42"}`.
        A task `governance` takes whose rules are asked, as `daily`, and `if_enabled`. With
        `dry_run` profiles are counted, and an erasure or a run says what it would come to. A
        `reassign` takes whose memories go where, as `{"project": "old", "to": "new"}`.
        """
        fields = {
            "kind": kind,
            "namespaces": [namespaces] if isinstance(namespaces, str) else list(namespaces),
            "match": match,
            "all": all,
            "dry_run": dry_run,
            "to": to,
            "erase": None if erase is None else to_request(Erase, erase, "erase"),
            "governance": governance,
            "reassign": None if reassign is None else to_request(Reassign, reassign, "reassign"),
            "if_enabled": if_enabled,
        }
        request = to_request(CreateTask, fields, "create_task")
        how = options(None, request_id)
        made: Task = await self.call("tasks.create", Target(), request, how)
        return made

    async def tasks(self, *, state: TaskState | None = None) -> AsyncIterator[Task]:
        """Iterate over the tasks of all nodes, the newest first; `task` says what failed in one."""
        cursor = None
        while True:
            fields = {"state": state, "limit": PAGE_MAX, "cursor": cursor}
            request = to_request(ListTasks, fields, "tasks")
            page: TaskPage = await self.call("tasks.list", Target(), request)
            for one in page.tasks:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    async def task(self, task: IdLike) -> Task:
        """Return how far a task is, and what failed; those that ended are kept for 72 hours."""
        found: Task = await self.call("tasks.get", Target(), GetTask(id=text_id(task)))
        return found

    async def cancel_task(self, task: IdLike) -> Task:
        """Have a task end where it is; what it did stays done. One that ended is what it was."""
        done: Task = await self.call("tasks.cancel", Target(), CancelTask(id=text_id(task)))
        return done

    async def retry_task(self, task: IdLike) -> Task:
        """Have a task go on that failed or was cancelled, with the profiles that failed again.

        Another is what it was.
        """
        done: Task = await self.call("tasks.retry", Target(), RetryTask(id=text_id(task)))
        return done
