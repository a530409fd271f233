"""Proposals: read, accept, dismiss."""

from __future__ import annotations

from ..api import MemoryInput, Target
from ..api.extraction import (
    Decided,
    DecideProposal,
    GetProposal,
    GotProposal,
    ListProposals,
    ProposalPage,
)
from ..errors import NotFound
from ..profile import proposals
from ..profile.checks import check_id
from ..profile.deciding import Outcome
from ..profile.deciding import decide as decide_proposal
from .context import Context
from .memories import writer_of

__all__ = ["decide", "get", "list_page"]


def list_page(context: Context, target: Target, request: ListProposals) -> ProposalPage:
    """Read one page."""
    proposals.check_list(request)
    with context.reading(target) as database:
        if database is None:
            return ProposalPage(proposals=(), next_cursor=None, txid=0)
        (page, cursor), txid, _ = database.read(
            lambda c: proposals.list_proposals(c, request, context.sealer_of(target))
        )
    return ProposalPage(proposals=page, next_cursor=cursor, txid=txid)


def get(context: Context, target: Target, request: GetProposal) -> GotProposal:
    """Read one proposal."""
    check_id(request.id)
    with context.reading(target) as database:
        if database is None:
            raise _nothing(target, request.id)
        sealer = context.sealer_of(target)
        found, txid, _ = database.read(lambda c: proposals.get(c, request.id, sealer))
    return GotProposal(proposal=found.proposal, txid=txid)


def decide(context: Context, target: Target, request: DecideProposal) -> Decided:
    """Accept or dismiss a proposal in one transaction; the same again changes nothing."""
    check_id(request.id)
    address = context.address(target)
    writer, screen = writer_of(context, address), context.screen(address)
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise _nothing(target, request.id)
        given: MemoryInput | None = None
        flags: tuple[str, ...] = ()
        if request.decision == "accept":
            found = branch.read(lambda c: proposals.get(c, request.id, writer.sealer)).value
            given = found.given
            if screen is not None and given is not None:
                # The policy may have become stricter since it was proposed.
                given, flags, _ = screen.memory(given)
        outcome, txid, repeated = context.commit(
            branch,
            lambda c: decide_proposal(c, request, given, flags, writer),
            Outcome,
            # An answer is kept for a day, whatever is forgotten meanwhile.
            kept=lambda done: done._replace(proposal=proposals.bare(done.proposal)),
        )
        if repeated:
            said = branch.read(lambda c: proposals.worded(c, outcome.proposal, writer.sealer))
            outcome = outcome._replace(proposal=said.value)
        if screen is not None:
            screen.record()
        context.wake(branch.address)
    return Decided(
        proposal=outcome.proposal,
        changed=outcome.changed,
        superseded=outcome.superseded,
        txid=txid,
    )


def _nothing(target: Target, identity: str) -> NotFound:
    return NotFound(f"no proposal {identity!r:.80}; profile {target.profile!r} is empty")
