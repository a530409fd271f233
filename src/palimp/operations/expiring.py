"""Removing what has expired from a branch: tasks and other memories, and keys."""

from __future__ import annotations

from functools import partial

from ..engine import Branch
from ..profile.kv import expire_keys, has_expired_keys
from ..profile.memories import expire_tasks, has_expired
from .context import Context

__all__ = ["expire"]


def expire(context: Context, branch: Branch, most: int | None = None) -> int:
    """Remove about `most` rows (None: all) whose time is over; return how many."""
    now_ms = context.clock.now_ms()
    tasks = partial(expire_tasks, now_ms=now_ms, sealer=context.sealer_of(branch.address))
    keys = partial(expire_keys, now_ms=now_ms)
    done = 0
    for has, remove in ((has_expired, tasks), (has_expired_keys, keys)):
        # Asked first: a write makes this node the owner.
        while (most is None or done < most) and branch.read(partial(has, now_ms=now_ms)).value:
            done += branch.write(remove).value
    return done
