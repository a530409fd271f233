"""Checkpoints before what cannot be told from a mistake afterwards: merges, purges, governance."""

from __future__ import annotations

import re

from ..engine import Address
from ..ids import random_bytes
from .context import Context

__all__ = ["before", "is_safety"]

_KEPT = 20
_SUFFIX_BYTES = 4
_NAMED = re.compile(r"pre_[a-z_]+_[0-9a-f]{8}\Z")


def before(context: Context, address: Address, what: str) -> str:
    """Name what the branch holds now and return the name, `pre_{what}_` and 8 hex digits.

    Of such names the newest 20 stay; older ones are dropped, and what they named with them once
    nothing else does.
    """
    name = f"pre_{what}_{random_bytes(_SUFFIX_BYTES).hex()}"
    context.engine.checkpoint(address, name)
    held = [one for one in context.engine.checkpoints(address) if is_safety(one.name)]
    held.sort(key=lambda one: (one.txid, one.at))
    for one in held[:-_KEPT]:
        if one.name != name:
            context.engine.drop_checkpoint(address, one.name)
    return name


def is_safety(name: str) -> bool:
    """Whether a checkpoint was made by `before`."""
    return _NAMED.match(name) is not None
