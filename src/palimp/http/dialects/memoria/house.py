"""The rules of the namespace in which users' memories are, set where it has none."""

from __future__ import annotations

import threading

from ....api import Policy, Target
from ....api.policy import (
    GetNamespacePolicy,
    GovernanceRules,
    LifecycleRules,
    MemoryRules,
    RedactionRules,
    SetNamespacePolicy,
)
from ....errors import NotFound
from ....node import Node
from ....operations import OWNER
from .admission import NAMESPACE

__all__ = ["RULES", "House"]

RULES = Policy(
    memory=MemoryRules(
        near_duplicates="supersede", near_duplicate_min=0.95, associations=True, entities=True
    ),
    redaction=RedactionRules(secrets="refuse", personal="redact", rules="memoria"),
    lifecycle=LifecycleRules(soft_delete=True, grace_days=7),
    # Where the node looks through memories by itself at all.
    governance=GovernanceRules(enabled=True),
)


class House:
    """Sets the rules once, before the first write of this process. Thread-safe.

    What an operator set stays as it is, also where it says less, or took away all there was.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._done = False

    def prepare(self) -> None:
        """Set the rules where the namespace has none."""
        if self._done:
            return
        # Who waited here sets nothing: by then there are some.
        with self._lock:
            target = Target(NAMESPACE)
            get, put = GetNamespacePolicy(), SetNamespacePolicy(policy=RULES)
            try:
                self._node.call("policy.get_namespace", target, get, principal=OWNER)
            except NotFound:
                self._node.call("policy.set_namespace", target, put, principal=OWNER)
            self._done = True
