"""The audit: what is recorded, how it is chained and stored, read, checked and let go."""

from __future__ import annotations

from .actions import ACTIONS, EXEMPT
from .reading import query
from .retiring import retire
from .stream import Audit
from .verifying import verify

__all__ = ["ACTIONS", "EXEMPT", "Audit", "query", "retire", "verify"]
