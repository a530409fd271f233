"""Saying something about a memory."""

from __future__ import annotations

import apsw

from ..api import Target
from ..api.annotating import Annotate, Annotated
from ..errors import NotFound
from ..profile import memories
from ..profile.checks import check_id
from ..profile.memories.annotate import annotate as write_annotation
from ..profile.memories.annotate import annotation
from ..profile.memories.states import Act
from .context import Context

__all__ = ["annotate"]


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
