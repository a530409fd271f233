"""What can be done: one function an operation, over engine, profile and models.

`dispatch` is the one way in, for every transport: it checks who is calling and the target, finds
the function in the table and counts the call.
"""

from __future__ import annotations

from .access import CALLER, OWNER, Access, Principal
from .context import Context
from .dispatch import HANDLERS, dispatch, handler_of

__all__ = [
    "CALLER",
    "HANDLERS",
    "OWNER",
    "Access",
    "Context",
    "Principal",
    "dispatch",
    "handler_of",
]
