"""What a namespace and a profile may keep: policy documents, what is in force.

What removes the rest is in `sweep`, which only maintenance imports.
"""

from __future__ import annotations

from .document import Effective
from .policies import Policies

__all__ = ["Effective", "Policies"]
