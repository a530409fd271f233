"""What a namespace and a profile may keep: policy documents, what is in force, and sweeping."""

from __future__ import annotations

from .document import Effective
from .policies import Policies
from .sweep import Sweep, is_due, sweep

__all__ = ["Effective", "Policies", "Sweep", "is_due", "sweep"]
