"""Saying something about a memory, and in which project it is."""

from __future__ import annotations

import apsw
import msgspec

from ..api import Target
from ..api.annotating import (
    Annotate,
    AnnotateAll,
    Annotated,
    AnnotatedAll,
    AnnotatedItem,
    Reassign,
    Reassigned,
    SetTier,
)
from ..api.limits import BATCH_ITEMS_MAX, PAGE_MAX
from ..errors import Conflict, Error, Invalid, NotFound, in_batch
from ..profile import memories
from ..profile.checks import check_id, check_integer, check_label
from ..profile.memories.annotate import Annotation, annotation
from ..profile.memories.annotate import annotate as write_annotation
from ..profile.memories.projects import reassign as write_project
from ..profile.memories.states import Act
from ..profile.memories.tiers import set_tier as write_tier
from ..profile.protocols import Sealer
from .context import Context
from .reads import write_reads

__all__ = ["annotate", "annotate_all", "check_reassign", "reassign", "set_tier"]


def annotate(context: Context, target: Target, request: Annotate) -> Annotated:
    """Change what is said about a memory in one transaction, and return it as it is then."""
    check_id(request.id)
    address = context.address(target)
    screen = context.screen(address)
    flags: tuple[str, ...] = ()
    note: str | None = None
    if screen is not None:
        request, flags, note = screen.annotation(request)
        context = screen.settled("memories.annotate", request)
    given = annotation(request, flags)
    act = Act(context.clock.now_ms(), context.principal.actor)
    sealer = context.sealer_of(address)

    def write(connection: apsw.Connection) -> bool:
        return write_annotation(connection, given, sealer, act)

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        changed, txid, _ = context.commit(branch, write, bool)
        if screen is not None:
            screen.record()
        if request.tags is not None and changed:
            context.wake(branch.address)
        # Not what the write gives: that is kept for a repeat, and texts are not to be kept twice.
        memory = branch.read(lambda c: memories.get_memory(c, request.id, sealer, act.now_ms)).value
    return Annotated(memory=memory, changed=changed, txid=txid, note=note)


def annotate_all(context: Context, target: Target, request: AnnotateAll) -> AnnotatedAll:
    """Change what is said about many memories at once; those that cannot be changed are named."""
    count = len(request.items)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"items has {count:,} entries; give 1 to {BATCH_ITEMS_MAX:,}")
    if len({one.id for one in request.items}) != count:
        raise Invalid("items name a memory twice; say once what is to be said about it")
    address = context.address(target)
    screen, seen = context.screen(address), None
    if screen is not None:
        seen = screen.each(screen.annotation, request.items, "items")
        request = msgspec.structs.replace(request, items=tuple(one.item for one in seen))
        context = screen.settled("memories.annotate_all", request)
    given = []
    for index, one in enumerate(request.items):
        try:
            check_id(one.id)
            given.append(annotation(one, seen[index].flags if seen else ()))
        except Error as error:
            raise in_batch(error, "items", index, count) from error
    notes = [one.note for one in seen] if seen else [None] * count
    act = Act(context.clock.now_ms(), context.principal.actor)
    sealer = context.sealer_of(address)

    def write(connection: apsw.Connection) -> list[AnnotatedItem]:
        return [
            _annotated(connection, one, sealer, act, note)
            for one, note in zip(given, notes, strict=True)
        ]

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"profile {target.profile!r} is empty; there is nothing to annotate")
        results, txid, _ = context.commit(branch, write, list[AnnotatedItem])
        if screen is not None:
            screen.record()
        context.wake(branch.address)
    return AnnotatedAll(results=tuple(results), txid=txid)


def _annotated(
    connection: apsw.Connection, given: Annotation, sealer: Sealer, act: Act, note: str | None
) -> AnnotatedItem:
    # Both are raised before anything was written.
    try:
        changed = write_annotation(connection, given, sealer, act)
    except (NotFound, Conflict) as error:
        return AnnotatedItem(id=given.id, status="skipped", reason=str(error))
    return AnnotatedItem(id=given.id, status="changed" if changed else "same", note=note)


def set_tier(context: Context, target: Target, request: SetTier) -> Annotated:
    """Move one memory in one transaction, with its event, and return it as it is then."""
    check_id(request.id)
    act = Act(context.clock.now_ms(), context.principal.actor)
    sealer = context.sealer_of(context.address(target))

    def write(connection: apsw.Connection) -> bool:
        return write_tier(connection, request.id, request.tier, sealer, act)

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        # Those before this one: written later they would make it hot.
        write_reads(branch)
        changed, txid, _ = context.commit(branch, write, bool)
        memory = branch.read(lambda c: memories.get_memory(c, request.id, sealer, act.now_ms)).value
    return Annotated(memory=memory, changed=changed, txid=txid)


def check_reassign(request: Reassign) -> None:
    """Raise `Invalid` for what cannot be given over."""
    check_label(request.project, "project")
    check_label(request.to, "to")
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.to == request.project:
        raise Invalid(f"its memories are in project {request.to!r:.80} already; give another `to`")


def reassign(context: Context, target: Target, request: Reassign) -> Reassigned:
    """Give over one page of a project's memories in one transaction."""
    check_reassign(request)
    act = Act(context.clock.now_ms(), context.principal.actor)

    sealer = context.sealer_of(context.address(target))

    def write(connection: apsw.Connection) -> Reassigned:
        count, more = write_project(connection, request, sealer, act)
        return Reassigned(count=count, more=more)

    with context.writing(target, create=False) as branch:
        if branch is None:
            return Reassigned(count=0)
        done, txid, _ = context.commit(branch, write, Reassigned)
    return msgspec.structs.replace(done, txid=txid)
