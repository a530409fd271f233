"""What memories are worth by what is known of them."""

from __future__ import annotations

from ..api import Target
from ..api.limits import BATCH_ITEMS_MAX
from ..api.scores import ScoredMemories, ScoreMemories
from ..errors import Invalid
from ..profile.checks import check_id
from ..profile.scores import scores as computed
from .context import Context

__all__ = ["scores"]


def scores(context: Context, target: Target, request: ScoreMemories) -> ScoredMemories:
    """Compute the scores of memories; nothing is stored."""
    count = len(request.ids)
    if not 1 <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"ids has {count:,} entries; give 1 to {BATCH_ITEMS_MAX:,}")
    for identity in request.ids:
        check_id(identity)
    with context.reading(target) as database:
        if database is None:
            return ScoredMemories(scores=(), txid=0)
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        found, txid, _ = database.read(lambda c: computed(c, request.ids, sealer, now_ms))
    return ScoredMemories(scores=tuple(found.values()), txid=txid)
