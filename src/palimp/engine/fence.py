"""What a node is told that does not own a branch any more."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import Unavailable
from .protocol import Manifest

__all__ = ["Fence", "fenced", "unanswered"]


class Fence(NamedTuple):
    """Who took the branch from this node, and until when it is left to them (monotonic)."""

    manifest: Manifest
    until: float


def fenced(name: str, node: str, fence: Fence | None, now: float, **details: Any) -> Unavailable:
    """Return the error for a write of `node`, which names who owns the branch where known."""
    if fence is None:
        return Unavailable(
            f"{name}: this node {node} does not own the branch any more",
            reason="fenced",
            **details,
        )
    owner, left = fence.manifest.owner, max(0.0, fence.until - now)
    return Unavailable(
        f"{name} was taken over by node {owner.node if owner else 'none'} (epoch "
        f"{fence.manifest.epoch}); this node {node} is fenced. Write there, or here again in "
        f"{left:.0f} s: then this node takes it back",
        reason="fenced",
        node=owner.node if owner else None,
        epoch=fence.manifest.epoch,
        retry_after=left,
        **details,
    )


def unanswered(name: str, seconds: float) -> Unavailable:
    """Return the error for a durable write while the store has not answered for so long."""
    return Unavailable(
        f"{name}: object storage has not answered for more than {seconds:g} s, so a durable write "
        "cannot be promised; nothing was written. Repeat it later, or write with durability local",
        reason="store",
        retry_after=seconds,
    )
