"""Who was read, collected beside reads and written down by maintenance; and the tiers it decides.

A read takes no ownership and makes no commit. What is collected is lost with the process, and with
a rewind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..engine import Address, Branch
from ..errors import Error, NotFound
from ..profile.usage import Accesses, Tiers, due_tiers, set_tiers
from ..profile.usage import note_reads as write_accesses
from .context import Context, Readable

__all__ = ["note_reads", "settle", "write_reads"]


def note_reads(database: Readable, ids: Sequence[str], now_ms: int) -> None:
    """Count reads of the present; what earlier states are asked for uses nothing."""
    if ids and isinstance(database, Branch):
        database.attachment(Accesses, Accesses).note(ids, now_ms)


def settle(context: Context, address: Address) -> int:
    """Write down who was read on every branch of a profile, then move what was not used.

    Returns how many memories moved to a colder tier. Nothing is asked, and nothing written, where
    nobody was counted and the policy has no tiers.
    """
    policy = context.policies.lenient(address.namespace, address.profile)
    limits = Tiers.of(
        policy.lifecycle_warm_days, policy.lifecycle_cold_days, context.clock.now_ms()
    )
    moved = 0
    for info in context.engine.branches(address):
        try:
            moved += _settle_branch(context, address._replace(branch=info.name), limits)
        except NotFound:
            # Deleted since it was listed.
            continue
    if moved:
        context.metrics.add("memories_cooled", moved)
    return moved


def _settle_branch(context: Context, address: Address, limits: Tiers | None) -> int:
    moved = after = 0
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return 0
        write_reads(branch)
        while limits is not None:
            # Asked first: a write makes this node the owner.
            due = branch.read(partial(due_tiers, limits=limits, after=after)).value
            if not due:
                break
            moved += branch.write(partial(set_tiers, due=due, limits=limits)).value
            after = due[-1][0]
    return moved


def write_reads(branch: Branch) -> None:
    """Write down who was read on a branch until now."""
    accesses = branch.attachment(Accesses, Accesses)
    while reads := accesses.take():
        try:
            branch.write(partial(write_accesses, reads=reads), derived=True)
        except Error:
            accesses.give_back(reads)
            raise
