"""Extraction on the wire: turns in, proposals out; what waits for somebody to decide."""

from __future__ import annotations

from typing import Any, Literal

from .base import Request, Result, Sequenced
from .limits import PAGE_DEFAULT
from .memories import Memory, Wait
from .operation import PROFILE, row
from .sessions import TurnInput

__all__ = [
    "ROWS",
    "DecideProposal",
    "Decided",
    "Decision",
    "Extract",
    "Extracted",
    "ExtractionMethod",
    "ForgetLineage",
    "GetProposal",
    "GotProposal",
    "LineageForgotten",
    "ListProposals",
    "MergeReview",
    "MergedReview",
    "Proposal",
    "ProposalKind",
    "ProposalPage",
    "Review",
    "ReviewConflict",
    "ReviewPair",
    "ShowReview",
    "Side",
]

MIN_CONFIDENCE_DEFAULT = 0.3

ExtractionMethod = Literal["model", "rules"]

ProposalKind = Literal["memory", "duplicate", "contradiction", "failed"]
Decision = Literal[
    "created",
    "discarded_low_signal",
    "discarded_redundant",
    "discarded_transient",
    "discarded_policy",
    "pending",
    "accepted",
    "dismissed",
    "superseded",
]


class Side(Result, frozen=True, kw_only=True):
    """A memory that a proposal is about, and where it came from."""

    id: str
    type: str
    text: str
    topic: str | None = None
    source: str | None = None
    session: str | None = None
    observed_at: int | None = None
    created_at: int
    superseded_at: int | None = None


class Proposal(Result, frozen=True, kw_only=True):
    """Something that was found and decided, or that waits to be decided. Times are UTC ms.

    `kind` says what it is about: a `memory` to be written, two memories that are a `duplicate` or a
    `contradiction`, or an extraction that `failed`. `memory` is what was written (or the newer of
    two), `other` what stands against it; `sides` shows those of them that are still there. `draft`
    is what is written if a `pending` one is accepted. `turn` is the number of the turn it came
    from, `span` the first and the behind-the-last character within that turn.
    """

    id: str
    kind: ProposalKind
    decision: Decision
    created_at: int
    category: str | None = None
    extracted_key: str | None = None
    text: str | None = None
    draft: dict[str, Any] | None = None
    reason: str | None = None
    confidence: float | None = None
    score: float | None = None
    memory: str | None = None
    other: str | None = None
    source: str | None = None
    session: str | None = None
    turn: int | None = None
    span: tuple[int, int] | None = None
    model: str | None = None
    decided_at: int | None = None
    sides: tuple[Side, ...] = ()


class ListProposals(Request, frozen=True, kw_only=True):
    """Read proposals page by page, newest first; what is left out matches all."""

    kind: ProposalKind | None = None
    decision: Decision | None = None
    session: str | None = None
    source: str | None = None
    limit: int = PAGE_DEFAULT
    cursor: str | None = None


class ProposalPage(Result, Sequenced[Proposal], frozen=True, kw_only=True):
    """One page; `next_cursor` is None on the last."""

    proposals: tuple[Proposal, ...]
    next_cursor: str | None
    txid: int

    def _items(self) -> tuple[Proposal, ...]:
        return self.proposals


class Extract(Request, frozen=True, kw_only=True):
    """Find memories in turns of a conversation and write those that are worth it.

    The turns are given, or those of a stored `session` from `from_seq` to `to_seq`. A session that
    is named beside `turns` is only what they are said to belong to. `method` is `model`, which
    needs one that is configured, or `rules`. What has less than `min_confidence` is not written.
    With `dry_run` nothing is written, with `review` it is written to a branch of its own. `wait` as
    in `Ingest`.
    """

    turns: tuple[TurnInput, ...] = ()
    session: str | None = None
    from_seq: int | None = None
    to_seq: int | None = None
    source: str | None = None
    method: ExtractionMethod = "model"
    dry_run: bool = False
    review: bool = False
    min_confidence: float = MIN_CONFIDENCE_DEFAULT
    project: str | None = None
    environment: str | None = None
    wait: Wait | None = None


class GetProposal(Request, frozen=True, kw_only=True):
    """Read one proposal."""

    id: str


class GotProposal(Result, frozen=True, kw_only=True):
    """One proposal and the txid it was read at."""

    proposal: Proposal
    txid: int


class DecideProposal(Request, frozen=True, kw_only=True):
    """Accept or dismiss a proposal. `keep` says which of two memories stays; else the newer one."""

    id: str
    decision: Literal["accept", "dismiss"]
    keep: str | None = None


class Decided(Result, frozen=True, kw_only=True):
    """The proposal as it is now. `superseded` are the memories that no longer hold by it.

    `changed` is False where it had been decided like that before.
    """

    proposal: Proposal
    changed: bool
    superseded: tuple[str, ...] = ()
    txid: int


class ReviewPair(Result, frozen=True, kw_only=True):
    """A memory that a review supersedes, and what takes its place."""

    older: Memory
    newer: Memory


class ReviewConflict(Result, frozen=True, kw_only=True):
    """What the target changed since the review began, and what merging does about it.

    `memory` is the id in the review, `other` that in the target. `written`: whether merging writes
    `memory` all the same.
    """

    memory: str
    other: str | None = None
    reason: str
    written: bool


class ShowReview(Request, frozen=True, kw_only=True):
    """Read what a review would change in the branch it is shown against."""

    review: str


class Review(Result, frozen=True, kw_only=True):
    """What merging a review would do to the branch as it is now.

    `added` is what it would write, `superseded` what of this branch would no longer hold. The
    review is removed by itself at `expires_at`.
    """

    review: str
    added: tuple[Memory, ...]
    superseded: tuple[ReviewPair, ...]
    conflicts: tuple[ReviewConflict, ...]
    proposals: tuple[Proposal, ...]
    expires_at: int | None
    txid: int


class Extracted(Result, Sequenced[Proposal], frozen=True, kw_only=True):
    """What was found and what was decided on each, in the order of the turns.

    `review` is what waits to be merged, `model` what was asked, `tokens` what it read and
    wrote, `notes` what was not done as asked. `txid` holds what was written.
    """

    proposals: tuple[Proposal, ...]
    txid: int
    review: Review | None = None
    model: str | None = None
    tokens: int = 0
    notes: tuple[str, ...] = ()

    def _items(self) -> tuple[Proposal, ...]:
        return self.proposals


class MergeReview(Request, frozen=True, kw_only=True):
    """Write what a review added, in one transaction, and remove the review."""

    review: str


class MergedReview(Result, frozen=True, kw_only=True):
    """The ids that were written and those that no longer hold, and the txid that holds it.

    `merged` is False where it had been merged before, and nothing was done.
    """

    review: str
    merged: bool
    added: tuple[str, ...]
    superseded: tuple[str, ...]
    conflicts: tuple[ReviewConflict, ...]
    txid: int


class ForgetLineage(Request, frozen=True, kw_only=True):
    """Forget every memory that was derived from a session, a source or a memory: one of them.

    What was derived from these is forgotten too. A memory that somebody wrote with that session or
    source, and that was derived from nothing, stays. With `dry_run` nothing is.
    """

    session: str | None = None
    source: str | None = None
    memory: str | None = None
    dry_run: bool = False


class LineageForgotten(Result, Sequenced[str], frozen=True, kw_only=True):
    """The ids of what was forgotten (or would be), and how many of them remain for another call."""

    ids: tuple[str, ...]
    remaining: int
    txid: int

    def _items(self) -> tuple[str, ...]:
        return self.ids


_PROPOSAL = PROFILE + "/proposals/{id}"
_REVIEW = PROFILE + "/reviews/{review}"

ROWS = (
    row(
        "extract",
        f"POST {PROFILE}/extract",
        Extract,
        Extracted,
        "write writes",
        "Find memories in turns and write those that are worth it, or propose them.",
    ),
    row(
        "proposals.list",
        f"GET {PROFILE}/proposals",
        ListProposals,
        ProposalPage,
        "read",
        "Read what was proposed and decided, page by page, newest first.",
    ),
    row(
        "proposals.get",
        f"GET {_PROPOSAL}",
        GetProposal,
        GotProposal,
        "read",
        "Read one proposal.",
    ),
    row(
        "proposals.decide",
        f"POST {_PROPOSAL}/decide",
        DecideProposal,
        Decided,
        "write writes idempotent",
        "Accept or dismiss a proposal.",
    ),
    row(
        "reviews.show",
        f"GET {_REVIEW}",
        ShowReview,
        Review,
        "read",
        "Read what a review would change.",
    ),
    row(
        "reviews.merge",
        f"POST {_REVIEW}/merge",
        MergeReview,
        MergedReview,
        "write writes idempotent",
        "Write what a review added, in one transaction, and remove the review.",
    ),
    row(
        "lineage.forget",
        f"POST {PROFILE}/lineage/forget",
        ForgetLineage,
        LineageForgotten,
        "write writes idempotent",
        "Forget every memory that was derived from a session, a source or a memory.",
    ),
)
