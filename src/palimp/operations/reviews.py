"""Reviews: a branch of its own for what was extracted, shown, merged or dropped."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import NamedTuple

import apsw
import msgspec

from ..api import Target
from ..api.extraction import MergedReview, MergeReview, Review, ReviewPair, ShowReview
from ..decoding import from_json
from ..engine import Address, Repeat
from ..errors import Invalid, NotFound
from ..ids import check_name, ulid
from ..profile import proposals, reviews
from ..profile.reviews import Changes, Merged, State
from .context import Context
from .memories import writer_of

__all__ = ["begin", "merge", "name_of", "show"]

_PREFIX = "review-"
_TTL_MS = 7 * 86_400_000
_DIGITS = 24


class _Kept(NamedTuple):
    """The answer to a merge, and by which request it was done."""

    done: Merged
    by: str | None


def name_of(context: Context) -> str:
    """Return the name of the review that a call makes: a repeat of the call finds the same one."""
    request_id = context.options.request_id
    if request_id is None:
        return _PREFIX + ulid(context.clock.now_ms()).lower()
    seed = request_id.encode() + b"\0" + context.digest
    return _PREFIX + hashlib.blake2b(seed).hexdigest()[:_DIGITS]


def begin(context: Context, target: Target, name: str) -> Address:
    """Make the branch of a review of the target and return its address; it lives for 7 days.

    Done again for the same call it is found made.
    """
    address = context.address(target)
    with context.writing(target) as branch:
        assert branch is not None
        # A profile that was never written has nothing to branch from; its first table will do.
        branch.write(proposals.prepare)
    made = context.engine.fork(address, name, None, _TTL_MS, context.repeat(None))
    review = address._replace(branch=name)
    with context.engine.use(review, create=False) as branch:
        assert branch is not None
        branch.write(lambda c: reviews.mark(c, target.branch, made.ttl_at))
    return review


def show(context: Context, target: Target, request: ShowReview) -> Review:
    """Compare a review with its branch as it is now."""
    address = _address(context, target, request.review)
    state, changed = _changes(context, target, address)
    with context.reading(target) as database:
        assert database is not None
        against, txid, _ = database.read(lambda c: reviews.conflicts(c, changed))
    held_back = {one.memory for one in against if not one.written}
    added = {one.memory.id: one.memory for one in changed.added}
    return Review(
        review=address.branch,
        added=tuple(
            one for one in added.values() if one.superseded_at is None and one.id not in held_back
        ),
        superseded=tuple(
            ReviewPair(older=older, newer=added[newer])
            for older, newer in changed.replaced
            if older.id not in added and newer not in held_back
        ),
        conflicts=against,
        proposals=changed.proposals,
        expires_at=state.expires_at,
        txid=txid,
    )


def merge(context: Context, target: Target, request: MergeReview) -> MergedReview:
    """Write what a review added and remove it; done before, it says so and changes nothing.

    The branch of the review goes only when object storage has what was merged.
    """
    address = _address(context, target, request.review)
    missing: NotFound | None = None
    changed = Changes((), (), ())
    try:
        _, changed = _changes(context, target, address)
    except NotFound as error:
        # It may have been merged: then the answer of that is what the write below gives.
        missing = error
    writer = writer_of(context, context.address(target))

    request_id = context.options.request_id

    def write(connection: apsw.Connection) -> _Kept:
        if missing is not None:
            raise missing
        return _Kept(reviews.merge(connection, changed, writer), request_id)

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise missing or _unknown(address.branch)
        kept, txid, repeated = branch.write(write, durable=True, repeat=_repeat(address.branch))
        context.wake(branch.address)
    with suppress(NotFound):
        context.engine.delete_branch(address)
    done = kept.done
    return MergedReview(
        review=address.branch,
        # The answer to the first call was lost, and this is its repeat.
        merged=not repeated or (request_id is not None and kept.by == request_id),
        added=done.added,
        superseded=done.superseded,
        conflicts=done.conflicts,
        txid=txid,
    )


def _address(context: Context, target: Target, name: str) -> Address:
    if target.at is not None:
        raise Invalid(
            f"a review is compared with its branch as it is, not as it was at {target.at!r:.80}; "
            "leave `at` out"
        )
    if not name.startswith(_PREFIX):
        raise Invalid(f"{name!r:.80} is no review: their names begin with {_PREFIX}")
    return context.address(target)._replace(branch=check_name(name, "review"))


def _changes(context: Context, target: Target, address: Address) -> tuple[State, Changes]:
    """Return where a review began and what it did; `NotFound` where it is gone."""
    try:
        with context.engine.use(address, create=False) as branch:
            if branch is None:
                raise _unknown(address.branch)
            now_ms, sealer = context.clock.now_ms(), context.sealer_of(address)
            state = branch.read(reviews.state_of).value
            if state is None:
                raise _unknown(address.branch)
            if state.target != target.branch:
                raise Invalid(
                    f"{address.branch} is a review of branch {state.target!r}, not of "
                    f"{target.branch!r}; name that one"
                )
            return state, branch.read(lambda c: reviews.changes(c, sealer, now_ms)).value
    except NotFound as error:
        raise _unknown(address.branch) from error


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"no review {name!r}: it was merged more than a day ago, dropped, is older than 7 days, or "
        "never was; list the branches of the profile to see those that there are",
        code="branch_not_found",
    )


def _repeat(name: str) -> Repeat:
    """Return what makes a second merge of a review answer as the first did."""
    return Repeat(
        f"merge/{name}",
        b"merge",
        msgspec.json.encode,
        lambda data: from_json(data, _Kept),
    )
