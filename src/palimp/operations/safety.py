"""Checkpoints before what cannot be told from a mistake afterwards: merges, purges, governance."""

from __future__ import annotations

import re
from contextlib import suppress

from ..engine import Address, Boundary
from ..errors import Invalid, NotFound
from ..ids import random_bytes
from .context import Context

__all__ = ["before", "checkpoint", "is_safety"]

_KEPT = 20
_SUFFIX_BYTES = 4
_WORD = re.compile(r"[a-z](?:_?[a-z]){0,39}\Z")
_NAMED = re.compile(r"pre_[a-z_]+_[0-9a-f]{8}\Z")


def before(context: Context, address: Address, what: str) -> str:
    """Make a checkpoint as `checkpoint` does and return its name."""
    return checkpoint(context, address, what)[0]


def checkpoint(context: Context, address: Address, what: str) -> tuple[str, Boundary]:
    """Name what the branch holds now: `pre_{what}_` and 8 hex digits.

    Of such names the newest 20 stay; older ones are dropped, and what they named with them once
    nothing else does. Raises `Invalid` for a word that can stand in no name.
    """
    if not _WORD.match(what):
        raise Invalid(f"before is {what!r:.80}; give a word of 1 to 40 of a-z and _")
    name = f"pre_{what}_{random_bytes(_SUFFIX_BYTES).hex()}"
    made = context.engine.checkpoint(address, name)
    held = [one for one in context.engine.checkpoints(address) if is_safety(one.name)]
    for one in held[:-_KEPT]:
        # Somebody else may be at it.
        with suppress(NotFound):
            context.engine.drop_checkpoint(address, one.name)
    return name, made


def is_safety(name: str) -> bool:
    """Whether a checkpoint was made by `before`."""
    return _NAMED.match(name) is not None
