"""Governance by itself: hourly, daily and weekly, over the profiles whose policy asks for it.

Where there is a catalog one node of all begins a task, under a lock, as a task on many profiles:
whichever nodes come to them do them, it goes on where it was interrupted, and `palimp fleet` shows
it. Without one this process does them one after another. The first time that a task could run it
is only noted when that was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from ..api import Target
from ..api.limits import TASK_NAMESPACES_MAX
from ..api.tasks import CreateTask, GovernanceTask
from ..decoding import from_json
from ..engine import Address
from .governing import PERIODS

if TYPE_CHECKING:
    from ..governance.document import Document
    from .context import Context

__all__ = ["Schedule"]

_FIELD = "governance.enabled"
_NAMES = 500
_SCOPE = "governance"
_UNDER_WAY = ("waiting", "running")


class _Mark(msgspec.Struct):
    """When a task ran last, and as which tasks on many profiles."""

    at: int
    tasks: list[str] = []


class Schedule:
    """What is due of governance, for the pass over all that is due. For one thread."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def due(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Yield what is to be done now, each by itself."""
        if not self._context.governing.enabled:
            return
        for task in PERIODS:
            if self._context.tasks is not None:
                yield "governance", task, partial(self._begin, task)
            elif self._is_due(task):
                self._note(task, _Mark(self._context.clock.now_ms()))
                yield from self._profiles(task)

    def _begin(self, task: GovernanceTask) -> None:
        """Have all nodes do a task, if it is due and no other node is about to."""
        context = self._context
        if not self._is_due(task):
            return
        seconds = context.governing.seconds
        with context.tasks.locks.hold(f"governance:{task}", seconds) as held:
            if held is None or not self._is_due(task):
                return
            mark = _Mark(context.clock.now_ms())
            namespaces = self._namespaces()
            while some := list(islice(namespaces, TASK_NAMESPACES_MAX)):
                mark.tasks.append(self._create(task, some))
            held.check()
            self._note(task, mark)

    def _create(self, task: GovernanceTask, namespaces: list[str]) -> str:
        from .tasks import create

        asked = CreateTask(
            kind="governance", namespaces=tuple(namespaces), governance=task, if_enabled=True
        )
        return create(self._context, Target(), asked).id

    def _profiles(self, task: GovernanceTask) -> Iterator[tuple[str, str, Callable[[], object]]]:
        context = self._context
        for namespace in self._namespaces():
            after: tuple[str, str] | None = None
            more = True
            while more:
                page, more = context.engine.names(namespace, after, _NAMES)
                for names in page:
                    if context.mine(*names) and context.policies.lenient(*names).governance_enabled:
                        yield (
                            "governance",
                            f"{task} of {Address(*names)}",
                            partial(self._run, task, Target(*names)),
                        )
                after = page[-1] if page else None
                more = more and after is not None

    def _run(self, task: GovernanceTask, target: Target) -> None:
        from ..api.governance import RunGovernance
        from .governance import run

        run(self._context, target, RunGovernance(task=task, if_enabled=True))

    def _namespaces(self) -> Iterator[str]:
        """Yield those of which a policy has governance on, for all of it or for a profile."""
        policies = self._context.policies
        for namespace in policies.namespaces():
            if _asks(policies.document(namespace)):
                yield namespace

    def _is_due(self, task: GovernanceTask) -> bool:
        """Whether a task ran long enough ago and has ended; noted where it never ran."""
        mark = self._mark(task)
        now_ms = self._context.clock.now_ms()
        if mark is None:
            self._note(task, _Mark(now_ms))
            return False
        if now_ms - mark.at < PERIODS[task] * 1000:
            return False
        return not any(self._is_under_way(one) for one in mark.tasks)

    def _is_under_way(self, identity: str) -> bool:
        if self._context.tasks is None:
            return False
        found = self._context.tasks.table.get(identity)
        return found is not None and found.state in _UNDER_WAY

    def _mark(self, task: GovernanceTask) -> _Mark | None:
        kept = self._context.governing.get(self._context, _SCOPE, f"last/{task}")
        return None if kept is None else from_json(kept, _Mark)

    def _note(self, task: GovernanceTask, mark: _Mark) -> None:
        text = msgspec.json.encode(mark).decode()
        self._context.governing.put(self._context, _SCOPE, f"last/{task}", text)


def _asks(document: Document) -> bool:
    held = (document.policy, *document.profiles.values())
    return any(values.get(_FIELD) for values in held)
