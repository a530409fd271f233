"""Legal holds, asked before a whole branch or database goes."""

from __future__ import annotations

from ..engine import Address
from ..errors import Conflict, Internal, NotFound
from ..ids import MAIN
from ..observe import logger
from ..profile.memories.holds import held_ids
from .context import Context

__all__ = ["refuse_held_branch", "refuse_held_database"]

_LOG = logger("lifecycle")


def refuse_held_branch(context: Context, address: Address) -> None:
    """Raise `Conflict` where a memory of a branch is under legal hold; what is not there has none.

    A branch that is damaged cannot be asked, and may be deleted all the same.
    """
    try:
        with context.engine.use(address, create=False) as branch:
            held = [] if branch is None else branch.read(held_ids).value
    except NotFound:
        return
    except Internal as error:
        _LOG.warning("%s cannot be asked for legal holds: %s", address, error)
        return
    if held:
        raise Conflict(
            f"{address} has {len(held):,} memories under legal hold, for instance {held[0]}; "
            "release them before it is deleted",
            id=held[0],
            reason="hold",
        )


def refuse_held_database(context: Context, address: Address) -> None:
    """Raise `Conflict` where a memory of any branch is under legal hold."""
    try:
        found = context.engine.branches(address._replace(branch=MAIN))
    except NotFound:
        return
    for info in found:
        refuse_held_branch(context, address._replace(branch=info.name))
