"""One profile of a task on many: each kind is a function that may be carried out twice.

What ran is told apart from what is repeated by the name of the task: it is the request id of the
erasures it asks for, and the folder of the files it puts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from ..api import (
    NO_OPTIONS,
    Erasure,
    Export,
    Exported,
    Options,
    Reembed,
    Reembedded,
    Target,
    Verification,
    Verify,
)
from ..api.base import Request
from ..api.tasks import CreateTask, LifecycleRun, RunLifecycle
from ..errors import Internal, Invalid
from ..ids import DatabaseName, parse_database_name
from ..store import ObjectStore, open_store, self_test
from ..store.protocol import AlreadyThere

__all__ = ["STEPS", "Call", "Work", "check_target", "open_target", "pages"]

_NAMES = 1_000
# Of one profile: each does a bounded part, and says when nothing is left.
_CALLS_MAX = 10_000


class Call(Protocol):
    """What carries out operations."""

    def __call__(self, operation: str, target: Target, request: Request, options: Options) -> Any:
        """Carry out an operation, wherever its profile is."""


class Work(msgspec.Struct, frozen=True):
    """What the steps of a task need: its name, what was asked for, and where files go."""

    task: str
    spec: CreateTask
    call: Call
    target: ObjectStore | None = None
    goes_on: Callable[[], bool] = lambda: True

    def do(self, name: DatabaseName) -> dict[str, int]:
        """Do it to one profile and return what was done, by name; as the operation raises."""
        if self.spec.dry_run and self.spec.kind not in ("erase", "governance"):
            return {}
        return STEPS[self.spec.kind](self, name)

    def asked(
        self, operation: str, name: DatabaseName, request: Request, options: Options = NO_OPTIONS
    ) -> Any:
        """Carry out an operation on a profile."""
        return self.call(operation, Target(*name), request, options)


def check_target(url: str) -> None:
    """Raise as `open_target` where files cannot go to a URL; makes nothing there."""
    if url.startswith("mem:"):
        raise Invalid("files put to mem:// are gone with the process; give file:///folder or s3://")
    # A folder is made where the task is carried out, which may be another machine.
    if not url.startswith("file:///"):
        open_store(url).close()


def open_target(url: str) -> ObjectStore:
    """Return where exported files go, once it has shown that it overwrites nothing."""
    store = open_store(url)
    if not url.startswith("file:"):
        self_test(store)
    return store


def pages(
    names: Callable[..., tuple[list[tuple[str, str]], bool]], spec: CreateTask, after: str | None
) -> Iterator[tuple[list[DatabaseName], str]]:
    """Yield the profiles a task is for, after one of them, and with each page how far that is.

    `names` lists those of a namespace (None: of the store), as `Engine.names` does.
    """
    begin = None if after is None else parse_database_name(after)
    # In the order in which the store lists them, so that one name says how far it is.
    namespaces = [None] if spec.all else sorted(set(spec.namespaces), key=lambda one: f"{one}/")
    for namespace in namespaces:
        if begin is not None and namespace is not None:
            if f"{namespace}/" < f"{begin.namespace}/":
                continue
            start = begin if namespace == begin.namespace else None
        else:
            start = begin
        more = True
        while more:
            found, more = names(namespace, start, _NAMES)
            if not found:
                break
            start = DatabaseName(*found[-1])
            yield [DatabaseName(*one) for one in found if _is_meant(spec, one)], str(start)


def _is_meant(spec: CreateTask, name: tuple[str, str]) -> bool:
    return spec.match is None or fnmatchcase(name[1], spec.match)


def _reembed(work: Work, name: DatabaseName) -> dict[str, int]:
    embedded = dropped = 0
    for _ in _calls(work, name):
        done: Reembedded = work.asked("embed.reembed", name, Reembed())
        embedded, dropped = embedded + done.embedded, dropped + done.dropped
        if not done.embedded and not done.dropped:
            break
    return {"embedded": embedded, "dropped": dropped}


def _verify(work: Work, name: DatabaseName) -> dict[str, int]:
    found: Verification = work.asked("verify", name, Verify())
    if found.findings:
        first = found.findings[0]
        raise Internal(
            f"{len(found.findings):,} of {found.objects:,} objects are not sound, the first "
            f"{first.key}: {first.what}; `palimp verify {name.profile} --namespace "
            f"{name.namespace}` shows all"
        )
    return {"objects": found.objects, "bytes": found.bytes}


def _erase(work: Work, name: DatabaseName) -> dict[str, int]:
    asked = work.spec.erase
    assert asked is not None, "checked when the task was made"
    request = msgspec.structs.replace(asked, dry_run=work.spec.dry_run)
    found: Erasure = work.asked("erasures.create", name, request, Options(request_id=work.task))
    if work.spec.dry_run:
        return {"rows": found.rows, "points": found.points, "bytes": found.bytes}
    return {"erasures": 1, "rows": found.rows, "blocked": int(found.status == "blocked")}


def _export(work: Work, name: DatabaseName) -> dict[str, int]:
    assert work.target is not None, "opened when the task was begun"
    key = f"{work.task}/{name}.db"
    file: Exported = work.asked("export", name, Export())
    try:
        work.target.create(key, file.data)
    except AlreadyThere:
        # Put whole by this task, before it was interrupted.
        return {"files_kept": 1}
    return {"files": 1, "bytes": len(file.data)}


def _lifecycle(work: Work, name: DatabaseName) -> dict[str, int]:
    total = dict.fromkeys(_MOVED, 0)
    for _ in _calls(work, name):
        done: LifecycleRun = work.asked("lifecycle.run", name, RunLifecycle())
        moved = {one: getattr(done, one) for one in _MOVED}
        total = {one: total[one] + moved[one] for one in _MOVED}
        if not any(moved.values()):
            break
    return total


def _reassign(work: Work, name: DatabaseName) -> dict[str, int]:
    from ..api.annotating import Reassigned

    assert work.spec.reassign is not None, "checked when the task was made"
    count = 0
    for _ in _calls(work, name):
        done: Reassigned = work.asked("memories.reassign", name, work.spec.reassign)
        count += done.count
        if not done.more:
            break
    return {"memories": count}


def _governance(work: Work, name: DatabaseName) -> dict[str, int]:
    # Not before: tasks of this kind are few.
    from ..api.governance import GovernanceReport, RunGovernance

    spec = work.spec
    assert spec.governance is not None, "checked when the task was made"
    request = RunGovernance(task=spec.governance, dry_run=spec.dry_run, if_enabled=spec.if_enabled)
    found: GovernanceReport = work.asked("governance.run", name, request)
    if found.skipped:
        return {"skipped": 1}
    return {**found.counts, **({} if found.status == "success" else {found.status: 1})}


def _calls(work: Work, name: DatabaseName) -> Iterator[int]:
    """Yield as long as the task goes on, and no more: what a run that ends did is not counted.

    Raises `Internal` where a profile is never done.
    """
    for number in range(_CALLS_MAX):
        if not work.goes_on():
            return
        yield number
    raise Internal(f"{work.spec.kind} of {name} is not done after {_CALLS_MAX:,} calls")


_MOVED = tuple(name for name in LifecycleRun.__struct_fields__ if name != "txid")
STEPS: dict[str, Callable[[Work, DatabaseName], dict[str, int]]] = {
    "reembed": _reembed,
    "verify": _verify,
    "erase": _erase,
    "export": _export,
    "lifecycle": _lifecycle,
    "governance": _governance,
    "reassign": _reassign,
}
