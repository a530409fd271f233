"""Feedback on memories."""

from __future__ import annotations

from typing import get_args

import apsw

from ..api import FeedbackGiven, GiveFeedback, Target
from ..api.feedback import FeedbackSummary, Signal, SummarizeFeedback
from ..api.limits import QUERY_BYTES_MAX
from ..errors import Invalid, NotFound
from ..profile import usage
from ..profile.checks import check_id, check_text
from .context import Context

__all__ = ["give", "summary"]

# Of what is named by callers only so many.
_TRUSTS_MAX = 100


def give(context: Context, target: Target, request: GiveFeedback) -> FeedbackGiven:
    """Count one signal about a memory; `NotFound` where there is none of that id."""
    context.address(target)
    check_id(request.id)
    if request.signal not in get_args(Signal):
        words = ", ".join(get_args(Signal))
        raise Invalid(f"signal is {request.signal!r:.80}; give one of {words}")
    if request.query is not None:
        check_text(request.query, "query", QUERY_BYTES_MAX)
    mark = usage.query_mark(context.id_key_of(target), request.query)
    now_ms = context.clock.now_ms()

    def write(connection: apsw.Connection) -> tuple[dict[str, int], float]:
        handle = connection.execute(
            """SELECT handle FROM __palimp_memories
            WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)""",
            (request.id, now_ms),
        ).get
        if handle is None:
            raise NotFound(f"no memory {request.id}; it was forgotten, has expired or never was")
        usage.give(connection, handle, request.signal, mark, now_ms)
        value = usage.value_of(usage.given(connection, [handle], mark)[handle])
        return usage.counts(connection, handle), value

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"no memory {request.id}; profile {target.profile!r} is empty")
        (counts, value), txid, _ = context.commit(branch, write, tuple[dict[str, int], float])
    return FeedbackGiven(
        id=request.id, signal=request.signal, counts=counts, value=value, txid=txid
    )


def summary(context: Context, target: Target, _request: SummarizeFeedback) -> FeedbackSummary:
    """Count what was said of the memories of a profile."""
    found: dict[str, dict[str, int]] = {}
    txid = 0
    with context.reading(target) as database:
        if database is not None:
            found, txid, _ = database.read(usage.summary)
    signals: tuple[Signal, ...] = get_args(Signal)
    counts = {
        trust: {signal: given.get(signal, 0) for signal in signals}
        for trust, given in found.items()
    }
    most = sorted(counts, key=lambda trust: (-sum(counts[trust].values()), trust))
    by_signal = {signal: sum(given[signal] for given in counts.values()) for signal in signals}
    return FeedbackSummary(
        total=sum(by_signal.values()),
        by_signal=by_signal,
        by_trust={trust: counts[trust] for trust in most[:_TRUSTS_MAX]},
        txid=txid,
    )
