"""Comparing states of a profile and carrying memories between them.

`changed` reads two states, `groups` decides with a third what is to be done, `bring` does it.
"""

from __future__ import annotations

from .bring import Task, bring
from .declined import decline, declined_before
from .luggage import Luggage, pack
from .plan import (
    Clash,
    Deed,
    Group,
    Ours,
    Step,
    added_only,
    decided,
    deeds,
    displaced,
    groups,
    stands_for,
)
from .versions import Pair, Version, changed, differences, every, held, holder, holders, version

__all__ = [
    "Clash",
    "Deed",
    "Group",
    "Luggage",
    "Ours",
    "Pair",
    "Step",
    "Task",
    "Version",
    "added_only",
    "bring",
    "changed",
    "decided",
    "decline",
    "declined_before",
    "deeds",
    "differences",
    "displaced",
    "every",
    "groups",
    "held",
    "holder",
    "holders",
    "pack",
    "stands_for",
    "version",
]
