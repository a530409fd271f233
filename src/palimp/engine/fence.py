"""What a node is told that does not own a branch any more."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import Unavailable
from ..observe import logger
from .protocol import Manifest

__all__ = ["Fence", "fenced", "lapsed", "note_fenced", "taken_over", "unanswered"]

_LOG = logger("engine")


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
    back = f", or here again in {left:.0f} s: then this node takes it back" if left else ""
    return Unavailable(
        f"{name} was taken over by node {owner.node if owner else 'none'} (epoch "
        f"{fence.manifest.epoch}); this node {node} is fenced. Write there{back}",
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


def lapsed(name: str, txid: int) -> Unavailable:
    """Return the error for a commit after which the lease was found to have ended."""
    return Unavailable(
        f"{name}: this node's lease ended while txid {txid} was committed; another node may have "
        "gone on without it. Repeat it with the same request id",
        reason="lease",
        in_doubt=True,
        txid=txid,
    )


def taken_over(name: str, before: Manifest, node: str) -> bool:
    """Return whether a node took a branch that another had not given up, and say so in the log."""
    owner = before.owner
    if owner is None or owner.node == node:
        return False
    if before.limit <= before.txid:
        # It left in order: nothing can have been acknowledged beyond what was shipped.
        _LOG.debug("%s: node %s goes on after node %s", name, node, owner.node)
        return False
    what = "%s: epoch %d taken over from node %s by this node %s"
    _LOG.warning(what, name, before.epoch + 1, owner.node, node)
    return True


def note_fenced(name: str, node: str, manifest: Manifest) -> None:
    """Say in the log that another node owns a branch now."""
    by = manifest.owner.node if manifest.owner else "nobody"
    what = "%s: this node %s is fenced; epoch %d belongs to node %s"
    _LOG.warning(what, name, node, manifest.epoch, by)
