"""The rules of the namespaces in which tenants' memories are, set where one has none."""

from __future__ import annotations

import threading

from ....api import Policy, Target
from ....api.policy import (
    AuditRules,
    GetNamespacePolicy,
    LifecycleRules,
    RankingRules,
    SetNamespacePolicy,
)
from ....errors import NotFound
from ....node import Node
from ....operations import OWNER

__all__ = ["RULES", "House"]

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
    ranking=RankingRules(weights="memorysync"),
)


class House:
    """Sets the rules of a namespace once, before the first write of this process. Thread-safe.

    What an operator set stays as it is, also where it says less, or took away all there was.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._done: set[str] = set()

    def prepare(self, namespace: str) -> None:
        """Set the rules where the namespace has none."""
        if namespace in self._done:
            return
        # Who waited here sets nothing: by then there are some.
        with self._lock:
            target = Target(namespace)
            get, put = GetNamespacePolicy(), SetNamespacePolicy(policy=RULES)
            try:
                self._node.call("policy.get_namespace", target, get, principal=OWNER)
            except NotFound:
                self._node.call("policy.set_namespace", target, put, principal=OWNER)
            self._done.add(namespace)
