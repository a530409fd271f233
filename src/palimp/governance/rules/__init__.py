"""The rules of governance: what each finds in a profile, and in which order a task asks them.

Only operations on governance import this room.
"""

from __future__ import annotations

from ...api.governance import GovernanceStep, GovernanceTask
from .acting import BATCHES, carry_out
from .ages import STALE, TOOL_RESULTS, WORKING
from .base import Ask, Decision, Look, Rule
from .clusters import Cluster, clusters
from .likeness import REDUNDANCY, groups, young
from .measures import POLLUTED_ABOVE, pollution
from .pairs import CONTRADICTIONS
from .trust import QUARANTINE, REFLECTION, SCENES, TRUST

__all__ = [
    "BATCHES",
    "POLLUTED_ABOVE",
    "REFLECTION",
    "RULES",
    "TASKS",
    "Ask",
    "Cluster",
    "Decision",
    "Look",
    "Rule",
    "carry_out",
    "clusters",
    "groups",
    "pollution",
    "young",
]

# In the order in which they are asked where all are.
RULES: dict[GovernanceStep, Rule] = {
    "tool_results": TOOL_RESULTS,
    "working": WORKING,
    "stale": STALE,
    "quarantine": QUARANTINE,
    "redundancy": REDUNDANCY,
    "contradictions": CONTRADICTIONS,
    "scenes": SCENES,
    "trust": TRUST,
}
TASKS: dict[GovernanceTask, tuple[GovernanceStep, ...]] = {
    "hourly": ("tool_results", "working", "stale"),
    # What is measured first is not what this run does itself.
    "daily": ("pollution", "quarantine", "stale", "redundancy"),
    "weekly": ("contradictions", "scenes", "trust"),
    "all": ("pollution", *RULES),
}
