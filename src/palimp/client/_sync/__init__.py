# Made from client/_async by scripts/unasync.py; change it there.
"""The client, its profiles and their sessions."""

from __future__ import annotations

from .client import Client
from .profile import Profile
from .session import Session

__all__ = ["Client", "Profile", "Session"]
