"""The rules of the namespaces in which tenants' memories are, set where one has none."""

from __future__ import annotations

from ....api import Policy
from ....api.policy import (
    AuditRules,
    LifecycleRules,
    MemoryRules,
    RankingRules,
)

__all__ = ["RULES"]

RULES = Policy(
    audit=AuditRules(enabled=True),
    lifecycle=LifecycleRules(
        soft_delete=True,
        active_days=90,
        archive=True,
        archived_days=60,
        grace_days=7,
        warm_days=30,
        cold_days=180,
    ),
    memory=MemoryRules(summarize_at=3),
    ranking=RankingRules(weights="memorysync"),
)
