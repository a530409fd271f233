"""The rules of the namespace in which users' memories are, set where it has none."""

from __future__ import annotations

from ....api import Policy
from ....api.policy import (
    GovernanceRules,
    LifecycleRules,
    MemoryRules,
    RedactionRules,
)

__all__ = ["RULES"]

RULES = Policy(
    memory=MemoryRules(
        near_duplicates="supersede", near_duplicate_min=0.95, associations=True, entities=True
    ),
    redaction=RedactionRules(secrets="refuse", personal="redact", rules="memoria"),
    lifecycle=LifecycleRules(soft_delete=True, grace_days=7),
    # Where the node looks through memories by itself at all.
    governance=GovernanceRules(enabled=True),
)
