"""What is done for a sealed profile as a whole: old rows are sealed, its index is mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..api import Target
from ..api.keys import FieldsSealed, SealFields
from ..api.limits import SEAL_ROWS_MAX
from ..engine import Address, Branch
from ..errors import Conflict, NotFound, Unconfigured
from ..profile.checks import check_integer
from ..profile.indexing import may_rebuild, rebuild
from .context import Context

if TYPE_CHECKING:
    from ..profile.resealing import Part

__all__ = ["mend_index", "seal_fields"]

_BATCH = 200


def seal_fields(context: Context, target: Target, request: SealFields) -> FieldsSealed:
    """Seal rows that are there in plain or under an older key, in every branch; 0 only counts."""
    address = context.address(target)
    limit = SEAL_ROWS_MAX if request.limit is None else request.limit
    check_integer(limit, "limit", 0, SEAL_ROWS_MAX)
    if context.keys is None:
        raise Unconfigured(
            "nothing is encrypted here: set PALIMP_MASTER_KEY (`palimp keygen master` makes one)"
        )
    if not context.policies.effective(address.namespace, address.profile).encryption_fields:
        raise Conflict(
            f"the policy of {address.namespace}--{address.profile} does not seal fields; set "
            "encryption.fields first"
        )
    if context.engine.renewing.database(address, create=False) is None:
        return FieldsSealed(sealed=0, remaining=0, unreadable=0)
    # As another node may have rotated them a moment ago.
    context.keys.forget(context.engine.renewing.database(address, create=False))
    version = context.keys.fields(address, create=True)[0][0]
    done = FieldsSealed(sealed=0, remaining=0, unreadable=0)
    for info in context.engine.branches(address):
        with _using(context, address._replace(branch=info.name)) as branch:
            if branch is not None:
                done = _seal_branch(context, branch, version, limit, done)
    context.metrics.add("rows_sealed", done.sealed)
    return done


def mend_index(context: Context, branch: Branch) -> bool:
    """Write the index of a branch anew if rows could not be read and can now, or are gone."""
    sealer = context.sealer_of(branch.address)
    # Asked first: a write makes this node the owner.
    if not branch.read(lambda c: may_rebuild(c, sealer)).value:
        return False
    branch.write(lambda c: rebuild(c, sealer))
    context.wake(branch.address)
    return True


def _seal_branch(
    context: Context, branch: Branch, version: int, limit: int, done: FieldsSealed
) -> FieldsSealed:
    from ..profile import resealing
    from ..sealing import header

    mark = header(version)
    for part in branch.read(lambda c: list(resealing.parts(c))).value:
        done = _seal_part(context, branch, part, mark, limit, done)
    return done


def _seal_part(
    context: Context, branch: Branch, part: Part, mark: bytes, limit: int, done: FieldsSealed
) -> FieldsSealed:
    from ..profile import resealing

    sealer = context.sealer_of(branch.address)
    sealed, unreadable, after = done.sealed, done.unreadable, None
    left = branch.read(lambda c: resealing.count(c, part, mark)).value
    more = left > 0
    while more and sealed < limit:
        step = partial(
            resealing.reseal,
            part=part,
            sealer=sealer,
            header=mark,
            after=after,
            limit=min(_BATCH, limit - sealed),
        )
        found = branch.write(step).value
        sealed, unreadable = sealed + found.sealed, unreadable + found.unreadable
        left -= found.sealed + found.unreadable
        after, more = found.last, found.last is not None
    return FieldsSealed(
        sealed=sealed, remaining=done.remaining + max(0, left), unreadable=unreadable
    )


@contextmanager
def _using(context: Context, address: Address) -> Iterator[Branch | None]:
    """Give a branch; None where it was deleted since it was listed."""
    try:
        with context.engine.use(address, create=False) as branch:
            yield branch
    except NotFound:
        yield None
