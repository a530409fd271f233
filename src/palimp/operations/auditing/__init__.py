"""The audit: what is recorded, how it is chained and stored.

How it is read, checked and let go is in `reading`, `verifying` and `retiring`, which opening a
folder does not wait for.
"""

from __future__ import annotations

from .actions import ACTIONS, EXEMPT
from .stream import Audit

__all__ = ["ACTIONS", "EXEMPT", "Audit"]
