"""Lineage: forget all that was derived from something."""

from __future__ import annotations

from ..api import Target
from ..api.extraction import ForgetLineage, LineageForgotten
from ..profile import lineage
from .context import Context

__all__ = ["forget"]


def forget(context: Context, target: Target, request: ForgetLineage) -> LineageForgotten:
    """Forget up to 1,000 derived memories in one transaction; the result says how many are left."""
    context.address(target)
    lineage.check_lineage(request)
    with context.writing(target, create=False) as branch:
        if branch is None:
            return LineageForgotten(ids=(), remaining=0, txid=0)
        if request.dry_run:
            found, txid, _ = branch.read(lambda c: lineage.descendants(c, request))
            return LineageForgotten(ids=tuple(one.id for one in found), remaining=0, txid=txid)
        (ids, remaining), txid, _ = context.commit(
            branch,
            lambda c: lineage.forget_descendants(c, request, context.sealer_of(target)),
            tuple[list[str], int],
        )
        context.wake(branch.address)
    return LineageForgotten(ids=tuple(ids), remaining=remaining, txid=txid)
