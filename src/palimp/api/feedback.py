"""Feedback on the wire: what turned out of a memory that was recalled."""

from __future__ import annotations

from typing import Literal

from .base import Request, Result
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "FeedbackGiven",
    "FeedbackSummary",
    "GiveFeedback",
    "Signal",
    "SummarizeFeedback",
]

Signal = Literal["useful", "irrelevant", "outdated", "wrong"]


class GiveFeedback(Request, frozen=True, kw_only=True):
    """Say of memory `id` that it was `useful`, `irrelevant`, `outdated` or `wrong`.

    With `query` it counts for that question only (same words, whatever their case), which is not
    kept in words. The last 100 questions of a memory count.
    """

    id: str
    signal: Signal
    query: str | None = None


class FeedbackGiven(Result, frozen=True, kw_only=True):
    """How often each signal was given about the memory in all, and what it is worth for it now.

    `value` is what recall counts for what was asked here: 0.5 where nothing was said, never below
    0.05 or above 1.
    """

    id: str
    signal: Signal
    counts: dict[str, int]
    value: float
    txid: int


class SummarizeFeedback(Request, frozen=True, kw_only=True):
    """Count all that was said of the memories that are there."""


class FeedbackSummary(Result, frozen=True, kw_only=True):
    """How often each signal was given, about all memories and about those of each `trust`.

    `by_trust` has the 100 kinds of trust most was said of; the name is empty of those without.
    """

    total: int
    by_signal: dict[Signal, int]
    by_trust: dict[str, dict[Signal, int]]
    txid: int


ROWS = (
    row(
        "memories.feedback",
        f"POST {PROFILE}/memories/{{id}}/feedback",
        GiveFeedback,
        FeedbackGiven,
        "write writes idempotent",
        "Say whether a memory was useful, irrelevant, outdated or wrong; recall ranks by it.",
    ),
    row(
        "feedback.summary",
        f"GET {PROFILE}/feedback",
        SummarizeFeedback,
        FeedbackSummary,
        "read",
        "Count what was said of the memories of a profile, by signal and by trust.",
    ),
)
