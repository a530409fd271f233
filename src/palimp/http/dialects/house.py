"""The rules of the namespaces in which a dialect's memories are, set where one has none."""

from __future__ import annotations

import threading

from ...api import Policy, Target
from ...api.policy import GetNamespacePolicy, SetNamespacePolicy
from ...errors import NotFound
from ...node import Node
from ...operations import OWNER

__all__ = ["House"]


class House:
    """Sets rules once for each namespace, before the first write of this process. Thread-safe.

    What an operator set stays as it is, also where it says less, or took away all there was.
    """

    def __init__(self, node: Node, rules: Policy) -> None:
        self._node = node
        self._rules = rules
        self._lock = threading.Lock()
        self._done: set[str] = set()

    def prepare(self, namespace: str) -> None:
        """Set the rules where the namespace has none."""
        if namespace in self._done:
            return
        # Who waited here sets nothing: by then there are some.
        with self._lock:
            target = Target(namespace)
            get, put = GetNamespacePolicy(), SetNamespacePolicy(policy=self._rules)
            try:
                self._node.call("policy.get_namespace", target, get, principal=OWNER)
            except NotFound:
                self._node.call("policy.set_namespace", target, put, principal=OWNER)
            self._done.add(namespace)
