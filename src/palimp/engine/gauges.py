"""How much of the engine is in use, at one moment: what `/metrics` shows beside the counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .branch import Branch
from .residents import Key

__all__ = ["Gauges", "measure"]


class Gauges(NamedTuple):
    """What is here, and what waits.

    `resident` branches have a place in memory, `open` ones a handle (hot). `backlog_seconds` is for
    how long the oldest commit that the store lacks has waited.
    """

    resident: int
    open: int
    writes_waiting: int
    backlog_bytes: int
    backlog_seconds: float


def measure(branches: Iterable[Branch], since: Callable[[Key], float | None], now: float) -> Gauges:
    """Return the sums over branches; `since` says when one began to have something to ship."""
    resident = hot = waiting = backlog = 0
    oldest = now
    for branch in branches:
        resident += 1
        hot += branch.local.opened
        waiting += branch.local.waiting
        if branch.unshipped:
            backlog += branch.backlog_bytes
            began = since(branch.key)
            oldest = oldest if began is None else min(oldest, began)
    return Gauges(resident, hot, waiting, backlog, now - oldest)
