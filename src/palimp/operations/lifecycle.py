"""The states of memories: moved by hand, by filter, and by the pass that does what is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ..api import Forgotten, Target
from ..api.lifecycle import (
    ArchiveMemory,
    DeleteMemory,
    DeletionMethod,
    EventPage,
    GetEvents,
    GetLineage,
    HoldMemory,
    Lineage,
    ListEvents,
    MemoryEvents,
    MovedMemories,
    MovedMemory,
    MoveMemories,
    ReleaseMemory,
    RestoreMemory,
)
from ..engine import Address, Branch
from ..errors import NotFound
from ..governance.windows import BATCHES, STAGES, Windows, due, move_due
from ..profile import Sealer
from ..profile import lineage as lineages
from ..profile.checks import check_id, check_text
from ..profile.memories import batches, events, happened, states
from ..profile.memories.states import Act
from .auditing.actions import AGED
from .context import Context

if TYPE_CHECKING:
    from ..governance.document import Effective

__all__ = [
    "Passed",
    "archive",
    "delete",
    "forget_softly",
    "hold",
    "lineage",
    "list_events",
    "list_happened",
    "move",
    "release",
    "restore",
    "run",
]

_REASON_BYTES_MAX = 1_024
# Handles that are looked up at once: bounded, however much is due.
_LOOKED_UP = 10_000


class Passed(msgspec.Struct, frozen=True):
    """How many memories a pass moved into each state."""

    archived: int = 0
    soft_deleted: int = 0
    purged: int = 0

    def plus(self, other: Passed) -> Passed:
        """Return the sum."""
        return Passed(
            self.archived + other.archived,
            self.soft_deleted + other.soft_deleted,
            self.purged + other.purged,
        )


_COUNTED = {
    "archive": "archived", "retire": "soft_deleted", "delete": "soft_deleted", "purge": "purged",
}  # fmt: skip


# -- by hand --------------------------------------------------------------------------------------


def archive(context: Context, target: Target, request: ArchiveMemory) -> MovedMemory:
    """Archive a memory."""
    return _step(context, target, request, "archive", None)


def restore(context: Context, target: Target, request: RestoreMemory) -> MovedMemory:
    """Make a memory active again."""
    return _step(context, target, request, "restore", None)


def delete(context: Context, target: Target, request: DeleteMemory) -> MovedMemory:
    """Delete a memory softly."""
    return _step(context, target, request, "delete", request.method)


def hold(context: Context, target: Target, request: HoldMemory) -> MovedMemory:
    """Put a memory under legal hold, also one that an erasure took from the present."""
    act = _act(context, target, request)
    address = context.address(target)

    def write(connection: apsw.Connection) -> MovedMemory:
        return states.hold(connection, request.id, act, absent=absent)

    with _written(context, target, request.id) as branch:
        there = branch.read(lambda c: states.find(c, request.id, act.now_ms)).value
        absent = there is None and _is_being_erased(context, address, request.id)
        return _committed(context, branch, write)


def release(context: Context, target: Target, request: ReleaseMemory) -> MovedMemory:
    """End a legal hold."""
    act = _act(context, target, request)
    with _written(context, target, request.id) as branch:
        return _committed(context, branch, lambda c: states.release(c, request.id, act))


def move(context: Context, target: Target, request: MoveMemories) -> MovedMemories:
    """Do the same with what a filter matches; the answer is one page of it."""
    batches.check(request)
    act = _act(context, target, request, request.method)
    sealer = context.sealer_of(target)
    with context.writing(target, create=False) as branch:
        if branch is None:
            return MovedMemories(ids=())
        if request.dry_run:
            found = branch.read(lambda c: batches.planned(c, request, act, sealer))
            return msgspec.structs.replace(found.value, txid=found.txid)
        done, txid, _ = context.commit(
            branch, lambda c: batches.move(c, request, act, sealer), MovedMemories
        )
        context.wake(branch.address)
    return msgspec.structs.replace(done, txid=txid)


def forget_softly(context: Context, target: Target, identity: str, policy: Effective) -> Forgotten:
    """Delete what is to be forgotten softly, because the policy says so; in a second call not."""
    act = Act(
        context.clock.now_ms(),
        context.principal.actor,
        "user_request",
        grace_ms=Windows.of(policy).grace_ms,
        sees_all=False,
    )
    sealer = context.sealer_of(target)

    def write(connection: apsw.Connection) -> bool:
        try:
            states.change(connection, identity, "delete", act, sealer)
        except NotFound:
            return False
        return True

    with context.writing(target, create=False) as branch:
        if branch is None:
            return Forgotten(id=identity, forgotten=False, txid=0)
        forgotten, txid, _ = context.commit(branch, write, bool)
        context.wake(branch.address)
    return Forgotten(id=identity, forgotten=forgotten, txid=txid)


def _step(
    context: Context,
    target: Target,
    request: ArchiveMemory | RestoreMemory | DeleteMemory,
    step: str,
    method: DeletionMethod | None,
) -> MovedMemory:
    act = _act(context, target, request, method)
    sealer = context.sealer_of(target)
    with _written(context, target, request.id) as branch:
        done = _committed(
            context, branch, lambda c: states.change(c, request.id, step, act, sealer)
        )
        context.wake(branch.address)
    return done


def _act(
    context: Context, target: Target, request: Any, method: DeletionMethod | None = None
) -> Act:
    """Return who does this, when and why; everything that can be wrong is checked."""
    address = context.address(target)
    if hasattr(request, "id"):
        check_id(request.id)
    if request.reason is not None:
        check_text(request.reason, "reason", _REASON_BYTES_MAX)
    policy = context.policies.effective(address.namespace, address.profile)
    return Act(
        context.clock.now_ms(),
        context.principal.actor,
        method,
        request.reason,
        Windows.of(policy).grace_ms,
        context.principal.may("admin"),
    )


@contextmanager
def _written(context: Context, target: Target, identity: str) -> Iterator[Branch]:
    """Give the branch of a memory; one that was never written has none."""
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {identity}; profile {target.profile!r} is empty")
        yield branch


def _committed(
    context: Context, branch: Branch, write: Callable[[apsw.Connection], MovedMemory]
) -> MovedMemory:
    done, txid, _ = context.commit(branch, write, MovedMemory)
    return msgspec.structs.replace(done, txid=txid)


def _is_being_erased(context: Context, address: Address, identity: str) -> bool:
    """Whether an erasure may have taken a memory from the present, and not yet from history."""
    from .erasing import REWRITTEN, records

    db_id = context.engine.erasing.database(address)
    return any(
        one.state == "open"
        and one.selection is not None
        and REWRITTEN not in one.steps
        and (one.selection.kind != "memory" or one.selection.names(identity))
        for one in records(context.engine.store, db_id)
    )


# -- reading --------------------------------------------------------------------------------------


def list_events(context: Context, target: Target, request: GetEvents) -> MemoryEvents:
    """Read what happened to a memory."""
    check_id(request.id)
    events.check_events(request)
    sees_all = context.principal.may("admin")
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        now_ms = context.now_ms(database)
        sealer = context.sealer_of(target)
        found, txid, _ = database.read(lambda c: _events(c, request, sealer, now_ms, sees_all))
    return msgspec.structs.replace(found, txid=txid)


def _events(
    connection: apsw.Connection, request: GetEvents, sealer: Sealer, now_ms: int, sees_all: bool
) -> MemoryEvents:
    found = states.find(connection, request.id, now_ms)
    if found is None or (not sees_all and found.state not in states.SHOWN):
        raise NotFound(
            f"no memory {request.id}; it was forgotten or deleted, has expired or never existed"
        )
    now = states.moved(connection, found, found.state)
    page, cursor = events.page(connection, request, sealer)
    return MemoryEvents(
        id=request.id,
        state=now.state,
        held=now.held,
        events=page,
        deleted_at=now.deleted_at,
        hard_delete_at=now.hard_delete_at,
        method=now.method,
        next_cursor=cursor,
    )


def list_happened(context: Context, target: Target, request: ListEvents) -> EventPage:
    """Read what happened to all memories."""
    happened.check(request)
    sees_all = context.principal.may("admin")
    with context.reading(target) as database:
        if database is None:
            return EventPage(events=())
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        found, txid, _ = database.read(
            lambda c: happened.page(c, request, sealer, now_ms, sees_all=sees_all)
        )
    return msgspec.structs.replace(found, txid=txid)


def lineage(context: Context, target: Target, request: GetLineage) -> Lineage:
    """Read what a memory rests on, and what rests on it."""
    check_id(request.id)
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        now_ms = context.now_ms(database)
        found, txid, _ = database.read(lambda c: lineages.lineage_of(c, request.id, now_ms))
    return msgspec.structs.replace(found, txid=txid)


# -- the pass -------------------------------------------------------------------------------------


def run(context: Context, address: Address, limit: int | None = None) -> Passed:
    """Move what is due on every branch of a profile; with `limit` at most so many rows of each.

    Rows go in transactions of at most 500, the oldest first. Ended anywhere, the next pass goes on.
    """
    policy = context.policies.lenient(address.namespace, address.profile)
    total = Passed()
    for info in context.engine.branches(address):
        there = address._replace(branch=info.name)
        try:
            total = total.plus(_run_branch(context, there, policy, limit))
        except NotFound:
            # Deleted since it was listed.
            continue
    moved = sum(msgspec.structs.astuple(total))
    if moved and context.audit is not None:
        context.audit.record(address.namespace, AGED, address.profile, items=moved)
    return total


def _run_branch(context: Context, address: Address, policy: Effective, limit: int | None) -> Passed:
    windows = Windows.of(policy)
    counts = dict.fromkeys(Passed.__struct_fields__, 0)
    left = limit
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return Passed()
        for stage in STAGES:
            while left is None or left > 0:
                some = _LOOKED_UP if left is None else min(_LOOKED_UP, left)
                done = _run_stage(context, branch, windows, stage, some)
                left = None if left is None else left - done
                if stage in _COUNTED:
                    counts[_COUNTED[stage]] += done
                if done == 0:
                    break
        if any(counts.values()):
            context.wake(address)
    return Passed(**counts)


def _run_stage(context: Context, branch: Branch, windows: Windows, stage: str, most: int) -> int:
    """Move up to `most` rows of one stage; return how many. Asked first: a write makes an owner."""
    now_ms = context.clock.now_ms()
    handles = branch.read(lambda c: due(c, windows, stage, now_ms, most)).value
    act = Act(now_ms, method="retention_policy", grace_ms=windows.grace_ms)
    sealer = context.sealer_of(branch.address)
    moved = 0
    size = BATCHES[stage]
    for start in range(0, len(handles), size):
        batch = handles[start : start + size]
        if stage == "purge":
            _erase_first(context, branch, batch)
        done = branch.write(partial(_moved, windows, stage, batch, act, sealer)).value
        moved += done
        if stage in _COUNTED:
            context.metrics.add("memories_moved", done, state=_COUNTED[stage])
    return moved


def _moved(
    windows: Windows,
    stage: str,
    batch: list[int],
    act: Act,
    sealer: Sealer,
    connection: apsw.Connection,
) -> int:
    return move_due(connection, windows, stage, batch, act, sealer)


def _erase_first(context: Context, branch: Branch, handles: list[int]) -> None:
    """Erase from history what is about to be purged, where the policy of the profile says so.

    Before it is purged: a process that ends between the two finds it due again.
    """
    address = branch.address
    policy = context.policies.lenient(address.namespace, address.profile)
    if not policy.erasure_purge_on_forget:
        return
    from .erasure import purge_forgotten

    ids = branch.read(lambda c: states.ids_of(c, handles)).value
    if ids:
        purge_forgotten(context, Target(address.namespace, address.profile), *ids)
